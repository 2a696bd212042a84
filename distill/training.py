"""fit: train a network on what it may see, with early stopping, progress and exact resume.

A run directory holds

    settings.json           the settings in effect
    checkpoint.safetensors  the state to resume from, while the run is not finished
    metrics.jsonl           losses and validation accuracy of each epoch
    weights.safetensors     the weights of the best epoch, once it is finished
    objective.safetensors   what the objective learnt, if it has parameters
    int8.safetensors        the weights in int8 and their scales, where training simulated them
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
from .int8 import Int8Simulation
from .losses import Objective, Pass
from .selection import Result, State, TrainSettings, out_of_patience, remember, validate


def fit(
    student: Role,
    data: Observed,
    objective: Objective,
    settings: TrainSettings,
    *,
    teacher: Pass | None = None,
    directory: Path | None = None,
    describe: dict[str, Any] | None = None,
    progress: bool = True,
) -> Result:
    """Train a network; it holds the best epoch's weights afterwards.

    A run that was interrupted goes on from its last checkpoint when called again with the same
    settings and directory, and ends with the same weights as one that was not, bit for bit on a CPU
    with the same number of threads. A finished run is not trained again.

    Args:
        student: The network, freshly built, what is tapped, and how it is fed.
        data: What training may see.
        objective: The losses. Their parameters are trained too.
        settings: How to train.
        teacher: What a frozen teacher answers on this graph, for losses that need one.
        directory: Run directory; None keeps nothing.
        describe: Further facts for settings.json; a run is resumed only where they are the same.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        TrainingError: If the loss stops being finite, or the directory holds another run.
    """
    module = student.module
    int8 = simulated(module, settings)
    optimizer = adam(module, objective, settings)
    torch.manual_seed(settings.seed)
    state = State()
    if directory is not None:
        claim(directory, {"train": settings.model_dump(), **(describe or {})})
        if (directory / WEIGHTS).is_file():
            int8.settle()
            return load_finished(module, directory)
        if (directory / CHECKPOINT).is_file():
            state = _resume(directory, module, objective, optimizer)
        cut_metrics(directory / METRICS, state.epoch)
    distiller = Distiller(student, objective, teacher, precision=getattr(torch, settings.precision))
    with _bar(progress) as bar:
        task = bar.add_task("training", total=settings.epochs, completed=state.epoch, best="")
        while state.epoch < settings.epochs and not out_of_patience(state, settings):
            objective.begin(state.epoch)
            losses = _step(distiller, data, optimizer, settings)
            loss, accuracy = validate(module, data)
            remember(state, module, loss, accuracy, settings)
            state.epoch += 1
            if directory is not None:
                record(directory, state, losses, loss, accuracy)
                if state.epoch % settings.checkpoint_every == 0:
                    _save(directory, state, module, objective, optimizer)
            assert state.best is not None
            bar.update(task, advance=1, best=f"val {state.best.val_accuracy:.3f}")
    assert state.best is not None
    module.load_state_dict(state.best_weights)
    int8.settle(directory)
    module.eval()
    result = replace(state.best, epochs=state.epoch)
    if directory is not None:
        save_finished(directory, module, objective, result)
        (directory / CHECKPOINT).unlink(missing_ok=True)
    return result


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
    return torch.optim.Adam(groups, lr=settings.lr)


def _step(
    distiller: Distiller, data: Observed, optimizer: torch.optim.Optimizer, settings: TrainSettings
) -> dict[str, float]:
    distiller.train()
    losses = distiller(dropped(data, settings))
    optimizer.zero_grad()
    losses["total"].backward()
    optimizer.step()
    return {name: float(loss.detach()) for name, loss in losses.items()}


def dropped(data: Observed, settings: TrainSettings) -> Observed:
    """Return the data with some features set to zero, if settings ask for it."""
    if not settings.input_dropout:
        return data
    return replace(data, x=F.dropout(data.x, settings.input_dropout))


def _save(
    directory: Path,
    state: State,
    module: torch.nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
) -> None:
    tensors = {
        "model": module.state_dict(),
        "objective": objective.state_dict(),
        "optimizer": optimizer_tensors(optimizer),
        "best": state.best_weights,
        "generator": {"cpu": torch.get_rng_state()},
    }
    facts = {"epoch": state.epoch, "best": asdict(state.best) if state.best else None}
    Checkpoint(tensors, facts).save(directory / CHECKPOINT)


def _resume(
    directory: Path,
    module: torch.nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
) -> State:
    checkpoint = Checkpoint.load(directory / CHECKPOINT)
    tensors, epoch = checkpoint.tensors, int(checkpoint.facts["epoch"])
    try:
        module.load_state_dict(tensors["model"])
        objective.load_state_dict(tensors.get("objective", {}))
        restore_optimizer(optimizer, tensors["optimizer"])
        torch.set_rng_state(tensors["generator"]["cpu"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise TrainingError(f"{directory / CHECKPOINT} does not fit this run: {error}") from error
    return State(epoch, Result(**checkpoint.facts["best"]), tensors["best"])


def _bar(show: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[best]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (show and console.is_terminal),
    )
