"""Kernels compiled ahead of time, on any machine, for programs that launch them without Python.

What a kernel is compiled for is a key of four integers, the same in C++ (serve/native/cuda):

    spmm            width F; bits of the OPERANDS that there are; whether a mean; 0
    extremum        width F; whether weighted; whether a maximum; 0
    gat, gatv2      heads H; channels C of a head; whether with self loops; whether with a bias
    dot_attention   heads H; channels C of a head; 0; 0

Numbers are float32, and tiles those of the closed form. Triton adds pointers of its own behind a
kernel's arguments: room for the kernel's and for a profiler's needs, null where there are none. How
many there are is read from the compiled kernel.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from .dot_attention import _attention_kernel
from .extremum import _extremum_kernel
from .gat import _gat_kernel
from .gatv2 import _gatv2_kernel
from .hubs import CHUNK, REGISTERS
from .spmm import _spmm_kernel
from .tiles import closed_form

Key = tuple[int, int, int, int]
# of spmm, behind x in a node, in the order of their bits
OPERANDS = ("weight", "src_scale", "dst_scale", "self_weight", "bias")
_KERNELS: dict[str, Any] = {
    "spmm": _spmm_kernel,
    "extremum": _extremum_kernel,
    "gat": _gat_kernel,
    "gatv2": _gatv2_kernel,
    "dot_attention": _attention_kernel,
}
_TYPES = {"rowptr_ptr": "*i64", "col_ptr": "*i32", "num_rows": "i64", "num_edges": "i64"}


@dataclass(frozen=True)
class Cubin:
    """A kernel for one kind of GPU, and what a launch of it takes.

    Attributes:
        entry: Its name in the image.
        image: The file that `cuModuleLoadData` takes.
        arguments: Names of the arguments, in order.
        types: Their types, Triton's names: "*fp32" is a pointer to floats, of 16 bytes' alignment.
        hidden: Pointers behind them, to be null.
        num_warps: Warps of a program.
        shared_bytes: Shared memory of a program.
        constants: What it was compiled for.
    """

    entry: str
    image: bytes
    arguments: tuple[str, ...]
    types: tuple[str, ...]
    hidden: int
    num_warps: int
    shared_bytes: int
    constants: Mapping[str, Any]


def compile_ahead(operator: str, key: Key, *, hubs: bool, capability: int) -> Cubin:
    """Compile an operator's kernel.

    Args:
        operator: One of those above.
        key: What for; see above.
        hubs: Whether it walks the parts of hubs, or the rows.
        capability: Compute capability of the GPU, 90 for 9.0.

    Raises:
        RuntimeError: If kernels run in Triton's interpreter here, which compiles none.
    """
    kernel = _KERNELS[operator]
    if not isinstance(kernel, JITFunction):
        raise RuntimeError(
            "kernels run in Triton's interpreter here (TRITON_INTERPRET), which compiles none; "
            "unset it before Python starts"
        )
    by_head = operator not in ("spmm", "extremum")
    tile = closed_form(operator, key[1] if by_head else key[0])
    constants = {"HUBS": hubs, "CHUNK": CHUNK, "BLOCK_E": tile.block_e}
    constants["BLOCK_C" if by_head else "BLOCK_F"] = tile.block_f
    constants |= _constants(operator, key)
    return _compiled(kernel, constants, tile.num_warps, capability)


def _constants(operator: str, key: Key) -> dict[str, Any]:
    """Return the constants that a key stands for."""
    a, b, c, d = key
    if operator in ("gat", "gatv2"):
        return {"H": a, "C": b, "LOOPS": bool(c), "HAS_BIAS": bool(d)}
    if operator == "dot_attention":
        return {"H": a, "C": b}
    if operator == "extremum":
        return {"F": a, "HAS_WEIGHT": bool(b), "MAX": bool(c)}
    given = {f"HAS_{name.upper()}": bool(b >> i & 1) for i, name in enumerate(OPERANDS)}
    fixed = {"HAS_RESIDUAL": False, "ACTIVATION": "none"}
    return {"F": a, "C": a, "MEAN": bool(c)} | given | fixed


def _compiled(
    kernel: JITFunction[Any], constants: dict[str, Any], num_warps: int, capability: int
) -> Cubin:
    arguments = tuple(name for name in kernel.arg_names if name not in constants)
    types = {
        name: _TYPES.get(name, "*fp32" if name.endswith("_ptr") else "fp32") for name in arguments
    }
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    places = {name: (i,) for i, name in enumerate(kernel.arg_names)}
    aligned = {places[n]: [["tt.divisibility", 16]] for n, kind in types.items() if kind[0] == "*"}
    fixed = {places[name]: value for name, value in constants.items()}
    source = ASTSource(kernel, signature, constexprs=fixed, attrs=aligned)
    options = {"num_warps": num_warps, "enable_fp_fusion": True}
    options |= {"maxnreg": REGISTERS} if num_warps > 1 else {}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    facts = compiled.metadata
    scratch = facts.global_scratch_size + facts.profile_scratch_size
    if scratch or facts.shared > 48 * 1024 or facts.num_ctas != 1:
        raise RuntimeError(
            f"{facts.name} needs {facts.shared} bytes of shared memory and {scratch} of other "
            "memory, which no launch gives it"
        )
    return Cubin(
        facts.name,
        compiled.asm["cubin"],
        arguments,
        tuple(types[name] for name in arguments),
        len(parameters_of(compiled.asm["ptx"])) - len(arguments),
        facts.num_warps,
        facts.shared,
        constants,
    )


def parameters_of(ptx: str) -> list[str]:
    """Return the types of an entry's parameters, such as "u64", in order."""
    entry = ptx[ptx.index(".entry") :]
    return re.findall(r"\.param \.(\w+)", entry[: entry.index(")")])
