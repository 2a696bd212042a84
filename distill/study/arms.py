"""One run of one arm: the settings in effect, and what came out, as one line of results."""

import functools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data import NodeData
from ..datasets import load
from ..directory import METRICS
from ..groups import OnlineSettings, train_together
from ..models import Architecture
from ..runs import DistillSettings, Run, distill, train
from ..selection import TrainSettings
from .settings import Arm, Network, StudySettings, digest

# the network that self-KD learns from starts elsewhere than the one that learns
_SELF_SEED = 500


@dataclass(frozen=True)
class Plan:
    """An arm on a data set with its knobs set."""

    arm: Arm
    network: Network
    train: TrainSettings

    @classmethod
    def of(cls, study: StudySettings, data: str, arm: Arm, knobs: dict[str, Any]) -> "Plan":
        """Set an arm's knobs."""
        network = study.network("mlp" if arm.network == "mlp" else "student", data)
        training = {k: v for k, v in knobs.items() if k in TrainSettings.model_fields}
        trained = study.training("student", data).model_dump() | arm.train | training
        settings = TrainSettings(**trained)
        if "dropout" in knobs:
            arguments = {**network.arguments, "dropout": knobs["dropout"]}
            network = network.model_copy(update={"arguments": arguments})
        return cls(_with_knobs(arm, knobs), network, settings)


def _with_knobs(arm: Arm, knobs: dict[str, Any]) -> Arm:
    method = arm.method.model_dump() | {
        name: knobs[name] for name in ("alpha", "temperature") if name in knobs
    }
    peers = arm.peers.model_dump()
    if "weight" in knobs:
        method["terms"] = [{**term, "weight": knobs["weight"]} for term in method["terms"]]
        peers["weight"] = knobs["weight"]
    smoothing = knobs.get("label_smoothing", arm.label_smoothing)
    changes = {"method": DistillSettings(**method), "peers": OnlineSettings(**peers)}
    return arm.model_copy(update={**changes, "label_smoothing": smoothing})


@dataclass(frozen=True)
class Place:
    """Where a study's files are, and where raw data is."""

    folder: Path
    root: Path | None

    def teacher(self, data: str, seed: int) -> Path:
        """Return the run directory of a teacher."""
        return self.folder / "teachers" / data / str(seed)

    def itself(self, data: str, seed: int) -> Path:
        """Return the run directory of a network that self-KD learns from."""
        return self.folder / "self" / data / str(seed)

    def run(self, data: str, arm: str, seed: int) -> Path:
        """Return the run directory of an evaluation run."""
        return self.folder / "runs" / data / arm.replace("/", "-") / str(seed)


def train_teacher(study: StudySettings, place: Place, data: str, seed: int) -> Run:
    """Train a teacher, or take it if it is there."""
    nodes = load_data(study, place, data, seed)
    settings = study.training("teacher", data).model_copy(update={"seed": seed})
    architecture = architecture_of(study.network("teacher", data), nodes)
    return train(architecture, nodes, settings, directory=place.teacher(data, seed), progress=False)


def train_itself(
    study: StudySettings, place: Place, data: str, seed: int, knobs: dict[str, Any]
) -> Run:
    """Train the network that self-KD learns from, or take it if it is there."""
    nodes, plan = load_data(study, place, data, seed), Plan.of(study, data, Arm(), knobs)
    settings = plan.train.model_copy(update={"seed": seed + _SELF_SEED})
    architecture = architecture_of(plan.network, nodes)
    return train(architecture, nodes, settings, directory=place.itself(data, seed), progress=False)


def run_arm(
    study: StudySettings,
    place: Place,
    data: str,
    name: str,
    knobs: dict[str, Any],
    seed: int,
    scratch_knobs: dict[str, Any],
    *,
    keep: bool = True,
) -> dict[str, Any]:
    """Run an arm with one seed and return its line of results.

    Args:
        study: The study.
        place: Where its files are.
        data: Name of the data set.
        name: Name of the arm.
        knobs: The arm's knobs.
        seed: The seed of split, teacher, initialisation and dropout.
        scratch_knobs: Knobs of the network that self-KD learns from.
        keep: Whether to keep a run directory, with which a killed run goes on.
    """
    nodes, start = load_data(study, place, data, seed), time.monotonic()
    plan = Plan.of(study, data, study.all_arms[name], knobs)
    folder = place.run(data, name, seed) if keep else None
    runs = _students(study, place, data, seed, plan, nodes, scratch_knobs, folder)
    seconds = round(time.monotonic() - start, 3)
    teacher = study.network("teacher", data), study.training("teacher", data)
    mark = digest(plan.arm, plan.network, plan.train, *teacher, scratch_knobs)
    common = {"study": study.name, "data": data, "split": nodes.split_name, "arm": name}
    ends = {"seconds": seconds, "knobs": knobs, "config_hash": mark}
    return {**common, "seed": seed, **_measured(runs, folder), **ends}


