"""Twins of the operators as `triton_op`, so that an AOTInductor package holds their kernels.

An ordinary operator is opaque to torch's compiler: a package would call it back in Python, which a
C++ program does not have. Its twin `…_triton` has the same arguments, but shows the compiler what
it launches, and Inductor puts the compiled kernels into the package. `aot.with_triton_kernels` puts
twins where an exported program has operators; nothing else uses them.

A twin needs a CUDA device, has no gradient, and takes its tiles from the closed form: sizes are
symbols while it is traced, so the degree that `gpu.table` asks for is not known.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch._library.custom_ops import CustomOpDef

from .. import gpu
from ..gpu.hubs import kernels_in_the_graph
from . import attention, extremum, gatv2, spmm


def _twin(operator: CustomOpDef, kernel: Callable[..., Any]) -> CustomOpDef:
    """Return an operator's twin: its arguments and shapes, of which the kernel takes the first."""
    signature = inspect.signature(operator._init_fn)
    taken = len(inspect.signature(kernel).parameters)

    @functools.wraps(operator._init_fn)
    def launch(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        with kernels_in_the_graph():
            return kernel(*given.args[:taken])

    twin: Any = torch.library.triton_op(f"{operator._qualname}_triton", launch, mutates_args=())
    # shapes as the operator has them: those of a launch would ask how large a symbol is
    twin.register_fake(operator._opoverload)
    return twin


# the transposed graph, which the last arguments describe, is for a backward pass
spmm_triton = _twin(spmm.spmm, gpu.spmm)
sddmm_triton = _twin(spmm.sddmm, gpu.sddmm)
spmm_int8_triton = _twin(spmm.spmm_int8, gpu.spmm_int8)
extremum_triton = _twin(extremum.extremum, gpu.extremum)
edge_softmax_triton = _twin(attention.edge_softmax, gpu.edge_softmax)
gat_triton = _twin(attention.gat, gpu.gat)
gatv2_triton = _twin(gatv2.gatv2, gpu.gatv2)
dot_attention_triton = _twin(attention.dot_attention, gpu.dot_attention)

# the operator that each is a twin of
TWINS = {
    spmm.spmm._opoverload: spmm_triton,
    spmm.sddmm._opoverload: sddmm_triton,
    spmm.spmm_int8._opoverload: spmm_int8_triton,
    extremum.extremum._opoverload: extremum_triton,
    attention.edge_softmax._opoverload: edge_softmax_triton,
    attention.gat._opoverload: gat_triton,
    gatv2.gatv2._opoverload: gatv2_triton,
    attention.dot_attention._opoverload: dot_attention_triton,
}
