"""What the Triton kernels become on an NVIDIA H100 or H200, found out without one.

The interpreter, which the other tests use, accepts code that the compiler refuses.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cases import compiled_environment

pytest.importorskip("triton", reason="needs triton")
SCRIPT = Path(__file__).with_name("cubins.py")
REGISTERS = 128  # one warp each, 32 programs on an SM: half of its registers
# walks scores, not features
NARROW = ("_row_sum_kernel",)


OPERATORS = (
    "spmm",
    "extremum",
    "spmm_int8",
    "sddmm",
    "extremum_backward",
    "gat",
    "gat_backward",
    "gatv2",
    "gatv2_backward",
    "dot_attention",
    "dot_attention_backward",
)


def compiled(*what: str) -> list[dict[str, Any]]:
    """Return what each kernel uses, found out in processes without the interpreter."""

    def run(dtype: str) -> list[dict[str, Any]]:
        command = [sys.executable, str(SCRIPT), dtype, *what]
        environment = compiled_environment()
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    with ThreadPoolExecutor(2) as pool:
        return [kernel for found in pool.map(run, ("float32", "float16")) for kernel in found]


def assert_fits(kernel: dict[str, Any], width: int) -> None:
    """Check that a kernel spills nothing, leaves room for others and loads 16 bytes at once."""
    assert kernel["stack"] == 0, kernel
    assert kernel["local"] == 0, kernel
    assert kernel["reg"] <= REGISTERS, kernel
    # eight halves of a narrow head are too few for a warp's worth of wide loads
    narrow = kernel["case"].startswith(("gat", "dot_attention")) and width < 16
    narrow = kernel["kernel"] in NARROW or (narrow and "/fp16" in kernel["case"])
    assert narrow or "LDG.E.128" in kernel["loads"], kernel


@pytest.mark.slow
@pytest.mark.parametrize("width", [32, 64, 128, 256])
def test_kernels_compile_without_spills_and_load_wide(width: int) -> None:
    found = compiled("shipped", str(width))
    assert len(found) >= 34
    for kernel in found:
        assert_fits(kernel, width // 4)


FITS = {"case": "gat/64/fp16", "kernel": "k", "reg": 128, "stack": 0, "local": 0}


@pytest.mark.parametrize(
    "change", [{"stack": 8}, {"local": 8}, {"reg": 129}, {"loads": ["LDG.E", "LDG.E.64"]}]
)
def test_a_kernel_that_does_not_fit_is_noticed(change: dict[str, Any]) -> None:
    kernel = FITS | {"loads": ["LDG.E", "LDG.E.128"]}
    assert_fits(kernel, 16)
    with pytest.raises(AssertionError):
        assert_fits(kernel | change, 16)


@pytest.mark.slow
def test_a_tile_that_is_too_large_spills() -> None:
    found = compiled("tile", "64", "gatv2_backward", "16", "64", "1")
    assert any(kernel["stack"] > 0 for kernel in found)


@pytest.mark.sweep
@pytest.mark.parametrize("width", [32, 64, 128, 256])
@pytest.mark.parametrize("operator", OPERATORS)
def test_all_that_may_be_tuned_compiles_without_spills_and_loads_wide(
    operator: str, width: int
) -> None:
    found = compiled("candidates", str(width), operator)
    assert len({kernel["case"].split("/", 3)[3] for kernel in found}) >= 3
    for kernel in found:
        assert_fits(kernel, width)
