"""Aggregation: sums, means and extrema over in-neighbours, and products over edges."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .graph import rows

ACTIVATIONS = ("none", "relu", "elu")


def spmm(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    weight: Tensor | None = None,
    src_scale: Tensor | None = None,
    dst_scale: Tensor | None = None,
    self_weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    reduce: str = "sum",
    activation: str = "none",
) -> Tensor:
    """Sum or average the features of each node's in-neighbours.

    With u = src_scale · x and R_i = 1 for a sum, 1 / max(degree of i, 1) for a mean,

        out[i] = φ(dst_scale[i] · (R_i Σ_e weight[e] · u[col[e]] + self_weight[i] · u[i])
                   + bias + residual[i]).

    A row without edges sums to zero. What is None drops out of the formula.

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        x: Features of the source nodes, [M, F].
        weight: Weight of each edge in CSR order, [E], or one per head, [E, H]; then features are
            [M, H · C] and head h of x is weighted by column h.
        src_scale: Factor of each source node, [M].
        dst_scale: Factor of each destination node, [N].
        self_weight: Weight of each node's own features, [N]; needs N = M.
        bias: Added to every row, [F].
        residual: Added to the result, [N, F].
        reduce: "sum" or "mean".
        activation: φ: "none", "relu" or "elu".

    Returns:
        The aggregated features, [N, F], in the dtype of x.
    """
    row = rows(rowptr, col.numel())
    u = x if src_scale is None else src_scale.unsqueeze(-1) * x
    message = u[col] if weight is None else _weighted(u[col], weight)  # [E, F]
    out = x.new_zeros(rowptr.numel() - 1, x.shape[-1]).index_add(0, row, message)
    if reduce == "mean":
        out = out / rowptr.diff().clamp(min=1).unsqueeze(-1)
    if self_weight is not None:
        out = out + self_weight.unsqueeze(-1) * u
    if dst_scale is not None:
        out = dst_scale.unsqueeze(-1) * out
    out = out if bias is None else out + bias
    out = out if residual is None else out + residual
    return activate(out, activation).to(x.dtype)


def activate(x: Tensor, activation: str) -> Tensor:
    """Apply one of `ACTIVATIONS`."""
    if activation == "none":
        return x
    return x.relu() if activation == "relu" else F.elu(x)


def spmm_update(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    *,
    linear_weight: Tensor | None = None,
    linear_bias: Tensor | None = None,
    root: Tensor | None = None,
    root_weight: Tensor | None = None,
    out_scale: Tensor | None = None,
    out_activation: str = "none",
    alpha: float = 1.0,
    identity: float = 0.0,
    **sums: Any,
) -> Tensor:
    """Aggregate, and update each node's row: what a layer does, in one pass over the rows.

        h[i]   = spmm(x)[i], with residual and activation
        out[i] = out_scale[i] · out_act(h[i] · (alpha · linear_weight + identity · I)
                                        + root[i] · root_weight + linear_bias)

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        x: Features of the source nodes, [M, F].
        linear_weight: What rows are multiplied with, [F, O]; without it, out is out_scale · h.
        linear_bias: Added to the product, [O].
        root: Rows that are multiplied with `root_weight`, [N, K].
        root_weight: [K, O].
        out_scale: Factor of each row, [N]: what the next sum would multiply its sources by.
        out_activation: One of `ACTIVATIONS`, after the product.
        alpha: Factor of `linear_weight`.
        identity: Factor of h itself, beside its product; needs F = O.
        sums: What else `spmm` takes, one weight for each edge.

    Returns:
        The new rows, [N, O], or [N, F] without a product.
    """
    h = spmm(rowptr, col, x, **sums)
    factor = 1.0 if out_scale is None else out_scale.unsqueeze(-1)
    if linear_weight is None:
        return factor * h
    out = alpha * (h @ linear_weight) + (identity * h if identity else 0.0)
    if root is not None and root_weight is not None:
        out = out + root @ root_weight
    return factor * activate(out if linear_bias is None else out + linear_bias, out_activation)


def _weighted(message: Tensor, weight: Tensor) -> Tensor:
    if weight.dim() == 1:
        return weight.unsqueeze(-1) * message
    heads = message.unflatten(1, (weight.shape[1], -1))
    return (weight.unsqueeze(-1) * heads).flatten(1)


def extremum(
    rowptr: Tensor, col: Tensor, x: Tensor, weight: Tensor | None = None, reduce: str = "max"
) -> Tensor:
    """Take the largest or smallest feature among each node's in-neighbours.

        out[i, f] = max_e weight[e] · x[col[e], f],    0 for a row without edges

    Edges that share the extremum share its gradient evenly. PyG's aggregations do so too, except
    where the extremum is exactly 0: torch's `scatter_reduce` counts the zero it starts from as one
    more that shares. NaN propagates.

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        x: Features of the source nodes, [M, F].
        weight: Weight of each edge in CSR order, [E].
        reduce: "max" or "min".

    Returns:
        The extrema, [N, F].
    """
    message = x[col] if weight is None else _weighted(x[col], weight)
    index = rows(rowptr, col.numel()).unsqueeze(-1).expand_as(message)
    # NaN equals nothing, so that what the reduction starts from takes no part of the gradient
    out = x.new_full((rowptr.numel() - 1, x.shape[-1]), torch.nan)
    out = out.scatter_reduce(0, index, message, f"a{reduce}", include_self=False)
    return torch.where((rowptr.diff() == 0).unsqueeze(-1), 0.0, out)


def sddmm(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor, heads: int = 1) -> Tensor:
    """Multiply the two ends of each edge: out[e, h] = a[i, h] · b[col[e], h], i the row of e.

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        a: Features of the destination nodes, [N, H · C].
        b: Features of the source nodes, [M, H · C].
        heads: Number of heads H.

    Returns:
        One dot product for each edge and head, [E, H].
    """
    product = a[rows(rowptr, col.numel())] * b[col]
    return product.unflatten(1, (heads, -1)).sum(-1)


def edge_l1(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Measure the two ends of each edge: out[e] = ‖a[i] - b[col[e]]‖₁, i the row of e.

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        a: Features of the destination nodes, [N, F].
        b: Features of the source nodes, [M, F].

    Returns:
        A distance for each edge, [E].
    """
    return (a[rows(rowptr, col.numel())] - b[col]).abs().sum(-1)


def spmm_int8(rowptr: Tensor, col: Tensor, x: Tensor, scale: Tensor, reduce: str = "sum") -> Tensor:
    """Sum or average quantised features; the sum of integers is exact, so its order is free.

        out[i, f] = scale[f] · R_i Σ_e x[col[e], f]

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        x: Quantised features of the source nodes, [M, F] int8.
        scale: Size of one step of each feature, [F] float.
        reduce: "sum" or "mean".

    Returns:
        The aggregated features, [N, F], in the dtype of scale.
    """
    total = torch.zeros(rowptr.numel() - 1, x.shape[1], dtype=torch.int64, device=x.device)
    total = total.index_add(0, rows(rowptr, col.numel()), x[col].to(torch.int64))
    out = total.to(scale.dtype)
    if reduce == "mean":
        out = out / rowptr.diff().clamp(min=1).unsqueeze(-1)
    return out * scale
