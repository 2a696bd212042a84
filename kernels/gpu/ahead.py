"""Kernels compiled ahead of time, on any machine, for programs that launch them without Python.

Triton adds pointers of its own behind a kernel's arguments: room for the kernel's and for a
profiler's needs, null where there are none. How many there are is read from the compiled kernel.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from .hubs import CHUNK, REGISTERS
from .spmm import _spmm_kernel
from .tiles import closed_form


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


def compile_spmm(
    features: int, operands: Sequence[str], *, mean: bool, hubs: bool, capability: int
) -> Cubin:
    """Compile the kernel of `spmm` in float32, with the closed form's tile.

    Args:
        features: Width F of the rows.
        operands: Which there are of weight, src_scale, dst_scale, self_weight, bias.
        mean: Whether it averages.
        hubs: Whether it sums the parts of hubs, or the rows.
        capability: Compute capability of the GPU, 90 for 9.0.

    Raises:
        RuntimeError: If kernels run in Triton's interpreter here, which compiles none.
    """
    tile = closed_form("spmm", features)
    pointers = {name: "*fp32" for name in _names() if name.endswith("_ptr")}
    types = pointers | {"rowptr_ptr": "*i64", "col_ptr": "*i32"}
    types |= {"num_rows": "i64", "num_edges": "i64"}
    flags = ("weight", "src_scale", "dst_scale", "self_weight", "bias", "residual")
    constants = {f"HAS_{name.upper()}": name in operands for name in flags}
    constants |= {"HUBS": hubs, "CHUNK": CHUNK, "F": features, "C": features, "MEAN": mean}
    constants |= {"ACTIVATION": "none", "BLOCK_E": tile.block_e, "BLOCK_F": tile.block_f}
    return _compiled(_spmm_kernel, types, constants, tile.num_warps, capability)


def _names() -> list[str]:
    if not isinstance(_spmm_kernel, JITFunction):
        raise RuntimeError(
            "kernels run in Triton's interpreter here (TRITON_INTERPRET), which compiles none; "
            "unset it before Python starts"
        )
    return _spmm_kernel.arg_names


def _compiled(
    kernel: Any,
    types: Mapping[str, str],
    constants: Mapping[str, Any],
    num_warps: int,
    capability: int,
) -> Cubin:
    names = kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    places = {name: (i,) for i, name in enumerate(names)}
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
    arguments = tuple(name for name in names if name in types)
    return Cubin(
        facts.name,
        compiled.asm["cubin"],
        arguments,
        tuple(types[name] for name in arguments),
        len(parameters_of(compiled.asm["ptx"])) - len(arguments),
        facts.num_warps,
        facts.shared,
        dict(constants),
    )


def parameters_of(ptx: str) -> list[str]:
    """Return the types of an entry's parameters, such as "u64", in order."""
    entry = ptx[ptx.index(".entry") :]
    return re.findall(r"\.param \.(\w+)", entry[: entry.index(")")])
