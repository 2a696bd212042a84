"""Requests for single nodes, answered by a network in PyG.

Neighbourhoods are sampled as for bundles. GCN and GCNII normalise by the degrees of the whole
graph, which a neighbourhood does not show: their edges are normalised beforehand, all of them.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernels import CSRGraph
from ..serve import Bundle
from .neighbourhoods import Neighbourhoods, Part, fan_outs
from .peers import convolutions_for_csr, normalised_edges
from .rebuilding import rebuild


class ModuleRequests(Neighbourhoods):
    """The network of a bundle in PyG, in eager mode, that answers requests.

    Args:
        bundle: The bundle.
        inputs: See `Neighbourhoods`.
        threads: Threads of torch.
        csr: Whether the network gets a sparse CSR adjacency in place of edge_index.

    Raises:
        ValueError: If the network cannot take the graph so; see also `BundleRequests`.
    """

    def __init__(
        self, bundle: Bundle, inputs: Mapping[str, np.ndarray], threads: int, *, csr: bool
    ) -> None:
        self.module = rebuild(bundle)
        self._x, self._csr = torch.from_numpy(inputs["x"]), csr
        self._takes_graph = bundle.manifest.graph != "none"
        if csr:
            convolutions_for_csr(self.module)
        edges, weight = normalised_edges(
            self.module, torch.from_numpy(inputs["edge_index"]), len(self._x)
        )
        if weight is not None and not csr and not _takes_weights(self.module):
            raise ValueError(
                f"{type(self.module).__name__} takes no edge_weight and normalises by degrees that "
                "a neighbourhood does not show; its peer is pyg-csr"
            )
        graph = CSRGraph.from_edge_index(edges, len(self._x))
        self._weight = None if weight is None else weight[graph.perm]
        super().__init__(inputs, graph, fan_outs(bundle, None), threads)

    def fetch(self, part: Part) -> list[Tensor]:
        """Gather features, and make the graph as PyG takes it."""
        sample = part.sample
        x = self._x[sample.n_id]
        if not self._takes_graph:
            return [x]
        weight = None if self._weight is None else self._weight[sample.e_id]
        if not self._csr:
            return [x, sample.edge_index, *([] if weight is None else [weight])]
        values = torch.ones(sample.e_id.numel()) if weight is None else weight
        rowptr, col, size = sample.graph.rowptr, sample.graph.col.long(), (len(x), len(x))
        return [x, torch.sparse_csr_tensor(rowptr, col, values, size, check_invariants=False)]

    def run(self, part: Part, feeds: list[Tensor]) -> list[np.ndarray]:
        """Run the module, and return the rows that were asked for."""
        with torch.inference_mode():
            logits = self.module(*feeds).numpy()
        return [logits[places] for places in part.places]


def load(
    inputs: Mapping[str, Any], threads: int, *, path: str, csr: bool = False
) -> ModuleRequests:
    """Load the network of a bundle in PyG, as the harness does.

    Args:
        inputs: A whole graph and the nodes of requests.
        threads: Threads of torch.
        path: Where the bundle is.
        csr: Whether the network gets a sparse CSR adjacency.
    """
    return ModuleRequests(Bundle.load(path), inputs, threads, csr=csr)


def _takes_weights(module: torch.nn.Module) -> bool:
    return "edge_weight" in inspect.signature(module.forward).parameters
