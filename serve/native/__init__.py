"""The C++ operator library: where it is, and why it is not there."""

import ctypes
from functools import cache
from pathlib import Path

import onnxruntime

_LIBRARY = Path(__file__).parent / "libgraphstill_ort.so"


def library() -> str:
    """Return the path of the operator library that suits this processor.

    Raises:
        FileNotFoundError: If this installation has none that works here. The message says why.
    """
    path, problem = _found()
    if problem:
        raise FileNotFoundError(problem)
    return path


@cache
def _found() -> tuple[str, str]:
    """Return the library, and what keeps it from being used, or nothing."""
    if not _LIBRARY.is_file():
        return (
            "",
            "it was not built when graphstill was installed: there was no working C++ compiler",
        )
    try:
        portable = ctypes.CDLL(str(_LIBRARY))
        portable.graphstill_level.restype = ctypes.c_char_p
        better = _LIBRARY.with_suffix(f".{portable.graphstill_level().decode()}.so")
        path = str(better if better.is_file() else _LIBRARY)
        onnxruntime.SessionOptions().register_custom_ops_library(path)
    except Exception as error:
        return "", f"it does not load: {error}"
    return path, ""
