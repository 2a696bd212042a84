"""Export a training run."""

from pathlib import Path

import torch

from ..distill import load_run
from ..serve import Bundle
from .exporter import About, export

_EXAMPLE_NODES, _EXAMPLE_EDGES = 5, 9


def export_run(
    directory: Path, path: Path, *, graph: str = "edge_index", lowering: str = "fused"
) -> Bundle:
    """Export a finished run of `distill.train` or `distill.distill`.

    Args:
        directory: The run.
        path: The bundle to write.
        graph: See `export`.
        lowering: See `export`.

    Raises:
        TrainingError: If there is no finished run.
    """
    run = load_run(directory, fused=False)
    about = About(
        architecture=run.architecture.model_dump(),
        class_names=run.class_names,
        feature_transform=run.feature_transform,
        accuracy=run.accuracy,
        provenance=run.provenance,
    )
    example = {"x": torch.rand(_EXAMPLE_NODES, run.architecture.in_channels)}
    if run.architecture.name != "MLP":
        example["edge_index"] = torch.randint(0, _EXAMPLE_NODES, (2, _EXAMPLE_EDGES))
    return export(run.module, example, path, lowering=lowering, graph=graph, about=about)
