"""Registration of `gatv2`."""

import torch
from torch import Tensor

from .. import reference
from .attention import lse_like, mean_gradient
from .device import implementation
from .graph import needs_grad, transposed_or_built
from .second import differentiable_gradients


@torch.library.custom_op("graphstill::gatv2", mutates_args=())
def gatv2(
    rowptr: Tensor,
    col: Tensor,
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    bias: Tensor | None,
    negative_slope: float,
    add_self_loops: bool,
    rowptr_t: Tensor | None = None,
    row_t: Tensor | None = None,
    perm_t: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See `reference.gatv2`. Differentiable in x_l, x_r, att and bias, through out."""
    return implementation(x_l).gatv2(
        rowptr, col, x_l, x_r, att, bias, negative_slope, add_self_loops
    )


@torch.library.register_fake("graphstill::gatv2")
def _(
    rowptr: Tensor, col: Tensor, x_l: Tensor, x_r: Tensor, att: Tensor, *_rest: object
) -> tuple[Tensor, Tensor]:
    num_nodes = rowptr.shape[0] - 1
    return x_l.new_empty(num_nodes, x_l.shape[1]), lse_like(x_l, num_nodes, att.shape[0])


@torch.library.custom_op("graphstill::gatv2_backward", mutates_args=())
def gatv2_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    rowptr_t: Tensor,
    row_t: Tensor,
    perm_t: Tensor,
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    lse: Tensor,
    mean: Tensor,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `cpu.gatv2_backward`."""
    transposed = (rowptr_t, row_t, perm_t)
    return implementation(x_l).gatv2_backward(
        grad,
        rowptr,
        col,
        transposed,
        x_l,
        x_r,
        att,
        lse,
        mean,
        negative_slope,
        add_self_loops,
    )


@torch.library.register_fake("graphstill::gatv2_backward")
def _(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    rowptr_t: Tensor,
    row_t: Tensor,
    perm_t: Tensor,
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    *_rest: object,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x_l), torch.empty_like(x_r), torch.empty_like(att)


def _setup(ctx, inputs, output) -> None:
    *tensors, ctx.negative_slope, ctx.add_self_loops, rowptr_t, row_t, perm_t = inputs
    ctx.save_for_backward(*tensors, *output, rowptr_t, row_t, perm_t)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad: Tensor, _grad_lse: Tensor):
    rowptr, col, x_l, x_r, att, bias, out, lse, *transposed = ctx.saved_tensors
    if torch.is_grad_enabled():
        settings = (ctx.negative_slope, ctx.add_self_loops)
        gradients = differentiable_gradients(
            lambda x_l, x_r, a, b: reference.gatv2(rowptr, col, x_l, x_r, a, b, *settings)[0],
            (x_l, x_r, att, bias),
            grad,
        )
        return None, None, *gradients, *[None] * 5
    walked = transposed_or_built(transposed, rowptr, col, x_l.shape[0])
    dx_l, dx_r, datt = torch.ops.graphstill.gatv2_backward(
        grad,
        rowptr,
        col,
        *walked,
        x_l,
        x_r,
        att,
        lse,
        mean_gradient(grad, out, bias, lse.shape[1]),
        ctx.negative_slope,
        ctx.add_self_loops,
    )
    dbias = grad.sum(0) if needs_grad(ctx, 5) else None
    return None, None, dx_l, dx_r, datt, dbias, None, None, None, None, None


torch.library.register_autograd("graphstill::gatv2", _backward, setup_context=_setup)
