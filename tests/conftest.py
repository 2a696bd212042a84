import copy
import functools
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

# before anything imports triton: without a GPU its kernels run in the interpreter
if not os.path.exists("/dev/nvidia0"):
    os.environ.setdefault("TRITON_INTERPRET", "1")

# processes that test side by side share the cores; torch's threads would spin for one another
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

import torch
import torch._export.utils as exporting
import triton
from onnxscript import TracedOnnxFunction
from torch.onnx._internal.exporter._registration import ONNXRegistry
from triton.runtime import interpreter

from graphstill.kernels.native import library

if chosen := os.environ.get("GRAPHSTILL_TEST_TORCH_LIBRARY"):  # one build of several
    library._LIBRARY = Path(chosen)


# half of every export is torch reading the source of the same 500 functions again, a quarter of the
# rest collecting them, and all operators, again
TracedOnnxFunction.function_ir = property(functools.cache(TracedOnnxFunction.function_ir.fget))  # type: ignore
exporting._materialize_cpp_cia_ops = functools.cache(exporting._materialize_cpp_cia_ops)
_torchlib = functools.cache(ONNXRegistry.from_torchlib)


def _registry_of_its_own(**settings: int) -> ONNXRegistry:
    registry = copy.copy(_torchlib(**settings))
    registry.functions = {op: list(found) for op, found in registry.functions.items()}
    return registry


ONNXRegistry.from_torchlib = staticmethod(_registry_of_its_own)  # type: ignore

# pytest would have torch write what it traces to this logger, which is silent for everybody else
logging.getLogger("torch.__trace").propagate = True

# a third of every test in Triton's interpreter is the language being patched again for each
# function that a kernel calls; here a launch patches all of it, once
_everything = SimpleNamespace(__globals__={"tl": triton.language, "core": triton.language.core})
_patch = interpreter._patch_lang
interpreter._patch_lang = lambda _: _patch(_everything)
interpreter.InterpretedFunction.__call__ = lambda self, *args, **kwargs: self.rewrite()(
    *args, **kwargs
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uninitialised floating-point memory holds NaN, so that reading it shows."""
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        original = getattr(owner, name)

        def poison(*args: object, _original: object = original, **kwargs: object) -> torch.Tensor:
            tensor = _original(*args, **kwargs)  # type: ignore[operator]
            return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor

        monkeypatch.setattr(owner, name, poison)
