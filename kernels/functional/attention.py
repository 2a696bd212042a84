"""Attention over in-neighbours: a softmax of scores, and the sum it weights."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..graph import CSRGraph
from .checks import check_features, check_heads, check_shape, transposed
from .edges import edge_products, row_of


def edge_softmax(graph: CSRGraph, score: Tensor) -> Tensor:
    """Turn scores into weights that sum to one over each node's in-edges.

    Args:
        graph: The graph, E edges.
        score: Score of each edge in the order of `edge_index`, [E, H].

    Returns:
        exp(s_e) / Σ exp(s) of its destination, [E, H], in the same order.

    Raises:
        ValueError: If score is not [E, H].
    """
    if score.dim() != 2 or score.shape[0] != graph.num_edges:
        raise ValueError(f"score must be [{graph.num_edges}, H], got {list(score.shape)}")
    ordered = score.index_select(0, graph.perm)
    out = torch.ops.graphstill.edge_softmax(graph.rowptr, ordered)
    return torch.zeros_like(out).index_copy(0, graph.perm, out)


def gat(
    graph: CSRGraph,
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    *,
    bias: Tensor | None = None,
    negative_slope: float = 0.2,
    add_self_loops: bool = False,
) -> Tensor:
    """Attend over each node's in-neighbours and sum their features, per head, heads side by side.

        s_e = LeakyReLU(alpha_src[col[e]] + alpha_dst[i])
        out[i] = Σ_e softmax_e(s) · x[col[e]] + bias

    Args:
        graph: The graph, N destinations, M sources.
        x: Features of the source nodes, [M, H · C].
        alpha_src: Score of each source node, [M, H].
        alpha_dst: Score of each destination node, [N, H].
        bias: Added to every row, [H · C].
        negative_slope: Slope of the LeakyReLU below zero.
        add_self_loops: Whether a node attends to itself exactly once, whatever loops the edges
            hold; for graphs that are not bipartite.

    Returns:
        [N, H · C], just the bias for a node that attends to nothing.

    Raises:
        ValueError: If a shape does not fit the graph.

    References:
        Veličković et al., "Graph Attention Networks", ICLR 2018, equations 1-4,
        https://arxiv.org/abs/1710.10903
    """
    check_features(graph, x)
    heads = alpha_src.shape[-1]
    check_heads(x, heads)
    check_shape("alpha_src", alpha_src, (graph.num_src, heads))
    check_shape("alpha_dst", alpha_dst, (graph.num_nodes, heads))
    _check_attention(graph, negative_slope, add_self_loops)
    out, _ = torch.ops.graphstill.gat(
        graph.rowptr,
        graph.col,
        x,
        alpha_src,
        alpha_dst,
        bias,
        negative_slope,
        add_self_loops,
        *transposed(graph, x, alpha_src, alpha_dst),
    )
    return out


def gatv2(
    graph: CSRGraph,
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    *,
    bias: Tensor | None = None,
    negative_slope: float = 0.2,
    add_self_loops: bool = False,
) -> Tensor:
    """Attend with scores that see both ends of an edge at once; heads side by side.

        s_e = att · LeakyReLU(x_l[col[e]] + x_r[i])    per head
        out[i] = Σ_e softmax_e(s) · x_l[col[e]] + bias

    Args:
        graph: The graph, N destinations, M sources.
        x_l: Features of the source nodes, [M, H · C].
        x_r: Features of the destination nodes, [N, H · C].
        att: Attention vectors, [H, C].
        bias: Added to every row, [H · C].
        negative_slope: Slope of the LeakyReLU below zero.
        add_self_loops: Whether a node attends to itself exactly once, whatever loops the edges
            hold; for graphs that are not bipartite.

    Returns:
        [N, H · C], just the bias for a node that attends to nothing.

    Raises:
        ValueError: If a shape does not fit the graph.

    References:
        Brody et al., "How Attentive are Graph Attention Networks?", ICLR 2022, equation 7,
        https://arxiv.org/abs/2105.14491
    """
    check_features(graph, x_l)
    check_shape("x_r", x_r, (graph.num_nodes, x_l.shape[1]))
    check_heads(x_l, att.shape[0])
    check_shape("att", att, (att.shape[0], x_l.shape[1] // att.shape[0]))
    _check_attention(graph, negative_slope, add_self_loops)
    out, _ = torch.ops.graphstill.gatv2(
        graph.rowptr,
        graph.col,
        x_l,
        x_r,
        att,
        bias,
        negative_slope,
        add_self_loops,
        *transposed(graph, x_l, x_r, att),
    )
    return out


def dot_attention(
    graph: CSRGraph, query: Tensor, key: Tensor, value: Tensor, *, heads: int = 1
) -> Tensor:
    """Attend by scaled dot products over each node's in-neighbours; heads side by side.

        s_e = query[i] · key[col[e]] / √C    per head
        out[i] = Σ_e softmax_e(s) · value[col[e]]

    Args:
        graph: The graph, N destinations, M sources.
        query: Queries of the destination nodes, [N, H · C].
        key: Keys of the source nodes, [M, H · C].
        value: Values of the source nodes, [M, H · C].
        heads: Number of heads H.

    Returns:
        [N, H · C], zero for a node without in-edges.

    Raises:
        ValueError: If a shape does not fit the graph.

    References:
        Shi et al., "Masked Label Prediction: Unified Message Passing Model for Semi-Supervised
        Classification", IJCAI 2021, equations 3-4, https://arxiv.org/abs/2009.03509
    """
    check_features(graph, value)
    check_heads(value, heads)
    check_shape("key", key, tuple(value.shape))
    check_shape("query", query, (graph.num_nodes, value.shape[1]))
    out, _ = torch.ops.graphstill.dot_attention(
        graph.rowptr,
        graph.col,
        query,
        key,
        value,
        heads,
        *transposed(graph, query, key, value),
    )
    return out


def dot_attention_weights(
    graph: CSRGraph, query: Tensor, key: Tensor, *, heads: int = 1, edge: Tensor | None = None
) -> Tensor:
    """Compute the attention that `dot_attention` uses, [E, H] in CSR order.

    edge [E, H · C], in CSR order, is what an edge adds to its source's key.
    """
    score = torch.ops.graphstill.sddmm(graph.rowptr, graph.col, query, key, heads)
    if edge is not None:
        score = score + edge_products(graph, query, edge, heads=heads)
    channels = key.shape[1] // heads
    return torch.ops.graphstill.edge_softmax(graph.rowptr, score * channels**-0.5)


def gat_attention(
    graph: CSRGraph,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    *,
    edge: Tensor | None = None,
    loop: Tensor | None = None,
    negative_slope: float = 0.2,
    add_self_loops: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Compute the attention that `gat` uses, for whoever changes it before summing (dropout).

    Args:
        graph: The graph, N destinations, M sources, E edges.
        alpha_src: Score of each source node, [M, H].
        alpha_dst: Score of each destination node, [N, H].
        edge: What each edge adds to its score before the LeakyReLU, [E, H] in CSR order.
        loop: What each node's own loop adds, [N, H]; belongs to edge.
        negative_slope: Slope of the LeakyReLU below zero.
        add_self_loops: Whether a node attends to itself exactly once.

    Returns:
        Attention of each edge in CSR order, [E, H], and of each node to itself, [N, H], or None
        without add_self_loops. Together they sum to one over a row. Memory is O(E H).
    """
    row = row_of(graph)
    score = alpha_src.index_select(0, graph.col) + alpha_dst.index_select(0, row)
    score = F.leaky_relu(score if edge is None else score + edge, negative_slope)
    if not add_self_loops:
        return _softmax(graph, row, score, None)
    own = alpha_src + alpha_dst if loop is None else alpha_src + alpha_dst + loop
    return _softmax(graph, row, score, F.leaky_relu(own, negative_slope))


