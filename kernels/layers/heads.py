"""What attention layers do with their heads, and with features of edges."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import functional, reference
from ..graph import CSRGraph
from .common import require

# an edge list and the attention of its edges, as PyG's layers return them
Weights = tuple[Tensor, Tensor]


def checked_fill(fill_value: float | Tensor | str) -> float | Tensor | str:
    """Return a fill_value, or refuse one of PyG's that is not covered."""
    if isinstance(fill_value, str):
        require(fill_value == "mean", f"fill_value={fill_value!r} is not covered")
    return fill_value


def edge_features(graph: CSRGraph, edge_attr: Tensor, edge_dim: int) -> Tensor:
    """Bring features of edges, [E, D] or [E] where D is 1, into CSR order.

    Raises:
        ValueError: If they are not one row per edge, D wide.
    """
    edge_attr = edge_attr.unsqueeze(-1) if edge_attr.dim() == 1 else edge_attr
    if tuple(edge_attr.shape) != (graph.num_edges, edge_dim):
        raise ValueError(
            f"edge_attr must be [num_edges, edge_dim] = {[graph.num_edges, edge_dim]}, got "
            f"{list(edge_attr.shape)}"
        )
    return edge_attr.index_select(0, graph.perm)


def loop_features(
    graph: CSRGraph, edge: Tensor, fill_value: float | Tensor | str, weight: Tensor
) -> Tensor:
    """Return what the self loops of all nodes have in place of edge @ weight, [N, F].

    Args:
        graph: The graph.
        edge: edge_attr @ weight in CSR order, [E, F].
        fill_value: "mean" of a node's other in-edges, or the loops' edge_attr itself: a number or
            [D].
        weight: [D, F].
    """
    if isinstance(fill_value, str):
        return functional.edge_mean(graph, edge)
    fill = torch.as_tensor(fill_value, dtype=edge.dtype, device=edge.device)
    return (fill.expand(weight.shape[0]) @ weight).expand(graph.num_nodes, -1)


def attention_weights(graph: CSRGraph, attention: Tensor, own: Tensor | None) -> Weights:
    """Return the edges and their attention [E, H] in the caller's order, as PyG returns them.

    With own, the attention [N, H] of self loops that were added, the edges' own loops are left out
    and one for each node stands at the end.
    """
    row = reference.rows(graph.rowptr, graph.num_edges)
    order = graph.perm.argsort()
    edge_index = torch.stack([graph.col.to(row.dtype), row]).index_select(1, order)
    attention = attention.index_select(0, order)
    if own is None:
        return edge_index, attention
    kept = edge_index[0] != edge_index[1]
    nodes = torch.arange(graph.num_nodes, device=row.device)
    loops = torch.stack([nodes, nodes])
    return torch.cat([edge_index[:, kept], loops], dim=1), torch.cat([attention[kept], own])


def sum_attended(
    graph: CSRGraph,
    x: Tensor,
    attention: Tensor,
    own: Tensor | None,
    dropout: float,
    bias: Tensor | None = None,
) -> Tensor:
    """Drop out attention and sum with what is left, as layers in training do.

    Args:
        graph: The graph, N destinations, M sources, E edges.
        x: Features of the source nodes, heads side by side, [M, H · C].
        attention: Attention of each edge in CSR order, [E, H].
        own: Attention of each node to itself, [N, H], or None.
        dropout: Probability with which an attention coefficient is dropped.
        bias: Added to every row, [H · C].
    """
    out = functional.spmm_csr(graph, x, F.dropout(attention, dropout))
    if own is not None:
        heads = x.unflatten(1, (own.shape[1], -1))
        out = out + (F.dropout(own, dropout).unsqueeze(-1) * heads).flatten(1)
    return out if bias is None else out + bias


def join_heads(x: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Average heads that lie side by side: [N, H · C] becomes [N, C]."""
    out = x.unflatten(1, (heads, -1)).mean(dim=1)
    return out if bias is None else out + bias
