"""Runs: a network trained or distilled into a directory, and taken from there again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from .batches import BatchSettings
from .checkpoint import write_in_one_step
from .controls import Control
from .data import NodeData, Observed
from .directory import OBJECTIVE, SETTINGS, WEIGHTS
from .distiller import Role, observe
from .distributed import Workers
from .errors import DataError, TrainingError
from .evaluate import accuracies, predict
from .inference import for_network
from .initial import Absorbed, Initial, Pruned
from .losses import LogitKD, Objective, Pass, Rows, Supervised
from .methods.settings import ABKDSetting, TermSetting
from .models import Architecture, build, hidden_layers, takes_sparse
from .pruning import pruned
from .schedule import Points, scheduled
from .selection import Result, TrainSettings
from .store import digest
from .teaching import Lesson, examples
from .training import fit

SUMMARY = "summary.json"


class DistillSettings(BaseModel):
    """How a student learns: (1 - alpha) · labels + alpha · teacher's logits + Σ weight · term.

    Attributes:
        alpha: Weight of the teacher's logits against the labels.
        temperature: Temperature of the logits, or (epoch, temperature) points of a `Schedule`.
        rows: Nodes on which the teacher's logits count: "all", or "train".
        terms: What else is learnt from the teacher; by default ABKD.
        control: Layers to show instead of the trained teacher's, to learn what a term is worth.
        teacher_layers: Layers of the teacher by module path; None means its hidden layers.
        student_layers: The same of the student.
        initialise: Where the student's first weights come from; None draws them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.9, ge=0, le=1)
    temperature: Annotated[float, Field(gt=0)] | Points = 1.0
    rows: Rows = "all"
    terms: tuple[TermSetting, ...] = (ABKDSetting(weight=0.01),)
    control: Control | None = None
    teacher_layers: tuple[str, ...] | None = None
    student_layers: tuple[str, ...] | None = None
    initialise: Initial | None = None

    @property
    def name(self) -> str:
        """What the method is called: "logit KD + abkd"."""
        parts = ["logit KD"] if self.alpha else []
        parts += [setting.term for setting in self.terms]
        parts += [self.initialise.kind] if self.initialise else []
        return " + ".join(parts)


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
    student = Role(_fresh(architecture, settings))
    objective = Objective({"supervised": (1.0, Supervised(label_smoothing))})
    about = {
        "architecture": architecture.model_dump(),
        "data": data.name,
        "split": data.split_name,
        "method": "supervised",
    }
    result = fit(
        student,
        _seen(data, architecture, settings),
        objective,
        settings,
        batches=batches,
        directory=directory,
        describe=about,
        progress=progress,
    )
    module = student.module
    return finish(module, architecture, data, about, result, settings, directory, batches)


def distill(
    teacher: Run,
    architecture: Architecture,
    data: NodeData,
    settings: TrainSettings,
    method: DistillSettings,
    *,
    batches: BatchSettings | None = None,
    store: Path | None = None,
    directory: Path | None = None,
    progress: bool = True,
    start: Mapping[str, Tensor] | None = None,
) -> Run:
    """Train a student on labels, a teacher's logits and, by terms over layers, its layers.

    The teacher is frozen and answers once: the graph is always the same. Where training takes parts
    of the graph, the answers are kept in a `TeacherStore` on disk, or in memory where there is no
    directory; `BatchSettings` can ask for a teacher that answers in every step instead.

    Args:
        teacher: The teacher.
        architecture: The student.
        data: The data; test labels stay hidden from training.
        settings: How to train.
        method: What to learn from the teacher.
        batches: How to train on parts of the graph; None takes all of it in every step.
        store: Folder of a `TeacherStore` to take, or to write where there is none; with batches,
            and by default in the run directory. Several students may share one.
        directory: Run directory.
        progress: Whether to show a progress bar on a terminal.
        start: The student's first weights by name, in place of what `method.initialise` says.

    Raises:
        DataError: If the teacher was trained on other data or another split: it would carry labels
            that the student is tested on. If a store holds another teacher's answers.
        ValueError: If the student cannot be initialised as the method says.
    """
    if isinstance(method.initialise, Absorbed) and start is None:
        from .single import distill_one_layer  # distils itself

        return distill_one_layer(
            teacher, architecture, data, settings, method, directory=directory, progress=progress
        )
    lesson = teach(
        teacher,
        architecture,
        data,
        settings,
        method,
        batches=batches,
        store=store,
        directory=directory,
        progress=progress,
        start=start,
    )
    module, about, result = lesson.module, lesson.about, lesson.result
    return finish(
        module,
        architecture,
        data,
        about,
        result,
        settings,
        directory,
        for_network(batches, architecture),
        before=lesson.before,
    )


