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

SETTINGS, CHECKPOINT, METRICS, WEIGHTS = (
    "settings.json",
    "checkpoint.safetensors",
    "metrics.jsonl",
    "weights.safetensors",
)


def claim(directory: Path, settings: dict[str, Any]) -> None:
    """Write the settings, or make sure that the directory holds a run with the same ones."""
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    path = directory / SETTINGS
    if path.is_file() and path.read_text() != text:
        differ = _differences(json.loads(path.read_text()), json.loads(text))
        raise TrainingError(
            f"{directory} holds a run with other settings: {'; '.join(differ)}. Choose another "
            f"directory, or remove this one (its settings are in {path})"
        )
    for left in directory.glob("*.partial"):  # of a run that was killed while it wrote
        left.unlink()
    write_in_one_step(path, text.encode())


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
    directory: Path, state: State, losses: dict[str, float], loss: float, accuracy: float
) -> None:
    """Append an epoch to the metrics."""
    entry = {"epoch": state.epoch - 1, **losses, "val_loss": loss, "val_accuracy": accuracy}
    with (directory / METRICS).open("a") as file:
        file.write(json.dumps(entry) + "\n")


def cut_metrics(path: Path, epochs: int) -> None:
    """Drop what was recorded after the checkpoint: those epochs are run again."""
    if path.is_file():
        kept = path.read_text().splitlines(keepends=True)[:epochs]
        write_in_one_step(path, "".join(kept).encode())


def save_finished(
    directory: Path, module: torch.nn.Module, objective: Objective, result: Result
) -> None:
    """Write the best weights, and what the objective learnt."""
    weights = {name: t.detach().cpu().clone() for name, t in module.state_dict().items()}
    metadata = {"result": json.dumps(asdict(result))}
    trained = {name: t.detach().cpu().clone() for name, t in objective.state_dict().items()}
    if trained:
        write_in_one_step(directory / "objective.safetensors", safetensors.torch.save(trained))
    write_in_one_step(directory / WEIGHTS, safetensors.torch.save(weights, metadata))


def load_finished(module: torch.nn.Module, directory: Path) -> Result:
    """Put a finished run's weights into its network and return what training found."""
    with safetensors.safe_open(directory / WEIGHTS, framework="pt") as file:
        result = Result(**json.loads(file.metadata()["result"]))
    module.load_state_dict(safetensors.torch.load_file(directory / WEIGHTS))
    module.eval()
    return result
