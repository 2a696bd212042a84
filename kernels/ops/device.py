"""Which implementation computes for which tensors."""

import importlib.util
from types import ModuleType

import torch
from torch import Tensor

from .. import cpu, native


def implementation(x: Tensor) -> ModuleType:
    """Return the module that computes for tensors like x: `gpu`, `native` or `cpu`.

    What `cpu` holds is torch alone and runs on any device: it has float64, and whatever Triton or
    the compiled kernels are missing for.
    """
    if x.dtype == torch.float64:
        return cpu
    if x.is_cuda and importlib.util.find_spec("triton") is not None:
        from .. import gpu

        return gpu
    return native if x.is_cpu and not native.problem() else cpu
