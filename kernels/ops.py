"""The operators as torch sees them: `torch.ops.graphstill.*`, with shapes, gradients and devices.

They take plain tensors, so that torch.compile and torch.export see one node per operator.
`functional` holds the same operators over a CSRGraph; `reference` says what they compute.

The transposed graph (`rowptr_t`, `row_t`, `perm_t`) is what a backward pass walks. It is optional:
without it the backward pass builds one.
"""

import importlib.util
from types import ModuleType

import torch
from torch import Tensor

from . import cpu, reference

Transposed = tuple[Tensor, Tensor, Tensor]


def implementation(x: Tensor) -> ModuleType:
    """Return the module that computes `spmm` for tensors like x."""
    if not x.is_cuda:
        return cpu
    if x.dtype == torch.float64 or importlib.util.find_spec("triton") is None:
        return reference
    from . import triton_spmm

    return triton_spmm


@torch.library.custom_op("graphstill::csr", mutates_args=())
def csr(edge_index: Tensor, num_src: int, num_dst: int) -> tuple[Tensor, Tensor, Tensor]:
    """See `reference.csr`."""
    return reference.csr(edge_index, num_src, num_dst)


@torch.library.register_fake("graphstill::csr")
def _(edge_index: Tensor, num_src: int, num_dst: int) -> tuple[Tensor, Tensor, Tensor]:
    num_edges = edge_index.shape[1]
    return (
        edge_index.new_empty(num_dst + 1),
        edge_index.new_empty(num_edges, dtype=torch.int32),
        edge_index.new_empty(num_edges),
    )


def transpose(rowptr: Tensor, col: Tensor, num_src: int) -> Transposed:
    """Return rowptr_t [M + 1], row_t [E] and perm_t [E]: the out-edges of each source node."""
    row = reference.rows(rowptr, col.numel())
    edge_index = torch.stack([row, col.to(torch.int64)])
    return torch.ops.graphstill.csr(edge_index, rowptr.numel() - 1, num_src)


