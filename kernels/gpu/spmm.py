"""Triton kernels of `spmm`: one program per destination row and block of features.

A program walks its row's edges once, BLOCK_E of them at a time, and sums them in float32, so that
nothing of size [E, F] is ever written. The backward pass is the same on the transposed graph.

Reference: Huang et al., "GE-SpMM: General-purpose Sparse Matrix-Matrix Multiplication on GPUs for
Graph Neural Networks", SC 2020, https://doi.org/10.1109/SC41405.2020.00076
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import triton
import triton.language as tl
from torch import Tensor

from .hubs import join_sums, launch, piece, room
from .table import tile_for


# counts differ from graph to graph and must not cause a compilation each
@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _spmm_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    x_ptr,  # [M, F]
    weight_ptr,  # [E, H]
    src_scale_ptr,  # [M]
    part_ptr,  # [2 · tiles, F] float32
    dst_scale_ptr,  # [N]
    self_weight_ptr,  # [N]
    bias_ptr,  # [F]
    residual_ptr,  # [N, F]
    out_ptr,  # [N, F]
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
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
    item = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = feature < F
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    total = tl.zeros([BLOCK_E, BLOCK_F], dtype=tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        # int64: source * F overflows int32 from 2**31 elements on
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
                    weight_ptr + edge[:, None] * (F // C) + (feature // C)[None, :],
                    mask=exists[:, None] & inside[None, :],
                    other=0.0,
                )
                value = value * weight.to(tl.float32)
        if HAS_SRC_SCALE:
            scale = tl.load(src_scale_ptr + source, mask=exists, other=0.0).to(tl.float32)
            value = value * scale[:, None]
        total += value
    result = tl.sum(total, axis=0)
    if HUBS:
        if stop > start:
            tl.store(part_ptr + item * F + feature, result, mask=inside)
        return
    result = join_sums(rowptr_ptr, row, part_ptr, result, feature, inside, F, CHUNK)
    if MEAN:
        degree = tl.load(rowptr_ptr + row + 1) - tl.load(rowptr_ptr + row)
        result = result / tl.maximum(degree, 1).to(tl.float32)
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
    rows, features, edges = rowptr.numel() - 1, x.shape[1], col.numel()
    out, x = x.new_empty(rows, features), x.contiguous()
    if out.numel() == 0:
        return out
    optional = (weight, src_scale, dst_scale, self_weight, bias, residual)
    weights, src, *epilogue = [x if t is None else t.contiguous() for t in optional]
    tile = tile_for("spmm", x, features, rows, edges)
    launch(
        _spmm_kernel,
        rows,
        triton.cdiv(features, tile.block_f),
        edges,
        rowptr,
        col,
        x,
        weights,
        src,
        room(x, edges, features),
        *epilogue,
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
        **tile.settings("BLOCK_F"),
    )
    return out
