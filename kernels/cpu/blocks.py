"""Edges in blocks that fit into a core's cache, and sums over the rows that a block touches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import reference

# 2 MB of float32: measured, half and double are about as fast, 16 times more is much slower
_CPU_ELEMENTS = 1 << 19
# elsewhere a launch must be worth its price
_DEVICE_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class Block:
    """Some consecutive edges of a graph in CSR form.

    Attributes:
        edges: Their positions.
        rows: The rows they belong to; the first and the last may reach into other blocks.
        row: Row of each edge.
        col: Source of each edge.
        rowptr: Where each of `rows` starts among the block's edges.
    """

    edges: slice
    rows: slice
    row: Tensor
    col: Tensor
    rowptr: Tensor


def blocks(rowptr: Tensor, col: Tensor, width: int) -> Iterator[Block]:
    """Cut a graph into blocks for features of a width."""
    num_edges, elements = col.numel(), _CPU_ELEMENTS if col.is_cpu else _DEVICE_ELEMENTS
    row, size = reference.rows(rowptr, num_edges), max(256, elements // max(width, 1))
    starts = range(0, num_edges, size)
    ends = [min(start + size, num_edges) for start in starts]
    first = row[torch.tensor(starts, dtype=torch.int64)].tolist()
    last = row[torch.tensor(ends, dtype=torch.int64) - 1].tolist()
    for start, end, i, j in zip(starts, ends, first, last, strict=True):
        local = rowptr[i : j + 2].clamp(start, end) - start
        edges = slice(start, end)
        yield Block(edges, slice(i, j + 1), row[edges], col[edges], local)


def add_rows(out: Tensor, block: Block, values: Tensor) -> None:
    """Add one row of values per edge of a block, [edges, F], to the rows of out, [N, F]."""
    index = torch.arange(values.shape[0], device=values.device)
    out[block.rows] += F.embedding_bag(
        index, values, block.rowptr, mode="sum", include_last_offset=True
    )


def row_sum(rowptr: Tensor, value: Tensor, perm: Tensor | None = None) -> Tensor:
    """Sum value [E, H] over each row, [N, H]; perm says which value each position has."""
    if value.numel() == 0:
        return value.new_zeros(rowptr.numel() - 1, value.shape[1])
    index = torch.arange(value.shape[0], device=value.device) if perm is None else perm
    return F.embedding_bag(index, value, rowptr, mode="sum", include_last_offset=True)


def bag(rowptr: Tensor, col: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
    """Sum the rows of x over each row's edges, weighted by edge; [N, F]."""
    if col.numel() == 0 or x.numel() == 0:
        return x.new_zeros(rowptr.numel() - 1, x.shape[-1])
    # embedding_bag wants indices and offsets of one type
    offsets = rowptr.to(col.dtype) if col.numel() < 2**31 else rowptr
    return F.embedding_bag(
        col.to(offsets.dtype),
        x.contiguous(),
        offsets,
        mode="sum",
        include_last_offset=True,
        per_sample_weights=weight,
    )


def bag_per_head(
    rowptr: Tensor, col: Tensor, x: Tensor, weight: Tensor, perm: Tensor | None = None
) -> Tensor:
    """Sum as `bag` does, each head [.., C] of x with its own column of weight [E, H].

    perm [E] says which row of weight each position has; None means its own.
    """
    if weight.shape[1] == 1:
        return bag(rowptr, col, x, _column(weight, 0, perm))
    out = x.new_empty(rowptr.numel() - 1, x.shape[1])
    pairs = zip(heads(x, weight).unbind(1), heads(out, weight).unbind(1), strict=True)
    for head, (table, target) in enumerate(pairs):
        target.copy_(bag(rowptr, col, table, _column(weight, head, perm)))
    return out


def _column(weight: Tensor, head: int, perm: Tensor | None) -> Tensor:
    column = weight[:, head]
    return column.contiguous() if perm is None else column.index_select(0, perm)


def heads(x: Tensor, per_head: Tensor) -> Tensor:
    """View [N, H · C] as [N, H, C], H being the width of the other tensor."""
    return x.unflatten(1, (per_head.shape[1], -1))
