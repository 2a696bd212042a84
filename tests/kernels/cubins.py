"""Compile every Triton kernel for sm_90, on any machine, and print what each one uses as JSON.

    python tests/kernels/cubins.py WIDTH

Must run without Triton's interpreter. The kernels' own launchers are called; what they would launch
is compiled instead.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from graphstill.kernels import gpu, ops, reference

EDGES = 600  # enough for kernels that look for hubs to be launched
TARGET = GPUTarget("cuda", 90, 32)
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TYPES = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int8: "i8",
}
found: list[dict[str, Any]] = []
case = ""


def main() -> None:
    """Compile all cases of a width."""
    setattr(JITFunction, "run", compile_launch)  # noqa: B010
    for dtype in (torch.float32, torch.float16):
        launch_all(int(sys.argv[1]), dtype)
    print(json.dumps(found))


def launch_all(width: int, dtype: torch.dtype) -> None:
    """Call every launcher on a small graph."""
    global case
    edge_index = torch.randint(0, 20, (2, EDGES))
    rowptr, col, _ = reference.csr(edge_index, 20, 20)
    transposed = ops.transpose(rowptr, col, 20)
    x, heads = torch.randn(20, width).to(dtype), 4
    per_node, per_head = torch.rand(20).to(dtype), torch.rand(20, heads).to(dtype)
    lse, att = torch.rand(20, heads), torch.rand(heads, width // heads).to(dtype)
    weight = torch.rand(EDGES).to(dtype)
    graph = (rowptr, col)
    calls = {
        "spmm": lambda: gpu.spmm(
            *graph, x, None, per_node, per_node, per_node, x[0], None, "sum", "relu"
        ),
        "spmm weighted": lambda: gpu.spmm(*graph, x, weight, *[None] * 5, "mean", "none"),
        "spmm per head": lambda: gpu.spmm(
            *graph, x, torch.rand(EDGES, heads).to(dtype), *[None] * 5, "sum", "none"
        ),
        "spmm_int8": lambda: gpu.spmm_int8(*graph, x.to(torch.int8), torch.rand(width), "sum"),
        "sddmm": lambda: gpu.sddmm(*graph, x, x, 1),
        "extremum": lambda: gpu.extremum(*graph, x, None, "max"),
        "extremum_backward": lambda: gpu.extremum_backward(x, *graph, transposed, x, None, x),
        "gat": lambda: gpu.gat(*graph, x, per_head, per_head, None, 0.2, True),
        "gat_backward": lambda: gpu.gat_backward(
            x, *graph, transposed, x, per_head, per_head, lse, lse, 0.2, True
        ),
        "gatv2": lambda: gpu.gatv2(*graph, x, x, att, None, 0.2, True),
        "gatv2_backward": lambda: gpu.gatv2_backward(
            x, *graph, transposed, x, x, att, lse, lse, 0.2, True
        ),
        "dot_attention": lambda: gpu.dot_attention(*graph, x, x, x, heads),
        "dot_attention_backward": lambda: gpu.dot_attention_backward(
            x, *graph, transposed, x, x, x, lse, lse
        ),
    }
    for name, call in calls.items():
        case = f"{name}/{width}/{TYPES[dtype]}"
        call()


def compile_launch(kernel: Any, *args: Any, grid: Any, warmup: bool, **named: Any) -> None:
    """Compile what a launch would run, and keep what it uses."""
    del grid, warmup
    options = {n: named.pop(n) for n in ("num_warps", "maxnreg") if n in named}
    names = kernel.arg_names
    values = dict(zip(names, args, strict=False)) | named
    signature, constants, attributes = {}, {}, {}
    for i, name in enumerate(names):
        value = values[name]
        if isinstance(value, torch.Tensor):
            signature[name] = "*" + TYPES[value.dtype]
            attributes[(i,)] = [["tt.divisibility", 16]]
        elif kernel.params[i].is_constexpr:
            signature[name], constants[(i,)] = "constexpr", value
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    compiled = triton.compile(source, target=TARGET, options=options)
    found.append({"case": case, "kernel": kernel.__name__, **usage(compiled.asm["cubin"])})


def usage(cubin: bytes) -> dict[str, Any]:
    """Return registers, bytes of stack, local and shared memory, and kinds of loads of a cubin."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = _run("-res-usage", file.name)
        code = _run("-sass", file.name)
    numbers = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)", text)}
    used = {name.lower(): numbers[name] for name in ("REG", "STACK", "SHARED", "LOCAL")}
    return used | {"loads": sorted(set(re.findall(r"LDG\.E(?:\.\w+)*", code)))}


def _run(option: str, path: str) -> str:
    done = subprocess.run(
        [str(TOOLS / "cuobjdump"), option, path], capture_output=True, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
