"""Sums and means over in-neighbours, and products over edges."""

import torch
from torch import Tensor

from ..reference.spmm import activate
from .blocks import bag, bag_per_head, blocks, heads
from .precision import in_float32

# the largest degree whose sum of 8-bit integers float32 holds exactly
_EXACT_DEGREE = 2**24 // 128


@in_float32()
def spmm(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    weight: Tensor | None,
    src_scale: Tensor | None,
    dst_scale: Tensor | None,
    self_weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    reduce: str,
    activation: str,
) -> Tensor:
    """Compute `reference.spmm`."""
    factor = weight
    if src_scale is not None:
        factor = src_scale.index_select(0, col)
        if weight is not None:
            factor = weight * (factor if weight.dim() == 1 else factor.unsqueeze(-1))
    per_head = factor is not None and factor.dim() == 2
    out = (bag_per_head if per_head else bag)(rowptr, col, x, factor)  # type: ignore[reportArgumentType]
    if reduce == "mean":
        out.div_(rowptr.diff().clamp_(min=1).unsqueeze(-1))
    if self_weight is not None:
        own = self_weight if src_scale is None else self_weight * src_scale
        out.addcmul_(own.unsqueeze(-1), x)
    if dst_scale is not None:
        out.mul_(dst_scale.unsqueeze(-1))
    if bias is not None:
        out.add_(bias)
    if residual is not None:
        out.add_(residual)
    return activate(out, activation)


@in_float32()
def sddmm(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor, num_heads: int) -> Tensor:
    """Compute `reference.sddmm`."""
    out = a.new_empty(col.numel(), num_heads)
    for block in blocks(rowptr, col, a.shape[1]):
        product = a.index_select(0, block.row).mul_(b.index_select(0, block.col))
        torch.sum(heads(product, out), dim=-1, out=out[block.edges])
    return out


def spmm_int8(rowptr: Tensor, col: Tensor, x: Tensor, scale: Tensor, reduce: str) -> Tensor:
    """Compute `reference.spmm_int8`. Sums are exact: of floats that are integers."""
    largest = int(rowptr.diff().max()) if rowptr.numel() > 1 else 0
    exact = torch.float32 if largest <= _EXACT_DEGREE else torch.float64
    total = bag(rowptr, col, x.to(exact), None)
    if reduce == "mean":
        total.div_(rowptr.diff().clamp_(min=1).unsqueeze(-1))
    return total.to(scale.dtype).mul_(scale)
