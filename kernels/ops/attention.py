"""Registration of `edge_softmax`, `gat` and `dot_attention`.

Those that sum return lse as well, which their backward passes recompute the attention from; it is
float32 where features are in half precision.
"""

import torch
from torch import Tensor

from .. import reference
from ..cpu.precision import HALF
from .device import implementation
from .graph import needs_grad, transposed_or_built
from .second import differentiable_gradients


def lse_like(x: Tensor, num_nodes: int, heads: int) -> Tensor:
    """Return an uninitialised lse, [N, H]."""
    dtype = torch.float32 if x.dtype in HALF else x.dtype
    return x.new_empty(num_nodes, heads, dtype=dtype)


def mean_gradient(grad: Tensor, out: Tensor, bias: Tensor | None, heads: int) -> Tensor:
    """Return g[i] · (out[i] - bias) per head, [N, H]: the mean over a row's edges of g · x."""
    dtype = torch.float32 if out.dtype in HALF else out.dtype
    # batched products of a row and a column: no [N, H · C] temporary
    rows, columns = (
        grad.reshape(-1, 1, grad.shape[1] // heads),
        out.reshape(-1, out.shape[1] // heads, 1),
    )
    mean = torch.bmm(rows.to(dtype), columns.to(dtype)).view(-1, heads)
    if bias is None:
        return mean
    return mean - grad.to(dtype) @ torch.block_diag(*bias.to(dtype).view(heads, -1, 1))


@torch.library.custom_op("graphstill::edge_softmax", mutates_args=())
def edge_softmax(rowptr: Tensor, score: Tensor) -> Tensor:
    """See `reference.edge_softmax`. Differentiable in score."""
    return implementation(score).edge_softmax(rowptr, score)


@torch.library.register_fake("graphstill::edge_softmax")
def _(rowptr: Tensor, score: Tensor) -> Tensor:
    return torch.empty_like(score)


@torch.library.custom_op("graphstill::edge_softmax_backward", mutates_args=())
def edge_softmax_backward(grad: Tensor, rowptr: Tensor, attention: Tensor) -> Tensor:
    """See `cpu.edge_softmax_backward`."""
    return implementation(attention).edge_softmax_backward(grad, rowptr, attention)


@torch.library.register_fake("graphstill::edge_softmax_backward")
def _(grad: Tensor, rowptr: Tensor, attention: Tensor) -> Tensor:
    return torch.empty_like(attention)


def _edge_softmax_setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[0], output)


def _edge_softmax_backward(ctx, grad: Tensor):
    rowptr, attention = ctx.saved_tensors
    if torch.is_grad_enabled():
        row, product = reference.rows(rowptr, attention.shape[0]), attention * grad
        total = product.new_zeros(rowptr.numel() - 1, product.shape[1]).index_add(0, row, product)
        return None, product - attention * total[row]
    return None, torch.ops.graphstill.edge_softmax_backward(grad, rowptr, attention)


torch.library.register_autograd(
    "graphstill::edge_softmax", _edge_softmax_backward, setup_context=_edge_softmax_setup
)


@torch.library.custom_op("graphstill::gat", mutates_args=())
def gat(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    bias: Tensor | None,
    negative_slope: float,
    add_self_loops: bool,
    rowptr_t: Tensor | None = None,
    row_t: Tensor | None = None,
    perm_t: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See `reference.gat`. Differentiable in x, both scores and bias, through out and not lse."""
    return implementation(x).gat(
        rowptr, col, x, alpha_src, alpha_dst, bias, negative_slope, add_self_loops
    )


@torch.library.register_fake("graphstill::gat")
def _(
    rowptr: Tensor, col: Tensor, x: Tensor, alpha_src: Tensor, *_rest: object
) -> tuple[Tensor, Tensor]:
    num_nodes = rowptr.shape[0] - 1
    return x.new_empty(num_nodes, x.shape[1]), lse_like(x, num_nodes, alpha_src.shape[1])


@torch.library.custom_op("graphstill::gat_backward", mutates_args=())
def gat_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    rowptr_t: Tensor,
    row_t: Tensor,
    perm_t: Tensor,
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    lse: Tensor,
    mean: Tensor,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `cpu.gat_backward`."""
    transposed = (rowptr_t, row_t, perm_t)
    return implementation(x).gat_backward(
        grad,
        rowptr,
        col,
        transposed,
        x,
        alpha_src,
        alpha_dst,
        lse,
        mean,
        negative_slope,
        add_self_loops,
    )


@torch.library.register_fake("graphstill::gat_backward")
def _(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    rowptr_t: Tensor,
    row_t: Tensor,
    perm_t: Tensor,
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    *_rest: object,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(alpha_src), torch.empty_like(alpha_dst)


def _gat_setup(ctx, inputs, output) -> None:
    *tensors, ctx.negative_slope, ctx.add_self_loops, rowptr_t, row_t, perm_t = inputs
    ctx.save_for_backward(*tensors, *output, rowptr_t, row_t, perm_t)
    ctx.mark_non_differentiable(output[1])


def _gat_backward(ctx, grad: Tensor, _grad_lse: Tensor):
    rowptr, col, x, alpha_src, alpha_dst, bias, out, lse, *transposed = ctx.saved_tensors
    if torch.is_grad_enabled():
        settings = (ctx.negative_slope, ctx.add_self_loops)
        gradients = differentiable_gradients(
            lambda x, src, dst, bias: reference.gat(rowptr, col, x, src, dst, bias, *settings)[0],
            (x, alpha_src, alpha_dst, bias),
            grad,
        )
        return None, None, *gradients, *[None] * 5
    walked = transposed_or_built(transposed, rowptr, col, x.shape[0])
    dx, dsrc, ddst = torch.ops.graphstill.gat_backward(
        grad,
        rowptr,
        col,
        *walked,
        x,
        alpha_src,
        alpha_dst,
        lse,
        mean_gradient(grad, out, bias, lse.shape[1]),
        ctx.negative_slope,
        ctx.add_self_loops,
    )
    dbias = grad.sum(0) if needs_grad(ctx, 5) else None
    return None, None, dx, dsrc, ddst, dbias, None, None, None, None, None


torch.library.register_autograd("graphstill::gat", _gat_backward, setup_context=_gat_setup)


@torch.library.custom_op("graphstill::dot_attention", mutates_args=())
def dot_attention(
    rowptr: Tensor,
    col: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    rowptr_t: Tensor | None = None,
    row_t: Tensor | None = None,
    perm_t: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See `reference.dot_attention`. Differentiable in query, key and value, through out."""
    return implementation(value).dot_attention(rowptr, col, query, key, value, heads)


@torch.library.register_fake("graphstill::dot_attention")
def _(
    rowptr: Tensor,
    col: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    *_rest: object,
) -> tuple[Tensor, Tensor]:
    num_nodes = rowptr.shape[0] - 1
    return value.new_empty(num_nodes, value.shape[1]), lse_like(value, num_nodes, heads)


@torch.library.custom_op("graphstill::dot_attention_backward", mutates_args=())
def dot_attention_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    rowptr_t: Tensor,
    row_t: Tensor,
    perm_t: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lse: Tensor,
    mean: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `cpu.dot_attention_backward`."""
    transposed = (rowptr_t, row_t, perm_t)
    return implementation(value).dot_attention_backward(
        grad, rowptr, col, transposed, query, key, value, lse, mean
    )


@torch.library.register_fake("graphstill::dot_attention_backward")
def _(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    rowptr_t: Tensor,
    row_t: Tensor,
    perm_t: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *_rest: object,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _dot_attention_setup(ctx, inputs, output) -> None:
    *tensors, _heads, rowptr_t, row_t, perm_t = inputs
    ctx.save_for_backward(*tensors, *output, rowptr_t, row_t, perm_t)
    ctx.mark_non_differentiable(output[1])


def _dot_attention_backward(ctx, grad: Tensor, _grad_lse: Tensor):
    rowptr, col, query, key, value, out, lse, *transposed = ctx.saved_tensors
    if torch.is_grad_enabled():
        gradients = differentiable_gradients(
            lambda q, k, v: reference.dot_attention(rowptr, col, q, k, v, lse.shape[1])[0],
            (query, key, value),
            grad,
        )
        return None, None, *gradients, *[None] * 4
    walked = transposed_or_built(transposed, rowptr, col, value.shape[0])
    mean = mean_gradient(grad, out, None, lse.shape[1])
    gradients = torch.ops.graphstill.dot_attention_backward(
        grad, rowptr, col, *walked, query, key, value, lse, mean
    )
    return None, None, *gradients, None, None, None, None


torch.library.register_autograd(
    "graphstill::dot_attention", _dot_attention_backward, setup_context=_dot_attention_setup
)
