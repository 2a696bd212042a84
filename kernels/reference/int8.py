"""Rows of int8, each with a scale of its own: what quantised exports compute.

These have no form of their own in torch: a network trains in floating point, and its export is
quantised afterwards.
"""

import torch
from torch import Tensor

from .spmm import spmm


def quantize_rows(x: Tensor, activation: str = "none") -> tuple[Tensor, Tensor]:
    """Round each row to 255 levels that its own largest value sets.

        scale[i] = max_f |φ(x[i, f])| / 127,   q[i, f] = round(φ(x[i, f]) / scale[i])

    Args:
        x: Features, [N, F].
        activation: φ: "none" or "relu".

    Returns:
        q [N, F] int8 and scale [N]; the scale of a row of zeros is 1, that of a row with a NaN or
        an infinity NaN.
    """
    value = x.relu() if activation == "relu" else x
    step = value.abs().amax(1) / 127
    scale = torch.where(step > 0, step, 1.0) + (x * 0).sum(1)
    q = (value / scale.unsqueeze(1)).round().nan_to_num(0)
    return q.to(torch.int8), scale


def linear_int8(
    x: Tensor,
    scale: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """Multiply rows of int8 with a weight of int8; the sums of integers are exact.

        out[i, o] = scale[i] · weight_scale[o] · Σ_k x[i, k] · weight[o, k]
                    + bias[o] + residual[i, o]

    Args:
        x: Quantised features, [N, K] int8.
        scale: Size of one step in each row, [N].
        weight: Quantised weight, [O, K] int8.
        weight_scale: Size of one step of each output, [O].
        bias: Added to every row, [O].
        residual: Added to the result, [N, O].

    Returns:
        The products, [N, O], in the dtype of scale.
    """
    total = (x.double() @ weight.double().T).to(scale.dtype)
    out = total * (scale.unsqueeze(1) * weight_scale)
    out = out if bias is None else out + bias
    return out if residual is None else out + residual


def spmm_int8_rows(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    src_scale: Tensor,
    weight: Tensor | None = None,
    dst_scale: Tensor | None = None,
    self_weight: Tensor | None = None,
    bias: Tensor | None = None,
    reduce: str = "sum",
) -> Tensor:
    """Sum or average rows of int8 as `spmm` does, src_scale being their scales [M]."""
    features = x.to(src_scale.dtype)
    return spmm(
        rowptr,
        col,
        features,
        weight,
        src_scale,
        dst_scale,
        self_weight,
        bias,
        reduce=reduce,
    )
