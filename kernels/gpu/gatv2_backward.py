"""Triton kernels of `gatv2`'s gradients, in two walks.

Over in-edges the first gathers x_l, writes attention and the score's gradient of each edge, and
keeps the gradients of x_r and, one part for each program, of att. Over out-edges the second reads
those back and gathers gradients. Of x_l + x_r it needs no more than the sign: the first walk hands
it over, one bit for each channel, where words of 32 fit and memory allows it (a thirty-second of
[E, H · C]); otherwise the second one gathers x_r too.
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import hubs
from .hubs import join_sums, launch, piece, room
from .table import tile_for
from .tiles import leaky

# programs that share the rows, each with a part of att's gradient; fixed, so that bits are too
_PROGRAMS = 1024
# what signs may take; beyond, they are computed again
SIGN_BYTES = 1 << 30


@triton.jit(do_not_specialize=["num_items", "num_rows", "num_edges"])
def _target_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    grad_ptr,  # [N, H · C]
    xl_ptr,  # [M, H · C]
    xr_ptr,  # [N, H · C]
    att_ptr,  # [H, C]
    lse_ptr,  # [N, H] float32
    mean_ptr,  # [N, H] float32
    attention_ptr,  # [E, H] float32
    dscore_ptr,  # [E, H] float32
    dxr_ptr,  # [N, H · C] float32
    datt_ptr,  # [programs, H, C] float32
    signs_ptr,  # [E, H, WORDS] int32
    sums_ptr,  # [2 · tiles, H, C] float32
    slope,
    num_items,
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    C: tl.constexpr,
    LOOPS: tl.constexpr,
    WORDS: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    head, channel = tl.program_id(1), tl.arange(0, BLOCK_C)
    inside, own = channel < C, head * C + channel
    att = tl.load(att_ptr + own, mask=inside, other=0.0).to(tl.float32)
    datt = tl.zeros([BLOCK_C], tl.float32)
    for step in range(tl.program_id(0), num_items, tl.num_programs(0)):
        item = tl.full((), 0, tl.int64) + step
        row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
        grad = tl.load(grad_ptr + row * H * C + own, mask=inside, other=0.0).to(tl.float32)
        xr = tl.load(xr_ptr + row * H * C + own, mask=inside, other=0.0).to(tl.float32)
        lse, mean = tl.load(lse_ptr + row * H + head), tl.load(mean_ptr + row * H + head)
        dxr = tl.zeros([BLOCK_C], tl.float32)
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
            raw = value + xr[None, :]
            both = leaky(raw, slope)
            score = tl.sum(att[None, :] * both, axis=1)
            part = tl.where(counts, tl.exp(score - lse), 0.0)
            dscore = part * (tl.sum(grad[None, :] * value, axis=1) - mean)
            tl.store(attention_ptr + edge * H + head, part, mask=exists)
            tl.store(dscore_ptr + edge * H + head, dscore, mask=exists)
            if WORDS > 0:
                above = tl.reshape((raw > 0).to(tl.int32), [BLOCK_E, WORDS, 32])
                signs = tl.sum(above << tl.arange(0, 32)[None, None, :], axis=2)
                word = (edge[:, None] * H + head) * WORDS + tl.arange(0, WORDS)[None, :]
                tl.store(signs_ptr + word, signs, mask=exists[:, None])
            dxr += tl.sum(dscore[:, None] * tl.where(raw > 0, 1.0, slope), axis=0)
            datt += tl.sum(dscore[:, None] * both, axis=0)
        if HUBS:
            if stop > start:
                tl.store(sums_ptr + item * H * C + own, dxr, mask=inside)
        else:
            dxr = join_sums(rowptr_ptr, row, sums_ptr, dxr, own, inside, H * C, CHUNK)
            tl.store(dxr_ptr + row * H * C + own, dxr * att, mask=inside)
    part = tl.program_id(0).to(tl.int64) * H * C + own
    tl.store(datt_ptr + part, datt, mask=inside)


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _source_kernel(
    rowptr_ptr,  # [M + 1] int64, of the transposed graph, as all that follows
    row_ptr,  # [E] int32
    perm_ptr,  # [E] int64
    grad_ptr,  # [N, H · C]
    xl_ptr,  # [M, H · C]
    xr_ptr,  # [N, H · C]
    att_ptr,  # [H, C]
    attention_ptr,  # [E, H] float32, in CSR order
    dscore_ptr,  # [E, H] float32, in CSR order
    signs_ptr,  # [E, H, WORDS] int32, in CSR order
    dxl_ptr,  # [M, H · C] float32
    sums_ptr,  # [2 · tiles, H, C] float32
    slope,
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    C: tl.constexpr,
    WORDS: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    item, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, BLOCK_C)
    inside, own = channel < C, head * C + channel
    node, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    att = tl.load(att_ptr + own, mask=inside, other=0.0).to(tl.float32)
    xl = tl.load(xl_ptr + node * H * C + own, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros([BLOCK_E, BLOCK_C], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        target = tl.load(row_ptr + edge, mask=exists, other=0).to(tl.int64)
        position = tl.load(perm_ptr + edge, mask=exists, other=0) * H + head
        part = tl.load(attention_ptr + position, mask=exists, other=0.0)
        dscore = tl.load(dscore_ptr + position, mask=exists, other=0.0)
        place = target[:, None] * H * C + own[None, :]
        mask = exists[:, None] & inside[None, :]
        grad = tl.load(grad_ptr + place, mask=mask, other=0.0).to(tl.float32)
        if WORDS > 0:
            word = position[:, None] * WORDS + (channel // 32)[None, :]
            signs = tl.load(signs_ptr + word, mask=exists[:, None], other=0)
            above = ((signs >> (channel % 32)[None, :]) & 1) > 0
        else:
            above = xl[None, :] + tl.load(xr_ptr + place, mask=mask, other=0.0).to(tl.float32) > 0
        slopes = tl.where(above, 1.0, slope)
        total += part[:, None] * grad + dscore[:, None] * att[None, :] * slopes
    result = tl.sum(total, axis=0)
    if HUBS:
        if stop > start:
            tl.store(sums_ptr + item * H * C + own, result, mask=inside)
        return
    result = join_sums(rowptr_ptr, node, sums_ptr, result, own, inside, H * C, CHUNK)
    tl.store(dxl_ptr + node * H * C + own, result, mask=inside)


def gatv2_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: tuple[Tensor, Tensor, Tensor],
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    lse: Tensor,
    mean: Tensor,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x_l, x_r and att; see `cpu.gatv2_backward`."""
    (heads, channels), rows = att.shape, rowptr.numel() - 1
    grad, x_l, x_r, att = (t.contiguous() for t in (grad, x_l, x_r, att))
    attention = x_l.new_empty(col.numel(), heads, dtype=torch.float32)
    dscore = torch.empty_like(attention)
    dx_l = torch.empty_like(x_l, dtype=torch.float32)
    dx_r = torch.empty_like(x_r, dtype=torch.float32)
    kept, edges = room(x_l, col.numel(), heads, channels), col.numel()
    tile = tile_for("gatv2_backward", x_l, channels, rows, edges)
    settings = {"H": heads, "C": channels, **tile.settings("BLOCK_C")}
    settings["WORDS"] = words = _sign_words(edges, heads, channels)
    signs = x_l.new_empty(edges if words else 0, heads, words, dtype=torch.int32)
    tensors = (grad, x_l, x_r, att, lse, mean, attention, dscore, dx_r)
    walked = {**settings, "LOOPS": add_self_loops, "CHUNK": hubs.CHUNK}
    datt = att.new_zeros(heads, channels, dtype=torch.float32)
    for over_hubs, items in ((True, kept.shape[0]), (False, rows)):
        parts = x_l.new_empty(min(items, _PROGRAMS), heads, channels, dtype=torch.float32)
        if parts.numel() > 0:
            sizes = (items, rows, edges)
            _target_kernel[(parts.shape[0], heads)](
                rowptr,
                col,
                *tensors,
                parts,
                signs,
                kept,
                negative_slope,
                *sizes,
                HUBS=over_hubs,
                **walked,
                # left alone, ptxas would rather spill than pass 72 or 80
                maxnreg=hubs.REGISTERS,
            )
            datt = datt + parts.sum(0)
    if dx_l.numel() > 0:
        tensors = (grad, x_l, x_r, att, attention, dscore, signs, dx_l, kept)
        sources = x_l.shape[0]
        launch(
            _source_kernel, sources, heads, edges, *transposed, *tensors, negative_slope, **settings
        )
    if add_self_loops:
        raw = (x_l.float() + x_r.float()).unflatten(1, (heads, -1))
        both = torch.nn.functional.leaky_relu(raw, negative_slope)
        own = ((att.float() * both).sum(-1) - lse).exp()
        grad_heads, values = (t.unflatten(1, (heads, -1)).float() for t in (grad, x_l))
        dself = own * ((grad_heads * values).sum(-1) - mean)
        datt = datt + (dself.unsqueeze(-1) * both).sum(0)
        both = dself.unsqueeze(-1) * att.float() * torch.where(raw > 0, 1.0, negative_slope)
        dx_r = dx_r + both.flatten(1)
        dx_l = dx_l + (both + own.unsqueeze(-1) * grad_heads).flatten(1)
    return dx_l.to(x_l.dtype), dx_r.to(x_r.dtype), datt.to(att.dtype)


def _sign_words(edges: int, heads: int, channels: int) -> int:
    """Return in how many words the signs of a head go, 0 where they are computed again."""
    fits = channels >= 32 and channels & (channels - 1) == 0
    return channels // 32 if fits and edges * heads * channels // 8 <= SIGN_BYTES else 0