def teacher_line(study: StudySettings, place: Place, data: str, seed: int) -> dict[str, Any]:
    """Return a teacher's line of results."""
    run, nodes = train_teacher(study, place, data, seed), load_data(study, place, data, seed)
    mark = digest(study.network("teacher", data), study.training("teacher", data))
    common = {"study": study.name, "data": data, "split": nodes.split_name, "arm": "teacher"}
    ends = {"seconds": None, "knobs": {}, "config_hash": mark}
    return {**common, "seed": seed, **_measured([run], place.teacher(data, seed)), **ends}


def _measured(runs: list[Run], folder: Path | None) -> dict[str, Any]:
    """Return what one run, or a group of students, came to; a group's numbers are means."""
    params, params_embedding = _count(runs[0].module)
    tests = [run.accuracy["test"] for run in runs]
    return {
        "params": params,
        "params_embedding": params_embedding,
        "val": _mean([run.accuracy["val"] for run in runs]),
        "test": _mean(tests),
        "students": tests,
        "epochs": _mean([run.provenance["epochs"] for run in runs]),
        "epochs_to_95": _epochs_to(0.95, folder),
    }


def _students(
    study: StudySettings,
    place: Place,
    data: str,
    seed: int,
    plan: Plan,
    nodes: NodeData,
    scratch_knobs: dict[str, Any],
    folder: Path | None,
) -> list[Run]:
    architecture = architecture_of(plan.network, nodes)
    settings, arm = plan.train.model_copy(update={"seed": seed}), plan.arm
    if arm.learn == "peers":
        return train_together(architecture, nodes, settings, arm.peers, directory=folder)
    shown: dict[str, Any] = {"directory": folder, "progress": False}
    if arm.learn == "labels":
        smoothing = arm.label_smoothing
        return [train(architecture, nodes, settings, label_smoothing=smoothing, **shown)]
    if arm.learn == "self":
        teacher = train_itself(study, place, data, seed, scratch_knobs)
    else:
        teacher = train_teacher(study, place, data, seed)
    return [distill(teacher, architecture, nodes, settings, arm.method, **shown)]


def load_data(study: StudySettings, place: Place, data: str, seed: int) -> NodeData:
    """Return a data set under the split of a seed."""
    nodes = _loaded(data, place.root)
    divided = study.divided(nodes.y, seed)
    return nodes if divided is None else nodes.with_split(*divided)


@functools.cache
def _loaded(data: str, root: Path | None) -> NodeData:
    return load(data, root)


def architecture_of(network: Network, nodes: NodeData) -> Architecture:
    """Return a network with the widths that the data asks for."""
    return Architecture(
        name=network.model,
        in_channels=nodes.num_features,
        hidden_channels=network.hidden_channels,
        num_layers=network.num_layers,
        out_channels=nodes.num_classes,
        arguments=network.arguments,
    )


def _count(module: torch.nn.Module) -> tuple[int, int]:
    """Return the number of parameters, and how many of them are in embedding tables."""
    tables = [m.weight.numel() for m in module.modules() if isinstance(m, torch.nn.Embedding)]
    return sum(p.numel() for p in module.parameters()), sum(tables)


def _epochs_to(share: float, folder: Path | None) -> float | None:
    """Return after how many epochs validation accuracy first reached a share of its best."""
    if folder is None or not (folder / METRICS).is_file():
        return None
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    curves: dict[int, list[float]] = {}
    for line in lines:
        curves.setdefault(int(line.get("student", 0)), []).append(line["val_accuracy"])
    reached = [
        next(i for i, value in enumerate(curve, 1) if value >= share * max(curve))
        for curve in curves.values()
    ]
    return _mean(reached)


def _mean(values: list[Any]) -> float:
    return float(sum(values) / len(values))
