"""AOTInductor: a module compiled ahead of time, as a bundle that `open_session` runs.

    model.pt2             machine code, weights within; made for one version of torch and one kind
                          of processor, which the manifest records under `target`
    manifest.json, weights.safetensors, README.md     as in a bundle of ONNX

On a CPU the code calls the C++ operators of `graphstill.kernels` through torch's dispatcher, so
running it takes Python and graphstill; what Inductor makes of their definitions was seven times as
slow (see docs/design.md). On a CUDA device the Triton kernels are in the package.

What the manifest says of a model (its inputs, how far an answer looks, degrees it takes) is what
its export to ONNX says, so both formats are called alike.
"""

import copy
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from ...kernels import with_triton_kernels
from ...serve import Bundle, TensorSpec
from ..awkward import count_relations
from ..card import model_card
from ..errors import ExportError
from ..exporter import export
from ..flattening import Nested
from ..manifests import About
from ..reasons import reason
from ..tracing import name_inputs, quiet
from .program import operators_of, traced
from .target import FORMAT, MODEL, describe


def export_aoti(
    module: torch.nn.Module,
    example_inputs: Sequence[Nested] | Mapping[str, Nested],
    path: str | os.PathLike[str],
    *,
    graph: str = "edge_index",
    about: About | None = None,
    device: str = "cpu",
) -> Bundle:
    """Compile a module ahead of time, with its convolutions fused, as a bundle.

    Takes about a minute. Numbers of nodes and edges stay dynamic. The module is not changed.

    Args:
        module: Any PyG module that `export` knows.
        example_inputs: See `export`.
        path: The directory to write; a bundle that is there already is replaced.
        graph: "edge_index" for an edge list in any order, or "csr" for rowptr and col.
        about: What to say of the model in its manifest.
        device: "cpu", or "cuda" for the GPU of this machine. The latter has not been run.

    Returns:
        The bundle; `open_session` makes it callable.

    Raises:
        ExportError: If there is no C++ compiler or no such device, a convolution has no fused form,
            or torch cannot compile the module. Nothing is written then.
    """
    _check_tools(device)
    module, example = _on_cpu(module), name_inputs(module, example_inputs)
    example = {name: _on_cpu(value) for name, value in example.items()}
    if graph == "csr" and any(isinstance(value, Mapping) for value in example.values()):
        raise ExportError(
            'format="aoti" sorts a graph of several types in the call; leave graph="csr" out'
        )
    with tempfile.TemporaryDirectory() as folder:
        described = export(module, example, Path(folder) / "onnx", graph=graph, about=about)
        weights = described.read("weights.safetensors")
        specs = tuple(_bounded(spec, described) for spec in described.manifest.inputs)
        with _blamed("torch cannot export", module):
            program = traced(module, example, described.manifest, device)
            program = with_triton_kernels(program) if device != "cpu" else program
        with _blamed("AOTInductor cannot compile", module):
            package = _compiled(program, Path(folder) / MODEL)
    operators = sorted({str(node.target) for node in operators_of(program.graph)})
    manifest = replace(
        described.manifest,
        inputs=specs,
        target={**describe(device), "operators": operators},
        # what the lint said is about a file of ONNX
        warnings=[],
        files={MODEL: None},  # pyright: ignore[reportArgumentType] -- filled when written
    )
    card = model_card(manifest).encode()
    files = {MODEL: package, "weights.safetensors": weights, "README.md": card}
    return Bundle.write(path, manifest, files)


def _bounded(spec: TensorSpec, described: Bundle) -> TensorSpec:
    """Return a type of edges with how many there are; operators of ONNX know it themselves."""
    if spec.name != "edge_type":
        return spec
    return replace(spec, below=count_relations(described))


def _check_tools(device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise ExportError(f'device must be "cpu" or "cuda", got {device!r}')
    if device != "cpu" and not torch.cuda.is_available():
        raise ExportError(
            f"device={device!r}: torch sees no CUDA device here, and AOTInductor compiles for the "
            "machine that it runs on; export there"
        )
    compiler = os.environ.get("CXX", "g++")  # as torch looks for it
    if shutil.which(compiler) is None:
        raise ExportError(
            f"format {FORMAT} needs a C++ compiler, and there is no {compiler}; install one "
            "(apt install g++) or name one in CXX"
        )


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _on_cpu(entry) for key, entry in value.items()}
    return (copy.deepcopy(value) if isinstance(value, torch.nn.Module) else value).cpu()


def _compiled(program: ExportedProgram, path: Path) -> bytes:
    """Return the package of a program."""
    # otherwise code is for as many threads as this process has
    settings = {"cpp.dynamic_threads": True}
    torch._inductor.aoti_compile_and_package(
        program, package_path=str(path), inductor_configs=settings
    )
    return path.read_bytes()


@contextmanager
def _blamed(what: str, module: torch.nn.Module) -> Iterator[None]:
    """Say which part of a module an error is about, and keep torch's notes from the user."""
    try:
        with torch.no_grad(), quiet():
            yield
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"{what} {type(module).__name__}: {reason(error, module)}") from error
