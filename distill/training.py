"""fit: train a network on what it may see, with early stopping, progress and exact resume.

A run directory holds

    settings.json           the settings in effect
    checkpoint.safetensors  the state to resume from, while the run is not finished
    metrics.jsonl           losses and validation accuracy of each epoch
    weights.safetensors     the weights of the best epoch, once it is finished
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from .checkpoint import Checkpoint, optimizer_tensors, restore_optimizer, write_in_one_step
from .data import Observed
from .errors import TrainingError
from .losses import Objective, Pass
from .models import call
from .taps import Taps

SETTINGS, CHECKPOINT, METRICS, WEIGHTS = (
    "settings.json",
    "checkpoint.safetensors",
    "metrics.jsonl",
    "weights.safetensors",
)


class TrainSettings(BaseModel):
    """How a network is trained.

    Attributes:
        epochs: Most epochs, each one pass over the whole graph.
        patience: Epochs without a better one after which training stops.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty on all parameters of the network.
        input_dropout: Probability with which a feature is set to zero in training.
        select: What makes an epoch better, on the validation nodes: "loss", or "accuracy" with ties
            broken by loss.
        checkpoint_every: Epochs between checkpoints.
        seed: Seed of initialisation and dropout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=500, gt=0)
    patience: int = Field(default=100, gt=0)
    lr: float = Field(default=0.01, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    select: Literal["loss", "accuracy"] = "loss"
    checkpoint_every: int = Field(default=20, gt=0)
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """What training found, by validation alone.

    Attributes:
        epoch: The best epoch.
        val_loss: Its cross-entropy on the validation nodes.
        val_accuracy: Its accuracy on them, 0-1.
        epochs: Epochs trained in all.
    """

    epoch: int
    val_loss: float
    val_accuracy: float
    epochs: int


@dataclass(frozen=True, eq=False)
class Student:
    """A network to train, and the layers of it that losses see."""

    module: torch.nn.Module
    taps: Sequence[str] = ()


@dataclass(eq=False)
class _State:
    """What changes from epoch to epoch and goes into a checkpoint."""

    epoch: int = 0
    best: Result | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def observe(module: torch.nn.Module, taps: Sequence[str], data: Observed) -> Pass:
    """Run a frozen network once and return its logits and tapped layers."""
    module.eval()
    with torch.no_grad(), Taps(module, taps) as watched:
        logits = call(module, data.x, data.graph)
        return Pass(logits, watched.outputs())


def fit(
    student: Student,
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
        student: The network, freshly built, and what is tapped.
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
    optimizer = torch.optim.Adam(
        [
            {"params": list(module.parameters()), "weight_decay": settings.weight_decay},
            {"params": list(objective.parameters()), "weight_decay": 0.0},
        ],
        lr=settings.lr,
    )
    torch.manual_seed(settings.seed)
    state = _State()
    if directory is not None:
        _claim(directory, {"train": settings.model_dump(), **(describe or {})})
        if (directory / WEIGHTS).is_file():
            return _finished(module, directory)
        if (directory / CHECKPOINT).is_file():
            state = _resume(directory, module, objective, optimizer)
        _cut_metrics(directory / METRICS, state.epoch)
    watched = Taps(module, student.taps)
    with _bar(progress) as bar:
        task = bar.add_task("training", total=settings.epochs, completed=state.epoch, best="")
        while state.epoch < settings.epochs and not _out_of_patience(state, settings):
            losses = _step(module, watched, data, objective, optimizer, settings, teacher)
            loss, accuracy = validate(module, data)
            _remember(state, module, loss, accuracy, settings)
            state.epoch += 1
            if directory is not None:
                _record(directory, state, losses, loss, accuracy)
                if state.epoch % settings.checkpoint_every == 0:
                    _save(directory, state, module, objective, optimizer)
            assert state.best is not None
            bar.update(task, advance=1, best=f"val {state.best.val_accuracy:.3f}")
    assert state.best is not None
    module.load_state_dict(state.best_weights)
    module.eval()
    result = replace(state.best, epochs=state.epoch)
    if directory is not None:
        _finish(directory, module, objective, result)
    return result


def validate(module: torch.nn.Module, data: Observed) -> tuple[float, float]:
    """Return cross-entropy and accuracy on the validation nodes."""
    module.eval()
    with torch.no_grad():
        logits = call(module, data.x, data.graph)[data.val]
    labels = data.y[data.val]
    accuracy = (logits.argmax(dim=-1) == labels).double().mean()
    return float(F.cross_entropy(logits, labels)), float(accuracy)


def _step(
    module: torch.nn.Module,
    watched: Taps,
    data: Observed,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    teacher: Pass | None,
) -> dict[str, float]:
    module.train()
    x = F.dropout(data.x, settings.input_dropout) if settings.input_dropout else data.x
    with watched:
        logits = call(module, x, data.graph)
        losses = objective(Pass(logits, watched.outputs()), teacher, data)
    optimizer.zero_grad()
    losses["total"].backward()
    optimizer.step()
    return {name: float(loss.detach()) for name, loss in losses.items()}


def _remember(
    state: _State,
    module: torch.nn.Module,
    loss: float,
    accuracy: float,
    settings: TrainSettings,
) -> None:
    if not torch.isfinite(torch.tensor(loss)):
        raise TrainingError(
            f"the validation loss is {loss} after epoch {state.epoch}; try a lower learning rate "
            f"than {settings.lr}"
        )
    if state.best is not None:
        old = (-state.best.val_loss, state.best.val_accuracy)
        new = (-loss, accuracy)
        if settings.select == "accuracy":
            old, new = old[::-1], new[::-1]
        if new <= old:
            return
    state.best = Result(state.epoch, loss, accuracy, state.epoch)
    state.best_weights = {name: t.detach().clone() for name, t in module.state_dict().items()}


def _out_of_patience(state: _State, settings: TrainSettings) -> bool:
    return state.best is not None and state.epoch - state.best.epoch > settings.patience


def _claim(directory: Path, settings: dict[str, Any]) -> None:
    """Write the settings, or make sure that the directory holds a run with the same ones."""
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    path = directory / SETTINGS
    if path.is_file() and path.read_text() != text:
        raise TrainingError(
            f"{directory} holds a run with other settings (see {path}); "
            "choose another directory, or remove this one"
        )
    write_in_one_step(path, text.encode())


def _record(
    directory: Path, state: _State, losses: dict[str, float], loss: float, accuracy: float
) -> None:
    entry = {"epoch": state.epoch - 1, **losses, "val_loss": loss, "val_accuracy": accuracy}
    with (directory / METRICS).open("a") as file:
        file.write(json.dumps(entry) + "\n")


def _save(
    directory: Path,
    state: _State,
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
) -> _State:
    checkpoint = Checkpoint.load(directory / CHECKPOINT)
    tensors, epoch = checkpoint.tensors, int(checkpoint.facts["epoch"])
    try:
        module.load_state_dict(tensors["model"])
        objective.load_state_dict(tensors.get("objective", {}))
        restore_optimizer(optimizer, tensors["optimizer"])
        torch.set_rng_state(tensors["generator"]["cpu"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise TrainingError(f"{directory / CHECKPOINT} does not fit this run: {error}") from error
    return _State(epoch, Result(**checkpoint.facts["best"]), tensors["best"])


def _cut_metrics(path: Path, epochs: int) -> None:
    """Drop what was recorded after the checkpoint: those epochs are run again."""
    if path.is_file():
        kept = path.read_text().splitlines(keepends=True)[:epochs]
        write_in_one_step(path, "".join(kept).encode())


def _finish(directory: Path, module: torch.nn.Module, objective: Objective, result: Result) -> None:
    weights = {name: t.detach().cpu().clone() for name, t in module.state_dict().items()}
    metadata = {"result": json.dumps(asdict(result))}
    trained = {name: t.detach().cpu().clone() for name, t in objective.state_dict().items()}
    if trained:
        write_in_one_step(directory / "objective.safetensors", safetensors.torch.save(trained))
    write_in_one_step(directory / WEIGHTS, safetensors.torch.save(weights, metadata))
    (directory / CHECKPOINT).unlink(missing_ok=True)


def _finished(module: torch.nn.Module, directory: Path) -> Result:
    with safetensors.safe_open(directory / WEIGHTS, framework="pt") as file:
        result = Result(**json.loads(file.metadata()["result"]))
    module.load_state_dict(safetensors.torch.load_file(directory / WEIGHTS))
    module.eval()
    return result


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
