"""Triton kernel of `spmm_int8`: integers are summed as such, so every order gives the same bits."""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import triton
import triton.language as tl
from torch import Tensor

from .tiles import tile


@triton.jit
def _int8_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    x_ptr,  # [M, F] int8
    scale_ptr,  # [F]
    out_ptr,  # [N, F]
    F: tl.constexpr,
    MEAN: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = feature < F
    start, stop = tl.load(rowptr_ptr + row), tl.load(rowptr_ptr + row + 1)
    total = tl.zeros([BLOCK_E, BLOCK_F], tl.int32)  # exact up to 16.9 million edges
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        source = tl.load(col_ptr + edge, mask=exists, other=0).to(tl.int64)
        total += tl.load(
            x_ptr + source[:, None] * F + feature[None, :],
            mask=exists[:, None] & inside[None, :],
            other=0,
        ).to(tl.int32)
    result = tl.sum(total, axis=0).to(tl.float32)
    if MEAN:
        result = result / tl.maximum(stop - start, 1).to(tl.float32)
    result = result * tl.load(scale_ptr + feature, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * F + feature, result.to(out_ptr.dtype.element_ty), mask=inside)


def spmm_int8(rowptr: Tensor, col: Tensor, x: Tensor, scale: Tensor, reduce: str) -> Tensor:
    """Compute `reference.spmm_int8`."""
    rows, features = rowptr.numel() - 1, x.shape[1]
    out = scale.new_empty(rows, features)
    if out.numel() > 0:
        # four features in the bytes of one float
        block_e, block_f = tile(min(features, 256))
        _int8_kernel[(rows, triton.cdiv(features, block_f))](
            rowptr,
            col,
            x.contiguous(),
            scale.contiguous(),
            out,
            F=features,
            MEAN=reduce == "mean",
            BLOCK_E=4 * block_e,
            BLOCK_F=block_f,
            num_warps=1,
        )
    return out
