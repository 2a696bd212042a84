"""The C++ operator library: where it is, and why it is not there."""

from functools import cache
from pathlib import Path

import onnxruntime

_LIBRARY = Path(__file__).parent / "libgraphstill_ort.so"


def library() -> str:
    """Return the path of the operator library.

    Raises:
        FileNotFoundError: If this installation has none that works here. The message says why.
    """
    problem = _problem()
    if problem:
        raise FileNotFoundError(problem)
    return str(_LIBRARY)


@cache
def _problem() -> str:
    """Return what keeps the library from being used, or nothing."""
    if not _LIBRARY.is_file():
        return "it was not built when graphstill was installed: there was no working C++ compiler"
    try:
        onnxruntime.SessionOptions().register_custom_ops_library(str(_LIBRARY))
    except Exception as error:
        return f"it does not load: {error}"
    return ""
