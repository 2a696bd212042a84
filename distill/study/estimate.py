"""How long a study will take at most, from a few epochs of each kind of run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ..data import NodeData
from ..distillation import distill
from ..groups import train_together
from ..runs import Run, train
from ..selection import TrainSettings
from .arms import Place, Plan, architecture_of, load_data
from .settings import StudySettings

_EPOCHS = 4


def estimate(study: StudySettings, place: Place, jobs: int) -> float:
    """Return seconds, were no run to stop early; measured on the first tuning seed's split."""
    with _one_thread():  # as each job has
        return sum(_estimate(study, place, data) for data in study.data) / jobs


def _estimate(study: StudySettings, place: Place, data: str) -> float:
    nodes = load_data(study, place, data, study.tuning_seeds[0])
    teacher = study.training("teacher", data)
    architecture = architecture_of(study.network("teacher", data), nodes)
    taught: list[Run] = []

    def teach(settings: TrainSettings) -> None:
        taught.append(train(architecture, nodes, settings, progress=False))

    seeds = study.number_of_seeds(data)
    total = _seconds(teach, teacher) * (seeds + len(study.tuning_seeds))
    for arm in study.all_arms.values():
        searched = arm.tune and arm.like is None and bool(arm.knobs(study.space))
        runs = seeds + (study.trials * len(study.tuning_seeds) if searched else 0)
        plan = Plan.of(study, data, arm, {})
        total += runs * _seconds(_student(plan, taught[0], nodes), plan.train)
    return total


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _student(plan: Plan, teacher: Run, nodes: NodeData) -> Callable[[TrainSettings], None]:
    architecture, arm = architecture_of(plan.network, nodes), plan.arm

    def learn(settings: TrainSettings) -> None:
        if arm.learn == "peers":
            train_together(architecture, nodes, settings, arm.peers)
        elif arm.learn == "labels":
            train(architecture, nodes, settings, progress=False)
        else:
            distill(teacher, architecture, nodes, settings, arm.method, progress=False)

    return learn


def _seconds(run: Callable[[TrainSettings], object], settings: TrainSettings) -> float:
    """Return the seconds of all epochs, from a run of one epoch and one of a few."""
    took = []
    for epochs in (1, _EPOCHS):
        start = time.monotonic()
        run(settings.model_copy(update={"epochs": epochs}))
        took.append(time.monotonic() - start)
    return took[0] + settings.epochs * max(0.0, took[1] - took[0]) / (_EPOCHS - 1)
