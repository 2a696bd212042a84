"""fit_together: students that are trained at once and teach each other.

Epoch by epoch every student takes one step, in turn: it runs in training mode, its peers answer as
they are by then, and its loss is the mean of its objective over them. With one student there is
nobody to learn from, and the terms that need a peer are left out.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
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
from .losses import Objective, Pass
from .selection import Result, State, TrainSettings, out_of_patience, remember, validate
from .training import adam, dropped, simulated


@dataclass(frozen=True, eq=False)
class Peer:
    """A student among others, and what it learns by."""

    student: Role
    objective: Objective


class _Learner:
    """A peer with its optimiser, its taps and how far it has come."""

    def __init__(self, peer: Peer, settings: TrainSettings) -> None:
        self.module, self.objective = peer.student.module, peer.objective
        self.int8 = simulated(self.module, settings)
        self.optimizer = adam(self.module, self.objective, settings)
        self.distiller = Distiller(
            peer.student, peer.objective, precision=getattr(torch, settings.precision)
        )
        self.state = State()

    def tensors(self, number: int) -> dict[str, dict[str, torch.Tensor]]:
        groups = {
            "model": self.module.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "best": self.state.best_weights,
        }
        return {f"{group}{number}": tensors for group, tensors in groups.items()}


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
    learners = [_Learner(peer, settings) for peer in peers]
    torch.manual_seed(settings.seed)
    epoch, folders = 0, [student_folder(directory, number) for number in range(len(learners))]
    if directory is not None:
        claim(directory, {"train": settings.model_dump(), **(describe or {})})
        if all(folder is not None and (folder / WEIGHTS).is_file() for folder in folders):
            for learner in learners:
                learner.int8.settle()
            return [load_finished(p.module, f) for p, f in zip(learners, folders, strict=True) if f]
        if (directory / CHECKPOINT).is_file():
            epoch = _resume(directory, learners)
        cut_metrics(directory / METRICS, epoch * len(learners))
    while epoch < settings.epochs and not all(
        out_of_patience(learner.state, settings) for learner in learners
    ):
        for number, learner in enumerate(learners):
            start = time.perf_counter()
            learner.objective.begin(epoch)
            losses = _step(learner, [p for p in learners if p is not learner], data, settings)
            loss, accuracy = validate(learner.module, data)
            remember(learner.state, learner.module, loss, accuracy, settings)
            learner.state.epoch += 1
            if directory is not None:
                took = time.perf_counter() - start
                losses = {"student": number, **losses}
                record(directory, learner.state, losses, loss, accuracy, took)
        epoch += 1
        if directory is not None and epoch % settings.checkpoint_every == 0:
            _save(directory, epoch, learners)
    results = [_best(p, folder) for p, folder in zip(learners, folders, strict=True)]
    for learner, folder, result in zip(learners, folders, results, strict=True):
        if folder is not None:
            save_finished(folder, learner.module, learner.objective, result)
    if directory is not None:
        (directory / CHECKPOINT).unlink(missing_ok=True)
    return results


def student_folder(directory: Path | None, number: int) -> Path | None:
    """Return where a student's results are."""
    return None if directory is None else directory / f"student{number}"


def _step(
    learner: _Learner, peers: Sequence[_Learner], data: Observed, settings: TrainSettings
) -> dict[str, float]:
    """Take one step and return the losses, each the mean over peers."""
    answers: list[Pass | None] = [None]
    if peers:
        with torch.no_grad():
            answers = [peer.distiller.train().answer(data) for peer in peers]
    own = learner.distiller.train().answer(dropped(data, settings))
    trained = list(learner.module.parameters())
    found = [learner.objective(own, answer, data, trained) for answer in answers]
    losses = {name: torch.stack([loss[name] for loss in found]).mean() for name in found[0]}
    learner.optimizer.zero_grad()
    losses["total"].backward()
    learner.optimizer.step()
    return {name: float(loss.detach()) for name, loss in losses.items()}


def _best(learner: _Learner, folder: Path | None) -> Result:
    assert learner.state.best is not None
    learner.module.load_state_dict(learner.state.best_weights)
    learner.int8.settle(folder)
    learner.module.eval()
    return replace(learner.state.best, epochs=learner.state.epoch)


def _save(directory: Path, epoch: int, learners: Sequence[_Learner]) -> None:
    tensors = {"generator": {"cpu": torch.get_rng_state()}}
    for number, learner in enumerate(learners):
        tensors |= learner.tensors(number)
    best = [asdict(p.state.best) if p.state.best else None for p in learners]
    Checkpoint(tensors, {"epoch": epoch, "best": best}).save(directory / CHECKPOINT)


def _resume(directory: Path, learners: Sequence[_Learner]) -> int:
    """Put every learner where the checkpoint has it, and return the epoch."""
    checkpoint = Checkpoint.load(directory / CHECKPOINT)
    tensors, facts = checkpoint.tensors, checkpoint.facts
    try:
        for number, learner in enumerate(learners):
            learner.module.load_state_dict(tensors[f"model{number}"])
            learner.objective.load_state_dict(tensors.get(f"objective{number}", {}))
            restore_optimizer(learner.optimizer, tensors[f"optimizer{number}"])
            best = Result(**facts["best"][number])
            learner.state = State(facts["epoch"], best, tensors[f"best{number}"])
        torch.set_rng_state(tensors["generator"]["cpu"])
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise TrainingError(f"{directory / CHECKPOINT} does not fit this run: {error}") from error
    return int(facts["epoch"])
