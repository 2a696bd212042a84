"""Operators for ONNX Runtime's CUDA provider: our Triton kernels, compiled ahead of time.

    python -m graphstill.export.formats.cuda BUNDLE OUT/libgraphstill_cuda.so [--capability 90]

Needs Triton and a C++ compiler, and neither a GPU nor CUDA's toolkit: Triton brings its own
assembler, and the library finds CUDA's driver when it first launches a kernel. A kernel is for one
set of widths and operands, so a library is built for a bundle and holds what its nodes need. There
are kernels for sums, maxima and attention (`spmm`, `extremum`, `gat`, `gatv2`, `dot_attention`);
other nodes run the CPU's operators, which lie beside the library and are registered with it. Among
those are sums and attention that do more (`spmm_update`, `gat_update`, `gatv2_update`) and
attention whose heads are averaged (`gat_mean`, `gatv2_mean`, `dot_attention_mean`): export with
`fuse=False`, or `--no-fuse`, to have none of them.

    Session(bundle, native="OUT/libgraphstill_cuda.so", providers=["CUDAExecutionProvider", …])

**No such library has run on a GPU yet.**
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from ...serve import Bundle, native
from ..errors import ExportError
from .cuda_variants import Variant, variants

if TYPE_CHECKING:
    from ...kernels.gpu.ahead import Cubin

_SOURCES = Path(native.__file__).parent
_FLAGS = ("-O2", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-shared", "-Wall", "-Werror")


def build(
    path: str | os.PathLike[str],
    bundle: Bundle | str | os.PathLike[str],
    *,
    capability: int = 90,
) -> Path:
    """Build a library of operators for a bundle, and put the CPU's operators beside it.

    Args:
        path: The library to write; `libgraphstill_ort*.so` are written into the same folder.
        bundle: The bundle it is for.
        capability: Compute capability of the GPU, 90 for 9.0. Kernels run on GPUs of this major
            version, from this minor version on.

    Returns:
        The library.

    Raises:
        ExportError: If the bundle has no node that there is a kernel for, or there is no compiler,
            no Triton, or no library of the CPU's operators.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    needed = variants(onnx.load_from_string(bundle.read_model()))
    if not needed:
        raise ExportError(
            f"{bundle.path} has no node that there is a kernel for; export it with fuse=False "
            "(--no-fuse), which leaves sums, products and means over heads apart"
        )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cubins.h").write_text(header(needed, capability))
        partial = path.with_name(path.name + ".partial")
        _compile(Path(folder), partial)
    for library in _cpu_libraries():
        shutil.copyfile(library, path.parent / library.name)
    return partial.replace(path)


def header(needed: Sequence[Variant], capability: int) -> str:
    """Return cubins.h: kernels as bytes, and what a launch of them takes, by operator.

    Raises:
        ExportError: If Triton is not installed, or its interpreter is on.
    """
    try:
        from ...kernels.gpu.hubs import CHUNK
    except ModuleNotFoundError as error:
        raise ExportError(f"{error}: pip install 'graphstill[triton]'") from error
    parts = [
        _operator(operator, list(same), capability)
        for operator, same in groupby(needed, lambda variant: variant.operator)
    ]
    return _HEADER.format(capability=capability, chunk=CHUNK, operators="".join(parts))


def _operator(operator: str, needed: Sequence[Variant], capability: int) -> str:
    """Return what the header says of one operator."""
    images: list[str] = []
    entries: list[str] = []
    lists: set[tuple[tuple[str, ...], int]] = set()
    for variant in needed:
        kernels = [_kernel(variant, hubs, capability) for hubs in (False, True)]
        lists |= {(kernel.arguments, kernel.hidden) for kernel in kernels}
        cells = []
        for kernel in kernels:
            name = f"kImage{len(images)}"
            images.append(_IMAGE.format(name=name, values=",".join(map(str, kernel.image))))
            cells.append(f'{{"{kernel.entry}", {name}, {kernel.num_warps}, {kernel.shared_bytes}}}')
        key = ", ".join(str(int(part)) for part in variant.key)
        constants = kernels[0].constants
        block = constants.get("BLOCK_F", constants.get("BLOCK_C"))
        entries.append(f"    {{{{{key}}}, {block}, {', '.join(cells)}}},\n")
    ((names, hidden),) = lists  # one kernel, one list
    return _OPERATOR.format(
        operator=operator,
        macro=operator.upper(),
        arguments=", ".join(map(_enumerator, names)),
        hidden=hidden,
        images="".join(images),
        variants="".join(entries),
    )


def _kernel(variant: Variant, hubs: bool, capability: int) -> "Cubin":
    from ...kernels.gpu.ahead import compile_ahead

    try:
        return compile_ahead(variant.operator, variant.key, hubs=hubs, capability=capability)
    except RuntimeError as error:
        raise ExportError(str(error)) from error


_HEADER = """\
// Generated by export/formats/cuda.py for compute capability {capability}.
#pragma once
#include "launch.h"
namespace graphstill::cuda {{
constexpr int64_t kChunk = {chunk};
}}
{operators}"""

# arguments are numbered in the kernel's order
_OPERATOR = """\
#define GRAPHSTILL_CUDA_{macro}
namespace graphstill::cuda::{operator} {{
enum Argument {{ {arguments}, kArguments }};
constexpr int kHidden = {hidden};
{images}static const Variant kVariants[] = {{
{variants}}};
}}  // namespace graphstill::cuda::{operator}
"""

_IMAGE = "alignas(16) static const unsigned char {name}[] = {{{values}}};\n"


def _enumerator(argument: str) -> str:
    """Return what C++ calls an argument: kSrcScale for src_scale_ptr."""
    return "k" + argument.removesuffix("_ptr").title().replace("_", "")


def _compile(folder: Path, path: Path) -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ExportError(f"there is no {compiler}; install it, or name a C++ compiler in CXX")
    source = _SOURCES / "cuda" / "library.cpp"
    includes = [f"-I{folder}", f"-I{source.parent}"]
    command = [compiler, *_FLAGS, *includes, str(source), "-o", str(path), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExportError(f"{compiler} failed: {done.stderr.strip()[:2000]}")


def _cpu_libraries() -> list[Path]:
    try:
        native.library()
    except FileNotFoundError as reason:
        raise ExportError(
            f"there are no operators of the CPU to go beside it: {reason}"
        ) from reason
    return sorted(_SOURCES.glob("libgraphstill_ort*.so"))


def main() -> None:
    """Build a library from the command line."""
    parser = argparse.ArgumentParser(description="Operators for ONNX Runtime's CUDA provider")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--capability", type=int, default=90)
    chosen = parser.parse_args()
    try:
        print(build(chosen.out, chosen.bundle, capability=chosen.capability))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