@torch.library.custom_op("graphstill::gcn_norm", mutates_args=())
def gcn_norm(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    in_degree: Tensor | None,
    fill_value: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    """See `reference.gcn_norm`; not differentiable, `functional.gcn_norm` is."""
    return reference.gcn_norm(rowptr, col, weight, in_degree, fill_value, add_self_loops)


@torch.library.register_fake("graphstill::gcn_norm")
def _(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    in_degree: Tensor | None,
    fill_value: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    dtype = torch.float32 if weight is None else weight.dtype
    scale = rowptr.new_empty(rowptr.shape[0] - 1, dtype=dtype)
    return scale, torch.empty_like(scale)


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
    reduce: str = "sum",
    rowptr_t: Tensor | None = None,
    row_t: Tensor | None = None,
    perm_t: Tensor | None = None,
) -> Tensor:
    """See `reference.spmm`. Differentiable in x, weight and bias."""
    return implementation(x).spmm(
        rowptr, col, x, weight, src_scale, dst_scale, self_weight, bias, reduce
    )


@torch.library.register_fake("graphstill::spmm")
def _(rowptr: Tensor, col: Tensor, x: Tensor, *_rest: object, **_kwargs: object) -> Tensor:
    return x.new_empty(rowptr.shape[0] - 1, x.shape[1])


def _spmm_setup(ctx, inputs, output) -> None:
    *tensors, _bias, reduce, rowptr_t, row_t, perm_t = inputs
    ctx.save_for_backward(*tensors, rowptr_t, row_t, perm_t)
    ctx.mean = reduce == "mean"
    if any(_needs_grad(ctx, i) for i in (4, 5, 6)):
        raise ValueError(
            "src_scale, dst_scale and self_weight are constants to graphstill::spmm; multiply x, "
            "or fold what is to be trained into weight"
        )


def _spmm_backward(ctx, grad: Tensor):
    rowptr, col, x, weight, src_scale, dst_scale, self_weight, *transposed = ctx.saved_tensors
    dx = dweight = dbias = None
    edge_scale = dst_scale  # what a row multiplies the sum over its edges by
    if ctx.mean:
        inverse = rowptr.diff().clamp(min=1).to(x.dtype).reciprocal()
        edge_scale = inverse if dst_scale is None else inverse * dst_scale
    if _needs_grad(ctx, 2):
        if transposed[0] is None:
            transposed = transpose(rowptr, col, x.shape[0])
        rowptr_t, row_t, perm_t = transposed
        dx = torch.ops.graphstill.spmm(
            rowptr_t,
            row_t,
            grad,
            None if weight is None else weight.index_select(0, perm_t),
            edge_scale,
            src_scale,
            self_weight,
            None,
            "sum",
            rowptr,
            col,
            _inverse(perm_t),
        )
    if _needs_grad(ctx, 3):
        scaled = grad if edge_scale is None else edge_scale.unsqueeze(-1) * grad
        source = x if src_scale is None else src_scale.unsqueeze(-1) * x
        dweight = torch.ops.graphstill.sddmm(rowptr, col, scaled, source)
    if _needs_grad(ctx, 7):
        dbias = grad.sum(0)
    return None, None, dx, dweight, None, None, None, dbias, None, None, None, None


def _needs_grad(ctx, index: int) -> bool:
    """Return whether an argument needs a gradient; torch does not list those left at defaults."""
    return index < len(ctx.needs_input_grad) and ctx.needs_input_grad[index]


def _inverse(perm: Tensor) -> Tensor:
    return torch.empty_like(perm).scatter_(0, perm, torch.arange(perm.numel(), device=perm.device))


torch.library.register_autograd("graphstill::spmm", _spmm_backward, setup_context=_spmm_setup)


@torch.library.custom_op("graphstill::sddmm", mutates_args=())
def sddmm(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """See `reference.sddmm`. Differentiable in a and b."""
    return cpu.sddmm(rowptr, col, a, b)


@torch.library.register_fake("graphstill::sddmm")
def _(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(col.shape[0])


def _sddmm_setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _sddmm_backward(ctx, grad: Tensor):
    rowptr, col, a, b = ctx.saved_tensors
    rowptr_t, row_t, perm_t = transpose(rowptr, col, b.shape[0])
    da = torch.ops.graphstill.spmm(rowptr, col, b, grad)
    db = torch.ops.graphstill.spmm(rowptr_t, row_t, a, grad.index_select(0, perm_t))
    return None, None, da, db


torch.library.register_autograd("graphstill::sddmm", _sddmm_backward, setup_context=_sddmm_setup)


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
    return cpu.gat(rowptr, col, x, alpha_src, alpha_dst, bias, negative_slope, add_self_loops)


@torch.library.register_fake("graphstill::gat")
def _(
    rowptr: Tensor, col: Tensor, x: Tensor, alpha_src: Tensor, *_rest: object
) -> tuple[Tensor, Tensor]:
    num_nodes = rowptr.shape[0] - 1
    return x.new_empty(num_nodes, x.shape[1]), x.new_empty(num_nodes, alpha_src.shape[1])


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
    out: Tensor,
    lse: Tensor,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `cpu.gat_backward`."""
    transposed = (rowptr_t, row_t, perm_t)
    return cpu.gat_backward(
        grad,
        rowptr,
        col,
        transposed,
        x,
        alpha_src,
        alpha_dst,
        out,
        lse,
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
    if transposed[0] is None:
        transposed = transpose(rowptr, col, x.shape[0])
    dx, dsrc, ddst = torch.ops.graphstill.gat_backward(
        grad,
        rowptr,
        col,
        *transposed,
        x,
        alpha_src,
        alpha_dst,
        out if bias is None else out - bias,
        lse,
        ctx.negative_slope,
        ctx.add_self_loops,
    )
    dbias = grad.sum(0) if _needs_grad(ctx, 5) else None
    return None, None, dx, dsrc, ddst, dbias, None, None, None, None, None


torch.library.register_autograd("graphstill::gat", _gat_backward, setup_context=_gat_setup)
