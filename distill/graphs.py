"""What networks are given: features and a graph, for nodes of one type or of several."""

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from ..kernels import CSRGraph, RelationalGraph
from .sparse import SparseFeatures

# source type, relation, destination type
EdgeType = tuple[str, str, str]


class HeteroGraph(dict[EdgeType, Tensor]):
    """Edges between nodes of several types: PyG's `edge_index_dict`, which also knows them sorted.

    Args:
        edges: Sources and destinations, [2, E] int64, by type of edge; ids count within a type.
        sizes: Number of nodes by type.
        target: Type of the nodes that are classified.

    Raises:
        TypeError: If an edge list does not hold integers.
        ValueError: If an id is out of range, or there is no such type.
    """

    def __init__(
        self, edges: Mapping[EdgeType, Tensor], sizes: Mapping[str, int], target: str
    ) -> None:
        super().__init__(edges)
        self.sizes, self.target = dict(sizes), target
        unknown = {end for kind in edges for end in (kind[0], kind[2])} - self.sizes.keys()
        if unknown or target not in self.sizes:
            raise ValueError(
                f"node types are {', '.join(self.sizes)}; no {', '.join(sorted(unknown)) or target}"
            )

    @cached_property
    def sorted(self) -> dict[EdgeType, CSRGraph]:
        """The edges of each type, sorted once."""
        return {
            kind: CSRGraph.from_edge_index(
                edge_index, size=(self.sizes[kind[0]], self.sizes[kind[2]])
            )
            for kind, edge_index in self.items()
        }

    @cached_property
    def edges(self) -> CSRGraph:
        """The edges among the nodes that are classified, whatever their relation."""
        own = [self[kind] for kind in self if kind[0] == kind[2] == self.target]
        none = torch.zeros(2, 0, dtype=torch.int64)
        return CSRGraph.from_edge_index(torch.cat([none, *own], dim=1), self.sizes[self.target])


Graph = CSRGraph | RelationalGraph | HeteroGraph
# [N, F] float32; ids of nodes [N] int64, where they have no features; or either by type of nodes
Features = Tensor | SparseFeatures | dict[str, Tensor | SparseFeatures]


def edges_of(graph: Graph) -> CSRGraph:
    """Return the edges among the nodes that are classified, without their relations."""
    return graph if isinstance(graph, CSRGraph) else graph.edges


def are_ids(x: Tensor | SparseFeatures) -> bool:
    """Return whether nodes have ids in place of features."""
    return isinstance(x, Tensor) and not x.is_floating_point()
