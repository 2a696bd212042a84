"""export: a PyG module and an example in, a bundle out, or what is made from one."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import onnx
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

from ..serve import Bundle
from . import baking
from .card import model_card
from .errors import ExportError
from .flattening import Nested, flat_answers, flatten
from .form import Form
from .formats import AOTI, ONNX, export_as
from .lowering import held_inputs, lower
from .manifests import About, describe, manifest_of
from .tracing import fuse, name_inputs, to_onnx

__all__ = ["About", "export"]


@overload
def export(
    module: torch.nn.Module,
    example_inputs: Sequence[Nested] | Mapping[str, Nested],
    path: str | os.PathLike[str],
    *,
    format: Literal["onnx"] = "onnx",
    lowering: str = "fused",
    graph: str = "edge_index",
    fanouts: Sequence[int] | None = None,
    batch: int | None = None,
    fold: bool = True,
    fuse: bool = True,
    about: About | None = None,
) -> Bundle: ...
@overload
def export(
    module: torch.nn.Module,
    example_inputs: Sequence[Nested] | Mapping[str, Nested],
    path: str | os.PathLike[str],
    *,
    format: str,
    lowering: str = "fused",
    graph: str = "edge_index",
    fanouts: Sequence[int] | None = None,
    batch: int | None = None,
    fold: bool = True,
    fuse: bool = True,
    about: About | None = None,
    **settings: Any,
) -> Bundle | Path: ...
def export(
    module: torch.nn.Module,
    example_inputs: Sequence[Nested] | Mapping[str, Nested],
    path: str | os.PathLike[str],
    *,
    format: str = ONNX,
    lowering: str = "fused",
    graph: str = "edge_index",
    fanouts: Sequence[int] | None = None,
    batch: int | None = None,
    fold: bool = True,
    fuse: bool = True,
    about: About | None = None,
    **settings: Any,
) -> Bundle | Path:
    """Export a module: to ONNX as a bundle that `serve.Session` runs, or in another format.

    The module is copied, put into evaluation mode, and its convolutions are replaced by the fused
    ones; it is not changed itself. Numbers of nodes and edges stay dynamic, whatever the example's.

    Args:
        module: Any PyG module whose convolutions `accelerate` knows.
        example_inputs: Arguments of `module.forward`, by position or by name, with at least two
            nodes and two edges (of each type). Inputs are named after the arguments; dictionaries
            by type of nodes or edges become one input for each type, `x__paper`.
        path: The directory to write; a bundle that is there already is replaced.
        format: "onnx" for the bundle, or what to make from it, as `convert` does: "triton", a
            model repository of Triton Inference Server, or "web", a page for the browser. "aoti"
            for a bundle that AOTInductor compiles, see `export_aoti`.
        lowering: "fused", nodes of the `graphstill` domain with function bodies; "baked", the same
            with everything but `x` fixed to the example's: the graph is in the model, sorted and
            normalised, and a call gives features for exactly its nodes; "blocks", standard
            operators alone on a fixed number of in-neighbours of each seed, `x [batch, slots, F]`
            and `edge_count [batch, slots]`, which `serve.Session.blocks` cuts out of a graph.
        graph: "edge_index" for an edge list in any order, or "csr" for rowptr and col; of each type
            of edges where there are several.
        fanouts: With lowering="blocks": how many in-neighbours each hop takes, from the seeds
            outwards. With as many as nodes have, answers are the whole graph's.
        batch: With lowering="blocks": how many seeds every call has, for targets that want all
            sizes fixed; any number if None.
        fold: Whether weights take in BatchNorms, and linear layers without anything between them
            become one; without, the file has the module's own weights.
        fuse: Whether a sum over neighbours is one node with what a layer then does with each row,
            and attention one with the mean over its heads. Kernels for CUDA know neither (see
            `formats.cuda`); "blocks" has no use for it.
        about: What to say of the model in its manifest.
        settings: What the format takes, see `convert`.

    Returns:
        The bundle; the directory where "triton" or "web" was asked for.

    Raises:
        ExportError: If a convolution has no fused form, or the model does something that ONNX
            cannot express. Nothing is written then.
    """
    form = Form(lowering, graph, fanouts, batch, fold, fuse)
    about = about or About()

    def bundled(place: Path) -> Bundle:
        return write_bundle(module, example_inputs, place, form, about)

    if format == ONNX:
        if settings:
            raise ExportError(f'format="onnx" takes no {", ".join(settings)}')
        return bundled(Path(path))
    if format == AOTI:
        from .formats.aoti import export_aoti

        if form != Form(graph=graph):
            raise ExportError('format="aoti" takes graph, and no other form of the model')
        return export_aoti(module, example_inputs, path, graph=graph, about=about, **settings)
    return export_as(format, bundled, path, Path(path).name, settings)


def write_bundle(
    module: torch.nn.Module,
    example_inputs: Sequence[Nested] | Mapping[str, Nested],
    path: Path,
    form: Form,
    about: About,
) -> Bundle:
    """Export a module as a bundle of ONNX; see `export`."""
    inputs = name_inputs(module, example_inputs)
    parts = flatten(inputs)
    form.check_types(any(part.key is not None for part in parts.values()))
    held = held_inputs(inputs) if form.lowering == "baked" else {}
    fused = fuse(module)
    with torch.no_grad():
        answers = flat_answers(fused(**inputs), {part.key for part in parts.values() if part.key})
    model = to_onnx(fused, parts, list(answers))
    lowered = lower(model, fused, parts, form, held)
    manifest = manifest_of(model, module, parts, answers, form, lowered, about)
    describe(model, manifest)
    onnx.checker.check_model(model)
    files = {
        "model.onnx": model.SerializeToString(),
        "weights.safetensors": safetensors.torch.save(_weights(module)),
        "README.md": model_card(manifest).encode(),
    }
    if held:
        files[baking.GRAPH_FILE] = safetensors.numpy.save(held)
    return Bundle.write(path, manifest, files)


def _weights(module: torch.nn.Module) -> dict[str, Tensor]:
    # copies: safetensors refuses tensors that share memory
    return {name: t.detach().cpu().clone() for name, t in module.state_dict().items()}
