"""What a study file says, checked. An example is in `examples/study.yaml`."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..data import NodeData
from ..distillation import DistillSettings
from ..errors import StudyError
from ..groups import OnlineSettings
from ..labels import HIDDEN
from ..relational import own_test_name
from ..selection import TrainSettings
from ..splits import Split, per_class_name

# knobs that are not fields of TrainSettings, and what they are set in
_OTHER = ("alpha", "temperature", "dropout", "label_smoothing", "weight")

# all fields of arms, networks, training and terms when the first results were written; see `digest`
_FIRST = frozenset(
    """
    learn network label_smoothing method peers tune like model hidden_channels num_layers arguments
    alpha temperature rows terms control teacher_layers student_layers students weight shift
    features supervision epochs patience lr weight_decay conv_weight_decay input_dropout select
    precision checkpoint_every seed term cap dim attention embedding structure gamma nodes ridge
    kernel
    """.split()
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(_Frozen):
    """A network whose widths at the ends come from the data.

    Attributes:
        model: Name, as in `Architecture`.
        hidden_channels: Width of the hidden layers.
        num_layers: Number of layers.
        arguments: Further arguments.
    """

    model: str = "GCN"
    hidden_channels: int = Field(gt=0)
    num_layers: int = Field(gt=0)
    arguments: dict[str, Any] = Field(default_factory=dict)


class SplitSettings(_Frozen):
    """How nodes are divided, anew for each seed; "own" takes what the data set brings.

    Attributes:
        kind: "own", "fractions" of all nodes that have a class, "per-class" numbers, or "own-test":
            the data set's test nodes, and its others divided in the ratio of train and val.
        train: For training.
        val: For validation.
        inductive: Share of the test nodes that training does not see (`NodeData.with_unseen`).
        largest_component: Whether nodes beside the largest connected component are left out.
    """

    kind: Literal["own", "own-test", "fractions", "per-class"] = "own"
    train: float = Field(default=0.6, gt=0)
    val: float = Field(default=0.2, gt=0)
    inductive: float = Field(default=0.0, ge=0, lt=1)
    largest_component: bool = False


class DataSettings(_Frozen):
    """What is different on one data set.

    Attributes:
        teacher: Replaces fields of the teacher's network.
        teacher_train: Replaces fields of the teacher's training.
        student: Replaces fields of the student's network.
        train: Replaces fields of the students' training.
        seeds: Number of seeds.
    """

    teacher: dict[str, Any] = Field(default_factory=dict)
    teacher_train: dict[str, Any] = Field(default_factory=dict)
    student: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    seeds: int | None = Field(default=None, gt=1)


class Arm(_Frozen):
    """One way to make a student.

    Attributes:
        learn: From "labels" alone, from the "teacher", from "self" (a trained network of the
            student's own size), or from "peers".
        network: "student", or "mlp": an MLP of the study's `mlp` in its place.
        student: Replaces fields of that network, for methods that need one of a kind of its own.
        label_smoothing: For labels alone.
        method: For a teacher: as in `DistillSettings`.
        peers: For peers: as in `OnlineSettings`.
        train: Replaces fields of the students' training: int8_weights, precision …
        tune: Whether its knobs are searched; an arm that is not runs with the defaults.
        like: Another arm whose tuned knobs are taken over: for ablations, which must differ in
            nothing else.
    """

    learn: Literal["labels", "teacher", "self", "peers"] = "teacher"
    network: Literal["student", "mlp"] = "student"
    student: dict[str, Any] = Field(default_factory=dict)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    method: DistillSettings = DistillSettings(terms=())
    peers: OnlineSettings = OnlineSettings()
    train: dict[str, Any] = Field(default_factory=dict)
    tune: bool = True
    like: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Arm":
        TrainSettings(**self.train)
        return self

    def knobs(self, space: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the part of a search space that means something to this arm."""
        unknown = {"alpha", "temperature", "weight"} if self.learn == "labels" else set()
        if self.learn == "peers":
            unknown = {"alpha", "temperature", "label_smoothing"}
        if self.learn in ("teacher", "self"):
            unknown = {"label_smoothing"}
            unknown |= set() if self.method.terms else {"weight"}
            unknown |= set() if self.method.alpha else {"alpha", "temperature"}
        if not self.label_smoothing:
            unknown |= {"label_smoothing"}
        return {name: values for name, values in space.items() if name not in unknown}


# the arms that belong to every study, whether its file names them or not
MANDATORY: dict[str, Arm] = {
    "scratch": Arm(learn="labels"),
    "label smoothing": Arm(learn="labels", label_smoothing=0.1),
    "logit KD": Arm(),
    "self-KD": Arm(learn="self"),
    "logit KD, training nodes": Arm(method=DistillSettings(terms=(), rows="train")),
    "MLP": Arm(learn="labels", network="mlp"),
    "GLNN": Arm(network="mlp"),
}


class StudySettings(_Frozen):
    """A study.

    Attributes:
        name: What it is called; its results are in a file of this name.
        question: What it is to find out, for the report.
        data: Data sets, and what is different on each.
        split: How nodes are divided.
        seeds: Number of paired evaluation seeds: 0, 1, …
        teacher: The teacher's network.
        teacher_train: How it is trained; by validation loss.
        student: The student's network.
        mlp: The MLP of the arms that have one; by default a wide one of two layers.
        train: How students are trained, before tuning.
        space: Values of each knob to search: fields of `TrainSettings`, dropout, alpha,
            temperature, label_smoothing, and weight (of all terms over layers, or of peers).
        trials: Trials of the search, the same for each arm; the first is the defaults.
        tuning_seeds: Seeds of the search; none of them is an evaluation seed.
        arms: Arms beside the mandatory ones.
        without: Mandatory arms to leave out.
        against: Arms that all others are compared with; "teacher" is one of them.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    question: str = ""
    data: dict[str, DataSettings]
    split: SplitSettings = SplitSettings()
    seeds: int = Field(default=10, gt=1)
    teacher: Network
    teacher_train: TrainSettings = TrainSettings()
    student: Network
    mlp: Network = Network(model="MLP", hidden_channels=128, num_layers=2)
    train: TrainSettings = TrainSettings()
    space: dict[str, list[Any]] = Field(default_factory=dict)
    trials: int = Field(default=12, gt=0)
    tuning_seeds: tuple[int, ...] = (1000, 1001, 1002)
    arms: dict[str, Arm] = Field(default_factory=dict)
    without: tuple[str, ...] = ()
    against: tuple[str, ...] = ("scratch", "self-KD", "logit KD")

    @model_validator(mode="after")
    def _check(self) -> "StudySettings":
        fields = (*TrainSettings.model_fields, *_OTHER)
        unknown = [name for name in self.space if name not in fields or name == "seed"]
        if unknown:
            raise ValueError(f"no knob {', '.join(unknown)}; there are {', '.join(fields)}")
        for name, arm in self.all_arms.items():
            if arm.like is not None and arm.like not in self.all_arms:
                raise ValueError(f"{name} is to be like {arm.like!r}, which is no arm")
            for data in self.data:
                self.student_of(arm, data)
        known = {"teacher", *self.all_arms}
        if missing := [name for name in self.against if name not in known]:
            raise ValueError(f"compared with {', '.join(missing)}, which are no arms")
        if clash := set(self.tuning_seeds) & set(range(self.seeds)):
            raise ValueError(f"tuning seeds {sorted(clash)} are evaluation seeds too")
        return self

    @property
    def all_arms(self) -> dict[str, Arm]:
        """The mandatory arms that are not left out, and the study's own."""
        mandatory = {name: arm for name, arm in MANDATORY.items() if name not in self.without}
        return mandatory | self.arms

    def number_of_seeds(self, data: str) -> int:
        """Return the number of evaluation seeds on a data set."""
        return self.data[data].seeds or self.seeds

    def network(self, role: Literal["teacher", "student", "mlp"], data: str) -> Network:
        """Return a network as it is on a data set."""
        changes = {} if role == "mlp" else getattr(self.data[data], role)
        return _changed(getattr(self, role), changes)

    def student_of(self, arm: Arm, data: str) -> Network:
        """Return the network of an arm on a data set."""
        return _changed(self.network(arm.network, data), arm.student)

    def training(self, role: Literal["teacher", "student"], data: str) -> TrainSettings:
        """Return how a network is trained on a data set."""
        if role == "teacher":
            return _changed(self.teacher_train, self.data[data].teacher_train)
        return _changed(self.train, self.data[data].train)

    def divided(self, nodes: NodeData, seed: int) -> tuple[Split, str] | None:
        """Return a split for a seed and its name, or None for the data set's own."""
        part, y = self.split, nodes.y
        if part.kind == "own":
            return None
        where = "largest component, " if part.largest_component else ""
        if part.kind == "own-test":
            own = nodes.split
            others = torch.cat([own.train, own.val]).sort().values
            split = Split.with_test(own.test, others, part.train, part.val, seed)
            return split, own_test_name(part.train, part.val, seed)
        if part.kind == "fractions":
            name = f"{where}{part.train:g} / {part.val:g} at random, seed {seed}"
            known = (y != HIDDEN).nonzero().squeeze(1) if y.dim() == 1 else torch.arange(len(y))
            split = Split.fractions(len(known), part.train, part.val, seed)
            return split.among(known), name
        train, val = int(part.train), int(part.val)
        return Split.per_class(y, train, val, seed), where + per_class_name(train, val, seed)


def read_study(path: Path) -> StudySettings:
    """Read a study file.

    Raises:
        StudyError: If it is no YAML, or says what no study has.
    """
    try:
        return StudySettings(**yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, TypeError, ValidationError) as error:
        raise StudyError(f"{path}: {error}") from error


def digest(*parts: Any) -> str:
    """Return a short hash of settings, which stays the same when settings gain a field.

    A field that none of them had when the first results were written counts only where it differs
    from its default; otherwise every new option would disown all results there are.
    """
    text = json.dumps(parts, sort_keys=True, default=lambda part: _known(part))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _known(part: BaseModel) -> dict[str, Any]:
    return {
        name: getattr(part, name)
        for name, field in type(part).model_fields.items()
        if name in _FIRST or getattr(part, name) != field.get_default(call_default_factory=True)
    }


_Settings = TypeVar("_Settings", bound=BaseModel)


def _changed(settings: _Settings, changes: dict[str, Any]) -> _Settings:
    return type(settings)(**{**settings.model_dump(), **changes})
