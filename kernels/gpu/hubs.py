"""Rows that are too long for one program.

A row of more than CHUNK edges, a hub, would hold everybody up. The edge list is therefore cut into
tiles of CHUNK edges, and every kernel runs twice: first over tiles, of which each holds at most the
end of one hub and the beginning of another, since no hub fits into one, and then over rows, where a
hub's program joins the parts in their order. Tiles need no table of hubs, so nothing is prepared or
read back on the host, and the order of every sum is fixed.
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# edges that a program walks by itself; about 45 µs at 8 of them at a time
CHUNK = 512
# of a thread: 16 warps on an SM at least
REGISTERS = 128


def launch(
    kernel: Any,
    rows: int,
    columns: int,
    num_edges: int,
    *args: Any,
    num_warps: int = 1,
    **settings: Any,
) -> None:
    """Run a kernel over the parts of hubs, if a row can be one, and over all rows.

    A kernel takes `num_rows, num_edges` last among its arguments, and the constants HUBS and CHUNK.
    """
    if getattr(_traced, "kernels", False):
        kernel = torch.library.wrap_triton(kernel)
    if num_warps > 1:  # left alone, ptxas would rather spill than pass 72 or 80
        settings["maxnreg"] = REGISTERS
    for hubs, items in ((True, parts(num_edges)), (False, rows)):
        if hubs and isinstance(items, int) and items == 0:
            continue
        kernel[(items, columns)](
            *args,
            rows,
            num_edges,
            HUBS=hubs,
            CHUNK=CHUNK,
            num_warps=num_warps,
            **settings,
        )


def parts(num_edges: int) -> int:
    """Return how many parts of hubs a graph may have: two for each tile.

    While an exporter traces, the number of edges is a symbol, and there may always be some.
    """
    if isinstance(num_edges, int) and num_edges <= CHUNK:
        return 0
    return 2 * ((num_edges + CHUNK - 1) // CHUNK)


def room(x: Tensor, num_edges: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return room for what each part holds, [2 · tiles, …], or for nothing."""
    return x.new_empty(parts(num_edges), *shape, dtype=dtype)


_traced = threading.local()


@contextlib.contextmanager
def kernels_in_the_graph() -> Iterator[None]:
    """Let launches become nodes of the graph that is being traced."""
    _traced.kernels = True
    try:
        yield
    finally:
        _traced.kernels = False


@triton.jit
def find_row(rowptr_ptr, num_rows, edge):
    """Return the row that an edge belongs to, by bisection of rowptr [num_rows + 1]."""
    low = edge * 0
    high = low + num_rows
    while high - low > 1:
        middle = (low + high) // 2
        before = tl.load(rowptr_ptr + middle) <= edge
        low = tl.where(before, middle, low)
        high = tl.where(before, high, middle)
    return low


@triton.jit
def piece(rowptr_ptr, item, num_rows, num_edges, HUBS: tl.constexpr, CHUNK: tl.constexpr):
    """Return row, start and stop of the edges that a program walks; none where start is stop.

    Over rows an item is a row, and a hub's edges are left out. Over tiles it is the end (even) or
    the beginning (odd) of a hub in tile item // 2.
    """
    if HUBS:
        first = item // 2 * CHUNK
        end = tl.minimum(first + CHUNK, num_edges)
        before, after = (
            find_row(rowptr_ptr, num_rows, first),
            find_row(rowptr_ptr, num_rows, end - 1),
        )
        second = item % 2 == 1
        row = tl.where(second, after, before)
        begin, finish = tl.load(rowptr_ptr + row), tl.load(rowptr_ptr + row + 1)
        start = tl.where(second, begin, first)
        there = (finish - begin > CHUNK) & ((before != after) | (item % 2 == 0))
        stop = tl.where(there, tl.minimum(finish, end), start)
    else:
        row = item
        start, stop = tl.load(rowptr_ptr + row), tl.load(rowptr_ptr + row + 1)
        stop = tl.where(stop - start > CHUNK, start, stop)
    return row, start, stop


@triton.jit
def parts_of(rowptr_ptr, row, CHUNK: tl.constexpr):
    """Return where a row's edges start and which tiles hold them; no tiles where it is no hub."""
    start, stop = tl.load(rowptr_ptr + row), tl.load(rowptr_ptr + row + 1)
    first = start // CHUNK
    return start, first, tl.where(stop - start > CHUNK, (stop - 1) // CHUNK + 1, first)


@triton.jit
def part_in(tile, start, CHUNK: tl.constexpr):
    """Return which part belongs to the hub that begins at start, [2 · tiles]."""
    # its first tile may begin with another row: then the hub is the second
    return 2 * tile + (tile * CHUNK < start).to(tl.int64)


@triton.jit
def join_sums(
    rowptr_ptr, row, part_ptr, total, offset, inside, STRIDE: tl.constexpr, CHUNK: tl.constexpr
):
    """Add the parts of a hub to a total; part is [2 · tiles, STRIDE], offset lies in a part."""
    start, first, end = parts_of(rowptr_ptr, row, CHUNK)
    for tile in range(first, end):
        place = part_in(tile, start, CHUNK) * STRIDE + offset
        total += tl.load(part_ptr + place, mask=inside, other=0.0)
    return total


@triton.jit
def save_softmax(item, sums_ptr, stats_ptr, head, channel, top, total, sums, H, C):
    """Write a part: sums to [2 · tiles, H, C], top and total to [2 · tiles, H, 2]."""
    place = item * H + head
    tl.store(sums_ptr + place * C + channel, sums, mask=channel < C)
    tl.store(stats_ptr + place * 2, top)
    tl.store(stats_ptr + place * 2 + 1, total)


@triton.jit
def join_softmax(
    rowptr_ptr, row, sums_ptr, stats_ptr, head, channel, top, total, sums, H, C, CHUNK: tl.constexpr
):
    """Join the parts of a hub with a running softmax."""
    start, first, end = parts_of(rowptr_ptr, row, CHUNK)
    for tile in range(first, end):
        place = part_in(tile, start, CHUNK) * H + head
        other = tl.load(sums_ptr + place * C + channel, mask=channel < C, other=0.0)
        other_top, other_total = tl.load(stats_ptr + place * 2), tl.load(stats_ptr + place * 2 + 1)
        higher = tl.maximum(top, other_top)
        # both -inf: there is nothing to shift by
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        mine, theirs = tl.exp(top - shift), tl.exp(other_top - shift)
        top, total = higher, total * mine + other_total * theirs
        sums = sums * mine + other * theirs
    return top, total, sums
