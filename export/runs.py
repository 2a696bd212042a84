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
from .errors import ExportError
from .exporter import About, export
from .flattening import Nested
from .formats import ONNX, export_as

_EXAMPLE_NODES, _EXAMPLE_EDGES = 5, 9


@overload
def export_run(
    run: Run | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: Literal["onnx"] = "onnx",
    graph: str = "edge_index",
    lowering: str = "fused",
    fanouts: Sequence[int] | None = None,
    batch: int | None = None,
    example: Mapping[str, Nested] | None = None,
) -> Bundle: ...
@overload
def export_run(
    run: Run | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: str,
    graph: str = "edge_index",
    lowering: str = "fused",
    fanouts: Sequence[int] | None = None,
    batch: int | None = None,
    example: Mapping[str, Nested] | None = None,
    **settings: Any,
) -> Bundle | Path: ...
def export_run(
    run: Run | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: str = ONNX,
    graph: str = "edge_index",
    lowering: str = "fused",
    fanouts: Sequence[int] | None = None,
    batch: int | None = None,
    example: Mapping[str, Nested] | None = None,
    **settings: Any,
) -> Bundle | Path:
    """Export what `distill.train` or `distill.distill` made, with all that is known of it.

    Args:
        run: The run, or the directory of a finished one.
        path: The bundle to write, or what is made from it.
        format: See `export`.
        graph: See `export`.
        lowering: See `export`.
        fanouts: See `export`.
        batch: See `export`.
        example: Inputs of the network; with lowering="baked" they hold the graph, otherwise any
            will do and some are made up.
        settings: See `export`.

    Raises:
        TrainingError: If the directory holds no finished run.
        ExportError: See `export`.
    """
    if format != ONNX:

        def bundled(place: Path) -> Bundle:
            return export_run(
                run,
                place,
                graph=graph,
                lowering=lowering,
                fanouts=fanouts,
                batch=batch,
                example=example,
            )

        called = Path(path if isinstance(run, Run) else run).name
        return export_as(format, bundled, path, called, settings)
    if settings:
        raise ExportError(f'format="onnx" takes no {", ".join(settings)}')
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
    rounded = int8 is not None and int8.is_file()
    bundle = export(
        run.module,
        inputs,
        path,
        lowering=lowering,
        graph=graph,
        fanouts=fanouts,
        batch=batch,
        fold=not rounded,  # `quantise` will look for the weights that training rounded
        about=about,
    )
    if int8 is None or not rounded:
        return bundle
    # what training rounded its weights to, for `quantise`
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
