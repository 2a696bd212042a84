"""Export a training run."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor

from ..distill import Architecture, Run, load_run
from ..distill.int8 import INT8
from ..serve import Bundle
from .exporter import export
from .flattening import Nested
from .form import FORM
from .formats import FORMATS, ONNX, export_as
from .manifests import About

_EXAMPLE_NODES, _EXAMPLE_EDGES = 5, 9


@overload
def export_run(
    run: Run | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: Literal["onnx"] = "onnx",
    example: Mapping[str, Nested] | None = None,
    lowering: str = "fused",
    graph: str = "edge_index",
    fanouts: Sequence[int] | None = None,
    batch: int | None = None,
) -> Bundle: ...
@overload
def export_run(
    run: Run | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: str,
    example: Mapping[str, Nested] | None = None,
    **settings: Any,
) -> Bundle | Path: ...
def export_run(
    run: Run | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: str = ONNX,
    example: Mapping[str, Nested] | None = None,
    **settings: Any,
) -> Bundle | Path:
    """Export what `distill.train` or `distill.distill` made, with all that is known of it.

    Args:
        run: The run, or the directory of a finished one.
        path: The bundle to write, or what is made from it.
        format: See `export`.
        example: Inputs of the network; with lowering="baked" they hold the graph, otherwise any
            will do and some are made up.
        settings: What `export` takes beside: lowering, graph, fanouts, batch, and settings of the
            format.

    Raises:
        TrainingError: If the directory holds no finished run.
        ExportError: See `export`.
    """
    if format in FORMATS:
        form = {key: settings.pop(key) for key in FORM & settings.keys()}

        def bundled(place: Path) -> Bundle:
            bundle = export_run(run, place, example=example, **form)
            assert isinstance(bundle, Bundle)
            return bundle

        called = Path(path if isinstance(run, Run) else run).name
        return export_as(format, bundled, path, called, settings)
    int8 = None if isinstance(run, Run) else Path(run) / INT8
    run = run if isinstance(run, Run) else load_run(Path(run), fused=False)
    about = About(
        architecture=run.architecture.model_dump(),
        class_names=run.class_names,
        feature_transform=run.feature_transform,
        accuracy=run.accuracy,
        provenance=run.provenance,
    )
    inputs = example_of(run.architecture) if example is None else example
    if int8 is None or not int8.is_file() or format != ONNX:
        return export(run.module, inputs, path, format=format, about=about, **settings)
    # what training rounded its weights to; `quantise` will look for them, so they stay as they are
    bundle = export(run.module, inputs, path, about=about, fold=False, **settings)
    assert isinstance(bundle, Bundle)
    return bundle.with_files({INT8: int8.read_bytes()})


def example_of(architecture: Architecture) -> dict[str, Nested]:
    """Return inputs of the right types and widths; sizes stay dynamic, so any will do."""
    facts, width = architecture.arguments, architecture.in_channels
    if "edge_types" in facts:
        return _typed_example(facts["widths"], facts["num_nodes"], facts["edge_types"])
    ids = torch.zeros(_EXAMPLE_NODES, dtype=torch.int64)
    example: dict[str, Nested] = {"x": ids if facts.get("featureless") else _features(width)}
    if architecture.name != "MLP":
        example["edge_index"] = _edges()
    if "num_relations" in facts:
        example["edge_type"] = torch.zeros(_EXAMPLE_EDGES, dtype=torch.int64)
    return example


def _typed_example(
    widths: Mapping[str, int], num_nodes: Mapping[str, int], edge_types: Sequence[Sequence[str]]
) -> dict[str, Nested]:
    ids = torch.zeros(_EXAMPLE_NODES, dtype=torch.int64)
    x = {kind: _features(width) for kind, width in widths.items()} | dict.fromkeys(num_nodes, ids)
    return {"x": x, "edge_index": {tuple(kind): _edges() for kind in edge_types}}


def _features(width: int) -> Tensor:
    return torch.ones(_EXAMPLE_NODES, width)


def _edges() -> Tensor:
    return torch.zeros(2, _EXAMPLE_EDGES, dtype=torch.int64)
