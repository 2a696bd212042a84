"""What is asked of a student, and among which students it is searched."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ...distill import Architecture, DistillSettings, NodeData, TrainSettings
from ...distill.models import NETWORKS


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Frozen):
    """What a student may cost; None is no limit.

    Attributes:
        parameters: Most parameters.
        bytes: Largest model.onnx.
        latency_ms: Longest time of one call for the whole graph.
    """

    parameters: int | None = Field(default=None, gt=0)
    bytes: int | None = Field(default=None, gt=0)
    latency_ms: float | None = Field(default=None, gt=0)

    def __str__(self) -> str:
        said = {"parameters": "{:,} parameters", "bytes": "{:,} bytes", "latency_ms": "{:g} ms"}
        given = [said[name].format(value) for name, value in self if value is not None]
        return ", ".join(given) or "no limits"


@dataclass(frozen=True, order=True)
class Candidate:
    """A student that may be tried: kind, number of layers and width of the hidden ones."""

    kind: str
    depth: int
    width: int

    def __str__(self) -> str:
        return f"{self.kind} {self.depth}×{self.width}"

    @property
    def folder(self) -> str:
        """A name for files."""
        return f"{self.kind}-{self.depth}x{self.width}"


class Space(_Frozen):
    """The students that may be tried: every kind in every depth and width, in ascending order.

    Attributes:
        kinds: Names of networks, as in `Architecture`.
        depths: Numbers of layers.
        widths: Widths of the hidden layers.
        arguments: Further arguments of all of them, such as dropout.
    """

    kinds: tuple[str, ...] = Field(default=("GCN", "GraphSAGE", "MLP"), min_length=1)
    depths: tuple[int, ...] = Field(default=(2, 3, 4), min_length=1)
    widths: tuple[int, ...] = Field(default=(4, 8, 12, 16, 24, 32, 48, 64, 96, 128), min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(kinds) - NETWORKS.keys():
            raise ValueError(f"no network {min(unknown)!r}; known are {', '.join(NETWORKS)}")
        return tuple(dict.fromkeys(kinds))

    @field_validator("depths", "widths")
    @classmethod
    def _ascending(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if min(values) < 1:
            raise ValueError(f"depths and widths must be at least 1, got {min(values)}")
        return tuple(sorted(set(values)))

    def candidates(self) -> Iterator[Candidate]:
        """Yield all of them."""
        for kind in self.kinds:
            for depth in self.depths:
                for width in self.widths:
                    yield Candidate(kind, depth, width)

    def architecture(self, candidate: Candidate, data: NodeData) -> Architecture:
        """Return the network of a candidate for some data."""
        return Architecture(
            name=candidate.kind,
            in_channels=data.num_features,
            hidden_channels=candidate.width,
            num_layers=candidate.depth,
            out_channels=data.num_classes,
            arguments=self.arguments,
        )


class Measuring(_Frozen):
    """How latency is measured; every call answers for the whole graph.

    Attributes:
        threads: Threads of a session.
        rounds: Interleaved rounds of the comparison that decides; the search takes two.
        min_samples: Fewest samples of a round.
        min_seconds: Shortest time of sampling in a round.
        prepared: Whether the graph is sorted before the calls.
    """

    threads: int = Field(default=1, ge=1)
    rounds: int = Field(default=5, ge=2)
    min_samples: int = Field(default=10, ge=1)
    min_seconds: float = Field(default=0.5, gt=0)
    prepared: bool = False


class BudgetSettings(_Frozen):
    """A search for the best student within limits.

    Attributes:
        limits: What the student may cost.
        space: Among which students.
        trials: How many of them are trained.
        train: How each is trained.
        method: What each learns from the teacher.
        measuring: How latency is measured.
    """

    limits: Limits = Limits()
    space: Space = Space()
    trials: int = Field(default=20, ge=1)
    train: TrainSettings = TrainSettings()
    method: DistillSettings = DistillSettings()
    measuring: Measuring = Measuring()
