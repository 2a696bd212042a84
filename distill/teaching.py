"""Lesson: what a trained network has to say to a student, and where the student finds it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .batches import BatchSettings, sampled_part
from .controls import Control, controlled
from .data import Observed
from .distiller import Role, observe
from .distributed import Workers
from .inference import answers, reach
from .losses import Pass
from .models import Architecture
from .progress import tracked
from .sampler import NeighborSampler
from .store import TeacherStore, fingerprint


@dataclass(frozen=True, eq=False)
class Lesson:
    """A teacher and what of it is looked at.

    Attributes:
        module: The teacher.
        architecture: What it is.
        layers: Its layers that are looked at; none: its logits alone.
        control: Layers to show instead of its own.
        seed: Seed of the control.
    """

    module: torch.nn.Module
    architecture: Architecture
    layers: list[str]
    control: Control | None
    seed: int

    def given(
        self,
        data: Observed,
        batches: BatchSettings | None,
        folder: Path | None,
        *,
        progress: bool = True,
    ) -> Pass | Role | TeacherStore:
        """Return the teacher's answers in memory or on disk, or the teacher itself.

        Args:
            data: The graph.
            batches: How the student is trained; None takes the whole graph.
            folder: Where a store is, or is to be written; None keeps answers in memory.
            progress: Whether to show a progress bar while a store is written.

        Raises:
            DataError: If the folder holds another teacher's answers, or other layers.
            ValueError: If a control is to be answered by a live teacher.
        """
        if batches is not None and batches.teacher == "live":
            if self.control is not None:
                raise ValueError("a control needs stored answers; it cannot be asked live")
            return Role(self.module, self.layers)
        if batches is None or folder is None:
            return self._whole(data)
        mark = fingerprint(self.module, *data.plain, note=self._note())
        size = batches.eval_batch_size
        parts = self._parts(data, size, progress) if size and self.control is None else None
        Workers.here().from_first(lambda: self._write(folder, data, mark, parts))
        return TeacherStore(folder, mark, self.layers)

    def _note(self) -> str:
        return "" if self.control is None else f"{self.control} {self.seed}"

    def _whole(self, data: Observed) -> Pass:
        taught = observe(Role(self.module, self.layers), data)
        if self.control is None or not self.layers:
            return taught
        where = (self.architecture, self.layers, data, self.seed)
        return controlled(self.control, taught, *where)

    def _parts(self, data: Observed, size: int, progress: bool) -> Iterable[tuple[Tensor, Pass]]:
        nodes, role = torch.arange(data.y.numel()), Role(self.module, self.layers)
        found = answers(role, data, nodes, reach(self.architecture), size)
        total = -(-nodes.numel() // size)
        return tracked(found, total, "teacher", show=progress)

    def _write(
        self,
        folder: Path,
        data: Observed,
        mark: str,
        parts: Iterable[tuple[Tensor, Pass]] | None,
    ) -> None:
        """Write the store where there is none."""
        if TeacherStore.is_at(folder):
            return
        if parts is None:
            TeacherStore.write(folder, self._whole(data), mark, self.layers, "float32")
        else:
            count = data.y.numel()
            TeacherStore.write_parts(folder, parts, count, mark, self.layers, "float32")


def examples(
    student: Role,
    taught: Pass | Role | TeacherStore,
    data: Observed,
    batches: BatchSettings | None,
) -> tuple[Pass, Pass]:
    """Return what an untrained student and its teacher answer, for some nodes at least.

    Losses are made to measure by them.
    """
    part = data
    if batches is not None:
        sampler = NeighborSampler(data.plain[1], batches.num_neighbors)
        part = sampled_part(data, sampler.sample(torch.arange(1), 0))
    if isinstance(taught, Role):
        taught = observe(taught, part)
    elif isinstance(taught, TeacherStore):
        taught = taught.look_up(torch.arange(1))
    return observe(student, part), taught
