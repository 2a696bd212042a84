"""NeighborSampler: a part of a graph that is enough to answer for some of its nodes, or nearly.

Hop by hop, each node that was met in the hop before (at first: the seeds) brings some of its
in-neighbours with it. A node is asked once, in the hop after the one that met it, so that its
in-edges in the sample are a sample of its in-edges in the graph; nodes met in the last hop have
none. With all in-neighbours in every hop, and as many hops as a network has layers, the seeds'
answers are those of the whole graph.

There is no loop over nodes. Subsets of distinct edges are drawn for all nodes at once by Floyd's
algorithm: k steps, whatever the degree.

References:
    Hamilton et al., "Inductive Representation Learning on Large Graphs", NeurIPS 2017, algorithm 2,
    https://arxiv.org/abs/1706.02216
    Bentley and Floyd, "A Sample of Brilliance", Communications of the ACM 1987
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels import CSRGraph


@dataclass(frozen=True, eq=False)
class Sample:
    """A part of a graph, its nodes numbered anew: the seeds first, then hop by hop.

    Attributes:
        n_id: Id of each node in the whole graph, [n] int64.
        num_seeds: Number of seeds; they are the first nodes.
        graph: The edges, with the whole graph's degrees and how much each node's edges stand for.
        e_id: Position of each edge in the whole graph's CSR order, [e] int64.
    """

    n_id: Tensor
    num_seeds: int
    graph: CSRGraph
    e_id: Tensor

    @property
    def edge_index(self) -> Tensor:
        """Sources and destinations as PyG has them, [2, e] int64, sorted by destination."""
        nodes = torch.arange(self.graph.num_nodes, device=self.n_id.device)
        counts = self.graph.rowptr.diff()
        return torch.stack([self.graph.col.long(), torch.repeat_interleave(nodes, counts)])


class NeighborSampler:
    """Draws in-neighbours of seeds, hop by hop.

    Not for several threads at once: it keeps a table of the size of the graph.

    Args:
        graph: The whole graph.
        num_neighbors: How many in-edges of a node to take in each hop, first hop first; -1 takes
            all, as do nodes that have no more than that.
        replace: Whether to draw with replacement: then a node that has any in-edge gets as many as
            asked for, and an edge may be there several times.

    Raises:
        ValueError: If the graph is bipartite, or a number of neighbours is neither -1 nor positive.
    """

    def __init__(
        self, graph: CSRGraph, num_neighbors: Sequence[int], *, replace: bool = False
    ) -> None:
        if graph.num_src != graph.num_nodes:
            raise ValueError(
                f"sampling needs a graph over one set of nodes, got {graph.num_src} sources and "
                f"{graph.num_nodes} destinations"
            )
        if any(count < -1 or count == 0 for count in num_neighbors):
            raise ValueError(
                f"num_neighbors must be positive, or -1 for all, got {list(num_neighbors)}"
            )
        self.graph = graph
        self.num_neighbors = tuple(num_neighbors)
        self.replace = replace
        self._in_degree = graph.in_degree if graph.in_degree is not None else _gcn_degree(graph)
        # where a node is in the sample that is being drawn, -1 where it is not
        self._local = torch.full_like(graph.rowptr[:-1], -1, dtype=torch.int32)

    def sample(self, seeds: Tensor, seed: int) -> Sample:
        """Draw a sample.

        Args:
            seeds: Nodes to answer for, [s] int64, all different.
            seed: What the draw depends on, and nothing else: the same gives the same sample.

        Raises:
            ValueError: If a seed is out of range, or there twice.
        """
        _check_seeds(seeds, self.graph.num_nodes)
        generator = torch.Generator(seeds.device).manual_seed(seed)
        met, edges, counts, sources = [seeds], [], [], []
        self._place(seeds, 0)
        try:
            for fan_out in self.num_neighbors:
                drawn, count = self._draw(met[-1], fan_out, generator)
                source = self.graph.col[drawn].long()
                new = source[self._local[source] < 0].unique()
                self._place(new, sum(part.numel() for part in met))
                sources.append(self._local[source])
                edges.append(drawn)
                counts.append(count)
                met.append(new)
        finally:
            n_id = torch.cat(met)
            self._local[n_id] = -1
        none = seeds.new_zeros(0)
        col = torch.cat([none.int(), *sources])
        part = self._part(n_id, torch.cat([none, *counts]), col)
        return Sample(n_id, seeds.numel(), part, torch.cat([none, *edges]))

    def _place(self, nodes: Tensor, first: int) -> None:
        last = first + nodes.numel()
        self._local[nodes] = torch.arange(first, last, dtype=torch.int32, device=nodes.device)

    def _draw(
        self, nodes: Tensor, fan_out: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return CSR positions of some in-edges of each node, node by node, and how many each."""
        start = self.graph.rowptr[nodes]
        degree = self.graph.rowptr[nodes + 1] - start
        if fan_out == -1:
            return ranges(start, degree), degree
        if self.replace:
            count = torch.where(degree > 0, fan_out, 0)
            start, degree = (part.repeat_interleave(count) for part in (start, degree))
            return start + below(degree, generator), count
        count = degree.clamp(max=fan_out)
        drawn = ranges(start, count)
        many = degree > fan_out
        chosen = start[many].unsqueeze(1) + subsets(degree[many], fan_out, generator)
        drawn[many.repeat_interleave(count)] = chosen.flatten()
        return drawn, count

    def _part(self, n_id: Tensor, count: Tensor, col: Tensor) -> CSRGraph:
        """Return the graph of a sample; nodes that were not asked have no in-edges."""
        counts = torch.cat([count, count.new_zeros(n_id.numel() - count.numel())])
        rowptr = torch.cat([count.new_zeros(1), counts.cumsum(0)])
        degree = self.graph.rowptr[n_id + 1] - self.graph.rowptr[n_id]
        importance = torch.where(counts > 0, degree / counts.clamp(min=1), 1.0)
        perm = torch.arange(col.numel(), device=col.device)
        return CSRGraph(rowptr, col, perm, n_id.numel(), self._in_degree[n_id], importance)


