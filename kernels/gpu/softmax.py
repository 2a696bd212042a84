"""Triton kernels of `edge_softmax`: one program per destination row and head, two walks."""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK_E = 64


@triton.jit
def _softmax_kernel(
    rowptr_ptr,  # [N + 1] int64
    score_ptr,  # [E, H]
    out_ptr,  # [E, H]
    H: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, stop = tl.load(rowptr_ptr + row), tl.load(rowptr_ptr + row + 1)
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
    inverse = 1.0 / tl.maximum(tl.sum(total, axis=0), 1.0)  # the largest adds exp(0)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        score = tl.load(score_ptr + edge * H + head, mask=edge < stop, other=float("-inf"))
        part = tl.exp(score.to(tl.float32) - shift) * inverse
        tl.store(out_ptr + edge * H + head, part.to(out_ptr.dtype.element_ty), mask=edge < stop)


@triton.jit
def _softmax_backward_kernel(
    rowptr_ptr,  # [N + 1] int64
    grad_ptr,  # [E, H]
    attention_ptr,  # [E, H]
    out_ptr,  # [E, H]
    H: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, stop = tl.load(rowptr_ptr + row), tl.load(rowptr_ptr + row + 1)
    total = tl.zeros([BLOCK_E], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        grad = tl.load(grad_ptr + edge * H + head, mask=edge < stop, other=0.0).to(tl.float32)
        part = tl.load(attention_ptr + edge * H + head, mask=edge < stop, other=0.0)
        total += grad * part.to(tl.float32)
    mean = tl.sum(total, axis=0)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        grad = tl.load(grad_ptr + edge * H + head, mask=edge < stop, other=0.0).to(tl.float32)
        part = tl.load(attention_ptr + edge * H + head, mask=edge < stop, other=0.0)
        score = part.to(tl.float32) * (grad - mean)
        tl.store(out_ptr + edge * H + head, score.to(out_ptr.dtype.element_ty), mask=edge < stop)


@triton.jit
def _row_sum_kernel(
    rowptr_ptr,  # [N + 1] int64
    value_ptr,  # [E, H]
    perm_ptr,  # [E] int64
    out_ptr,  # [N, H]
    H: tl.constexpr,
    PERMUTED: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, stop = tl.load(rowptr_ptr + row), tl.load(rowptr_ptr + row + 1)
    total = tl.zeros([BLOCK_E], tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        if PERMUTED:
            edge = tl.load(perm_ptr + edge, mask=exists, other=0)
        value = tl.load(value_ptr + edge * H + head, mask=exists, other=0.0)
        total += value.to(tl.float32)
    tl.store(out_ptr + row * H + head, tl.sum(total, axis=0).to(out_ptr.dtype.element_ty))


def edge_softmax(rowptr: Tensor, score: Tensor) -> Tensor:
    """Compute `reference.edge_softmax`."""
    out, score = torch.empty_like(score, memory_format=torch.contiguous_format), score.contiguous()
    if out.numel() > 0:
        grid, heads = (rowptr.numel() - 1, score.shape[1]), score.shape[1]
        _softmax_kernel[grid](rowptr, score, out, H=heads, BLOCK_E=_BLOCK_E, num_warps=1)
    return out


def edge_softmax_backward(grad: Tensor, rowptr: Tensor, attention: Tensor) -> Tensor:
    """Return the gradient of the scores: p_e (g_e - Σ p g of its row)."""
    out = torch.empty_like(attention)
    if out.numel() > 0:
        grid, heads = (rowptr.numel() - 1, attention.shape[1]), attention.shape[1]
        _softmax_backward_kernel[grid](
            rowptr, grad.contiguous(), attention, out, H=heads, BLOCK_E=_BLOCK_E, num_warps=1
        )
    return out


def row_sum(rowptr: Tensor, value: Tensor, perm: Tensor | None = None) -> Tensor:
    """Sum value [E, H] over each row, [N, H]; perm says which value each position has."""
    out = value.new_empty(rowptr.numel() - 1, value.shape[1])
    if out.numel() > 0:
        _row_sum_kernel[tuple(out.shape)](
            rowptr,
            value,
            rowptr if perm is None else perm,
            out,
            H=value.shape[1],
            PERMUTED=perm is not None,
            BLOCK_E=_BLOCK_E,
            num_warps=1,
        )
    return out
