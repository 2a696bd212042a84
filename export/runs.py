"""Export a training run."""

import os
from pathlib import Path

import torch

from ..distill import Run, load_run
from ..distill.int8 import INT8
from ..serve import Bundle
from .errors import ExportError
from .exporter import About, export

_EXAMPLE_NODES, _EXAMPLE_EDGES = 5, 9


def export_run(
    run: Run | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    graph: str = "edge_index",
    lowering: str = "fused",
) -> Bundle:
    """Export what `distill.train` or `distill.distill` made, with all that is known of it.

    Args:
        run: The run, or the directory of a finished one.
        path: The bundle to write.
        graph: See `export`.
        lowering: See `export`.

    Raises:
        TrainingError: If the directory holds no finished run.
        ExportError: See `export`.
    """
    int8 = None if isinstance(run, Run) else Path(run) / INT8
    run = run if isinstance(run, Run) else load_run(Path(run), fused=False)
    if {"num_relations", "edge_types"} & run.architecture.arguments.keys():
        raise ExportError(
            f"{run.architecture.name} works on relations or types of nodes, for which the export "
            "has no operator yet; such a network runs in torch"
        )
    about = About(
        architecture=run.architecture.model_dump(),
        class_names=run.class_names,
        feature_transform=run.feature_transform,
        accuracy=run.accuracy,
        provenance=run.provenance,
    )
    # sizes stay dynamic: any example of the right width will do
    example = {"x": torch.ones(_EXAMPLE_NODES, run.architecture.in_channels)}
    if run.architecture.name != "MLP":
        example["edge_index"] = torch.zeros(2, _EXAMPLE_EDGES, dtype=torch.int64)
    bundle = export(run.module, example, path, lowering=lowering, graph=graph, about=about)
    if int8 is None or not int8.is_file():
        return bundle
    # what training rounded its weights to, for `quantise`
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return Bundle.write(path, bundle.manifest, {**files, INT8: int8.read_bytes()})
