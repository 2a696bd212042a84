"""Runs: a network trained into a directory, evaluated, and taken from there again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .batches import BatchSettings
from .checkpoint import write_in_one_step
from .data import NodeData, Observed
from .directory import SETTINGS, WEIGHTS
from .distiller import Role
from .distributed import Workers
from .errors import TrainingError
from .evaluate import accuracies, predict
from .inference import for_network
from .losses import Objective, Supervised
from .models import Architecture, build, takes_sparse
from .selection import Result, TrainSettings
from .training import fit

SUMMARY = "summary.json"


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network.

    Attributes:
        module: The network with its best weights, in evaluation mode.
        architecture: What it is.
        accuracy: Accuracy on train, val and test, or what else the data is measured by (its name is
            in `provenance`), 0-1; what more there may be, `accuracies` says.
        provenance: Where it comes from.
        class_names: Names of the classes, where they have any.
        feature_transform: What was done to raw features.
    """

    module: torch.nn.Module
    architecture: Architecture
    accuracy: dict[str, float]
    provenance: dict[str, Any]
    class_names: list[str] | None = None
    feature_transform: str | None = None


def train(
    architecture: Architecture,
    data: NodeData,
    settings: TrainSettings,
    *,
    label_smoothing: float = 0.0,
    batches: BatchSettings | None = None,
    directory: Path | None = None,
    progress: bool = True,
) -> Run:
    """Train a network on labels alone. Arguments as in `fit`."""
    batches = for_network(batches, architecture)
    student = Role(fresh(architecture, settings))
    objective = Objective({"supervised": (1.0, Supervised(label_smoothing))})
    about = {
        "architecture": architecture.model_dump(),
        "data": data.name,
        "split": data.split_name,
        "method": "supervised",
    }
    result = fit(
        student,
        seen(data, architecture, settings),
        objective,
        settings,
        batches=batches,
        directory=directory,
        describe=about,
        progress=progress,
    )
    module = student.module
    return finish(module, architecture, data, about, result, settings, directory, batches)


def load(directory: Path, *, fused: bool = True) -> Run:
    """Take a finished run from its directory.

    Args:
        directory: Where `train` or `distill` put it.
        fused: Whether to put the fused layers in; without, the network is plain PyG.

    Raises:
        TrainingError: If there is no finished run.
    """
    try:
        settings = json.loads((directory / SETTINGS).read_text())
        summary = json.loads((directory / SUMMARY).read_text())
        weights = safetensors.torch.load_file(directory / WEIGHTS)
    except FileNotFoundError as error:
        missing = Path(error.filename or WEIGHTS).name
        raise TrainingError(
            f"{directory} holds no finished run: {missing} is missing; "
            "give the command that started it again to go on with it"
        ) from None
    architecture = Architecture(**settings["architecture"])
    module = build(architecture, fused=fused)
    module.load_state_dict(weights)
    return Run(module=module.eval(), architecture=architecture, **summary)


def fresh(architecture: Architecture, settings: TrainSettings) -> torch.nn.Module:
    """Return a network with the parameters that a seed gives."""
    torch.manual_seed(settings.seed)
    return build(architecture)


def seen(
    data: NodeData,
    architecture: Architecture,
    settings: TrainSettings,
) -> Observed:
    """Return what training may see, in the form that suits the network."""
    return data.observed(sparse=takes_sparse(architecture) and not settings.int8_features)


def finish(
    module: torch.nn.Module,
    architecture: Architecture,
    data: NodeData,
    about: dict[str, Any],
    result: Result,
    settings: TrainSettings,
    directory: Path | None,
    batches: BatchSettings | None = None,
    *,
    before: Tensor | None = None,
) -> Run:
    """Evaluate a trained network, read the test nodes for the first time, and write its summary.

    What it answered before training, where its first weights say something, is evaluated too.
    """
    workers = Workers.here()
    accuracy = workers.from_first(lambda: accuracies(predict(module, data, batches), data))
    provenance = {
        **{name: about[name] for name in ("data", "split", "method")},
        "metric": data.metric_name,
        "seed": settings.seed,
        "best_epoch": result.epoch,
        "epochs": result.epochs,
        "torch": torch.__version__,
    }
    if "teacher" in about:
        provenance["teacher"] = about["teacher"]["name"]
    if before is not None:
        provenance["accuracy_before_training"] = accuracies(before, data)
    summary = {
        "accuracy": accuracy,
        "provenance": provenance,
        "class_names": list(data.class_names) if data.class_names else None,
        "feature_transform": data.feature_transform,
    }
    if directory is not None and workers.first:
        text = json.dumps(summary, indent=2) + "\n"
        write_in_one_step(directory / SUMMARY, text.encode())
    return Run(module=module, architecture=architecture, **summary)
