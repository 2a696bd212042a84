"""Sums, means and extrema over in-neighbours, and products over edges."""

import torch
from torch import Tensor

from .. import reference
from ..graph import CSRGraph
from ..reference.spmm import ACTIVATIONS, activate
from .checks import check_features, check_heads, check_shape, csr_order, transposed

_REDUCTIONS = ("sum", "mean", "max", "min")


def spmm(
    graph: CSRGraph,
    x: Tensor,
    weight: Tensor | None = None,
    *,
    src_scale: Tensor | None = None,
    dst_scale: Tensor | None = None,
    self_weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    reduce: str = "sum",
    activation: str = "none",
) -> Tensor:
    """Sum, average or take the extremum of the features of each node's in-neighbours.

    With u = src_scale · x, and R over the in-edges of i a sum, a mean (0 without edges), a maximum
    or a minimum (0 without edges),

        out[i] = φ(dst_scale[i] · (R_e weight[e] · u[col[e]] + self_weight[i] · u[i])
                   + bias + residual[i]).

    Differentiable in every floating-point argument; memory is O((N + M) F + E). Edges that share an
    extremum share its gradient evenly.

    Args:
        graph: The graph, N destinations, M sources, E edges.
        x: Features of the source nodes, [M, F].
        weight: Weight of each edge in the order of `edge_index`, [E], or, for sums and means, one
            per head, [E, H]: then x is [M, H · C], heads side by side.
        src_scale: Factor of each source node, [M].
        dst_scale: Factor of each destination node, [N].
        self_weight: Weight of each node's own features, [N]; for sums on graphs with N = M.
        bias: Added to every row, [F].
        residual: Added to the result, [N, F].
        reduce: "sum", "mean", "max" or "min".
        activation: φ: "none", "relu" or "elu".

    Returns:
        The aggregated features, [N, F], in the dtype of x.

    Raises:
        ValueError: If a shape does not fit the graph.
    """
    check_features(graph, x)
    _check_choices(graph, self_weight, reduce, activation)
    if residual is not None:
        check_shape("residual", residual, (graph.num_nodes, x.shape[1]))
    if weight is not None:
        weight = csr_order(graph, weight, x.dtype)
        check_heads(x, 1 if weight.dim() == 1 else weight.shape[1])
    scales = (src_scale, dst_scale, self_weight)
    trained = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in scales)
    if trained or reduce in ("max", "min"):
        return _composed(graph, x, weight, *scales, bias, residual, reduce, activation)
    return torch.ops.graphstill.spmm(
        graph.rowptr,
        graph.col,
        x,
        weight,
        *scales,
        bias,
        residual,
        reduce,
        activation,
        *transposed(graph, x, weight),
    )


