"""RelationalGraph: edges of many relations, sorted by what R-GCN sums together."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .graph import CSRGraph


@dataclass(frozen=True, eq=False)
class RelationalGraph:
    """A graph whose edges have relations, as pairs of a relation and a destination.

    A pair is what R-GCN averages over: all in-edges of a node that have one relation. Pairs are
    sorted by relation, so that what belongs to one relation is one slice.

    Attributes:
        pairs: The edges as in-edges of pairs, P rows.
        targets: The pairs as in-edges of destination nodes, N rows, P edges.
        edges: The edges as in-edges of destination nodes, N rows.
        relation: Relation of each edge in the CSR order of `edges`, [E] int64.
        count: Number of edges in the pair of each of them, [E] int64.
        sizes: Number of pairs of each relation, R numbers that sum to P; a tensor [R] while a
            module is exported, when numbers of pairs are not known.
    """

    pairs: CSRGraph
    targets: CSRGraph
    edges: CSRGraph
    relation: Tensor
    count: Tensor
    sizes: tuple[int, ...] | Tensor

    @classmethod
    def from_edge_index(
        cls,
        edge_index: Tensor,
        edge_type: Tensor,
        num_relations: int,
        num_nodes: int | None = None,
        *,
        size: tuple[int, int] | None = None,
    ) -> "RelationalGraph":
        """Sort an edge list by relation and destination.

        Args:
            edge_index: Sources and destinations, [2, E], an integer type, any order.
            edge_type: Relation of each edge, [E], an integer type, in [0, num_relations).
            num_relations: Number of relations R.
            num_nodes: Number of nodes.
            size: (num_src, num_dst) of a bipartite graph, in place of num_nodes.

        Raises:
            TypeError: If edge_index or edge_type is not a tensor of integers.
            ValueError: If a shape does not fit, or an id or a relation is out of range.
        """
        edges = CSRGraph.from_edge_index(edge_index, num_nodes, size=size)  # checks the ids
        if torch.compiler.is_exporting():
            return _traced(edges, edge_type.to(torch.int64), num_relations)
        _check_types(edge_type, edges.num_edges, num_relations)
        num_dst, edge_type = edges.num_nodes, edge_type.to(torch.int64)
        found, pair, count = (edge_type * num_dst + edge_index[1]).unique(
            return_inverse=True, return_counts=True
        )  # sorted: by relation, then destination
        num_pairs, ids = found.numel(), torch.arange(found.numel(), device=found.device)
        by_pair = torch.stack([edge_index[0].to(torch.int64), pair])
        by_target = torch.stack([ids, found % max(num_dst, 1)])
        sizes = torch.bincount(found // max(num_dst, 1), minlength=num_relations)
        return cls(
            CSRGraph.from_edge_index(by_pair, size=(edges.num_src, num_pairs)),
            CSRGraph.from_edge_index(by_target, size=(num_pairs, num_dst)),
            edges,
            edge_type[edges.perm],
            count[pair[edges.perm]],
            tuple(sizes.tolist()),
        )

    @property
    def num_src(self) -> int:
        """Number of source nodes M."""
        return self.pairs.num_src

    @property
    def num_nodes(self) -> int:
        """Number of destination nodes N."""
        return self.targets.num_nodes

    @property
    def num_relations(self) -> int:
        """Number of relations R."""
        return len(self.sizes)

    def by_relation(self) -> Iterator[CSRGraph]:
        """Yield, for each relation, its edges as in-edges of its pairs."""
        first = 0
        for count in map(int, self.sizes):
            rowptr = self.pairs.rowptr[first : first + count + 1]
            start, stop = int(rowptr[0]), int(rowptr[-1])
            positions = torch.arange(stop - start, device=rowptr.device)
            yield CSRGraph(rowptr - start, self.pairs.col[start:stop], positions, self.num_src)
            first += count

    def to(self, device: torch.device | str) -> "RelationalGraph":
        """Return the same graph on a device."""
        moved = (self.pairs, self.targets, self.edges, self.relation, self.count)
        return RelationalGraph(*(part.to(device) for part in moved), self.sizes)  # type: ignore[reportArgumentType]


def _traced(edges: CSRGraph, edge_type: Tensor, num_relations: int) -> RelationalGraph:
    relation = edge_type.index_select(0, edges.perm)
    rowptr, col, target_rowptr, target_col, sizes, pair = torch.ops.graphstill.relational_csr(
        edges.rowptr, edges.col, relation, num_relations
    )
    num_pairs, count = target_col.shape[0], rowptr.diff().index_select(0, pair)
    in_order = (torch.arange(n, device=col.device) for n in (edges.num_edges, num_pairs))
    pairs = CSRGraph(rowptr, col, next(in_order), edges.num_src)
    targets = CSRGraph(target_rowptr, target_col, next(in_order), num_pairs)
    return RelationalGraph(pairs, targets, edges, relation, count, sizes)


def _check_types(edge_type: Tensor, num_edges: int, num_relations: int) -> None:
    if edge_type.is_floating_point() or edge_type.dtype == torch.bool:
        raise TypeError(f"edge_type must hold integers, got {edge_type.dtype}")
    if tuple(edge_type.shape) != (num_edges,):
        raise ValueError(f"edge_type must be [{num_edges}], got {list(edge_type.shape)}")
    wrong = (edge_type < 0) | (edge_type >= num_relations)
    if bool(wrong.any()):
        edge = int(wrong.nonzero()[0])
        raise ValueError(
            f"edge {edge} has relation {int(edge_type[edge])}, relations must lie in "
            f"[0, {num_relations})"
        )