def ranges(start: Tensor, count: Tensor) -> Tensor:
    """Return start[0] … start[0] + count[0] - 1, start[1] …, one after the other, int64."""
    ends = count.cumsum(0)
    total = int(ends[-1]) if ends.numel() else 0
    shift = (start - ends + count).repeat_interleave(count, output_size=total)
    return shift + torch.arange(total, device=start.device)


def below(limit: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random integer in [0, limit) for each limit below 2⁵³."""
    share = torch.rand(
        limit.shape, dtype=torch.float64, generator=generator, device=generator.device
    )
    return (share * limit).long()


def subsets(size: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return, for each size, `count` different integers in [0, size), rising, [sizes, count].

    Every subset is equally likely. Step j draws t in [0, j] for j = size - count … size - 1 and
    takes t, or j where t is taken already.
    """
    taken = size.new_empty(count, size.numel())
    for step in range(count):
        last = size - count + step
        drawn = below(last + 1, generator)
        again = (taken[:step] == drawn).any(dim=0)
        taken[step] = torch.where(again, last, drawn)
    return taken.T.sort(dim=1).values


def _gcn_degree(graph: CSRGraph) -> Tensor:
    """Return each node's degree as GCN counts it: in-edges, existing loops replaced by one."""
    _, self_weight = graph.gcn_norm
    return graph.rowptr.diff() + self_weight


def _check_seeds(seeds: Tensor, num_nodes: int) -> None:
    if seeds.dim() != 1 or seeds.dtype != torch.int64:
        raise ValueError(f"seeds must be [s] int64, got {list(seeds.shape)} {seeds.dtype}")
    if seeds.numel() and not 0 <= int(seeds.min()) <= int(seeds.max()) < num_nodes:
        raise ValueError(
            f"seeds must be in [0, {num_nodes}), got {int(seeds.min())} to {int(seeds.max())}"
        )
    if seeds.unique().numel() < seeds.numel():
        raise ValueError("seeds must be different nodes: one is there twice")
