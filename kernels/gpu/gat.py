"""Triton kernels of `gat`: one program per row and head, one walk over its edges.

The backward pass walks the transposed graph once: with a source's features in registers it gathers
only gradients, and writes the score's gradient of each edge, which a sum over rows then finishes.
Attention is recomputed from lse.
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from .hubs import join_softmax, join_sums, launch, piece, room, save_softmax
from .softmax import row_sum
from .table import tile_for
from .tiles import leaky, softmax_step


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _gat_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    x_ptr,  # [M, H · C]
    src_ptr,  # [M, H]
    dst_ptr,  # [N, H]
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
    dst = tl.load(dst_ptr + row * H + head).to(tl.float32)
    top, total = tl.full((), float("-inf"), tl.float32), tl.full((), 0.0, tl.float32)
    sums = tl.zeros([BLOCK_C], tl.float32)
    if LOOPS and not HUBS:  # a node attends to itself first
        itself = tl.load(src_ptr + row * H + head).to(tl.float32)
        top, total = leaky(itself + dst, slope), total + 1.0
        sums = tl.load(x_ptr + row * H * C + own, mask=inside, other=0.0).to(tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        source = tl.load(col_ptr + edge, mask=exists, other=0).to(tl.int64)
        counts = exists & (source != row) if LOOPS else exists
        src = tl.load(src_ptr + source * H + head, mask=exists, other=0.0).to(tl.float32)
        score = tl.where(counts, leaky(src + dst, slope), float("-inf"))
        value = tl.load(
            x_ptr + source[:, None] * H * C + own[None, :],
            mask=counts[:, None] & inside[None, :],
            other=0.0,
        ).to(tl.float32)
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


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _gat_source_kernel(
    rowptr_ptr,  # [M + 1] int64, of the transposed graph, as all that follows
    row_ptr,  # [E] int32
    perm_ptr,  # [E] int64
    grad_ptr,  # [N, H · C]
    x_ptr,  # [M, H · C]
    src_ptr,  # [M, H]
    dst_ptr,  # [N, H]
    lse_ptr,  # [N, H] float32
    mean_ptr,  # [N, H] float32
    dx_ptr,  # [M, H · C]
    dsrc_ptr,  # [M, H]
    dscore_ptr,  # [E, H] float32, in CSR order
    sums_ptr,  # [2 · tiles, H, C] float32
    stats_ptr,  # [2 · tiles, H] float32
    slope,
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    C: tl.constexpr,
    LOOPS: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    item, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, BLOCK_C)
    inside, own = channel < C, head * C + channel
    node, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    src = tl.load(src_ptr + node * H + head).to(tl.float32)
    x = tl.load(x_ptr + node * H * C + own, mask=inside, other=0.0).to(tl.float32)
    dx, dsrc = tl.zeros([BLOCK_E, BLOCK_C], tl.float32), tl.zeros([BLOCK_E], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        target = tl.load(row_ptr + edge, mask=exists, other=0).to(tl.int64)
        counts = exists & (target != node) if LOOPS else exists
        place = target * H + head
        raw = src + tl.load(dst_ptr + place, mask=exists, other=0.0).to(tl.float32)
        lse = tl.load(lse_ptr + place, mask=exists, other=0.0)
        part = tl.where(counts, tl.exp(leaky(raw, slope) - lse), 0.0)
        grad = tl.load(
            grad_ptr + target[:, None] * H * C + own[None, :],
            mask=counts[:, None] & inside[None, :],
            other=0.0,
        ).to(tl.float32)
        mean = tl.load(mean_ptr + place, mask=exists, other=0.0)
        dscore = part * (tl.sum(grad * x[None, :], axis=1) - mean) * tl.where(raw > 0, 1.0, slope)
        position = tl.load(perm_ptr + edge, mask=exists, other=0)
        tl.store(dscore_ptr + position * H + head, dscore, mask=exists)
        dx += part[:, None] * grad
        dsrc += dscore
    total, score = tl.sum(dx, axis=0), tl.sum(dsrc, axis=0)
    if HUBS:
        if stop > start:
            tl.store(sums_ptr + item * H * C + own, total, mask=inside)
            tl.store(stats_ptr + item * H + head, score)
        return
    total = join_sums(rowptr_ptr, node, sums_ptr, total, own, inside, H * C, CHUNK)
    score = join_sums(rowptr_ptr, node, stats_ptr, score, head, head < H, H, CHUNK)
    tl.store(dx_ptr + node * H * C + own, total.to(dx_ptr.dtype.element_ty), mask=inside)
    tl.store(dsrc_ptr + node * H + head, score.to(dsrc_ptr.dtype.element_ty))


def gat(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    bias: Tensor | None,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.gat`."""
    rows, heads, x = rowptr.numel() - 1, alpha_src.shape[1], x.contiguous()
    out = x.new_empty(rows, x.shape[1])
    lse = x.new_empty(rows, heads, dtype=torch.float32)
    if out.numel() > 0:
        tile = tile_for("gat", x, x.shape[1] // heads, rows, col.numel())
        launch(
            _gat_kernel,
            rows,
            heads,
            col.numel(),
            rowptr,
            col,
            x,
            alpha_src.contiguous(),
            alpha_dst.contiguous(),
            x if bias is None else bias.contiguous(),
            out,
            lse,
            room(x, col.numel(), heads, x.shape[1] // heads),
            room(x, col.numel(), heads, 2),
            negative_slope,
            H=heads,
            C=x.shape[1] // heads,
            LOOPS=add_self_loops,
            HAS_BIAS=bias is not None,
            **tile.settings("BLOCK_C"),
        )
    return out, lse


def gat_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: tuple[Tensor, Tensor, Tensor],
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    lse: Tensor,
    mean: Tensor,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, alpha_src and alpha_dst; see `cpu.gat_backward`."""
    heads, grad, x = lse.shape[1], grad.contiguous(), x.contiguous()
    dx = torch.empty_like(x)
    dsrc = x.new_empty(x.shape[0], heads, dtype=torch.float32)
    dscore = x.new_empty(col.numel(), heads, dtype=torch.float32)
    if dx.numel() > 0:
        tile = tile_for("gat_backward", x, x.shape[1] // heads, x.shape[0], col.numel())
        launch(
            _gat_source_kernel,
            x.shape[0],
            heads,
            col.numel(),
            *transposed,
            grad,
            x,
            alpha_src.contiguous(),
            alpha_dst.contiguous(),
            lse,
            mean,
            dx,
            dsrc,
            dscore,
            room(x, col.numel(), heads, x.shape[1] // heads),
            room(x, col.numel(), heads),
            negative_slope,
            H=heads,
            C=x.shape[1] // heads,
            LOOPS=add_self_loops,
            **tile.settings("BLOCK_C"),
        )
    ddst = row_sum(rowptr, dscore)
    if add_self_loops:
        raw = (alpha_src + alpha_dst).float()
        own = (torch.nn.functional.leaky_relu(raw, negative_slope) - lse).exp()
        grad_heads, values = (t.unflatten(1, (heads, -1)).float() for t in (grad, x))
        dself = own * ((grad_heads * values).sum(-1) - mean)
        dself = torch.where(raw > 0, dself, negative_slope * dself)
        dsrc, ddst = dsrc + dself, ddst + dself
        dx = dx + (own.unsqueeze(-1) * grad_heads).flatten(1).to(dx.dtype)
    return dx, dsrc.to(alpha_src.dtype), ddst.to(alpha_dst.dtype)