@dataclass(frozen=True, eq=False)
class Taught:
    """A distilled student whose test nodes have not been read.

    Attributes:
        module: The student with its best weights.
        about: What settings.json says of it.
        result: What training found.
        before: Its logits before training, [N, C], where its first weights say something.
    """

    module: torch.nn.Module
    about: dict[str, Any]
    result: Result
    before: Tensor | None = None


def teach(
    teacher: Run,
    architecture: Architecture,
    data: NodeData,
    settings: TrainSettings,
    method: DistillSettings,
    *,
    batches: BatchSettings | None = None,
    store: Path | None = None,
    directory: Path | None = None,
    progress: bool = True,
    start: Mapping[str, Tensor] | None = None,
) -> Taught:
    """Do what `distill` does up to the test nodes, for searches that must not read them.

    `distill` with the same arguments and directory finishes the run.

    Raises:
        ValueError: As in `distill`, and where the method makes a student of another depth.
    """
    _check_same_split(teacher, data)
    if isinstance(method.initialise, Absorbed) and start is None:
        raise ValueError("initialise: attention makes a student of another depth; use distill")
    observed = _seen(data, architecture, settings)
    batches = for_network(batches, architecture)
    module = _fresh(architecture, settings)
    if store is None and directory is not None:
        store = directory / "teacher"
    taps = list(method.student_layers or hidden_layers(module)) if method.terms else []
    lesson = lesson_of(teacher, method, settings.seed)
    taught = lesson.given(data.observed(), batches, store, progress=progress)
    objective = objective_of(*examples(Role(module, taps), taught, observed, batches), method)
    about = {
        "architecture": architecture.model_dump(),
        "data": data.name,
        "split": data.split_name,
        "method": method.name,
        "distill": method.model_dump(mode="json"),
        "teacher": teacher.architecture.model_dump(),
        "teacher_accuracy": teacher.accuracy,
    }
    if isinstance(method.initialise, Pruned) and start is None:
        importance = method.initialise.importance
        start = pruned(
            teacher.module, teacher.architecture, architecture, data.observed(), importance
        )
    before = None
    if start is not None:
        module.load_state_dict(start)
        before, about["start"] = predict(module, data, batches), digest(start)
    result = fit(
        Role(module, taps),
        observed,
        objective,
        settings,
        teacher=taught,
        batches=batches,
        directory=directory,
        describe=about,
        progress=progress,
    )
    return Taught(module, about, result, before)


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


def _seen(
    data: NodeData,
    architecture: Architecture,
    settings: TrainSettings,
) -> Observed:
    """Return what training may see, in the form that suits the network."""
    return data.observed(sparse=takes_sparse(architecture) and not settings.int8_features)


def lesson_of(teacher: Run, method: DistillSettings, seed: int) -> Lesson:
    """Return what a student is shown of a teacher."""
    hidden = method.teacher_layers or hidden_layers(teacher.module) if method.terms else ()
    return Lesson(teacher.module, teacher.architecture, list(hidden), method.control, seed)


def whole_answer(teacher: Run, data: Observed, method: DistillSettings, seed: int) -> Pass:
    """Return what it shows on the whole graph: its logits, and its layers or a control's."""
    taught = lesson_of(teacher, method, seed).given(data, None, None)
    assert isinstance(taught, Pass)
    return taught


def objective_of(untrained: Pass, taught: Pass, method: DistillSettings) -> Objective:
    """Return the objective for what the two networks answer."""
    logits = LogitKD(scheduled(method.temperature), method.rows)
    terms = {"supervised": (1 - method.alpha, Supervised()), "kd": (method.alpha, logits)}
    for setting in method.terms:
        if setting.term in terms:
            raise ValueError(f"the term {setting.term} is there twice")
        terms[setting.term] = (scheduled(setting.weight), setting.make(taught, untrained))
    caps = {setting.term: setting.cap for setting in method.terms if setting.cap is not None}
    return Objective(terms, caps)


def learnt(
    teacher: Run, student: Run, data: NodeData, method: DistillSettings, directory: Path
) -> tuple[Objective, Pass, Pass]:
    """Return a finished run's objective as training left it, and what the two networks answer.

    Args:
        teacher: The teacher.
        student: The student, with its best weights.
        data: The data.
        method: What was learnt from the teacher.
        directory: The student's run directory, which holds what its objective learnt.
    """
    observed = data.observed()
    taps = method.student_layers or hidden_layers(student.module)
    own = observe(Role(student.module, list(taps)), observed)
    taught = whole_answer(teacher, observed, method, student.provenance["seed"])
    with torch.random.fork_rng(devices=()):
        objective = objective_of(own, taught, method)
    if (directory / OBJECTIVE).is_file():
        objective.load_state_dict(safetensors.torch.load_file(directory / OBJECTIVE))
    return objective, own, taught


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
