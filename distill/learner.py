"""Learner: what training moves, and what a checkpoint holds of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .checkpoint import optimizer_tensors, restore_optimizer
from .losses import Objective


@dataclass(frozen=True, eq=False)
class Learner:
    """A network, what it learns by, and the optimiser of both."""

    module: torch.nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return what is to be kept, in groups."""
        return {
            "model": self.module.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
        }

    def restore(self, tensors: Mapping[str, dict[str, Tensor]]) -> None:
        """Go to where a checkpoint has it.

        Raises:
            KeyError: If there is no model in it.
            RuntimeError: If it is of another network or objective.
            ValueError: If it is of another optimiser.
        """
        self.module.load_state_dict(tensors["model"])
        self.objective.load_state_dict(tensors.get("objective", {}))
        restore_optimizer(self.optimizer, tensors.get("optimizer", {}))
