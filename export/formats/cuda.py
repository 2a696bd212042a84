"""Operators for ONNX Runtime's CUDA provider: our Triton kernels, compiled ahead of time.

    python -m graphstill.export.formats.cuda BUNDLE OUT/libgraphstill_cuda.so [--capability 90]

Needs Triton and a C++ compiler, and neither a GPU nor CUDA's toolkit: Triton brings its own
assembler, and the library finds CUDA's driver when it first launches a kernel. A kernel is for one
width and one set of operands, so a library is built for a bundle and holds what its nodes need.
That is `spmm` so far; other nodes run the CPU's operators, which lie beside the library and are
registered with it.

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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx import helper

from ...serve import Bundle, native
from ..errors import ExportError
from ..passes import ours

if TYPE_CHECKING:
    from ...kernels.gpu.ahead import Cubin

# inputs behind x, in the order of the node, and of the bits of C++'s Variant::operands
OPERANDS = ("weight", "src_scale", "dst_scale", "self_weight", "bias")
_SOURCES = Path(native.__file__).parent
_FLAGS = ("-O2", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-shared", "-Wall", "-Werror")


@dataclass(frozen=True)
class Variant:
    """What a node of `spmm` needs a kernel for.

    Attributes:
        features: Width of x.
        operands: Which of `OPERANDS` there are.
        mean: Whether it averages.
    """

    features: int
    operands: tuple[str, ...]
    mean: bool


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
        raise ExportError(f"{bundle.path} has no node of spmm, the operator that has a CUDA kernel")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cubins.h").write_text(header(needed, capability))
        partial = path.with_name(path.name + ".partial")
        _compile(Path(folder), partial)
    for library in _cpu_libraries():
        shutil.copyfile(library, path.parent / library.name)
    return partial.replace(path)


def variants(model: onnx.ModelProto) -> list[Variant]:
    """Return what the nodes of `spmm` in a model need, each once.

    Raises:
        ExportError: If the file does not say how wide a node's features are.
    """
    widths = {value.name: _width(value) for value in (*model.graph.value_info, *model.graph.input)}
    widths |= {value.name: _width(value) for value in model.graph.output}
    found = {}
    for node in ours(model, "spmm"):
        width = widths.get(node.output[0]) or widths.get(node.input[2])
        if not width:
            raise ExportError(f"the file does not say how wide {node.output[0]} of {node.name} is")
        given = dict(zip(OPERANDS, node.input[3:], strict=False))
        reduce = {a.name: helper.get_attribute_value(a) for a in node.attribute}["reduce"]
        operands = tuple(name for name, value in given.items() if value)
        found[Variant(width, operands, reduce == b"mean")] = None
    return list(found)


def _width(value: onnx.ValueInfoProto) -> int:
    dims = value.type.tensor_type.shape.dim
    return dims[1].dim_value if len(dims) == 2 else 0


def header(needed: Sequence[Variant], capability: int) -> str:
    """Return cubins.h: kernels as bytes, and what a launch of them takes.

    Raises:
        ExportError: If Triton is not installed, or its interpreter is on.
    """
    try:
        from ...kernels.gpu.ahead import compile_spmm
        from ...kernels.gpu.hubs import CHUNK
    except ModuleNotFoundError as error:
        raise ExportError(f"{error}: pip install 'graphstill[triton]'") from error
    images: list[str] = []
    entries: list[str] = []
    arguments: set[tuple[tuple[str, ...], int]] = set()
    for variant in needed:
        cells = []
        for hubs in (False, True):
            try:
                cubin = compile_spmm(
                    variant.features,
                    variant.operands,
                    mean=variant.mean,
                    hubs=hubs,
                    capability=capability,
                )
            except RuntimeError as error:
                raise ExportError(str(error)) from error
            arguments.add((cubin.arguments, cubin.hidden))
            cells.append(_cubin(cubin, f"kImage{len(images)}"))
            images.append(_image(cubin, f"kImage{len(images)}"))
        bits = sum(1 << OPERANDS.index(name) for name in variant.operands)
        block = cubin.constants["BLOCK_F"]
        mean = str(variant.mean).lower()
        entries.append(f"{{{variant.features}, {bits}, {mean}, {block}, {', '.join(cells)}}}")
    ((names, hidden),) = arguments  # one kernel, one list
    return _HEADER.format(
        capability=capability,
        pointers=", ".join(_enumerator(n) for n in names if n.endswith("_ptr")),
        arguments=", ".join(map(_enumerator, names)),
        hidden=hidden,
        chunk=CHUNK,
        images="\n".join(images),
        variants=",\n    ".join(entries),
    )


_HEADER = """\
// Generated by export/formats/cuda.py for compute capability {capability}.
#pragma once
#include <cstdint>
#include "driver.h"
namespace graphstill::cuda {{
enum Argument {{ {pointers}, kPointers, kNumRows, kNumEdges }};
constexpr Argument kArguments[] = {{{arguments}}};
constexpr int kHidden = {hidden};
constexpr int64_t kChunk = {chunk};
{images}
struct Variant {{
  int64_t features;
  unsigned operands;
  bool mean;
  int64_t block_f;
  Cubin rows, hubs;
}};
static const Variant kVariants[] = {{
    {variants}}};
}}  // namespace graphstill::cuda
"""


def _enumerator(argument: str) -> str:
    """Return what C++ calls an argument: kSrcScale for src_scale_ptr."""
    return "k" + argument.removesuffix("_ptr").title().replace("_", "")


def _cubin(cubin: "Cubin", image: str) -> str:
    return f'{{"{cubin.entry}", {image}, {cubin.num_warps}, {cubin.shared_bytes}}}'


def _image(cubin: "Cubin", name: str) -> str:
    values = ",".join(map(str, cubin.image))
    return f"alignas(16) static const unsigned char {name}[] = {{{values}}};"


def _compile(folder: Path, path: Path) -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ExportError(f"there is no {compiler}; install it, or name a C++ compiler in CXX")
    source = _SOURCES / "cuda" / "spmm.cpp"
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
