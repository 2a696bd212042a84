"""Triton kernels of `dot_attention`: one program per row and head, one walk over its edges.

The backward pass walks twice: over in-edges for the queries' gradient, writing attention and the
score's gradient of each edge, and over out-edges for those of keys and values.
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from .hubs import join_softmax, join_sums, launch, piece, room, save_softmax
from .table import tile_for
from .tiles import softmax_step


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _attention_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    query_ptr,  # [N, H · C]
    key_ptr,  # [M, H · C]
    value_ptr,  # [M, H · C]
    out_ptr,  # [N, H · C]
    lse_ptr,  # [N, H] float32
    sums_ptr,  # [2 · tiles, H, C] float32
    stats_ptr,  # [2 · tiles, H, 2] float32
    scale,
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    C: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    item, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, BLOCK_C)
    inside, own = channel < C, head * C + channel
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    query = scale * tl.load(query_ptr + row * H * C + own, mask=inside, other=0.0).to(tl.float32)
    top, total = tl.full((), float("-inf"), tl.float32), tl.full((), 0.0, tl.float32)
    sums = tl.zeros([BLOCK_C], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        source = tl.load(col_ptr + edge, mask=exists, other=0).to(tl.int64)
        place, mask = source[:, None] * H * C + own[None, :], exists[:, None] & inside[None, :]
        key = tl.load(key_ptr + place, mask=mask, other=0.0).to(tl.float32)
        value = tl.load(value_ptr + place, mask=mask, other=0.0).to(tl.float32)
        score = tl.where(exists, tl.sum(query[None, :] * key, axis=1), float("-inf"))
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
    tl.store(out_ptr + row * H * C + own, out.to(out_ptr.dtype.element_ty), mask=inside)
    tl.store(lse_ptr + row * H + head, top + tl.log(total))


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _query_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    grad_ptr,  # [N, H · C]
    query_ptr,  # [N, H · C]
    key_ptr,  # [M, H · C]
    value_ptr,  # [M, H · C]
    lse_ptr,  # [N, H] float32
    mean_ptr,  # [N, H] float32
    attention_ptr,  # [E, H] float32
    dscore_ptr,  # [E, H] float32
    dquery_ptr,  # [N, H · C]
    sums_ptr,  # [2 · tiles, H, C] float32
    scale,
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    C: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    item, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, BLOCK_C)
    inside, own = channel < C, head * C + channel
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    query = scale * tl.load(query_ptr + row * H * C + own, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(grad_ptr + row * H * C + own, mask=inside, other=0.0).to(tl.float32)
    lse, mean = tl.load(lse_ptr + row * H + head), tl.load(mean_ptr + row * H + head)
    dquery = tl.zeros([BLOCK_E, BLOCK_C], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        source = tl.load(col_ptr + edge, mask=exists, other=0).to(tl.int64)
        place, mask = source[:, None] * H * C + own[None, :], exists[:, None] & inside[None, :]
        key = tl.load(key_ptr + place, mask=mask, other=0.0).to(tl.float32)
        value = tl.load(value_ptr + place, mask=mask, other=0.0).to(tl.float32)
        part = tl.where(exists, tl.exp(tl.sum(query[None, :] * key, axis=1) - lse), 0.0)
        dscore = part * (tl.sum(grad[None, :] * value, axis=1) - mean) * scale
        tl.store(attention_ptr + edge * H + head, part, mask=exists)
        tl.store(dscore_ptr + edge * H + head, dscore, mask=exists)
        dquery += dscore[:, None] * key
    total = tl.sum(dquery, axis=0)
    if HUBS:
        if stop > start:
            tl.store(sums_ptr + item * H * C + own, total, mask=inside)
        return
    total = join_sums(rowptr_ptr, row, sums_ptr, total, own, inside, H * C, CHUNK)
    tl.store(dquery_ptr + row * H * C + own, total.to(dquery_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _key_value_kernel(
    rowptr_ptr,  # [M + 1] int64, of the transposed graph, as all that follows
    row_ptr,  # [E] int32
    perm_ptr,  # [E] int64
    grad_ptr,  # [N, H · C]
    query_ptr,  # [N, H · C]
    attention_ptr,  # [E, H] float32, in CSR order
    dscore_ptr,  # [E, H] float32, in CSR order
    dkey_ptr,  # [M, H · C]
    dvalue_ptr,  # [M, H · C]
    dkey_part_ptr,  # [2 · tiles, H, C] float32
    dvalue_part_ptr,  # [2 · tiles, H, C] float32
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    C: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    item, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, BLOCK_C)
    inside, own = channel < C, head * C + channel
    node, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    dkey = tl.zeros([BLOCK_E, BLOCK_C], tl.float32)
    dvalue = tl.zeros([BLOCK_E, BLOCK_C], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        target = tl.load(row_ptr + edge, mask=exists, other=0).to(tl.int64)
        position = tl.load(perm_ptr + edge, mask=exists, other=0) * H + head
        part = tl.load(attention_ptr + position, mask=exists, other=0.0)
        dscore = tl.load(dscore_ptr + position, mask=exists, other=0.0)
        place, mask = target[:, None] * H * C + own[None, :], exists[:, None] & inside[None, :]
        grad = tl.load(grad_ptr + place, mask=mask, other=0.0).to(tl.float32)
        query = tl.load(query_ptr + place, mask=mask, other=0.0).to(tl.float32)
        dkey += dscore[:, None] * query
        dvalue += part[:, None] * grad
    key, value = tl.sum(dkey, axis=0), tl.sum(dvalue, axis=0)
    if HUBS:
        if stop > start:
            part = item * H * C + own
            tl.store(dkey_part_ptr + part, key, mask=inside)
            tl.store(dvalue_part_ptr + part, value, mask=inside)
        return
    key = join_sums(rowptr_ptr, node, dkey_part_ptr, key, own, inside, H * C, CHUNK)
    value = join_sums(rowptr_ptr, node, dvalue_part_ptr, value, own, inside, H * C, CHUNK)
    place = node * H * C + own
    tl.store(dkey_ptr + place, key.to(dkey_ptr.dtype.element_ty), mask=inside)
    tl.store(dvalue_ptr + place, value.to(dvalue_ptr.dtype.element_ty), mask=inside)


def dot_attention(
    rowptr: Tensor, col: Tensor, query: Tensor, key: Tensor, value: Tensor, num_heads: int
) -> tuple[Tensor, Tensor]:
    """Compute `reference.dot_attention`."""
    rows, channels = rowptr.numel() - 1, value.shape[1] // num_heads
    out = value.new_empty(rows, value.shape[1])
    lse = value.new_empty(rows, num_heads, dtype=torch.float32)
    if out.numel() > 0:
        tile = tile_for("dot_attention", value, channels, rows, col.numel())
        launch(
            _attention_kernel,
            rows,
            num_heads,
            col.numel(),
            rowptr,
            col,
            query.contiguous(),
            key.contiguous(),
            value.contiguous(),
            out,
            lse,
            room(value, col.numel(), num_heads, channels),
            room(value, col.numel(), num_heads, 2),
            channels**-0.5,
            H=num_heads,
            C=channels,
            **tile.settings("BLOCK_C"),
        )
    return out, lse


def dot_attention_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: tuple[Tensor, Tensor, Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lse: Tensor,
    mean: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value; see `cpu.dot_attention_backward`."""
    heads, channels = lse.shape[1], value.shape[1] // lse.shape[1]
    grad, query, key, value = (t.contiguous() for t in (grad, query, key, value))
    attention = value.new_empty(col.numel(), heads, dtype=torch.float32)
    dscore = torch.empty_like(attention)
    dquery, dkey, dvalue = (torch.empty_like(t) for t in (query, key, value))
    edges = col.numel()
    tile = tile_for("dot_attention_backward", value, channels, query.shape[0], edges)
    settings = {"H": heads, "C": channels, **tile.settings("BLOCK_C")}
    kept, more = (room(value, edges, heads, channels) for _ in range(2))
    if dquery.numel() > 0:
        tensors = (grad, query, key, value, lse, mean, attention, dscore, dquery, kept)
        grid, scale = (query.shape[0], heads, edges), channels**-0.5
        launch(_query_kernel, *grid, rowptr, col, *tensors, scale, **settings)
    if dvalue.numel() > 0:
        tensors = (grad, query, attention, dscore, dkey, dvalue, kept, more)
        grid = (value.shape[0], heads, edges)
        launch(_key_value_kernel, *grid, *transposed, *tensors, **settings)
    return dquery, dkey, dvalue
