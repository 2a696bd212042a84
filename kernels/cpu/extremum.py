"""Largest and smallest features over in-neighbours.

Rows are taken together with others of about their degree and padded to the longest by repeating
their last edge, which changes no extremum.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from .blocks import add_rows, blocks
from .precision import HALF

_EDGES = 8192


def extremum(rowptr: Tensor, col: Tensor, x: Tensor, weight: Tensor | None, reduce: str) -> Tensor:
    """Compute `reference.extremum`."""
    degree, order = rowptr.diff().sort()
    start, best = rowptr.index_select(0, order), x.new_empty(order.numel(), x.shape[1])
    best[: int((degree == 0).sum())] = 0
    reduction = torch.amax if reduce == "max" else torch.amin
    for rows, width in _similar(degree):
        last = degree[rows].sub(1).unsqueeze(1)
        place = torch.minimum(torch.arange(width, device=col.device), last)
        edges = place.add_(start[rows].unsqueeze(1)).flatten()
        message = x.index_select(0, col.index_select(0, edges))
        if weight is not None:
            message.mul_(weight.index_select(0, edges).unsqueeze(-1))
        reduction(message.view(-1, width, x.shape[1]), 1, out=best[rows])
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return best.index_select(0, back)


def _similar(degree: Tensor) -> Iterator[tuple[slice, int]]:
    """Cut sorted degrees, from the first that is not 0, into runs that a little padding evens out.

    Yields positions and the largest degree among them. Runs end at 1, 2, … 8, 10, 12, 14, 16, 20, …
    """
    largest = int(degree[-1]) if degree.numel() else 0
    ends = [m << b for b in range(largest.bit_length()) for m in (5, 6, 7, 8)]
    bounds = torch.tensor([0, 1, 2, 3, 4, *ends], device=degree.device)
    stops = torch.searchsorted(degree, bounds, right=True).tolist()
    for first, stop in itertools.pairwise(stops):
        if first == stop:
            continue
        width = int(degree[stop - 1])
        step = max(1, _EDGES // width)
        for start in range(first, stop, step):
            yield slice(start, min(start + step, stop)), width


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
        message = source if weight_t is None else source * weight_t[block.edges, None]
        mine = _equal(message, out.index_select(0, block.col), share.dtype)
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
        add_rows(ties, block, _equal(message, out.index_select(0, block.row), ties.dtype))
    return grad / ties.clamp_(min=1.0)


def _equal(message: Tensor, wanted: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 where two tensors are equal and 0 elsewhere; overwrites the first."""
    return message.eq_(wanted).to(dtype)
