"""Runs: a network trained or distilled into a directory, and taken from there again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field

from .abkd import ABKD
from .checkpoint import write_in_one_step
from .data import NodeData, Observed
from .errors import DataError, TrainingError
from .evaluate import accuracies, predict
from .losses import LogitKD, Objective, Pass, Supervised
from .models import Architecture, build, hidden_layers
from .training import SETTINGS, WEIGHTS, Result, Student, TrainSettings, fit, observe

SUMMARY = "summary.json"


class DistillSettings(BaseModel):
    """How a student learns from a teacher: (1 - alpha) · supervised + alpha · kd + beta · abkd.

    Attributes:
        alpha: Weight of the teacher's logits against the labels.
        temperature: Temperature of the logits.
        beta: Weight of ABKD's layer term; 0 leaves it out.
        dim: Width of ABKD's common space.
        teacher_layers: Layers of the teacher by module path; None means its hidden layers.
        student_layers: The same of the student.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.9, ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0)
    beta: float = Field(default=0.01, ge=0)
    dim: int = Field(default=64, gt=0)
    teacher_layers: tuple[str, ...] | None = None
    student_layers: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network.

    Attributes:
        module: The network with its best weights, in evaluation mode.
        architecture: What it is.
        accuracy: Accuracy on train, val and test, 0-1.
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
    directory: Path | None = None,
    progress: bool = True,
) -> Run:
    """Train a network on labels alone. Arguments as in `fit`."""
    student = Student(_fresh(architecture, settings))
    objective = Objective({"supervised": (1.0, Supervised())})
    about = {
        "architecture": architecture.model_dump(),
        "data": data.name,
        "split": data.split_name,
        "method": "supervised",
    }
    result = fit(
        student,
        data.observed(),
        objective,
        settings,
        directory=directory,
        describe=about,
        progress=progress,
    )
    return _finish(student.module, architecture, data, about, result, settings, directory)


def distill(
    teacher: Run,
    architecture: Architecture,
    data: NodeData,
    settings: TrainSettings,
    method: DistillSettings,
    *,
    directory: Path | None = None,
    progress: bool = True,
) -> Run:
    """Train a student on labels, a teacher's logits and, by ABKD, its layers.

    The teacher is frozen and answers once: the graph is always the same.

    Args:
        teacher: The teacher.
        architecture: The student.
        data: The data; test labels stay hidden from training.
        settings: How to train.
        method: What to learn from the teacher.
        directory: Run directory.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        DataError: If the teacher was trained on other data or another split: it would carry labels
            that the student is tested on.
    """
    _check_same_split(teacher, data)
    observed = data.observed()
    module = _fresh(architecture, settings)
    taught, taps = _teacher_pass(teacher.module, observed, method), _student_taps(module, method)
    objective = _objective(module, taps, taught, observed, method)
    about = {
        "architecture": architecture.model_dump(),
        "data": data.name,
        "split": data.split_name,
        "method": "ABKD" if method.beta else "logit KD",
        "distill": method.model_dump(mode="json"),
        "teacher": teacher.architecture.model_dump(),
        "teacher_accuracy": teacher.accuracy,
    }
    student = Student(module, taps)
    result = fit(
        student,
        observed,
        objective,
        settings,
        teacher=taught,
        directory=directory,
        describe=about,
        progress=progress,
    )
    return _finish(module, architecture, data, about, result, settings, directory)


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


def _check_same_split(teacher: Run, data: NodeData) -> None:
    known = [teacher.provenance.get(name) for name in ("data", "split")]
    if known != [data.name, data.split_name]:
        raise DataError(
            f"the teacher was trained on {known[0]} ({known[1]}), this is {data.name} "
            f"({data.split_name}); use the same data and split seed"
        )


def _fresh(architecture: Architecture, settings: TrainSettings) -> torch.nn.Module:
    torch.manual_seed(settings.seed)
    return build(architecture)


def _teacher_pass(module: torch.nn.Module, data: Observed, method: DistillSettings) -> Pass:
    taps: tuple[str, ...] | list[str] = ()
    if method.beta:
        taps = method.teacher_layers or hidden_layers(module)
    return observe(module, taps, data)


def _student_taps(module: torch.nn.Module, method: DistillSettings) -> list[str]:
    return list(method.student_layers or hidden_layers(module)) if method.beta else []


def _objective(
    module: torch.nn.Module,
    taps: list[str],
    taught: Pass,
    data: Observed,
    method: DistillSettings,
) -> Objective:
    terms = {
        "supervised": (1 - method.alpha, Supervised()),
        "kd": (method.alpha, LogitKD(method.temperature)),
    }
    if method.beta:
        widths = [layer.shape[1] for layer in observe(module, taps, data).layers]
        abkd = ABKD([layer.shape[1] for layer in taught.layers], widths, method.dim)
        terms["abkd"] = (method.beta, abkd)
    return Objective(terms)


def _finish(
    module: torch.nn.Module,
    architecture: Architecture,
    data: NodeData,
    about: dict[str, Any],
    result: Result,
    settings: TrainSettings,
    directory: Path | None,
) -> Run:
    accuracy = accuracies(predict(module, data), data)
    provenance = {
        **{name: about[name] for name in ("data", "split", "method")},
        "seed": settings.seed,
        "best_epoch": result.epoch,
        "torch": torch.__version__,
    }
    if "teacher" in about:
        provenance["teacher"] = about["teacher"]["name"]
    summary = {
        "accuracy": accuracy,
        "provenance": provenance,
        "class_names": list(data.class_names) if data.class_names else None,
        "feature_transform": data.feature_transform,
    }
    if directory is not None:
        text = json.dumps(summary, indent=2) + "\n"
        write_in_one_step(directory / SUMMARY, text.encode())
    return Run(module=module, architecture=architecture, **summary)
