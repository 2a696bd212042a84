"""The compiled kernels: where they are, and how tensors are handed over."""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

_LIBRARY = Path(__file__).parent / "libgraphstill_torch.so"


@cache
def _library() -> ctypes.CDLL | str:
    """Return the library built for this processor, or what keeps it from being used."""
    if not _LIBRARY.is_file():
        return "it was not built when graphstill was installed: there was no working C++ compiler"
    try:
        portable = ctypes.CDLL(str(_LIBRARY))
        portable.graphstill_level.restype = ctypes.c_char_p
        level = portable.graphstill_level().decode()
        better = _LIBRARY.with_suffix(f".{level}.so")
        return ctypes.CDLL(str(better)) if better.is_file() else portable
    except (OSError, AttributeError) as error:
        return f"it does not load: {error}"


def path() -> str:
    """Return where the library is; there must be one."""
    found = _library()
    assert not isinstance(found, str)
    return found._name


def problem() -> str:
    """Return why this installation has no compiled kernels that work here, or nothing."""
    found = _library()
    return found if isinstance(found, str) else ""


def walked(rowptr: Tensor, col: Tensor) -> tuple[int, Tensor, Tensor]:
    """Return a graph as entries take it: the number of rows, rowptr [N + 1] int64, col [E] int32.

    Raises:
        TypeError: If it has other types, or is not on a CPU.
    """
    if (
        rowptr.dtype != torch.int64
        or col.dtype != torch.int32
        or not (rowptr.is_cpu and col.is_cpu)
    ):
        raise TypeError(
            f"rowptr must be int64 and col int32, both on a CPU, got {rowptr.dtype} on "
            f"{rowptr.device} and {col.dtype} on {col.device}"
        )
    return rowptr.numel() - 1, rowptr.contiguous(), col.contiguous()


def values(name: str, tensor: Tensor, *shape: int) -> Tensor:
    """Return a tensor as entries take it, contiguous.

    Raises:
        ValueError: If it is not float32 of that shape on a CPU.
    """
    if tensor.dtype != torch.float32 or not tensor.is_cpu or tuple(tensor.shape) != shape:
        raise ValueError(
            f"{name} must be float32 {list(shape)} on a CPU, got {tensor.dtype} "
            f"{list(tensor.shape)} on {tensor.device}"
        )
    return tensor.contiguous()


def optional(name: str, tensor: Tensor | None, *shape: int) -> Tensor | None:
    """Return what `values` returns, or None for None."""
    return None if tensor is None else values(name, tensor, *shape)


def call(name: str, *arguments: Tensor | float | None) -> None:
    """Call an entry with torch's number of threads; tensors have been through the above."""
    found = _library()
    assert not isinstance(found, str)
    entry = getattr(found, f"graphstill_{name}")
    if entry.argtypes is None:
        entry.argtypes = [ctypes.c_int64, *map(_type, arguments)]
    given = [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]
    if entry(torch.get_num_threads(), *given):
        raise MemoryError(f"graphstill::{name} ran out of memory or threads")


def _type(value: Tensor | float | None) -> type[ctypes._SimpleCData]:
    """Return what an entry takes at this place; it is the same in every call."""
    if value is None or isinstance(value, Tensor):
        return ctypes.c_void_p
    return ctypes.c_float if isinstance(value, float) else ctypes.c_int64
