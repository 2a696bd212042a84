"""Distillation: what a student learns from a teacher, as settings, and the run that does it."""

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
from .controls import Control
from .data import NodeData, Observed
from .directory import OBJECTIVE, SETTINGS
from .distiller import Role, observe
from .errors import DataError
from .evaluate import predict
from .inference import for_network
from .initial import Absorbed, Initial, Pruned
from .losses import LogitKD, Objective, Pass, Rows, Supervised
from .methods.settings import ABKDSetting, TermSetting
from .models import Architecture, hidden_layers
from .pruning import pruned
from .runs import Run, finish, fresh, seen
from .schedule import Points, scheduled
from .selection import Result, TrainSettings
from .store import digest
from .teaching import Lesson, examples
from .training import fit


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
    observed = seen(data, architecture, settings)
    batches = for_network(batches, architecture)
    module = fresh(architecture, settings)
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


def _check_same_split(teacher: Run, data: NodeData) -> None:
    known = [teacher.provenance.get(name) for name in ("data", "split")]
    if known != [data.name, data.split_name]:
        raise DataError(
            f"the teacher was trained on {known[0]} ({known[1]}), this is {data.name} "
            f"({data.split_name}); use the same data and split seed"
        )


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
    teacher: Run, student: Run, data: NodeData, directory: Path
) -> tuple[Objective, Pass, Pass]:
    """Return a finished run's objective as training left it, and what the two networks answer.

    Args:
        teacher: The teacher.
        student: The student, with its best weights.
        data: The data.
        directory: The student's run directory, which says what was learnt from the teacher, and
            holds what the objective learnt.
    """
    method = DistillSettings(**json.loads((directory / SETTINGS).read_text())["distill"])
    observed = data.observed()
    taps = list(method.student_layers or hidden_layers(student.module)) if method.terms else []
    own = observe(Role(student.module, taps), observed)
    taught = whole_answer(teacher, observed, method, student.provenance["seed"])
    with torch.random.fork_rng(devices=()):
        objective = objective_of(own, taught, method)
    if (directory / OBJECTIVE).is_file():
        objective.load_state_dict(safetensors.torch.load_file(directory / OBJECTIVE))
    return objective, own, taught
