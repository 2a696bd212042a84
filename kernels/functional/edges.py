"""Sums and products with features that belong to edges: each edge is a source of its own.

Features of edges are in CSR order here; `graph.perm` brings the caller's into it.
"""

import torch
from torch import Tensor

from .. import reference
from ..graph import CSRGraph


def edge_sum(
    graph: CSRGraph, value: Tensor, weight: Tensor | None = None, *, scale: Tensor | None = None
) -> Tensor:
    """Sum features of edges over in-edges: out[i] = scale[i] · Σ_e weight[e] · value[e].

    Args:
        graph: The graph, N destinations, E edges.
        value: Features of the edges, [E, F].
        weight: Weight of each edge, [E], or one per head, [E, H].
        scale: Factor of each destination, [N]; a constant to the gradient.

    Returns:
        [N, F].
    """
    ends = torch.arange(graph.num_edges + 1, device=value.device)
    row = reference.rows(graph.rowptr, graph.num_edges)
    own = ends[:-1]
    return torch.ops.graphstill.spmm(
        graph.rowptr,
        own.to(torch.int32),
        value,
        weight,
        None,
        scale,
        rowptr_t=ends,
        row_t=row.to(torch.int32),
        perm_t=own,
    )


def edge_products(graph: CSRGraph, a: Tensor, value: Tensor, *, heads: int = 1) -> Tensor:
    """Multiply each edge's features by its destination's: out[e, h] = a[i, h] · value[e, h].

    Args:
        graph: The graph, N destinations, E edges.
        a: Features of the destinations, [N, H · C].
        value: Features of the edges, [E, H · C].
        heads: Number of heads H.

    Returns:
        [E, H].
    """
    own = torch.arange(graph.num_edges, dtype=torch.int32, device=value.device)
    return torch.ops.graphstill.sddmm(graph.rowptr, own, a, value, heads)


def edge_mean(graph: CSRGraph, value: Tensor) -> Tensor:
    """Average features of edges over each node's in-edges from other nodes, [N, F]; 0 without any.

    That is what PyG gives a node's self loop where `fill_value` is "mean".
    """
    row = reference.rows(graph.rowptr, graph.num_edges)
    other = (row != graph.col).to(value.dtype)
    count = torch.zeros_like(graph.rowptr[1:], dtype=value.dtype).index_add(0, row, other)
    return edge_sum(graph, value, other, scale=count.clamp(min=1).reciprocal())
