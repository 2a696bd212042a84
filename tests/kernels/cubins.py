"""Compile Triton kernels for sm_90, on any machine, and print what each one uses as JSON.

    python tests/kernels/cubins.py DTYPE shipped WIDTH                 # what runs today
    python tests/kernels/cubins.py DTYPE candidates WIDTH OPERATOR     # all that may be tuned
    python tests/kernels/cubins.py DTYPE tile WIDTH OPERATOR BLOCK_E BLOCK_F NUM_WARPS

DTYPE is float32 or float16. Must run without Triton's interpreter. The kernels' own launchers are
called; what they would launch is compiled instead.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
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
from graphstill.kernels.gpu import table
from graphstill.kernels.gpu.tiles import Tile, candidates

NODES, HEADS = 20, 4
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
# what each operator of the table launches, and heads where the table's width is that of one
CALLS = {
    "spmm": (("spmm", "spmm weighted"), 1),
    "extremum": (("extremum", "extremum_backward"), 1),
    "gat": (("gat",), 2),
    "gat_backward": (("gat_backward",), 2),
    "gatv2": (("gatv2",), 2),
    "gatv2_backward": (("gatv2_backward",), 2),
    "dot_attention": (("dot_attention",), 2),
    "dot_attention_backward": (("dot_attention_backward",), 2),
}
found: dict[str, dict[str, Any]] = {}
case = ""


def main() -> None:
    """Compile what the command line asks for."""
    setattr(JITFunction, "run", compile_launch)  # noqa: B010
    name, what, width, *rest = sys.argv[1:]
    dtype = getattr(torch, name)
    if what == "shipped":
        compile_shipped(int(width), dtype)
    elif what == "tile":
        compile_tiles(rest[0], int(width), dtype, [Tile(*map(int, rest[1:]))])
    else:
        bits = table.bits_of(rest[0], name)
        compile_tiles(rest[0], int(width), dtype, candidates(rest[0], bits, int(width)))
    print(json.dumps(list(found.values())))


def compile_shipped(width: int, dtype: torch.dtype) -> None:
    """Compile every launcher with what the shipped table has for it on sm_90, or the usual tile."""
    shipped = table.Table.load(table.SHIPPED).tiles
    # tensors lie on the CPU here
    ours = {("interpreter", *key[1:]): tile for key, tile in shipped.items() if key[0] == "9.0"}
    with table.using(ours):
        for degree in table.DEGREES if ours else table.DEGREES[-1:]:
            for name, call in calls(width, dtype, degree, HEADS).items():
                launch(f"{name}/{width}/{TYPES[dtype]}", call)


def compile_tiles(name: str, width: int, dtype: torch.dtype, tiles: list[Tile]) -> None:
    """Compile an operator with some tiles."""
    launchers, heads = CALLS.get(name, ((name,), 1))
    for tile in tiles:
        keys = itertools.product(["interpreter"], [name], table.DTYPES, [width], table.DEGREES)
        with table.using(dict.fromkeys(keys, tile)):
            for launcher in launchers:
                label = f"{launcher}/{width}/{TYPES[dtype]}"
                label += f"/{tile.block_e} x {tile.block_f} on {tile.num_warps}"
                launch(label, calls(heads * width, dtype, 32, heads)[launcher])


def launch(label: str, call: Callable[[], object]) -> None:
    """Call a launcher under a name."""
    global case
    case = label
    call()


def calls(
    width: int, dtype: torch.dtype, degree: int, heads: int
) -> dict[str, Callable[[], object]]:
    """Return calls of every launcher on a small graph of an average degree."""
    edges = degree * NODES
    rowptr, col, _ = reference.csr(torch.randint(0, NODES, (2, edges)), NODES, NODES)
    transposed = ops.transpose(rowptr, col, NODES)
    x = torch.randn(NODES, width).to(dtype)
    per_node, per_head = torch.rand(NODES).to(dtype), torch.rand(NODES, heads).to(dtype)
    lse, att = torch.rand(NODES, heads), torch.rand(heads, width // heads).to(dtype)
    weight, weights = torch.rand(edges).to(dtype), torch.rand(edges, 4).to(dtype)
    graph, walk = (rowptr, col), (rowptr, col, transposed)
    scales = (None, per_node, per_node, per_node, x[0], None)
    loops = (0.2, True)
    return {
        "spmm": lambda: gpu.spmm(*graph, x, *scales, "sum", "relu"),
        "spmm weighted": lambda: gpu.spmm(*graph, x, weight, *[None] * 5, "mean", "none"),
        "spmm per head": lambda: gpu.spmm(*graph, x, weights, *[None] * 5, "sum", "none"),
        "spmm_int8": lambda: gpu.spmm_int8(*graph, x.to(torch.int8), torch.rand(width), "sum"),
        "sddmm": lambda: gpu.sddmm(*graph, x, x, 1),
        "extremum": lambda: gpu.extremum(*graph, x, None, "max"),
        "extremum_backward": lambda: gpu.extremum_backward(x, *walk, x, None, x),
        "gat": lambda: gpu.gat(*graph, x, per_head, per_head, None, *loops),
        "gat_backward": lambda: gpu.gat_backward(x, *walk, x, per_head, per_head, lse, lse, *loops),
        "gatv2": lambda: gpu.gatv2(*graph, x, x, att, None, *loops),
        "gatv2_backward": lambda: gpu.gatv2_backward(x, *walk, x, x, att, lse, lse, *loops),
        "dot_attention": lambda: gpu.dot_attention(*graph, x, x, x, heads),
        "dot_attention_backward": lambda: gpu.dot_attention_backward(x, *walk, x, x, x, lse, lse),
    }


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
    key = repr((kernel.__name__, signature, constants, options))
    if key not in found:
        source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
        compiled = triton.compile(source, target=TARGET, options=options)
        found[key] = {"case": case, "kernel": kernel.__name__, **usage(compiled.asm["cubin"])}


def usage(cubin: bytes) -> dict[str, Any]:
    """Return registers, bytes of stack, local and shared memory, and kinds of loads of a cubin."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(TOOLS / "cuobjdump"), "-res-usage", "-sass", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = {
        name.lower(): int(re.findall(rf" {name}:(\d+)", text)[0])
        for name in ("REG", "STACK", "SHARED", "LOCAL")
    }
    return used | {"loads": sorted(set(re.findall(r"LDG\.E(?:\.\w+)*", text)))}


if __name__ == "__main__":
    main()
