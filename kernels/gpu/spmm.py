"""Triton kernels of `spmm`: one program per destination row and block of features.

A program walks its row's edges once, BLOCK_E of them at a time, and sums them in float32, so that
nothing of size [E, F] is ever written. The backward pass is the same on the transposed graph.

A row of more than CHUNK edges, a hub, would hold everybody up. The edge list is therefore cut into
tiles of CHUNK edges, and a first kernel sums what a tile holds of hubs: at most the end of one and
the beginning of another, since no hub fits into a tile. The row's own program then adds up these
parts in their order. Tiles need no table of hubs, so nothing is prepared or read back on the host.

Reference: Huang et al., "GE-SpMM: General-purpose Sparse Matrix-Matrix Multiplication on GPUs for
Graph Neural Networks", SC 2020, https://doi.org/10.1109/SC41405.2020.00076
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tiles import find_row, tile

# edges that a program walks by itself; about 45 µs at 8 of them at a time
CHUNK = 512


@triton.jit
def _sum_edges(
    start,
    stop,
    col_ptr,
    x_ptr,
    weight_ptr,
    src_scale_ptr,
    feature,
    F: tl.constexpr,
    C: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    HAS_SRC_SCALE: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    """Sum the messages of the edges in [start, stop), [BLOCK_F] float32."""
    inside = feature < F
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
    return tl.sum(total, axis=0)


# counts differ from graph to graph and must not cause a compilation each
@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _hub_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    x_ptr,  # [M, F]
    weight_ptr,  # [E, H]
    src_scale_ptr,  # [M]
    part_ptr,  # [tiles, 2, F] float32
    num_rows,
    num_edges,
    CHUNK: tl.constexpr,
    F: tl.constexpr,
    C: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    HAS_SRC_SCALE: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    number = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    first = number * CHUNK
    end = tl.minimum(first + CHUNK, num_edges)
    row = find_row(rowptr_ptr, num_rows, first)
    last_row = find_row(rowptr_ptr, num_rows, end - 1)
    stop = tl.load(rowptr_ptr + row + 1)
    if stop - tl.load(rowptr_ptr + row) > CHUNK:
        part = _sum_edges(
            first,
            tl.minimum(stop, end),
            col_ptr,
            x_ptr,
            weight_ptr,
            src_scale_ptr,
            feature,
            F,
            C,
            HAS_WEIGHT,
            HAS_SRC_SCALE,
            BLOCK_E,
            BLOCK_F,
        )
        tl.store(part_ptr + 2 * number * F + feature, part, mask=feature < F)
    start = tl.load(rowptr_ptr + last_row)
    if (last_row != row) & (tl.load(rowptr_ptr + last_row + 1) - start > CHUNK):
        part = _sum_edges(
            start,
            end,
            col_ptr,
            x_ptr,
            weight_ptr,
            src_scale_ptr,
            feature,
            F,
            C,
            HAS_WEIGHT,
            HAS_SRC_SCALE,
            BLOCK_E,
            BLOCK_F,
        )
        tl.store(part_ptr + (2 * number + 1) * F + feature, part, mask=feature < F)


@triton.jit
def _spmm_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    x_ptr,  # [M, F]
    weight_ptr,  # [E, H]
    src_scale_ptr,  # [M]
    part_ptr,  # [tiles, 2, F] float32
    dst_scale_ptr,  # [N]
    self_weight_ptr,  # [N]
    bias_ptr,  # [F]
    residual_ptr,  # [N, F]
    out_ptr,  # [N, F]
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
    row = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = feature < F
    start = tl.load(rowptr_ptr + row)
    stop = tl.load(rowptr_ptr + row + 1)
    result = tl.zeros([BLOCK_F], dtype=tl.float32)
    if stop - start > CHUNK:
        for number in range(start // CHUNK, (stop - 1) // CHUNK + 1):
            # the first tile may begin with another row: then this one is its second
            slot = 2 * number + (number * CHUNK < start).to(tl.int64)
            result += tl.load(part_ptr + slot * F + feature, mask=inside, other=0.0)
    else:
        result = _sum_edges(
            start,
            stop,
            col_ptr,
            x_ptr,
            weight_ptr,
            src_scale_ptr,
            feature,
            F,
            C,
            HAS_WEIGHT,
            HAS_SRC_SCALE,
            BLOCK_E,
            BLOCK_F,
        )
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
    rows, features, edges = rowptr.numel() - 1, x.shape[1], col.numel()
    out, x = x.new_empty(rows, features), x.contiguous()
    if out.numel() == 0:
        return out
    optional = (weight, src_scale, dst_scale, self_weight, bias, residual)
    weights, src, *epilogue = [x if t is None else t.contiguous() for t in optional]
    block_e, block_f = tile(min(features, 128))
    settings = {
        "CHUNK": CHUNK,
        "F": features,
        "C": features if weight is None or weight.dim() == 1 else features // weight.shape[1],
        "HAS_WEIGHT": weight is not None,
        "HAS_SRC_SCALE": src_scale is not None,
        "BLOCK_E": block_e,
        "BLOCK_F": block_f,
        "num_warps": 1,
    }
    tiles, columns = triton.cdiv(edges, CHUNK), triton.cdiv(features, block_f)
    parts = x.new_empty(tiles if edges > CHUNK else 0, 2, features, dtype=torch.float32)
    if parts.numel() > 0:
        _hub_kernel[(tiles, columns)](rowptr, col, x, weights, src, parts, rows, edges, **settings)
    _spmm_kernel[(rows, columns)](
        rowptr,
        col,
        x,
        weights,
        src,
        parts,
        *epilogue,
        out,
        HAS_DST_SCALE=dst_scale is not None,
        HAS_SELF_WEIGHT=self_weight is not None,
        HAS_BIAS=bias is not None,
        HAS_RESIDUAL=residual is not None,
        MEAN=reduce == "mean",
        ACTIVATION=activation,
        **settings,
    )
    return out
