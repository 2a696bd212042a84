"""What the Triton kernels become on an NVIDIA H100 or H200, found out without one.

The interpreter, which the other tests use, accepts code that the compiler refuses.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="needs triton")
SCRIPT = Path(__file__).with_name("cubins.py")
REGISTERS = 128  # one warp each, 32 programs on an SM: half of its registers
# walks scores, not features
NARROW = ("_row_sum_kernel",)


@pytest.mark.parametrize(
    "width",
    [
        128,
        pytest.param(32, marks=pytest.mark.slow),
        pytest.param(64, marks=pytest.mark.slow),
        pytest.param(256, marks=pytest.mark.slow),
    ],
)
def test_kernels_compile_without_spills_and_load_wide(width: int) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(width)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert len(found) >= 34
    for kernel in found:
        assert kernel["stack"] == 0, kernel
        assert kernel["local"] == 0, kernel
        assert kernel["reg"] <= REGISTERS, kernel
        # eight halves of a narrow head are too few for a warp's worth of wide loads
        heads = kernel["case"].startswith(("gat", "dot_attention")) and width == 32
        narrow = kernel["kernel"] in NARROW or (heads and kernel["case"].endswith("fp16"))
        assert narrow or "LDG.E.128" in kernel["loads"], kernel
