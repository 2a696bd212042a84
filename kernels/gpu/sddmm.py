"""Triton kernel of `sddmm`: one program per destination row and head; parts of hubs just write."""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import triton
import triton.language as tl
from torch import Tensor

from .hubs import launch, piece
from .table import tile_for


@triton.jit(do_not_specialize=["num_rows", "num_edges"])
def _sddmm_kernel(
    rowptr_ptr,  # [N + 1] int64
    col_ptr,  # [E] int32
    a_ptr,  # [N, H · C]
    b_ptr,  # [M, H · C]
    out_ptr,  # [E, H]
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
    a = tl.load(a_ptr + row * H * C + own, mask=inside, other=0.0).to(tl.float32)
    for first in range(start, stop, BLOCK_E):
        edge = first + tl.arange(0, BLOCK_E).to(tl.int64)
        exists = edge < stop
        source = tl.load(col_ptr + edge, mask=exists, other=0).to(tl.int64)
        b = tl.load(
            b_ptr + source[:, None] * H * C + own[None, :],
            mask=exists[:, None] & inside[None, :],
            other=0.0,
        ).to(tl.float32)
        dot = tl.sum(a[None, :] * b, axis=1)
        tl.store(out_ptr + edge * H + head, dot.to(out_ptr.dtype.element_ty), mask=exists)


def sddmm(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor, num_heads: int) -> Tensor:
    """Compute `reference.sddmm`, summing in float32."""
    rows, channels = rowptr.numel() - 1, a.shape[1] // num_heads
    out = a.new_empty(col.numel(), num_heads)
    if out.numel() == 0:
        return out
    tile = tile_for("sddmm", b, channels, rows, col.numel())
    launch(
        _sddmm_kernel,
        rows,
        num_heads,
        col.numel(),
        rowptr,
        col,
        a.contiguous(),
        b.contiguous(),
        out,
        H=num_heads,
        C=channels,
        **tile.settings("BLOCK_C"),
    )
    return out