def _check_choices(
    graph: CSRGraph, self_weight: Tensor | None, reduce: str, activation: str
) -> None:
    if reduce not in _REDUCTIONS:
        raise ValueError(f"reduce must be one of {', '.join(_REDUCTIONS)}, got {reduce!r}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    if self_weight is not None and (reduce != "sum" or graph.num_src != graph.num_nodes):
        raise ValueError("self_weight belongs to a sum over a graph that is not bipartite")


def spmm_csr(graph: CSRGraph, x: Tensor, weight: Tensor | None, reduce: str = "sum") -> Tensor:
    """Reduce in-neighbours' features [M, F], the weights [E] or [E, H] being in CSR order."""
    walked = transposed(graph, x, weight)
    if reduce in ("max", "min"):
        if weight is not None and weight.dim() == 2:
            raise ValueError("weights per head belong to sums and means")
        return torch.ops.graphstill.extremum(graph.rowptr, graph.col, x, weight, reduce, *walked)
    return torch.ops.graphstill.spmm(
        graph.rowptr, graph.col, x, weight, *[None] * 5, reduce, "none", *walked
    )


def _composed(
    graph: CSRGraph,
    x: Tensor,
    weight: Tensor | None,
    src_scale: Tensor | None,
    dst_scale: Tensor | None,
    self_weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    reduce: str,
    activation: str,
) -> Tensor:
    u = x if src_scale is None else src_scale.unsqueeze(-1) * x
    out = spmm_csr(graph, u, weight, reduce)
    if self_weight is not None:
        out = out + self_weight.unsqueeze(-1) * u
    if dst_scale is not None:
        out = dst_scale.unsqueeze(-1) * out
    out = out if bias is None else out + bias
    return activate(out if residual is None else out + residual, activation)


def sddmm(graph: CSRGraph, a: Tensor, b: Tensor, *, heads: int = 1) -> Tensor:
    """Multiply the two ends of each edge: out[e, h] = a[i, h] · b[col[e], h].

    Args:
        graph: The graph, N destinations, M sources.
        a: Features of the destination nodes, [N, H · C].
        b: Features of the source nodes, [M, H · C].
        heads: Number of heads H.

    Returns:
        One dot product for each edge, in the order of `edge_index`, and head, [E, H].

    Raises:
        ValueError: If a shape does not fit the graph.
    """
    check_features(graph, b)
    check_shape("a", a, (graph.num_nodes, b.shape[1]))
    check_heads(b, heads)
    out = torch.ops.graphstill.sddmm(graph.rowptr, graph.col, a, b, heads)
    return torch.zeros_like(out).index_copy(0, graph.perm, out)


def edge_l1(graph: CSRGraph, a: Tensor, b: Tensor) -> Tensor:
    """Measure the two ends of each edge: out[e] = ‖a[i] - b[col[e]]‖₁, in CSR order.

    Differentiable once; the slope at 0 is 0. Nothing of size [E, F] is written.

    Args:
        graph: The graph, N destinations, M sources.
        a: Features of the destination nodes, [N, F].
        b: Features of the source nodes, [M, F].

    Returns:
        [E]; `graph.perm` says which of the caller's edges each is.

    Raises:
        ValueError: If a shape does not fit the graph.
    """
    check_features(graph, b)
    check_shape("a", a, (graph.num_nodes, b.shape[1]))
    walked = transposed(graph, a, b)
    return torch.ops.graphstill.edge_l1(graph.rowptr, graph.col, a, b, *walked)


def spmm_int8(graph: CSRGraph, x: Tensor, scale: Tensor, *, reduce: str = "sum") -> Tensor:
    """Sum or average quantised features exactly: out[i] = scale · R_i Σ_e x[col[e]].

    The integers are summed without rounding, so every device and every order gives the same sum.
    For inference; not differentiable.

    Args:
        graph: The graph, N destinations, M sources.
        x: Quantised features of the source nodes, [M, F] int8.
        scale: Size of one step of each feature, [F], floating-point.
        reduce: "sum" or "mean".

    Returns:
        The aggregated features, [N, F], in the dtype of scale.

    Raises:
        TypeError: If x is not int8.
        ValueError: If a shape does not fit the graph.
    """
    check_features(graph, x)
    check_shape("scale", scale, (x.shape[1],))
    if x.dtype != torch.int8:
        raise TypeError(f"x must be int8, got {x.dtype}")
    if reduce not in ("sum", "mean"):
        raise ValueError(f'reduce must be "sum" or "mean", got {reduce!r}')
    return torch.ops.graphstill.spmm_int8(graph.rowptr, graph.col, x, scale, reduce)


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
    and may require a gradient. A part of a graph that knows the whole one's degrees is normalised
    by them.
    """
    if weight is not None:
        weight, dtype = csr_order(graph, weight, weight.dtype), weight.dtype
    elif in_degree is None and add_self_loops:
        if dtype == torch.float32:
            return graph.gcn_norm
        in_degree = None if graph.in_degree is None else graph.in_degree.to(dtype)
    arguments = (graph.rowptr, graph.col, weight, in_degree, fill_value, add_self_loops)
    trained = weight is not None and weight.requires_grad and torch.is_grad_enabled()
    if trained or dtype != torch.float32:
        return reference.gcn_norm(*arguments, dtype)
    return torch.ops.graphstill.gcn_norm(*arguments)
