"""Which implementation computes for which tensors."""

import importlib.util
from types import ModuleType

import torch
from torch import Tensor

from .. import cpu


def implementation(x: Tensor) -> ModuleType:
    """Return the module that computes for tensors like x: `gpu`, or `cpu` with torch alone.

    What `cpu` holds runs on any device; a CUDA device uses it for float64, and without Triton.
    """
    if not x.is_cuda or x.dtype == torch.float64 or importlib.util.find_spec("triton") is None:
        return cpu
    from .. import gpu

    return gpu
