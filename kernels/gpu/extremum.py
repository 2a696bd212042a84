"""Triton kernels of `extremum`: one program per row and block of features.

The backward pass compares again: first how many edges share each extremum, then, over the
transposed graph, which messages of a source are one of them.
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..cpu.precision import HALF
from .hubs import join_sums, launch, part_in, parts_of, piece, room
from .table import tile_for


@triton.jit
def _message(x_ptr, weight_ptr, source, place, feature, mask, F: tl.constexpr, W: tl.constexpr):
    """Load x of some sources, times the weights at some places, in the type of x."""
    value = tl.load(x_ptr + source[:, None] * F + feature[None, :], mask=mask, other=0.0)
    if W:
        weight = tl.load(weight_ptr + place, mask=place >= 0, other=0.0)
        value = (value.to(tl.float32) * weight.to(tl.float32)[:, None]).to(x_ptr.dtype.element_ty)
    return value


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _extremum_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    x_ptr,  # [M, F]
    weight_ptr,  # [E]
    out_ptr,  # [N, F]
    part_ptr,  # [2 · tiles, F] float32
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    F: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    MAX: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = feature < F
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    worst = float("-inf") if MAX else float("inf")
    best = tl.full([BLOCK_E, BLOCK_F], worst, tl.float32)
    broken = tl.zeros([BLOCK_E, BLOCK_F], tl.int32)  # a reduction drops NaN
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        source = tl.load(col_ptr + edge, mask=exists, other=0).to(tl.int64)
        mask, place = exists[:, None] & inside[None, :], tl.where(exists, edge, -1)
        value = _message(x_ptr, weight_ptr, source, place, feature, mask, F, HAS_WEIGHT)
        value = tl.where(mask, value.to(tl.float32), worst)
        broken += (value != value).to(tl.int32)
        best = tl.maximum(best, value) if MAX else tl.minimum(best, value)
    result = tl.max(best, axis=0) if MAX else tl.min(best, axis=0)
    result = tl.where(tl.sum(broken, axis=0) > 0, float("nan"), result)
    if HUBS:
        if stop > start:
            tl.store(part_ptr + item * F + feature, result, mask=inside)
        return
    begin, first_tile, end_tile = parts_of(rowptr_ptr, row, CHUNK)
    for number in range(first_tile, end_tile):
        place = part_in(number, begin, CHUNK) * F + feature
        part = tl.load(part_ptr + place, mask=inside, other=0.0)
        bad = (part != part) | (result != result)
        result = tl.maximum(result, part) if MAX else tl.minimum(result, part)
        result = tl.where(bad, float("nan"), result)
    result = tl.where(begin == tl.load(rowptr_ptr + row + 1), 0.0, result)
    tl.store(out_ptr + row * F + feature, result.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _share_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    x_ptr,  # [M, F]
    weight_ptr,  # [E]
    extremum_ptr,  # [N, F]
    grad_ptr,  # [N, F]
    share_ptr,  # [N, F] float32
    part_ptr,  # [2 · tiles, F] float32
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    F: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = feature < F
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    wanted = tl.load(extremum_ptr + row * F + feature, mask=inside, other=0.0)
    ties = tl.zeros([BLOCK_E, BLOCK_F], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        source = tl.load(col_ptr + edge, mask=exists, other=0).to(tl.int64)
        mask, place = exists[:, None] & inside[None, :], tl.where(exists, edge, -1)
        value = _message(x_ptr, weight_ptr, source, place, feature, mask, F, HAS_WEIGHT)
        ties += ((value == wanted[None, :]) & mask).to(tl.float32)
    count = tl.sum(ties, axis=0)
    if HUBS:
        if stop > start:
            tl.store(part_ptr + item * F + feature, count, mask=inside)
        return
    count = join_sums(rowptr_ptr, row, part_ptr, count, feature, inside, F, CHUNK)
    grad = tl.load(grad_ptr + row * F + feature, mask=inside, other=0.0).to(tl.float32)
    share = grad / tl.maximum(count, 1.0)
    tl.store(share_ptr + row * F + feature, share, mask=inside)


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _source_kernel(
    rowptr_ptr,  # [M + 1] int64, of the transposed graph, as all that follows
    row_ptr,  # [E] int32
    perm_ptr,  # [E] int64
    x_ptr,  # [M, F]
    weight_ptr,  # [E], in CSR order
    extremum_ptr,  # [N, F]
    share_ptr,  # [N, F] float32
    dx_ptr,  # [M, F]
    dweight_ptr,  # [E], in CSR order
    part_ptr,  # [2 · tiles, F] float32
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    F: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    node, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    feature = tl.arange(0, BLOCK_F)
    inside = feature < F
    x = tl.load(x_ptr + node * F + feature, mask=inside, other=0.0)
    total = tl.zeros([BLOCK_E, BLOCK_F], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        target = tl.load(row_ptr + edge, mask=exists, other=0).to(tl.int64)
        place = target[:, None] * F + feature[None, :]
        mask = exists[:, None] & inside[None, :]
        wanted = tl.load(extremum_ptr + place, mask=mask, other=0.0)
        share = tl.load(share_ptr + place, mask=mask, other=0.0)
        if HAS_WEIGHT:
            position = tl.load(perm_ptr + edge, mask=exists, other=0)
            weight = tl.load(weight_ptr + position, mask=exists, other=0.0).to(tl.float32)
            message = x.to(tl.float32)[None, :] * weight[:, None]
            mine = message.to(x_ptr.dtype.element_ty) == wanted
            part = tl.where(mine & mask, share, 0.0)
            dweight = tl.sum(part * x.to(tl.float32)[None, :], axis=1)
            dweight = dweight.to(dweight_ptr.dtype.element_ty)
            tl.store(dweight_ptr + position, dweight, mask=exists)
            total += part * weight[:, None]
        else:
            total += tl.where((x[None, :] == wanted) & mask, share, 0.0)
    dx = tl.sum(total, axis=0)
    if HUBS:
        if stop > start:
            tl.store(part_ptr + item * F + feature, dx, mask=inside)
        return
    dx = join_sums(rowptr_ptr, node, part_ptr, dx, feature, inside, F, CHUNK)
    tl.store(dx_ptr + node * F + feature, dx.to(dx_ptr.dtype.element_ty), mask=inside)


def extremum(rowptr: Tensor, col: Tensor, x: Tensor, weight: Tensor | None, reduce: str) -> Tensor:
    """Compute `reference.extremum`."""
    rows, features = rowptr.numel() - 1, x.shape[1]
    out, x = x.new_empty(rows, features), x.contiguous()
    if out.numel() > 0:
        tile = tile_for("extremum", x, features, rows, col.numel())
        launch(
            _extremum_kernel,
            rows,
            triton.cdiv(features, tile.block_f),
            col.numel(),
            rowptr,
            col,
            x,
            x if weight is None else weight.contiguous(),
            out,
            room(x, col.numel(), features),
            F=features,
            HAS_WEIGHT=weight is not None,
            MAX=reduce == "max",
            **tile.settings("BLOCK_F"),
        )
    return out


def extremum_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: tuple[Tensor, Tensor, Tensor],
    x: Tensor,
    weight: Tensor | None,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x [M, F] and weight [E] (empty without weight)."""
    rowptr_t, row_t, perm_t = transposed
    features, x = x.shape[1], x.contiguous()
    share = torch.empty_like(out, dtype=torch.float32 if x.dtype in HALF else x.dtype)
    dx = torch.empty_like(x)
    dweight = x.new_empty(0 if weight is None else col.numel())
    given = x if weight is None else weight.contiguous()
    settings = {"F": features, "HAS_WEIGHT": weight is not None}
    edges, kept = col.numel(), room(x, col.numel(), features)
    if out.numel() > 0:
        tile = tile_for("extremum", x, features, out.shape[0], edges)
        grid = (out.shape[0], triton.cdiv(features, tile.block_f), edges)
        tensors = (rowptr, col, x, given, out, grad.contiguous(), share, kept)
        launch(_share_kernel, *grid, *tensors, **settings, **tile.settings("BLOCK_F"))
    if dx.numel() > 0:
        tile = tile_for("extremum_backward", x, features, x.shape[0], edges)
        grid, tensors = (x.shape[0], 1, edges), (x, given, out, share, dx, dweight, kept)
        settings |= tile.settings("BLOCK_F")
        launch(_source_kernel, *grid, rowptr_t, row_t, perm_t, *tensors, **settings)
    return dx, dweight
