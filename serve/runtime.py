"""ONNX Runtime as a session uses it: its options, the C++ operators, its providers."""

import importlib.metadata
import os
import warnings
from pathlib import Path

import onnxruntime

from . import native as native_library
from .bundle import Bundle
from .errors import BundleError, ProviderError

CPU = "CPUExecutionProvider"


class NativeLibraryWarning(UserWarning):
    """The C++ operators are missing and the slower portable bodies run."""


def usable_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def options_for(threads: int) -> onnxruntime.SessionOptions:
    """Return the options of a session whose calls may use some threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # a memory pattern is planned for one size and doubles the peak when sizes change
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # errors are raised, no need to print them as well
    return options


_warned = False


def register_installed(options: onnxruntime.SessionOptions) -> bool:
    """Register the C++ operators, or say once why there are none."""
    global _warned
    try:
        options.register_custom_ops_library(native_library.library())
    except FileNotFoundError as reason:
        if not _warned:
            _warned = True
            warnings.warn(
                f"graphstill's C++ operators are not in use: {reason}. Models run their portable "
                "bodies, which are right and several times slower.",
                NativeLibraryWarning,
                stacklevel=4,
            )
        return False
    return True


def register(options: onnxruntime.SessionOptions, library: str | os.PathLike[str]) -> bool:
    """Register a library that the caller names.

    Raises:
        ValueError: If it is none.
    """
    path = Path(library).resolve()
    if not path.is_file():
        raise ValueError(f"there is no library of operators at {path}")
    try:
        options.register_custom_ops_library(str(path))
    except Exception as error:
        raise ValueError(f"{path} is no library of operators: {error}") from error
    return True


def start(
    bundle: Bundle, options: onnxruntime.SessionOptions, providers: list[str]
) -> onnxruntime.InferenceSession:
    """Load the model of a bundle.

    Raises:
        BundleError: If ONNX Runtime cannot load it.
        ProviderError: If the first provider cannot be had.
    """
    wanted, available = providers[0], onnxruntime.get_available_providers()
    if wanted not in available:
        raise ProviderError(f"{wanted} is not available, only {', '.join(available)}.{_gpu_hint()}")
    # it would turn products with rounded inputs back into products of floats
    static = (bundle.manifest.quantisation or {}).get("mode") == "static"
    try:
        session = onnxruntime.InferenceSession(
            bundle.read_model(),
            sess_options=options,
            providers=providers,
            disabled_optimizers=["MatMulAddFusion"] if static else None,
        )
    except Exception as error:
        raise BundleError(f"ONNX Runtime cannot load {bundle.path}: {error}") from error
    if session.get_providers()[0] != wanted:
        raise ProviderError(f"{wanted} did not start; the session would run on the CPU in silence")
    return session


def _gpu_hint() -> str:
    names = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    if {"onnxruntime", "onnxruntime-gpu"} <= names:
        return (
            " onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            "pip uninstall both, then pip install onnxruntime-gpu."
        )
    return " For a GPU: pip uninstall onnxruntime, then pip install onnxruntime-gpu."
