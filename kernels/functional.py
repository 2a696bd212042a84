"""The operators over a CSRGraph, with what belongs to an edge in the caller's own order."""

import torch
import torch.nn.functional as F
from torch import Tensor

from . import reference
from .graph import CSRGraph


def spmm(
    graph: CSRGraph,
    x: Tensor,
    weight: Tensor | None = None,
    *,
    src_scale: Tensor | None = None,
    dst_scale: Tensor | None = None,
    self_weight: Tensor | None = None,
    bias: Tensor | None = None,
    reduce: str = "sum",
) -> Tensor:
    """Sum or average the features of each node's in-neighbours.

    With u = src_scale · x and R_i = 1 for a sum, 1 / max(degree of i, 1) for a mean,

        out[i] = dst_scale[i] · (R_i Σ_e weight[e] · u[col[e]] + self_weight[i] · u[i]) + bias.

    Differentiable in every floating-point argument; memory is O((N + M) F + E).

    Args:
        graph: The graph, N destinations, M sources, E edges.
        x: Features of the source nodes, [M, F].
        weight: Weight of each edge in the order of `edge_index`, [E].
        src_scale: Factor of each source node, [M].
        dst_scale: Factor of each destination node, [N].
        self_weight: Weight of each node's own features, [N]; for sums on graphs with N = M.
        bias: Added to every row, [F].
        reduce: "sum" or "mean".

    Returns:
        The aggregated features, [N, F], in the dtype of x.

    Raises:
        ValueError: If a shape does not fit the graph.
    """
    _check_features(graph, x)
    if reduce not in ("sum", "mean"):
        raise ValueError(f'reduce must be "sum" or "mean", got {reduce!r}')
    if self_weight is not None and (reduce == "mean" or graph.num_src != graph.num_nodes):
        raise ValueError("self_weight belongs to a sum over a graph that is not bipartite")
    if weight is not None:
        weight = _csr_order(graph, weight)
    scales = (src_scale, dst_scale, self_weight)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in scales):
        return _spmm_composed(graph, x, weight, *scales, bias, reduce)
    return torch.ops.graphstill.spmm(
        graph.rowptr, graph.col, x, weight, *scales, bias, reduce, *_transposed(graph, x, weight)
    )


def spmm_csr(graph: CSRGraph, x: Tensor, weight: Tensor) -> Tensor:
    """Sum in-neighbours' features [M, F] weighted by edge, weights [E] being in CSR order."""
    return torch.ops.graphstill.spmm(
        graph.rowptr,
        graph.col,
        x,
        weight,
        None,
        None,
        None,
        None,
        "sum",
        *_transposed(graph, x, weight),
    )


def _spmm_composed(
    graph: CSRGraph,
    x: Tensor,
    weight: Tensor | None,
    src_scale: Tensor | None,
    dst_scale: Tensor | None,
    self_weight: Tensor | None,
    bias: Tensor | None,
    reduce: str,
) -> Tensor:
    u = x if src_scale is None else src_scale.unsqueeze(-1) * x
    out = torch.ops.graphstill.spmm(
        graph.rowptr,
        graph.col,
        u,
        weight,
        None,
        None,
        None,
        None,
        reduce,
        *_transposed(graph, u, weight),
    )
    if self_weight is not None:
        out = out + self_weight.unsqueeze(-1) * u
    if dst_scale is not None:
        out = dst_scale.unsqueeze(-1) * out
    return out if bias is None else out + bias


def gcn_norm(
    graph: CSRGraph,
    weight: Tensor | None = None,
    *,
    in_degree: Tensor | None = None,
    fill_value: float = 1.0,
    add_self_loops: bool = True,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Compute GCN's normalisation: scale [N] and self_weight [N], for `spmm`.

    Formula and reference are those of `reference.gcn_norm`; weight is in the order of `edge_index`
    and may require a gradient.
    """
    if weight is not None:
        weight, dtype = _csr_order(graph, weight), weight.dtype
    elif in_degree is None and add_self_loops and dtype == torch.float32:
        return graph.gcn_norm
    arguments = (graph.rowptr, graph.col, weight, in_degree, fill_value, add_self_loops)
    trained = weight is not None and weight.requires_grad and torch.is_grad_enabled()
    if trained or dtype != torch.float32:
        return reference.gcn_norm(*arguments, dtype)
    return torch.ops.graphstill.gcn_norm(*arguments)


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
    _check_features(graph, x)
    heads = alpha_src.shape[-1]
    if x.shape[1] % heads:
        raise ValueError(f"x is {x.shape[1]} wide, which {heads} heads cannot share evenly")
    for name, score, nodes in (
        ("alpha_src", alpha_src, graph.num_src),
        ("alpha_dst", alpha_dst, graph.num_nodes),
    ):
        if tuple(score.shape) != (nodes, heads):
            raise ValueError(f"{name} must be [{nodes}, {heads}], got {list(score.shape)}")
    if add_self_loops and graph.num_src != graph.num_nodes:
        raise ValueError("add_self_loops needs as many source as destination nodes")
    out, _ = torch.ops.graphstill.gat(
        graph.rowptr,
        graph.col,
        x,
        alpha_src,
        alpha_dst,
        bias,
        negative_slope,
        add_self_loops,
        *_transposed(graph, x, alpha_src, alpha_dst),
    )
    return out


def gat_attention(
    graph: CSRGraph,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    *,
    negative_slope: float = 0.2,
    add_self_loops: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Compute the attention that `gat` uses, for whoever changes it before summing (dropout).

    Returns:
        Attention of each edge in CSR order, [E, H], and of each node to itself, [N, H], or None
        without add_self_loops. Together they sum to one over a row. Memory is O(E H).
    """
    row = reference.rows(graph.rowptr, graph.num_edges)
    score = alpha_src.index_select(0, graph.col) + alpha_dst.index_select(0, row)
    score = F.leaky_relu(score, negative_slope)
    own = None
    if add_self_loops:
        score = score.masked_fill((row == graph.col).unsqueeze(-1), -torch.inf)
        own = F.leaky_relu(alpha_src + alpha_dst, negative_slope)
    top = torch.segment_reduce(score.detach(), "max", offsets=graph.rowptr, axis=0)
    top = top if own is None else torch.maximum(top, own.detach())
    exp = (score - top.index_select(0, row)).exp()
    total = torch.zeros_like(top).index_add(0, row, exp)
    if own is not None:
        own = (own - top).exp()
        total = total + own
        own = own / total
    return exp / total.index_select(0, row), own


def _check_features(graph: CSRGraph, x: Tensor) -> None:
    if x.dim() != 2 or x.shape[0] != graph.num_src:
        raise ValueError(
            f"x must be [num_src, F] with num_src = {graph.num_src}, got {list(x.shape)}; "
            "was the graph built with another number of nodes?"
        )
    if x.device != graph.col.device:
        raise ValueError(f"x is on {x.device}, the graph on {graph.col.device}; use graph.to()")


def _csr_order(graph: CSRGraph, weight: Tensor) -> Tensor:
    if tuple(weight.shape) != (graph.num_edges,):
        raise ValueError(
            f"weight needs one value per edge, [{graph.num_edges}], got {list(weight.shape)}"
        )
    return weight.index_select(0, graph.perm)


def _transposed(graph: CSRGraph, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the transposed graph where a backward pass will want it."""
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
        return graph.transposed
    return (None, None, None)
