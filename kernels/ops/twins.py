"""Twins of the operators as `triton_op`, so that an AOTInductor package holds their kernels.

An ordinary operator is opaque to torch's compiler: a package would call it back in Python, which a
C++ program does not have. Its twin `…_triton` has the same arguments, but shows the compiler what
it launches, and Inductor puts the compiled kernels into the package. `aot.with_triton_kernels` puts
twins where an exported program has operators; nothing else uses them.

A twin needs a CUDA device, has no gradient, and takes its tiles from the closed form: sizes are
symbols while it is traced, so the degree that `gpu.table` asks for is not known.
"""

import torch
from torch import Tensor

from .. import gpu
from ..gpu.hubs import kernels_in_the_graph


@torch.library.triton_op("graphstill::spmm_triton", mutates_args=())
def spmm_triton(
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
    """See `reference.spmm`."""
    scales = (src_scale, dst_scale, self_weight)
    with kernels_in_the_graph():
        return gpu.spmm(rowptr, col, x, weight, *scales, bias, residual, reduce, activation)


@torch.library.triton_op("graphstill::sddmm_triton", mutates_args=())
def sddmm_triton(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor, heads: int) -> Tensor:
    """See `reference.sddmm`."""
    with kernels_in_the_graph():
        return gpu.sddmm(rowptr, col, a, b, heads)


@torch.library.triton_op("graphstill::spmm_int8_triton", mutates_args=())
def spmm_int8_triton(rowptr: Tensor, col: Tensor, x: Tensor, scale: Tensor, reduce: str) -> Tensor:
    """See `reference.spmm_int8`."""
    with kernels_in_the_graph():
        return gpu.spmm_int8(rowptr, col, x, scale, reduce)


@torch.library.triton_op("graphstill::extremum_triton", mutates_args=())
def extremum_triton(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    weight: Tensor | None,
    reduce: str,
    rowptr_t: Tensor | None = None,
    row_t: Tensor | None = None,
    perm_t: Tensor | None = None,
) -> Tensor:
    """See `reference.extremum`."""
    with kernels_in_the_graph():
        return gpu.extremum(rowptr, col, x, weight, reduce)


@torch.library.triton_op("graphstill::edge_softmax_triton", mutates_args=())
def edge_softmax_triton(rowptr: Tensor, score: Tensor) -> Tensor:
    """See `reference.edge_softmax`."""
    with kernels_in_the_graph():
        return gpu.edge_softmax(rowptr, score)


@torch.library.triton_op("graphstill::gat_triton", mutates_args=())
def gat_triton(
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
    """See `reference.gat`."""
    settings = (negative_slope, add_self_loops)
    with kernels_in_the_graph():
        return gpu.gat(rowptr, col, x, alpha_src, alpha_dst, bias, *settings)


@torch.library.triton_op("graphstill::gatv2_triton", mutates_args=())
def gatv2_triton(
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
    """See `reference.gatv2`."""
    settings = (negative_slope, add_self_loops)
    with kernels_in_the_graph():
        return gpu.gatv2(rowptr, col, x_l, x_r, att, bias, *settings)


@torch.library.triton_op("graphstill::dot_attention_triton", mutates_args=())
def dot_attention_triton(
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
    """See `reference.dot_attention`."""
    with kernels_in_the_graph():
        return gpu.dot_attention(rowptr, col, query, key, value, heads)


# the operator that each is a twin of
TWINS = {
    torch.ops.graphstill.spmm.default: spmm_triton,
    torch.ops.graphstill.sddmm.default: sddmm_triton,
    torch.ops.graphstill.spmm_int8.default: spmm_int8_triton,
    torch.ops.graphstill.extremum.default: extremum_triton,
    torch.ops.graphstill.edge_softmax.default: edge_softmax_triton,
    torch.ops.graphstill.gat.default: gat_triton,
    torch.ops.graphstill.gatv2.default: gatv2_triton,
    torch.ops.graphstill.dot_attention.default: dot_attention_triton,
}
for _operator, _twin in TWINS.items():
    # shapes as the operator has them: those of a launch would ask how large a symbol is
    _twin.register_fake(_operator)
