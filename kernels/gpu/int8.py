"""Triton kernel of `spmm_int8`: integers are summed as such, so every order gives the same bits."""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from .hubs import join_sums, launch, piece, room
from .table import tile_for


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _int8_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    x_ptr,  # [M, F] int8
    scale_ptr,  # [F]
    out_ptr,  # [N, F]
    part_ptr,  # [2 · tiles, F] int32
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    F: tl.constexpr,
    MEAN: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = feature < F
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
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
    whole = tl.sum(total, axis=0)
    if HUBS:
        if stop > start:
            tl.store(part_ptr + item * F + feature, whole, mask=inside)
        return
    whole = join_sums(rowptr_ptr, row, part_ptr, whole, feature, inside, F, CHUNK)
    result = whole.to(tl.float32)
    if MEAN:
        degree = tl.load(rowptr_ptr + row + 1) - tl.load(rowptr_ptr + row)
        result = result / tl.maximum(degree, 1).to(tl.float32)
    result = result * tl.load(scale_ptr + feature, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * F + feature, result.to(out_ptr.dtype.element_ty), mask=inside)


def spmm_int8(rowptr: Tensor, col: Tensor, x: Tensor, scale: Tensor, reduce: str) -> Tensor:
    """Compute `reference.spmm_int8`."""
    rows, features = rowptr.numel() - 1, x.shape[1]
    out = scale.new_empty(rows, features)
    if out.numel() > 0:
        tile = tile_for("spmm_int8", scale, features, rows, col.numel())
        launch(
            _int8_kernel,
            rows,
            triton.cdiv(features, tile.block_f),
            col.numel(),
            rowptr,
            col,
            x.contiguous(),
            scale.contiguous(),
            out,
            room(x, col.numel(), features, dtype=torch.int32),
            F=features,
            MEAN=reduce == "mean",
            **tile.settings("BLOCK_F"),
        )
    return out
