"""Triton kernel of `gatv2`: one program per row and head, one walk over its edges."""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from .hubs import join_softmax, launch, piece, room, save_softmax
from .table import tile_for
from .tiles import leaky, softmax_step


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _gatv2_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    xl_ptr,  # [M, H · C]
    xr_ptr,  # [N, H · C]
    att_ptr,  # [H, C]
    bias_ptr,  # [H · C]
    out_ptr,  # [N, H · C]
    lse_ptr,  # [N, H] float32
    sums_ptr,  # [2 · tiles, H, C] float32
    stats_ptr,  # [2 · tiles, H, 2] float32
    slope,
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    C: tl.constexpr,
    LOOPS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    item, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, BLOCK_C)
    inside, own = channel < C, head * C + channel
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    att = tl.load(att_ptr + own, mask=inside, other=0.0).to(tl.float32)
    xr = tl.load(xr_ptr + row * H * C + own, mask=inside, other=0.0).to(tl.float32)
    top, total = tl.full((), float("-inf"), tl.float32), tl.full((), 0.0, tl.float32)
    sums = tl.zeros([BLOCK_C], tl.float32)
    if LOOPS and not HUBS:  # a node attends to itself first
        sums = tl.load(xl_ptr + row * H * C + own, mask=inside, other=0.0).to(tl.float32)
        top, total = tl.sum(att * leaky(sums + xr, slope), axis=0), total + 1.0
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        source = tl.load(col_ptr + edge, mask=exists, other=0).to(tl.int64)
        counts = exists & (source != row) if LOOPS else exists
        value = tl.load(
            xl_ptr + source[:, None] * H * C + own[None, :],
            mask=counts[:, None] & inside[None, :],
            other=0.0,
        ).to(tl.float32)
        score = tl.sum(att[None, :] * leaky(value + xr[None, :], slope), axis=1)
        score = tl.where(counts, score, float("-inf"))
        top, total, sums = softmax_step(top, total, sums, score, value)
    if HUBS:
        if stop > start:
            save_softmax(item, sums_ptr, stats_ptr, head, channel, top, total, sums, H, C)
        return
    top, total, sums = join_softmax(
        rowptr_ptr, row, sums_ptr, stats_ptr, head, channel, top, total, sums, H, C, CHUNK
    )
    total = tl.where(total == 0.0, 1.0, total)  # a row without edges
    out = sums / total
    if HAS_BIAS:
        out += tl.load(bias_ptr + own, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * H * C + own, out.to(out_ptr.dtype.element_ty), mask=inside)
    tl.store(lse_ptr + row * H + head, top + tl.log(total))


def gatv2(
    rowptr: Tensor,
    col: Tensor,
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    bias: Tensor | None,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.gatv2`."""
    rows, heads, x_l = rowptr.numel() - 1, att.shape[0], x_l.contiguous()
    out = x_l.new_empty(rows, x_l.shape[1])
    lse = x_l.new_empty(rows, heads, dtype=torch.float32)
    if out.numel() > 0:
        tile = tile_for("gatv2", x_l, att.shape[1], rows, col.numel())
        launch(
            _gatv2_kernel,
            rows,
            heads,
            col.numel(),
            rowptr,
            col,
            x_l,
            x_r.contiguous(),
            att.contiguous(),
            x_l if bias is None else bias.contiguous(),
            out,
            lse,
            room(x_l, col.numel(), heads, att.shape[1]),
            room(x_l, col.numel(), heads, 2),
            negative_slope,
            H=heads,
            C=att.shape[1],
            LOOPS=add_self_loops,
            HAS_BIAS=bias is not None,
            **tile.settings("BLOCK_C"),
        )
    return out, lse
