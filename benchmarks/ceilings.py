"""What a device's memory can do, measured before anything else, and the clock that measures it.

No sum over neighbours reads rows faster than a kernel that reads the same number of rows of the
same size at random and does nothing else. Rows come from a table that is far larger than the L2
cache, and from one that fits into it.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ROW_BYTES = (64, 128, 256, 512, 1024)
_PER_PROGRAM = 512


class Clock:
    """Times calls on a device, and how much memory they need at their peak."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")

    def seconds(self, call: Callable[[], Any]) -> float:
        """Return the seconds of one call."""
        if not self.cuda:
            start = time.perf_counter()
            call()
            return time.perf_counter() - start
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        call()
        after.record()
        torch.cuda.synchronize()
        return before.elapsed_time(after) / 1e3

    def median(self, call: Callable[[], Any], calls: int = 7) -> float:
        """Return the median seconds of some calls."""
        return statistics.median(self.seconds(call) for _ in range(calls))

    def peak_bytes(self, call: Callable[[], Any]) -> int:
        """Return what a call needs beyond what is held already; 0 where nobody counts."""
        if not self.cuda:
            return 0
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - held


def ceilings(clock: Clock, device: str) -> dict[str, Any]:
    """Return GB/s of a copy and, by bytes of a row, of random rows from memory and from the L2."""
    big = torch.ones(1 << (28 if clock.cuda else 20), device=device)
    other = torch.empty_like(big)
    found: dict[str, Any] = {"copy": 2 * big.nbytes / clock.median(lambda: other.copy_(big)) / 1e9}
    for name, table_bytes in (("gather", big.nbytes), ("gather_l2", 16 << 20)):
        found[name] = {}
        for row_bytes in ROW_BYTES:
            table = big.view(-1, row_bytes // 4)[: max(table_bytes // row_bytes, 1)]
            count = 4 * big.nbytes // row_bytes // _PER_PROGRAM * _PER_PROGRAM
            ids = torch.randint(0, table.shape[0], (count,), device=device, dtype=torch.int32)
            calls = [functools.partial(_bags, ids, table)]
            calls += [functools.partial(read_rows, ids, table, 1 << n) for n in range(1, 5)]
            best = min(clock.median(call) for call in (calls if clock.cuda else calls[:1]))
            found[name][row_bytes] = count * row_bytes / best / 1e9
    return found


def _bags(ids: Tensor, table: Tensor) -> Tensor:
    offsets = torch.arange(0, ids.numel(), _PER_PROGRAM, device=ids.device, dtype=torch.int32)
    return torch.nn.functional.embedding_bag(ids, table, offsets, mode="sum")


def read_rows(ids: Tensor, table: Tensor, block_e: int) -> Tensor:
    """Sum each run of 512 rows of a table [rows, F], F a power of two; [ids / 512, F]."""
    out = table.new_empty(ids.numel() // _PER_PROGRAM, table.shape[1])
    sizes = {"F": table.shape[1], "PER": _PER_PROGRAM, "BLOCK_E": block_e}
    kernel: Any = _read_rows_kernel  # a launch takes more than the kernel does
    kernel[(out.shape[0],)](ids, table, out, **sizes, num_warps=1)
    return out


try:
    import triton
    import triton.language as tl
except ImportError:  # a CPU needs none
    pass
else:

    @triton.jit
    def _read_rows_kernel(
        ids_ptr,  # [programs · PER] int32
        table_ptr,  # [rows, F]
        out_ptr,  # [programs, F]
        F: tl.constexpr,
        PER: tl.constexpr,
        BLOCK_E: tl.constexpr,
    ):
        item = tl.program_id(0).to(tl.int64)
        feature = tl.arange(0, F)
        total = tl.zeros([BLOCK_E, F], tl.float32)
        for first in range(0, PER, BLOCK_E):
            place = item * PER + first + tl.arange(0, BLOCK_E)
            row = tl.load(ids_ptr + place).to(tl.int64)
            total += tl.load(table_ptr + row[:, None] * F + feature[None, :])
        tl.store(out_ptr + item * F + feature, tl.sum(total, axis=0))
