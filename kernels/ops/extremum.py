"""Registration of `extremum`: max and min."""

import torch
from torch import Tensor

from .. import reference
from .device import implementation
from .graph import needs_grad, transposed_or_built
from .second import differentiable_gradients


@torch.library.custom_op("graphstill::extremum", mutates_args=())
def extremum(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    weight: Tensor | None,
    reduce: str,
    rowptr_t: Tensor | None = None,
    row_t: Tensor | None = None,
    perm_t: Tensor | None = None,
) -> Tensor:
    """See `reference.extremum`. Differentiable in x and weight."""
    return implementation(x).extremum(rowptr, col, x, weight, reduce)


@torch.library.register_fake("graphstill::extremum")
def _(rowptr: Tensor, col: Tensor, x: Tensor, *_rest: object) -> Tensor:
    return x.new_empty(rowptr.shape[0] - 1, x.shape[1])


@torch.library.custom_op("graphstill::extremum_backward", mutates_args=())
def extremum_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    rowptr_t: Tensor,
    row_t: Tensor,
    perm_t: Tensor,
    x: Tensor,
    weight: Tensor | None,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    """See `cpu.extremum_backward`."""
    return implementation(x).extremum_backward(
        grad, rowptr, col, (rowptr_t, row_t, perm_t), x, weight, out
    )


@torch.library.register_fake("graphstill::extremum_backward")
def _(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    rowptr_t: Tensor,
    row_t: Tensor,
    perm_t: Tensor,
    x: Tensor,
    weight: Tensor | None,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(0 if weight is None else col.shape[0])


def _setup(ctx, inputs, output) -> None:
    rowptr, col, x, weight, ctx.reduce, *transposed = inputs
    ctx.save_for_backward(rowptr, col, x, weight, output, *transposed)


def _backward(ctx, grad: Tensor):
    rowptr, col, x, weight, out, *transposed = ctx.saved_tensors
    if torch.is_grad_enabled():
        gradients = differentiable_gradients(
            lambda x, weight: reference.extremum(rowptr, col, x, weight, ctx.reduce),
            (x, weight),
            grad,
        )
        return None, None, *gradients, *[None] * 4
    walked = transposed_or_built(transposed, rowptr, col, x.shape[0])
    dx, dweight = torch.ops.graphstill.extremum_backward(grad, rowptr, col, *walked, x, weight, out)
    return None, None, dx, dweight if needs_grad(ctx, 3) else None, None, None, None, None


torch.library.register_autograd("graphstill::extremum", _backward, setup_context=_setup)
