"""Registration of `edge_l1`."""

import torch
from torch import Tensor

from .device import implementation
from .graph import needs_grad, transposed_or_built


@torch.library.custom_op("graphstill::edge_l1", mutates_args=())
def edge_l1(
    rowptr: Tensor,
    col: Tensor,
    a: Tensor,
    b: Tensor,
    rowptr_t: Tensor | None = None,
    row_t: Tensor | None = None,
    perm_t: Tensor | None = None,
) -> Tensor:
    """See `reference.edge_l1`. Differentiable in a and b, once."""
    return implementation(a).edge_l1(rowptr, col, a, b)


@torch.library.register_fake("graphstill::edge_l1")
def _(rowptr: Tensor, col: Tensor, a: Tensor, *_rest: object, **_kwargs: object) -> Tensor:
    return a.new_empty(col.shape[0])


@torch.library.custom_op("graphstill::edge_l1_backward", mutates_args=())
def edge_l1_backward(grad: Tensor, rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the gradient of a: Σ g_e · sign(a[i] - b[col[e]]) over each row."""
    return implementation(a).edge_l1_backward(grad, rowptr, col, a, b)


@torch.library.register_fake("graphstill::edge_l1_backward")
def _(grad: Tensor, rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.empty_like(a)


def _setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad: Tensor):
    rowptr, col, a, b, *transposed = ctx.saved_tensors
    da = db = None
    if needs_grad(ctx, 2):
        da = torch.ops.graphstill.edge_l1_backward(grad, rowptr, col, a, b)
    if needs_grad(ctx, 3):
        rowptr_t, row_t, perm_t = transposed_or_built(transposed, rowptr, col, b.shape[0])
        grad_t = grad.index_select(0, perm_t)
        db = torch.ops.graphstill.edge_l1_backward(grad_t, rowptr_t, row_t, b, a)
    return None, None, da, db, None, None, None


torch.library.register_autograd("graphstill::edge_l1", _backward, setup_context=_setup)
