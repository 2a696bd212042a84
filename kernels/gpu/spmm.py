"""Triton kernel of `spmm`: one program per destination row and block of features.

A program walks its row's edges once, BLOCK_E of them at a time, and sums them in float32, so that
nothing of size [E, F] is ever written. Every output element is written exactly once and no atomics
are used: results are the same bits each time. The backward pass is the same kernel on the
transposed graph. See `reference.spmm` for the definition.

Reference: Huang et al., "GE-SpMM: General-purpose Sparse Matrix-Matrix Multiplication on GPUs for
Graph Neural Networks", SC 2020, https://doi.org/10.1109/SC41405.2020.00076
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _spmm_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    x_ptr,  # [M, F]
    weight_ptr,  # [E, H]
    src_scale_ptr,  # [M]
    dst_scale_ptr,  # [N]
    self_weight_ptr,  # [N]
    bias_ptr,  # [F]
    residual_ptr,  # [N, F]
    out_ptr,  # [N, F]
    F: tl.constexpr,
    C: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    HAS_SRC_SCALE: tl.constexpr,
    HAS_DST_SCALE: tl.constexpr,
    HAS_SELF_WEIGHT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    MEAN: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    # int64: row * F overflows int32 from 2**31 elements on
    row = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = feature < F
    start = tl.load(rowptr_ptr + row)
    stop = tl.load(rowptr_ptr + row + 1)
    total = tl.zeros([BLOCK_E, BLOCK_F], dtype=tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E)
        exists = edge < stop
        source = tl.load(col_ptr + edge, mask=exists, other=0).to(tl.int64)
        value = tl.load(
            x_ptr + source[:, None] * F + feature[None, :],
            mask=exists[:, None] & inside[None, :],
            other=0.0,
        ).to(tl.float32)
        if HAS_WEIGHT:
            if C == F:
                weight = tl.load(weight_ptr + edge, mask=exists, other=0.0).to(tl.float32)
                value = value * weight[:, None]
            else:  # one weight per head
                weight = tl.load(
                    weight_ptr + edge.to(tl.int64)[:, None] * (F // C) + (feature // C)[None, :],
                    mask=exists[:, None] & inside[None, :],
                    other=0.0,
                )
                value = value * weight.to(tl.float32)
        if HAS_SRC_SCALE:
            scale = tl.load(src_scale_ptr + source, mask=exists, other=0.0).to(tl.float32)
            value = value * scale[:, None]
        total += value
    result = tl.sum(total, axis=0)
    if MEAN:
        result = result / tl.maximum(stop - start, 1).to(tl.float32)
    if HAS_SELF_WEIGHT:
        own = tl.load(x_ptr + row * F + feature, mask=inside, other=0.0).to(tl.float32)
        own_weight = tl.load(self_weight_ptr + row).to(tl.float32)
        if HAS_SRC_SCALE:
            own_weight = own_weight * tl.load(src_scale_ptr + row).to(tl.float32)
        result += own_weight * own
    if HAS_DST_SCALE:
        result = result * tl.load(dst_scale_ptr + row).to(tl.float32)
    if HAS_BIAS:
        result += tl.load(bias_ptr + feature, mask=inside, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        result += tl.load(residual_ptr + row * F + feature, mask=inside, other=0.0).to(tl.float32)
    if ACTIVATION == "relu":
        # spelt so that NaN stays NaN
        result = tl.where(result < 0, 0.0, result)
    if ACTIVATION == "elu":
        result = tl.where(result < 0, tl.exp(tl.minimum(result, 0.0)) - 1.0, result)
    tl.store(out_ptr + row * F + feature, result.to(out_ptr.dtype.element_ty), mask=inside)


def spmm(
    rowptr: Tensor,
    col: Tensor,
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
    """Compute `reference.spmm`, summing in float32."""
    rows, features = rowptr.numel() - 1, x.shape[1]
    out = x.new_empty(rows, features)
    if out.numel() == 0:
        return out
    block_f = min(128, triton.next_power_of_2(features))
    # about 1 KB of features in flight for each program
    block_e = max(2, min(16, 256 // block_f))
    optional = (weight, src_scale, dst_scale, self_weight, bias, residual)
    contiguous = [x if t is None else t.contiguous() for t in optional]
    grid = (rows, triton.cdiv(features, block_f))
    _spmm_kernel[grid](
        rowptr,
        col,
        x.contiguous(),
        *contiguous,
        out,
        F=features,
        C=features if weight is None or weight.dim() == 1 else features // weight.shape[1],
        HAS_WEIGHT=weight is not None,
        HAS_SRC_SCALE=src_scale is not None,
        HAS_DST_SCALE=dst_scale is not None,
        HAS_SELF_WEIGHT=self_weight is not None,
        HAS_BIAS=bias is not None,
        HAS_RESIDUAL=residual is not None,
        MEAN=reduce == "mean",
        ACTIVATION=activation,
        BLOCK_E=block_e,
        BLOCK_F=block_f,
        num_warps=1,
    )
    return out
