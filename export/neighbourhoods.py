"""Answers for single nodes: the part of a graph that a node sees is cut out, fetched and run.

A request names a few nodes. What happens for it is what an application would do: sample the
neighbourhood, fetch its features, run the model, keep the rows of the nodes asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..distill.sampler import NeighborSampler, Sample
from ..kernels import CSRGraph
from ..serve import Bundle, Graph, Session
from .requests import seeds_of

Array = np.ndarray


@dataclass(frozen=True)
class Part:
    """The neighbourhood of requests: a sample, and where in it each request's nodes are."""

    sample: Sample
    places: list[Array]


class Neighbourhoods(ABC):
    """Requests on a graph, for `scenarios` and `phases`; subclasses say what answers them.

    Args:
        inputs: The whole graph and its features, and the nodes of requests, see `requests`.
        graph: The whole graph as it is sampled.
        num_neighbors: In-edges to draw in each hop, -1 for all. What is drawn depends on the
            request's number alone.
        threads: Threads of sampling.
    """

    def __init__(
        self,
        inputs: Mapping[str, Array],
        graph: CSRGraph,
        num_neighbors: Sequence[int],
        threads: int,
    ) -> None:
        torch.set_num_threads(threads)
        self.seeds = seeds_of(inputs)
        self.count = len(self.seeds)
        self._sampler = NeighborSampler(graph, num_neighbors)

    def __call__(self) -> None:
        """Answer every request once."""
        for request in range(self.count):
            self.answer([request])

    def answer(self, requests: Sequence[int]) -> list[Array]:
        """Return the answer of each request, [nodes, classes]."""
        part = self.sample(requests)
        return self.run(part, self.fetch(part))

    def sample(self, requests: Sequence[int]) -> Part:
        """Cut out what the nodes of some requests see."""
        asked = [self.seeds[request] for request in requests]
        seeds, places = torch.from_numpy(np.concatenate(asked)).unique(return_inverse=True)
        sample = self._sampler.sample(seeds, seed=int(requests[0]))
        ends = np.cumsum([len(nodes) for nodes in asked])
        return Part(sample, np.split(places.numpy(), ends[:-1]))

    def size(self, part: Part) -> tuple[int, int]:
        """Return the nodes and edges of a neighbourhood."""
        return part.sample.n_id.numel(), part.sample.e_id.numel()

    @abstractmethod
    def fetch(self, part: Part) -> Any:
        """Gather what belongs to the nodes and edges of a neighbourhood."""

    @abstractmethod
    def run(self, part: Part, feeds: Any) -> list[Array]:
        """Run the model, and return the rows that were asked for."""


class BundleRequests(Neighbourhoods):
    """A bundle that answers requests.

    Args:
        bundle: What answers; it must say how many hops it looks.
        inputs: See `Neighbourhoods`.
        threads: Threads of the session and of sampling.
        native: Whether to use the C++ operators.
        num_neighbors: In-edges to draw in each hop; None takes all, and answers as the whole graph
            does.

    Raises:
        ValueError: If the bundle takes graphs of several types, holds its graph, or looks at all of
            it, or num_neighbors is not one number a hop.
    """

    def __init__(
        self,
        bundle: Bundle,
        inputs: Mapping[str, Array],
        threads: int,
        *,
        native: bool = True,
        num_neighbors: Sequence[int] | None = None,
    ) -> None:
        self.session = Session(bundle, threads=threads, native=native)
        graph = CSRGraph.from_edge_index(torch.from_numpy(inputs["edge_index"]), len(inputs["x"]))
        super().__init__(inputs, graph, fan_outs(bundle, num_neighbors), threads)
        self._of_nodes, self._of_edges = _features(self.session, inputs, graph.perm.numpy())

    def fetch(self, part: Part) -> dict[str, Any]:
        """Gather what belongs to the nodes and edges of a neighbourhood."""
        nodes, edges = part.sample.n_id.numpy(), part.sample.e_id.numpy()
        feeds: dict[str, Any] = {n: v.take(nodes, axis=0) for n, v in self._of_nodes.items()}
        feeds |= {name: value.take(edges, axis=0) for name, value in self._of_edges.items()}
        if self.session.bundle.manifest.graph != "none":
            graph = part.sample.graph
            rowptr, col, perm = (t.numpy() for t in (graph.rowptr, graph.col, graph.perm))
            feeds["edge_index"] = Graph(rowptr, col, perm)
        return feeds

    def run(self, part: Part, feeds: Mapping[str, Any]) -> list[Array]:
        """Run the model, and return the rows that were asked for."""
        logits = next(iter(self.session(feeds).values()))
        return [logits[places] for places in part.places]


def fan_outs(bundle: Bundle, num_neighbors: Sequence[int] | None) -> list[int]:
    """Return how many in-edges to take in each hop, -1 for all; see `BundleRequests`."""
    manifest = bundle.manifest
    if manifest.graph == "typed" or manifest.lowering == "baked":
        raise ValueError(
            f"{bundle.path} takes graphs of several types or holds its graph; requests for single "
            "nodes are measured for models that take one edge_index"
        )
    if manifest.hops is None:
        raise ValueError(f"{bundle.path} looks at the whole graph: no node has a neighbourhood")
    if num_neighbors is not None and len(num_neighbors) != manifest.hops:
        raise ValueError(
            f"{bundle.path} looks {manifest.hops} hops far and needs as many numbers of "
            f"neighbours, got {list(num_neighbors)}"
        )
    return [-1] * manifest.hops if num_neighbors is None else list(num_neighbors)


def _features(
    session: Session, inputs: Mapping[str, Array], perm: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return what the model takes of each node, and of each edge in CSR order."""
    whole = {**inputs, **session.quantise(inputs["x"])}
    nodes, edges = dict[str, Array](), dict[str, Array]()
    for spec in session.inputs:
        if spec.shape[0] == "num_nodes":
            nodes[spec.name] = whole[spec.name]
        elif spec.shape[0] == "num_edges" and spec.name != "col":
            edges[spec.name] = whole[spec.name][perm]
    if session.bundle.manifest.in_degree:
        takes_weights = any(spec.name == "edge_weight" for spec in session.inputs)
        weight = inputs["edge_weight"] if takes_weights else None
        nodes["in_degree"] = session.in_degree(inputs["edge_index"], len(inputs["x"]), weight)
    return nodes, edges
