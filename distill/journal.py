"""Journal: what a run directory remembers of a training, so that it goes on as if never stopped.

Everything is written beside its place and renamed, and what was recorded after the checkpoint is
cut off and done again: there is no moment at which a kill loses more than the time since then.
Where several processes train, the first writes and reads, and the others get what it read.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from .checkpoint import Checkpoint
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
from .distributed import Workers
from .errors import TrainingError
from .int8 import Int8Simulation
from .learner import Learner
from .selection import Result, State


class Journal:
    """A training's state, in memory and in its run directory.

    Args:
        learner: What is trained.
        directory: The run directory; None keeps nothing.
        workers: Who trains together.
        int8: What training simulates; it ends where training does.
    """

    def __init__(
        self,
        learner: Learner,
        directory: Path | None,
        workers: Workers,
        int8: Int8Simulation,
    ) -> None:
        self._learner, self._module = learner, learner.module
        self._directory, self._workers, self._int8 = directory, workers, int8
        self.state = State()

    def start(self, settings: dict[str, Any]) -> Result | None:
        """Go to where the directory has the training; return the result if it is finished there.

        Raises:
            TrainingError: If the directory holds a run with other settings, or a damaged one.
        """
        directory = self._directory
        if directory is None:
            return None
        found = self._workers.from_first(lambda: self._found(directory, settings))
        if isinstance(found, Result):
            self._int8.settle()
            self._workers.agree(self._module.eval())
            return found
        if found is not None:
            self.state = self._restored(directory, found)
        return None

    def record(
        self, losses: dict[str, float], loss: float, accuracy: float, seconds: float
    ) -> None:
        """Note an epoch that has just ended."""
        if self._directory is not None and self._workers.first:
            record(self._directory, self.state, losses, loss, accuracy, seconds)

    def save(self) -> None:
        """Write a checkpoint."""
        if self._directory is None or not self._workers.first:
            return
        state = self.state
        tensors = {
            **self._learner.tensors(),
            "best": state.best_weights,
            "generator": {"cpu": torch.get_rng_state()},
            "sums": {} if state.sums is None else {"losses": state.sums},
        }
        best = asdict(state.best) if state.best else None
        facts = {"epoch": state.epoch, "step": state.step, "best": best}
        Checkpoint(tensors, facts).save(self._directory / CHECKPOINT)

    def finish(self) -> Result:
        """Put the best weights in, write them, and return what training found."""
        best, directory = self.state.best, self._directory
        assert best is not None
        self._module.load_state_dict(self.state.best_weights)
        self._int8.settle(directory if self._workers.first else None)
        self._workers.agree(self._module.eval())
        result = replace(best, epochs=self.state.epoch)
        if directory is not None and self._workers.first:
            save_finished(directory, self._module, self._learner.objective, result)
            (directory / CHECKPOINT).unlink(missing_ok=True)
        return result

    def _found(self, directory: Path, settings: dict[str, Any]) -> Result | Checkpoint | None:
        claim(directory, settings)
        if (directory / WEIGHTS).is_file():
            (directory / CHECKPOINT).unlink(missing_ok=True)
            self._int8.settle()
            return load_finished(self._module, directory)
        known = (directory / CHECKPOINT).is_file()
        checkpoint = Checkpoint.load(directory / CHECKPOINT) if known else None
        cut_metrics(directory / METRICS, int(checkpoint.facts["epoch"]) if checkpoint else 0)
        return checkpoint

    def _restored(self, directory: Path, checkpoint: Checkpoint) -> State:
        tensors, facts = checkpoint.tensors, checkpoint.facts
        try:
            self._learner.restore(tensors)
            torch.set_rng_state(tensors["generator"]["cpu"])
            best = None if facts["best"] is None else Result(**facts["best"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            path = directory / CHECKPOINT
            raise TrainingError(f"{path} does not fit this run: {error}") from error
        sums = tensors.get("sums", {}).get("losses")
        return State(facts["epoch"], best, tensors.get("best", {}), facts.get("step", 0), sums)
