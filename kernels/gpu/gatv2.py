"""Triton kernels of `gatv2`: one program per row and head, one walk over its edges.

The backward pass walks twice. Over in-edges it gathers x_l, writes attention and the score's
gradient of each edge, and keeps the gradients of x_r and, one part for each program, of att. Over
out-edges it reads those back and gathers gradients and x_r.
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tiles import leaky, softmax_step, tile

# programs that share the rows, each with a part of att's gradient; fixed, so that bits are too
_PROGRAMS = 1024


@triton.jit
def _gatv2_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    xl_ptr,  # [M, H · C]
    xr_ptr,  # [N, H · C]
    att_ptr,  # [H, C]
    bias_ptr,  # [H · C]
    out_ptr,  # [N, H · C]
    lse_ptr,  # [N, H] float32
    slope,
    H: tl.constexpr,
    C: tl.constexpr,
    LOOPS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, BLOCK_C)
    inside, own = channel < C, head * C + channel
    start, stop = tl.load(rowptr_ptr + row), tl.load(rowptr_ptr + row + 1)
    att = tl.load(att_ptr + own, mask=inside, other=0.0).to(tl.float32)
    xr = tl.load(xr_ptr + row * H * C + own, mask=inside, other=0.0).to(tl.float32)
    top, total = tl.full((), float("-inf"), tl.float32), tl.full((), 0.0, tl.float32)
    sums = tl.zeros([BLOCK_C], tl.float32)
    if LOOPS:  # a node attends to itself first
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
    total = tl.where(total == 0.0, 1.0, total)  # a row without edges
    out = sums / total
    if HAS_BIAS:
        out += tl.load(bias_ptr + own, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * H * C + own, out.to(out_ptr.dtype.element_ty), mask=inside)
    tl.store(lse_ptr + row * H + head, top + tl.log(total))


@triton.jit(do_not_specialize=["num_rows"])
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
    num_rows,
    slope,
    H: tl.constexpr,
    C: tl.constexpr,
    LOOPS: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    head, channel = tl.program_id(1), tl.arange(0, BLOCK_C)
    inside, own = channel < C, head * C + channel
    att = tl.load(att_ptr + own, mask=inside, other=0.0).to(tl.float32)
    datt = tl.zeros([BLOCK_C], tl.float32)
    for step in range(tl.program_id(0), num_rows, tl.num_programs(0)):
        row = tl.full((), 0, tl.int64) + step
        start, stop = tl.load(rowptr_ptr + row), tl.load(rowptr_ptr + row + 1)
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
            dxr += tl.sum(dscore[:, None] * tl.where(raw > 0, 1.0, slope), axis=0)
            datt += tl.sum(dscore[:, None] * both, axis=0)
        tl.store(dxr_ptr + row * H * C + own, dxr * att, mask=inside)
    part = tl.program_id(0).to(tl.int64) * H * C + own
    tl.store(datt_ptr + part, datt, mask=inside)


@triton.jit
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
    dxl_ptr,  # [M, H · C] float32
    slope,
    H: tl.constexpr,
    C: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    node, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, BLOCK_C)
    inside, own = channel < C, head * C + channel
    start, stop = tl.load(rowptr_ptr + node), tl.load(rowptr_ptr + node + 1)
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
        xr = tl.load(xr_ptr + place, mask=mask, other=0.0).to(tl.float32)
        slopes = tl.where(xl[None, :] + xr > 0, 1.0, slope)
        total += part[:, None] * grad + dscore[:, None] * att[None, :] * slopes
    tl.store(dxl_ptr + node * H * C + own, tl.sum(total, axis=0), mask=inside)


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
        block_e, block_c = tile(att.shape[1])
        _gatv2_kernel[(rows, heads)](
            rowptr,
            col,
            x_l,
            x_r.contiguous(),
            att.contiguous(),
            x_l if bias is None else bias.contiguous(),
            out,
            lse,
            negative_slope,
            H=heads,
            C=att.shape[1],
            LOOPS=add_self_loops,
            HAS_BIAS=bias is not None,
            BLOCK_E=block_e,
            BLOCK_C=block_c,
            num_warps=1,
        )
    return out, lse


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
    programs = min(rows, _PROGRAMS)
    parts = x_l.new_empty(programs, heads, channels, dtype=torch.float32)
    block_e, block_c = tile(channels)
    settings = {
        "H": heads,
        "C": channels,
        "BLOCK_E": block_e,
        "BLOCK_C": block_c,
        "num_warps": 1,
    }
    if dx_r.numel() > 0:
        tensors = (grad, x_l, x_r, att, lse, mean, attention, dscore, dx_r, parts)
        _target_kernel[(programs, heads)](
            rowptr, col, *tensors, rows, negative_slope, LOOPS=add_self_loops, **settings
        )
    if dx_l.numel() > 0:
        tensors = (grad, x_l, x_r, att, attention, dscore, dx_l)
        _source_kernel[(x_l.shape[0], heads)](*transposed, *tensors, negative_slope, **settings)
    datt = parts.sum(0)
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
