"""Largest and smallest features over in-neighbours.

Rows are taken together with others of about their degree and padded to the longest by repeating
their last edge, which changes no extremum.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .blocks import add_rows, blocks
from .precision import HALF

_EDGES = 8192


def extremum(rowptr: Tensor, col: Tensor, x: Tensor, weight: Tensor | None, reduce: str) -> Tensor:
    """Compute `reference.extremum`."""
    out = x.new_zeros(rowptr.numel() - 1, x.shape[1])
    for rows, edges in _padded(rowptr):
        message = x.index_select(0, col.index_select(0, edges.flatten()))
        if weight is not None:
            message.mul_(weight.index_select(0, edges.flatten()).unsqueeze(-1))
        message = message.view(*edges.shape, x.shape[1])
        best = message.amax(1) if reduce == "max" else message.amin(1)
        out.index_copy_(0, rows, best)
    return out


def _padded(rowptr: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows [B] of similar degree and the positions of their edges [B, K]."""
    degree = rowptr.diff()
    for bits in range(int(degree.max()).bit_length() if degree.numel() else 0):
        rows = ((degree >= 1 << bits) & (degree < 2 << bits)).nonzero().squeeze(1)
        if rows.numel() == 0:
            continue
        width = int(degree[rows].max())
        step = torch.arange(width, device=rowptr.device)
        for some in rows.split(max(1, _EDGES // width)):
            edges = rowptr[some].unsqueeze(1) + step
            yield some, torch.minimum(edges, (rowptr[some + 1] - 1).unsqueeze(1))


def extremum_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: tuple[Tensor, Tensor, Tensor],
    x: Tensor,
    weight: Tensor | None,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x [M, F] and weight [E] (empty without weight).

    An edge has a share of its row's gradient where its message equals the row's extremum, which is
    found out by comparing again, in the type of x as before; nothing is kept from the forward pass.
    """
    share = _shares(grad, rowptr, col, x, weight, out)
    rowptr_t, row_t, perm_t = transposed
    weight_t = None if weight is None else weight.index_select(0, perm_t)
    dx, dweight_t = torch.zeros_like(x, dtype=share.dtype), share.new_empty(0)
    if weight_t is not None:
        dweight_t = share.new_empty(col.numel())
    for block in blocks(rowptr_t, row_t, x.shape[1]):
        source = x.index_select(0, block.row)
        message = source if weight_t is None else source * weight_t[block.edges].unsqueeze(-1)
        mine = message.eq(out.index_select(0, block.col)).to(share.dtype)
        mine.mul_(share.index_select(0, block.col))
        if weight_t is not None:
            dweight_t[block.edges] = (mine * source).sum(-1)
            mine.mul_(weight_t[block.edges].unsqueeze(-1))
        add_rows(dx, block, mine)
    if weight is not None:
        dweight_t = torch.empty_like(dweight_t).index_copy_(0, perm_t, dweight_t)
    return dx.to(x.dtype), dweight_t.to(x.dtype)


def _shares(
    grad: Tensor, rowptr: Tensor, col: Tensor, x: Tensor, weight: Tensor | None, out: Tensor
) -> Tensor:
    """Return grad divided by how many edges share each extremum, [N, F]."""
    ties = torch.zeros_like(out, dtype=torch.float32 if x.dtype in HALF else x.dtype)
    for block in blocks(rowptr, col, x.shape[1]):
        message = x.index_select(0, block.col)
        if weight is not None:
            message.mul_(weight[block.edges].unsqueeze(-1))
        add_rows(ties, block, message.eq(out.index_select(0, block.row)).to(ties.dtype))
    return grad / ties.clamp_(min=1.0)
