"""Triton kernels of `edge_softmax` and of sums over rows: one program per row and head.

What belongs to a row is computed first, and joined where the row is a hub; then each edge, in parts
of hubs and in other rows, takes what its row has.
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .hubs import join_sums, launch, part_in, parts_of, piece, room

_BLOCK_E = 64


@triton.jit
def log_or_nothing(total):
    """Return log(total), -inf for 0."""
    return tl.where(total > 0.0, tl.log(tl.where(total > 0.0, total, 1.0)), float("-inf"))


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _lse_kernel(
    rowptr_ptr,  # [N + 1] int64
    score_ptr,  # [E, H]
    lse_ptr,  # [N, H] float32
    part_ptr,  # [2 · tiles, H] float32
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    item, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    top = tl.full([BLOCK_E], float("-inf"), tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        score = tl.load(score_ptr + edge * H + head, mask=edge < stop, other=float("-inf"))
        top = tl.maximum(top, score.to(tl.float32))
    shift = tl.max(top, axis=0)
    shift = tl.where(shift == float("-inf"), 0.0, shift)
    total = tl.zeros([BLOCK_E], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        score = tl.load(score_ptr + edge * H + head, mask=edge < stop, other=float("-inf"))
        total += tl.exp(score.to(tl.float32) - shift)
    lse = shift + log_or_nothing(tl.sum(total, axis=0))
    if HUBS:
        if stop > start:
            tl.store(part_ptr + item * H + head, lse)
        return
    begin, first_tile, end_tile = parts_of(rowptr_ptr, row, CHUNK)
    for number in range(first_tile, end_tile):
        part = tl.load(part_ptr + part_in(number, begin, CHUNK) * H + head)
        higher = tl.maximum(lse, part)
        higher = tl.where(higher == float("-inf"), 0.0, higher)
        lse = higher + log_or_nothing(tl.exp(lse - higher) + tl.exp(part - higher))
    tl.store(lse_ptr + row * H + head, lse)


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _softmax_kernel(
    rowptr_ptr,  # [N + 1] int64
    score_ptr,  # [E, H]
    lse_ptr,  # [N, H] float32
    out_ptr,  # [E, H]
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    item, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    lse = tl.load(lse_ptr + row * H + head)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        score = tl.load(score_ptr + edge * H + head, mask=edge < stop, other=float("-inf"))
        part = tl.exp(score.to(tl.float32) - lse)
        tl.store(out_ptr + edge * H + head, part.to(out_ptr.dtype.element_ty), mask=edge < stop)


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _softmax_backward_kernel(
    rowptr_ptr,  # [N + 1] int64
    grad_ptr,  # [E, H]
    attention_ptr,  # [E, H]
    mean_ptr,  # [N, H] float32
    out_ptr,  # [E, H]
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    item, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    mean = tl.load(mean_ptr + row * H + head)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        grad = tl.load(grad_ptr + edge * H + head, mask=edge < stop, other=0.0).to(tl.float32)
        part = tl.load(attention_ptr + edge * H + head, mask=edge < stop, other=0.0)
        score = part.to(tl.float32) * (grad - mean)
        tl.store(out_ptr + edge * H + head, score.to(out_ptr.dtype.element_ty), mask=edge < stop)


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _row_sum_kernel(
    rowptr_ptr,  # [N + 1] int64
    value_ptr,  # [E, H]
    factor_ptr,  # [E, H]
    out_ptr,  # [N, H] float32
    part_ptr,  # [2 · tiles, H] float32
    num_rows,
    num_edges,
    HUBS: tl.constexpr,
    CHUNK: tl.constexpr,
    H: tl.constexpr,
    HAS_FACTOR: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    item, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row, start, stop = piece(rowptr_ptr, item, num_rows, num_edges, HUBS, CHUNK)
    total = tl.zeros([BLOCK_E], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        place, exists = edge * H + head, edge < stop
        value = tl.load(value_ptr + place, mask=exists, other=0.0).to(tl.float32)
        if HAS_FACTOR:
            value = value * tl.load(factor_ptr + place, mask=exists, other=0.0).to(tl.float32)
        total += value
    result = tl.sum(total, axis=0)
    if HUBS:
        if stop > start:
            tl.store(part_ptr + item * H + head, result)
        return
    result = join_sums(rowptr_ptr, row, part_ptr, result, head, head < H, H, CHUNK)
    tl.store(out_ptr + row * H + head, result)


def edge_softmax(rowptr: Tensor, score: Tensor) -> Tensor:
    """Compute `reference.edge_softmax`."""
    out, score = torch.empty_like(score, memory_format=torch.contiguous_format), score.contiguous()
    if out.numel() > 0:
        lse = _per_row(rowptr, score)
        _over(_lse_kernel, rowptr, score, score, lse, room(score, *score.shape))
        _over(_softmax_kernel, rowptr, score, score, lse, out)
    return out


def edge_softmax_backward(grad: Tensor, rowptr: Tensor, attention: Tensor) -> Tensor:
    """Return the gradient of the scores: p_e (g_e - Σ p g of its row)."""
    out, grad, attention = torch.empty_like(attention), grad.contiguous(), attention.contiguous()
    if out.numel() > 0:
        mean = row_sum(rowptr, grad, attention)
        _over(_softmax_backward_kernel, rowptr, grad, grad, attention, mean, out)
    return out


def row_sum(rowptr: Tensor, value: Tensor, factor: Tensor | None = None) -> Tensor:
    """Sum value [E, H], times factor [E, H] if it is given, over each row, [N, H] float32."""
    out, value = _per_row(rowptr, value), value.contiguous()
    if out.numel() > 0:
        given = value if factor is None else factor.contiguous()
        tensors = (value, given, out, room(value, *value.shape))
        _over(_row_sum_kernel, rowptr, value, *tensors, HAS_FACTOR=factor is not None)
    return out


def _per_row(rowptr: Tensor, value: Tensor) -> Tensor:
    return value.new_empty(rowptr.numel() - 1, value.shape[1], dtype=torch.float32)


def _over(kernel: Any, rowptr: Tensor, like: Tensor, *tensors: Tensor, **settings: Any) -> None:
    """Run a kernel for each row and head."""
    edges, heads = like.shape
    rows = rowptr.numel() - 1
    launch(kernel, rows, heads, edges, rowptr, *tensors, H=heads, BLOCK_E=_BLOCK_E, **settings)
