"""fit_together: students that are trained at once and teach each other.

Epoch by epoch every student takes one step, in turn: it runs in training mode, its peers answer as
they are by then, and its loss is the mean of its objective over them. What a peer answers is the
same to all until its own step; each epoch it is asked anew. With one student there is nobody to
learn from, and the terms that need a peer are left out.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .checkpoint import Checkpoint
from .data import Observed
from .directory import (
    CHECKPOINT,
    METRICS,
    WEIGHTS,
    claim,
    cut_metrics,
    load_finished,
    record,
    save_finished,
)
from .distiller import Distiller, Role
from .errors import TrainingError
from .learner import Learner
from .losses import Objective, Pass
from .selection import Result, State, TrainSettings, out_of_patience, remember, validate
from .training import adam, dropped, simulated


@dataclass(frozen=True, eq=False)
class Peer:
    """A student among others, and what it learns by."""

    student: Role
    objective: Objective


class _Student:
    """A peer with its optimiser, its taps and how far it has come."""

    def __init__(self, peer: Peer, settings: TrainSettings) -> None:
        self.module, self.objective = peer.student.module, peer.objective
        self.int8 = simulated(self.module, settings)
        self.optimizer = adam(self.module, self.objective, settings)
        self.learner = Learner(self.module, self.objective, self.optimizer)
        self.distiller = Distiller(
            peer.student, peer.objective, precision=getattr(torch, settings.precision)
        )
        self.state = State()
        self._answer: Pass | None = None

    def answer(self, data: Observed) -> Pass:
        """Return what it says as a peer, as it is by now."""
        if self._answer is None:
            with torch.no_grad():
                self._answer = self.distiller.train().answer(data)
        return self._answer

    def forget(self) -> None:
        """Drop what it said: it has changed, or is to be asked anew."""
        self._answer = None


def fit_together(
    peers: Sequence[Peer],
    data: Observed,
    settings: TrainSettings,
    *,
    directory: Path | None = None,
    describe: dict[str, Any] | None = None,
) -> list[Result]:
    """Train several students that teach each other; each holds its best epoch's weights afterwards.

    An interrupted run goes on from its last checkpoint, as in `fit`. Students should start from
    different seeds: where each epoch is the whole graph, nothing else would part them.

    Args:
        peers: The students, freshly built, and what each learns by. Each needs an objective of its
            own if it has trainable parts.
        data: What training may see.
        settings: How to train. An epoch is one step of every student; the run ends when all are out
            of patience.
        directory: Run directory; None keeps nothing.
        describe: Further facts for settings.json.

    Returns:
        What training found for each student.

    Raises:
        TrainingError: If a loss stops being finite, or the directory holds another run.
    """
    students = [_Student(peer, settings) for peer in peers]
    torch.manual_seed(settings.seed)
    epoch, folders = 0, [student_folder(directory, number) for number in range(len(students))]
    if directory is not None:
        claim(directory, {"train": settings.model_dump(), **(describe or {})})
        if all(folder is not None and (folder / WEIGHTS).is_file() for folder in folders):
            for student in students:
                student.int8.settle()
            return [load_finished(p.module, f) for p, f in zip(students, folders, strict=True) if f]
        if (directory / CHECKPOINT).is_file():
            epoch = _resume(directory, students)
        cut_metrics(directory / METRICS, epoch * len(students))
    while epoch < settings.epochs and not all(
        out_of_patience(student.state, settings) for student in students
    ):
        for student in students:
            student.forget()
        for number, student in enumerate(students):
            start = time.perf_counter()
            student.objective.begin(epoch)
            losses = _step(student, [p for p in students if p is not student], data, settings)
            loss, accuracy = validate(student.module, data)
            remember(student.state, student.module, loss, accuracy, settings)
            student.state.epoch += 1
            if directory is not None:
                took = time.perf_counter() - start
                losses = {"student": number, **losses}
                record(directory, student.state, losses, loss, accuracy, took)
        epoch += 1
        if directory is not None and epoch % settings.checkpoint_every == 0:
            _save(directory, epoch, students)
    results = [_best(p, folder) for p, folder in zip(students, folders, strict=True)]
    for student, folder, result in zip(students, folders, results, strict=True):
        if folder is not None:
            save_finished(folder, student.module, student.objective, result)
    if directory is not None:
        (directory / CHECKPOINT).unlink(missing_ok=True)
    return results


def student_folder(directory: Path | None, number: int) -> Path | None:
    """Return where a student's results are."""
    return None if directory is None else directory / f"student{number}"


def _step(
    student: _Student, peers: Sequence[_Student], data: Observed, settings: TrainSettings
) -> dict[str, float]:
    """Take one step and return the losses, each the mean over peers."""
    answers: list[Pass | None] = [peer.answer(data) for peer in peers]
    own = student.distiller.train().answer(dropped(data, settings))
    trained = list(student.module.parameters())
    found = [student.objective(own, answer, data, trained) for answer in answers or [None]]
    losses = {name: torch.stack([loss[name] for loss in found]).mean() for name in found[0]}
    student.optimizer.zero_grad()
    losses["total"].backward()
    student.optimizer.step()
    student.forget()
    return {name: float(loss.detach()) for name, loss in losses.items()}


def _best(student: _Student, folder: Path | None) -> Result:
    assert student.state.best is not None
    student.module.load_state_dict(student.state.best_weights)
    student.int8.settle(folder)
    student.module.eval()
    return replace(student.state.best, epochs=student.state.epoch)


def _save(directory: Path, epoch: int, students: Sequence[_Student]) -> None:
    tensors = {"generator": {"cpu": torch.get_rng_state()}}
    for number, student in enumerate(students):
        groups = {**student.learner.tensors(), "best": student.state.best_weights}
        tensors |= {f"{group}{number}": some for group, some in groups.items()}
    best = [asdict(p.state.best) if p.state.best else None for p in students]
    Checkpoint(tensors, {"epoch": epoch, "best": best}).save(directory / CHECKPOINT)


def _resume(directory: Path, students: Sequence[_Student]) -> int:
    """Put every student where the checkpoint has it, and return the epoch."""
    checkpoint = Checkpoint.load(directory / CHECKPOINT)
    tensors, facts = checkpoint.tensors, checkpoint.facts
    try:
        for number, student in enumerate(students):
            end = str(number)
            groups = {n.removesuffix(end): g for n, g in tensors.items() if n.endswith(end)}
            student.learner.restore(groups)
            best = Result(**facts["best"][number])
            student.state = State(facts["epoch"], best, groups["best"])
        torch.set_rng_state(tensors["generator"]["cpu"])
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise TrainingError(f"{directory / CHECKPOINT} does not fit this run: {error}") from error
    return int(facts["epoch"])
