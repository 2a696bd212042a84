"""Distances of the two ends of each edge, a block of edges at a time."""

import torch
from torch import Tensor

from .blocks import add_rows, blocks
from .precision import in_float32


@in_float32()
def edge_l1(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Compute `reference.edge_l1`."""
    out = a.new_empty(col.numel())
    for block in blocks(rowptr, col, a.shape[1]):
        apart = a.index_select(0, block.row).sub_(b.index_select(0, block.col))
        torch.sum(apart.abs_(), dim=1, out=out[block.edges])
    return out


@in_float32()
def edge_l1_backward(grad: Tensor, rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the gradient of a: Σ g_e · sign(a[i] - b[col[e]]) over each row."""
    out = torch.zeros_like(a)
    for block in blocks(rowptr, col, a.shape[1]):
        apart = a.index_select(0, block.row).sub_(b.index_select(0, block.col))
        add_rows(out, block, apart.sgn_().mul_(grad[block.edges].unsqueeze(1)))
    return out
