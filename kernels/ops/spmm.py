"""Registration of `spmm`, `sddmm` and `spmm_int8`."""

import torch
from torch import Tensor

from .device import implementation
from .graph import needs_grad, transpose, transposed_or_built


@torch.library.custom_op("graphstill::spmm", mutates_args=())
def spmm(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    weight: Tensor | None = None,
    src_scale: Tensor | None = None,
    dst_scale: Tensor | None = None,
    self_weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    reduce: str = "sum",
    activation: str = "none",
    rowptr_t: Tensor | None = None,
    row_t: Tensor | None = None,
    perm_t: Tensor | None = None,
) -> Tensor:
    """See `reference.spmm`. Differentiable in x, weight, bias and residual."""
    return implementation(x).spmm(
        rowptr,
        col,
        x,
        weight,
        src_scale,
        dst_scale,
        self_weight,
        bias,
        residual,
        reduce,
        activation,
    )


@torch.library.register_fake("graphstill::spmm")
def _(rowptr: Tensor, col: Tensor, x: Tensor, *_rest: object, **_kwargs: object) -> Tensor:
    return x.new_empty(rowptr.shape[0] - 1, x.shape[1])


def _spmm_setup(ctx, inputs, output) -> None:
    *tensors, _bias, _residual, reduce, ctx.activation, rowptr_t, row_t, perm_t = inputs
    out = None if ctx.activation == "none" else output
    ctx.save_for_backward(*tensors, rowptr_t, row_t, perm_t, out)
    ctx.mean = reduce == "mean"
    if any(needs_grad(ctx, i) for i in (4, 5, 6)):
        raise ValueError(
            "src_scale, dst_scale and self_weight are constants to graphstill::spmm; multiply x, "
            "or fold what is to be trained into weight"
        )


def _spmm_backward(ctx, grad: Tensor):
    rowptr, col, x, weight, src_scale, dst_scale, self_weight, *transposed, out = ctx.saved_tensors
    if ctx.activation == "relu":
        grad = grad * (out > 0)
    elif ctx.activation == "elu":  # its slope below zero is e^z = out + 1
        grad = grad * (out.clamp(max=0) + 1)
    dx = dweight = dbias = None
    edge_scale = dst_scale  # what a row multiplies the sum over its edges by
    if ctx.mean:
        inverse = rowptr.diff().clamp(min=1).to(x.dtype).reciprocal()
        edge_scale = inverse if dst_scale is None else inverse * dst_scale
    if needs_grad(ctx, 2):
        rowptr_t, row_t, perm_t = transposed_or_built(transposed, rowptr, col, x.shape[0])
        # what a second derivative would walk
        back = (rowptr, col, _inverse(perm_t)) if torch.is_grad_enabled() else (None, None, None)
        dx = torch.ops.graphstill.spmm(
            rowptr_t,
            row_t,
            grad,
            None if weight is None else weight.index_select(0, perm_t),
            edge_scale,
            src_scale,
            self_weight,
            None,
            None,
            "sum",
            "none",
            *back,
        )
    if needs_grad(ctx, 3):
        scaled = grad if edge_scale is None else edge_scale.unsqueeze(-1) * grad
        source = x if src_scale is None else src_scale.unsqueeze(-1) * x
        assert weight is not None
        heads = 1 if weight.dim() == 1 else weight.shape[1]
        dweight = torch.ops.graphstill.sddmm(rowptr, col, scaled, source, heads)
        dweight = dweight.reshape(weight.shape)
    if needs_grad(ctx, 7):
        dbias = grad.sum(0)
    dresidual = grad if needs_grad(ctx, 8) else None
    return None, None, dx, dweight, None, None, None, dbias, dresidual, *[None] * 5


def _inverse(perm: Tensor) -> Tensor:
    return torch.empty_like(perm).scatter_(0, perm, torch.arange(perm.numel(), device=perm.device))


torch.library.register_autograd("graphstill::spmm", _spmm_backward, setup_context=_spmm_setup)


@torch.library.custom_op("graphstill::sddmm", mutates_args=())
def sddmm(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor, heads: int) -> Tensor:
    """See `reference.sddmm`. Differentiable in a and b."""
    return implementation(a).sddmm(rowptr, col, a, b, heads)


@torch.library.register_fake("graphstill::sddmm")
def _(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor, heads: int) -> Tensor:
    return a.new_empty(col.shape[0], heads)


def _sddmm_setup(ctx, inputs, output) -> None:
    *tensors, _heads = inputs
    ctx.save_for_backward(*tensors)


def _sddmm_backward(ctx, grad: Tensor):
    rowptr, col, a, b = ctx.saved_tensors
    rowptr_t, row_t, perm_t = transpose(rowptr, col, b.shape[0])
    da = torch.ops.graphstill.spmm(rowptr, col, b, grad)
    db = torch.ops.graphstill.spmm(rowptr_t, row_t, a, grad.index_select(0, perm_t))
    return None, None, da, db, None


torch.library.register_autograd("graphstill::sddmm", _sddmm_backward, setup_context=_sddmm_setup)


@torch.library.custom_op("graphstill::spmm_int8", mutates_args=())
def spmm_int8(rowptr: Tensor, col: Tensor, x: Tensor, scale: Tensor, reduce: str) -> Tensor:
    """See `reference.spmm_int8`. For inference: not differentiable."""
    return implementation(scale).spmm_int8(rowptr, col, x, scale, reduce)


@torch.library.register_fake("graphstill::spmm_int8")
def _(rowptr: Tensor, col: Tensor, x: Tensor, scale: Tensor, reduce: str) -> Tensor:
    return scale.new_empty(rowptr.shape[0] - 1, x.shape[1])
