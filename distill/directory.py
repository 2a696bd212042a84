"""Files of a run directory; `training` says what it holds."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from .checkpoint import write_in_one_step
from .errors import TrainingError
from .losses import Objective
from .selection import Result, State

SETTINGS, CHECKPOINT, METRICS, WEIGHTS, OBJECTIVE = (
    "settings.json",
    "checkpoint.safetensors",
    "metrics.jsonl",
    "weights.safetensors",
    "objective.safetensors",  # what the objective learnt
)
# beside the metrics, which are the same for every run with the same settings; time is not
SECONDS = "seconds.jsonl"


def claim(directory: Path, settings: dict[str, Any]) -> None:
    """Write the settings, or make sure that the directory holds a run with the same ones."""
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    path = directory / SETTINGS
    there = _read(path) if path.is_file() else None
    if path.is_file() and not agrees(there, json.loads(text)):
        differ = _differences(there, json.loads(text))
        raise TrainingError(
            f"{directory} holds a run with other settings: {'; '.join(differ)}. Choose another "
            f"directory, or remove this one (its settings are in {path})"
        )
    for left in directory.glob("*.partial"):  # of a run that was killed while it wrote
        left.unlink()
    write_in_one_step(path, text.encode())


def agrees(before: Any, now: Any) -> bool:
    """Return whether settings on disk are these; what they do not know yet must be off now.

    A setting that is newer than the file is off where it is None, False or empty.
    """
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return all(agrees(a, b) for a, b in zip(before, now, strict=True))
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before == now
    newer = now.keys() - before.keys()
    known = all(name in now and agrees(value, now[name]) for name, value in before.items())
    return known and not any(now[name] for name in newer)


def _read(path: Path) -> Any:
    """Return what a file of settings says, None where it is damaged."""
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError:
        return None


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Return what differs between two trees of settings, by path."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return [] if there == here else [f"{name} is {there} there, {here} here"]
    found = []
    for key in sorted(there.keys() | here.keys()):
        path = f"{name}.{key}" if name else key
        found += _differences(there.get(key), here.get(key), path)
    return found


def record(
    directory: Path,
    state: State,
    losses: dict[str, float],
    loss: float,
    accuracy: float,
    seconds: float,
) -> None:
    """Append an epoch to the metrics, and what it took, training and validation, to the seconds."""
    entry = {"epoch": state.epoch - 1, **losses, "val_loss": loss, "val_accuracy": accuracy}
    with (directory / METRICS).open("a") as file:
        file.write(json.dumps(entry) + "\n")
    with (directory / SECONDS).open("a") as file:
        file.write(f"{seconds:.6f}\n")


def cut_metrics(path: Path, epochs: int) -> None:
    """Drop what was recorded after the checkpoint: those epochs are run again."""
    for recorded in (path, path.with_name(SECONDS)):
        if recorded.is_file():
            kept = recorded.read_text().splitlines(keepends=True)[:epochs]
            write_in_one_step(recorded, "".join(kept).encode())


def save_finished(
    directory: Path, module: torch.nn.Module, objective: Objective, result: Result
) -> None:
    """Write the best weights, and what the objective learnt."""
    weights = {name: t.detach().cpu().clone() for name, t in module.state_dict().items()}
    metadata = {"result": json.dumps(asdict(result))}
    trained = {name: t.detach().cpu().clone() for name, t in objective.state_dict().items()}
    if trained:
        write_in_one_step(directory / OBJECTIVE, safetensors.torch.save(trained))
    write_in_one_step(directory / WEIGHTS, safetensors.torch.save(weights, metadata))


def load_finished(module: torch.nn.Module, directory: Path) -> Result:
    """Put a finished run's weights into its network and return what training found."""
    with safetensors.safe_open(directory / WEIGHTS, framework="pt") as file:
        result = Result(**json.loads(file.metadata()["result"]))
    module.load_state_dict(safetensors.torch.load_file(directory / WEIGHTS))
    module.eval()
    return result
