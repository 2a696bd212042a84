"""train_together: students without a teacher, by Alignahead or deep mutual learning."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from .checkpoint import write_in_one_step
from .data import NodeData, Observed
from .directory import SETTINGS
from .distiller import Role, observe
from .losses import LogitKD, Objective, Supervised, Term
from .methods import Alignahead, DeepSupervision
from .models import Architecture, build, hidden_convs, takes_sparse
from .online import Peer, fit_together, student_folder
from .runs import Run, finish
from .selection import TrainSettings


class OnlineSettings(BaseModel):
    """How students teach each other: labels + weight · mean over peers of the term.

    Attributes:
        students: Number of students M; with one there is nobody to learn from.
        method: "alignahead": local structure of shifted layers; "mutual": logits.
        weight: Weight of what is learnt from peers.
        shift: Alignahead: the peer's layer l + shift teaches layer l.
        features: Alignahead++: weight of the features of those layers.
        supervision: Alignahead++: weight of a classifier on every hidden layer.
        temperature: Mutual learning: temperature of the logits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    students: int = Field(default=2, gt=0)
    method: Literal["alignahead", "mutual"] = "alignahead"
    weight: float = Field(default=1.0, gt=0)
    shift: int = 1
    features: float = Field(default=0.0, ge=0)
    supervision: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)

    @property
    def name(self) -> str:
        """What the method is called."""
        if self.method == "mutual":
            return f"mutual learning, {self.students} students"
        plus = "++" if self.features or self.supervision else ""
        return f"alignahead{plus}, {self.students} students, shift {self.shift}"


def train_together(
    architecture: Architecture,
    data: NodeData,
    settings: TrainSettings,
    method: OnlineSettings,
    *,
    directory: Path | None = None,
) -> list[Run]:
    """Train students of one architecture that teach each other, each from a seed of its own.

    Args:
        architecture: Of every student.
        data: The data; test labels stay hidden from training.
        settings: How to train; student m starts from seed + 1000 m.
        method: What they learn from each other.
        directory: Run directory; each finished student has a folder of its own in it, that
            `load_run` takes.

    Returns:
        The students.
    """
    observed = data.observed(sparse=takes_sparse(architecture))
    peers = [
        _peer(architecture, observed, settings.seed + 1000 * m, method)
        for m in range(method.students)
    ]
    about: dict[str, Any] = {
        "architecture": architecture.model_dump(),
        "data": data.name,
        "split": data.split_name,
        "method": method.name,
        "online": method.model_dump(mode="json"),
    }
    results = fit_together(peers, observed, settings, directory=directory, describe=about)
    runs = []
    for number, (peer, result) in enumerate(zip(peers, results, strict=True)):
        folder = student_folder(directory, number)
        if folder is not None:
            text = json.dumps({"train": settings.model_dump(), **about}, indent=2) + "\n"
            write_in_one_step(folder / SETTINGS, text.encode())
        module = peer.student.module
        runs.append(finish(module, architecture, data, about, result, settings, folder))
    return runs


def _peer(architecture: Architecture, data: Observed, seed: int, method: OnlineSettings) -> Peer:
    torch.manual_seed(seed)
    module = build(architecture)
    taps = hidden_convs(module)
    terms: dict[str, tuple[float, Term]] = {"supervised": (1.0, Supervised())}
    if method.students > 1:
        learnt = (
            LogitKD(method.temperature)
            if method.method == "mutual"
            else Alignahead(method.shift, method.features)
        )
        terms[method.method] = (method.weight, learnt)
    if method.supervision:
        widths = [layer.shape[1] for layer in observe(Role(module, taps), data).layers]
        heads = DeepSupervision(widths, data.num_classes)
        terms["supervision"] = (method.supervision, heads)
    return Peer(Role(module, taps), Objective(terms))
