"""Checkpoints: everything a training run needs to go on as if it had never stopped.

One safetensors file holds all tensors (parameters, the best parameters so far, the optimiser's
moments, the generator's state) and, in its header, the rest as JSON. It is written under a
temporary name and renamed, so that there is always a whole one.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .errors import TrainingError

_KEY = "graphstill"


@dataclass(frozen=True)
class Checkpoint:
    """A state of training: named groups of tensors, and facts that fit into JSON."""

    tensors: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the file in one step."""
        flat = {
            f"{group}/{name}": tensor.detach().cpu().clone()
            for group, tensors in self.tensors.items()
            for name, tensor in tensors.items()
        }
        write_in_one_step(
            path, safetensors.torch.save(flat, metadata={_KEY: json.dumps(self.facts)})
        )

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a file.

        Raises:
            TrainingError: If it is no checkpoint, or a damaged one.
        """
        tensors: dict[str, dict[str, Tensor]] = {}
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()[_KEY])
                for key in file.keys():  # noqa: SIM118 -- no mapping, it has keys() only
                    group, _, name = key.partition("/")
                    tensors.setdefault(group, {})[name] = file.get_tensor(key)
        except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise TrainingError(f"{path} is no usable checkpoint: {error}") from error
        return cls(tensors, facts)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put named tensors back into an optimiser over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def write_in_one_step(path: Path, data: bytes) -> None:
    """Write a file so that an interruption leaves the old one, or none, but never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