def gatv2_attention(
    graph: CSRGraph,
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    *,
    edge: Tensor | None = None,
    loop: Tensor | None = None,
    negative_slope: float = 0.2,
    add_self_loops: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Compute the attention that `gatv2` uses, as `gat_attention` does; memory is O(E H C).

    edge [E, H · C], in CSR order, and loop [N, H · C] are added to the sums of both ends.
    """
    row = row_of(graph)

    def score(both: Tensor) -> Tensor:
        both = F.leaky_relu(both, negative_slope)
        return (both.unflatten(1, tuple(att.shape)) * att).sum(-1)

    both = x_l.index_select(0, graph.col) + x_r.index_select(0, row)
    edges = score(both if edge is None else both + edge)
    if not add_self_loops:
        return _softmax(graph, row, edges, None)
    return _softmax(graph, row, edges, score(x_l + x_r if loop is None else x_l + x_r + loop))


def _softmax(
    graph: CSRGraph, row: Tensor, score: Tensor, own: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Softmax over each node's in-edges and, if it has a score of itself, itself."""
    if own is None:
        return torch.ops.graphstill.edge_softmax(graph.rowptr, score), None
    score = score.masked_fill((row == graph.col).unsqueeze(-1), -torch.inf)
    if torch.compiler.is_exporting():
        return torch.ops.graphstill.edge_softmax_own(graph.rowptr, score, own)
    top = torch.segment_reduce(score.detach(), "max", offsets=graph.rowptr, axis=0)
    top = torch.maximum(top, own.detach())
    exp, own = (score - top.index_select(0, row)).exp(), (own - top).exp()
    total = torch.zeros_like(top).index_add(0, row, exp) + own
    return exp / total.index_select(0, row), own / total


def _check_attention(graph: CSRGraph, negative_slope: float, add_self_loops: bool) -> None:
    if negative_slope < 0:
        raise ValueError(f"negative_slope must not be negative, got {negative_slope}")
    if add_self_loops and graph.num_src != graph.num_nodes:
        raise ValueError("add_self_loops needs as many source as destination nodes")
