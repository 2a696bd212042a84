"""One run of one arm: the settings in effect, and what came out, as one line of results."""

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import NodeData
from ..datasets import load
from ..distillation import DistillSettings, distill
from ..groups import OnlineSettings, train_together
from ..many_graphs import largest_component_of
from ..models import Architecture, fitting, parameters_of
from ..runs import SUMMARY, Run, load as load_run, train
from ..selection import TrainSettings
from .curves import reached, read_curves
from .diagnostics import brief, diagnose, read_diagnostics
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
        network = study.student_of(arm, data)
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

    def of(self, data: str, arm: str, seed: int) -> Path:
        """Return the run directory that a line of results is of."""
        return self.teacher(data, seed) if arm == "teacher" else self.run(data, arm, seed)


def train_teacher(study: StudySettings, place: Place, data: str, seed: int) -> Run:
    """Train a teacher, or take it if it is there."""
    if (place.teacher(data, seed) / SUMMARY).is_file():
        # several processes may want it at once, and `train` would write its summary again
        return load_run(place.teacher(data, seed))
    nodes = load_data(study, place, data, seed)
    settings = study.training("teacher", data).model_copy(update={"seed": seed})
    architecture = architecture_of(study.network("teacher", data), nodes)
    return train(architecture, nodes, settings, directory=place.teacher(data, seed), progress=False)


def train_itself(
    study: StudySettings, place: Place, data: str, seed: int, knobs: dict[str, Any]
) -> Run:
    """Train the network that self-KD learns from, or take it if it is there."""
    if (place.itself(data, seed) / SUMMARY).is_file():
        return load_run(place.itself(data, seed))
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
    if folder is not None:
        diagnose_run(study, place, data, name, seed, runs)
    common = {"study": study.name, "data": data, "split": nodes.split_name, "arm": name}
    mark = mark_of(study, data, name, knobs, scratch_knobs)
    ends = {"seconds": seconds, "knobs": knobs, "config_hash": mark}
    return {**common, "seed": seed, **_measured(runs, folder), **ends}


def mark_of(
    study: StudySettings,
    data: str,
    name: str,
    knobs: dict[str, Any],
    scratch_knobs: dict[str, Any],
) -> str:
    """Return the hash of all settings that a line of results depends on, its `config_hash`."""
    teacher = study.network("teacher", data), study.training("teacher", data)
    if name == "teacher":
        return digest(*teacher)
    plan = Plan.of(study, data, study.all_arms[name], knobs)
    return digest(plan.arm, plan.network, plan.train, *teacher, scratch_knobs)


def diagnose_run(
    study: StudySettings,
    place: Place,
    data: str,
    name: str,
    seed: int,
    runs: list[Run],
) -> dict[str, Any]:
    """Write the diagnostics of a finished run, by whose students an arm's line came about."""
    nodes, folder = load_data(study, place, data, seed), place.of(data, name, seed)
    if name == "teacher":
        return diagnose(runs, nodes, folder)
    teacher, arm = load_run(place.teacher(data, seed)), study.all_arms[name]
    sources = {"teacher": place.teacher, "self": place.itself}
    if arm.learn not in sources:
        return diagnose(runs, nodes, folder, teacher=teacher)
    source = load_run(sources[arm.learn](data, seed))
    return diagnose(runs, nodes, folder, teacher=teacher, source=source)


def teacher_line(study: StudySettings, place: Place, data: str, seed: int) -> dict[str, Any]:
    """Return a teacher's line of results."""
    run, nodes = train_teacher(study, place, data, seed), load_data(study, place, data, seed)
    diagnose_run(study, place, data, "teacher", seed, [run])
    mark = mark_of(study, data, "teacher", {}, {})
    common = {"study": study.name, "data": data, "split": nodes.split_name, "arm": "teacher"}
    ends = {"seconds": None, "knobs": {}, "config_hash": mark}
    return {**common, "seed": seed, **_measured([run], place.teacher(data, seed)), **ends}


def _measured(runs: list[Run], folder: Path | None) -> dict[str, Any]:
    """Return what one run, or a group of students, came to; a group's numbers are means."""
    params, params_embedding = parameters_of(runs[0].module)
    tests = [run.accuracy["test"] for run in runs]
    more = [name for name in runs[0].accuracy if name not in ("train", "val", "test")]
    return {
        "params": params,
        "params_embedding": params_embedding,
        "metric": runs[0].provenance["metric"],
        "val": _mean([run.accuracy["val"] for run in runs]),
        "test": _mean(tests),
        **{name: _mean([run.accuracy[name] for run in runs]) for name in more},
        "students": tests,
        "epochs": _mean([run.provenance["epochs"] for run in runs]),
        **reached(read_curves(folder)),
        **brief(None if folder is None else read_diagnostics(folder)),
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
    nodes = _loaded(data, place.root, study.split.largest_component)
    divided = study.divided(nodes, seed)
    nodes = nodes if divided is None else nodes.with_split(*divided)
    share = study.split.inductive
    return nodes.with_unseen(share, seed) if share else nodes


@functools.cache
def _loaded(data: str, root: Path | None, largest_component: bool) -> NodeData:
    nodes = load(data, root)
    return largest_component_of(nodes) if largest_component else nodes


def architecture_of(network: Network, nodes: NodeData) -> Architecture:
    """Return a network with the widths that the data asks for."""
    return fitting(
        nodes, network.model, network.hidden_channels, network.num_layers, network.arguments
    )


def _mean(values: list[Any]) -> float:
    return float(sum(values) / len(values))
