"""fit: train a network on what it may see, with early stopping, progress and exact resume.

A run directory holds

    settings.json           the settings in effect
    checkpoint.safetensors  the state to resume from, while the run is not finished
    metrics.jsonl           losses and validation accuracy of each epoch
    seconds.jsonl           seconds of each epoch
    weights.safetensors     the weights of the best epoch, once it is finished
    objective.safetensors   what the objective learnt, if it has parameters
    int8.safetensors        the weights in int8 and their scales, where training simulated them
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .batches import BatchSettings, Feed, SampledFeed, WholeGraph
from .data import Observed
from .distiller import Distiller, Role
from .distributed import Workers
from .dropout import dropout
from .errors import TrainingError
from .graphs import are_ids
from .inference import answers
from .int8 import Int8Simulation
from .journal import Journal
from .learner import Learner
from .losses import Objective, Pass
from .progress import shown
from .selection import (
    Result,
    State,
    TrainSettings,
    out_of_patience,
    remember,
    scores,
    validate,
)
from .store import TeacherStore


def fit(
    student: Role,
    data: Observed,
    objective: Objective,
    settings: TrainSettings,
    *,
    teacher: Role | TeacherStore | Pass | None = None,
    batches: BatchSettings | None = None,
    directory: Path | None = None,
    describe: dict[str, Any] | None = None,
    progress: bool = True,
) -> Result:
    """Train a network; it holds the best epoch's weights afterwards.

    A run that was interrupted goes on from its last checkpoint when called again with the same
    settings and directory, and ends with the same weights as one that was not, bit for bit on a CPU
    with the same number of threads. A finished run is not trained again.

    Where `torch.distributed` is set up, all its processes call this together; each takes a share of
    every batch, and the first writes.

    Args:
        student: The network, freshly built, what is tapped, and how it is fed.
        data: What training may see.
        objective: The losses. Their parameters are trained too.
        settings: How to train.
        teacher: For losses that need one: what it answers on this graph, or a store of that, or,
            to be asked in every step, the teacher.
        batches: How to train on parts of the graph; None takes all of it in every step. Without a
            teacher an epoch goes through the training nodes, with one through all nodes.
        directory: Run directory; None keeps nothing.
        describe: Further facts for settings.json; a run is resumed only where they are the same.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        TrainingError: If the loss stops being finite, or the directory holds another run.
        DataError: If there are fewer seeds than processes.
    """
    workers, module = Workers.here(), student.module
    int8 = simulated(module, settings)
    optimizer = adam(module, objective, settings)
    torch.manual_seed(settings.seed)
    whole = data if batches and batches.eval_batch_size else data.to(device_of(module))
    seen = data if batches else whole
    feed = _feed(seen, settings, batches, workers, everyone=teacher is not None)
    journal = Journal(Learner(module, objective, optimizer), directory, workers, int8)
    facts = {} if batches is None else {"batches": batches.model_dump(mode="json")}
    finished = journal.start({"train": settings.model_dump(), **facts, **(describe or {})})
    if finished is not None:
        return finished
    distiller = Distiller(student, objective, teacher, precision=getattr(torch, settings.precision))
    state = journal.state
    example = feed.batch(state.epoch, state.step).to(device_of(module)) if batches else whole
    trained = workers.together(distiller, example)
    often = batches.checkpoint_steps if batches else None
    with shown(progress and workers.first) as bar:
        task = bar.add_task("training", total=settings.epochs, best="")
        bar.advance(task, state.epoch + state.step / feed.steps)
        tick = partial(bar.update, task, advance=1 / feed.steps)
        while state.epoch < settings.epochs and not out_of_patience(state, settings):
            start = time.perf_counter()
            objective.begin(state.epoch)
            losses = _epoch(trained, feed, journal, optimizer, settings, often, tick)
            loss, accuracy = workers.from_first(lambda: _validated(student, whole, batches))
            remember(state, module, loss, accuracy, settings)
            state.end_epoch()
            journal.record(losses, loss, accuracy, time.perf_counter() - start)
            if state.epoch % settings.checkpoint_every == 0:
                journal.save()
            assert state.best is not None
            bar.update(task, best=f"val {state.best.val_accuracy:.3f}")
    return journal.finish()


def simulated(module: torch.nn.Module, settings: TrainSettings) -> Int8Simulation:
    """Return the simulation that settings ask for, which may be of nothing."""
    weights, features = settings.int8_weights, settings.int8_features
    return Int8Simulation(module, weights=weights, features=features, protect=settings.protect)


def adam(
    module: torch.nn.Module, objective: Objective, settings: TrainSettings
) -> torch.optim.Adam:
    """Return Adam over a network and an objective, which has no weight decay."""
    convs = settings.conv_weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [], "weight_decay": settings.weight_decay},
        {"params": [], "weight_decay": settings.weight_decay if convs is None else convs},
        {"params": list(objective.parameters()), "weight_decay": 0.0},
    ]
    for name, parameter in module.named_parameters():
        groups[name.startswith("convs.")]["params"].append(parameter)
    return torch.optim.Adam(groups, lr=settings.lr, fused=True)


def _feed(
    data: Observed,
    settings: TrainSettings,
    batches: BatchSettings | None,
    workers: Workers,
    *,
    everyone: bool,
) -> Feed:
    if batches is not None:
        seeds = torch.arange(data.y.numel()) if everyone else data.train
        return SampledFeed(data, seeds, batches, settings.seed, workers.rank, workers.world)
    if workers.world > 1:
        raise TrainingError(
            f"{workers.world} processes have nothing to share where every step is the whole graph; "
            "give a batch size, or start one process"
        )
    return WholeGraph(data)


def _epoch(
    distiller: torch.nn.Module,
    feed: Feed,
    journal: Journal,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    checkpoint_steps: int | None,
    tick: Callable[[], object],
) -> dict[str, float]:
    """Do what is left of an epoch and return the mean of each loss over all of its steps."""
    state, workers, losses = journal.state, Workers.here(), {}
    while state.step < feed.steps:
        losses = _step(distiller, feed, state, optimizer, settings)
        state.end_step(torch.stack(list(losses.values())).double().cpu())
        tick()
        if checkpoint_steps and state.step % checkpoint_steps == 0 and state.step < feed.steps:
            assert state.sums is not None
            state.sums = workers.mean(state.sums)  # what others summed goes into the file too
            journal.save()
    assert state.sums is not None
    means = workers.mean(state.sums) / feed.steps
    return dict(zip(losses, means.tolist(), strict=True))


def _step(
    distiller: torch.nn.Module,
    feed: Feed,
    state: State,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
) -> dict[str, Tensor]:
    distiller.train()
    batch = feed.batch(state.epoch, state.step).to(device_of(distiller))
    losses = distiller(dropped(batch, settings))
    optimizer.zero_grad()
    (losses["total"] * feed.scale(state.epoch, state.step)).backward()
    optimizer.step()
    return {name: loss.detach() for name, loss in losses.items()}


def _validated(student: Role, data: Observed, batches: BatchSettings | None) -> tuple[float, float]:
    if batches is None or batches.eval_batch_size is None:
        return validate(student.module, data)
    role, seen = replace(student, taps=()), data.validation or data
    found = answers(role, seen, seen.val, batches.hops, batches.eval_batch_size)
    logits = torch.cat([answer.logits for _, answer in found])
    return scores(logits, seen)


def device_of(module: torch.nn.Module) -> torch.device:
    """Return where a network's parameters are."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def dropped(data: Observed, settings: TrainSettings) -> Observed:
    """Return the data with some features set to zero, if settings ask for it.

    Raises:
        TrainingError: If nodes have ids in place of features.
    """
    if not settings.input_dropout:
        return data
    if isinstance(data.x, dict):
        kept = {
            kind: x if are_ids(x) else dropout(x, settings.input_dropout)
            for kind, x in data.x.items()
        }
        return replace(data, x=kept)
    if are_ids(data.x):
        raise TrainingError("input_dropout needs features; these nodes have ids only")
    return replace(data, x=dropout(data.x, settings.input_dropout))
