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
    own, walked = torch.arange(graph.num_edges, device=value.device), (None, None, None)
    if torch.is_grad_enabled():
        ends = torch.arange(graph.num_edges + 1, device=value.device)
        walked = (ends, row_of(graph).to(torch.int32), own)
    return torch.ops.graphstill.spmm(
        graph.rowptr,
        own.to(torch.int32),
        value,
        weight,
        None,
        scale,
        rowptr_t=walked[0],
        row_t=walked[1],
        perm_t=walked[2],
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
    other = (row_of(graph) != graph.col).to(value.dtype)
    count = edge_sum(graph, other.unsqueeze(-1)).squeeze(-1)
    return edge_sum(graph, value, other, scale=count.clamp(min=1).reciprocal())


def row_of(graph: CSRGraph) -> Tensor:
    """Return the destination of each edge in CSR order, [E] int64."""
    if torch.compiler.is_exporting():
        return torch.ops.graphstill.edge_rows(graph.rowptr, graph.col)
    return reference.rows(graph.rowptr, graph.num_edges)
