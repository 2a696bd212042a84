"""What is measured and how, and what came of it: rows, settings, and the report of one run."""

import json
import math
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .intervals import SAMPLES_FOR, percentile, ratio_interval, spread

FORMAT = 1
NOISY_SPREAD = 0.10


@dataclass(frozen=True)
class Row:
    """Something to measure.

    Attributes:
        label: What it is called in reports.
        target: "module:function" that loads it.
        arguments: Keyword arguments of that function.
    """

    label: str
    target: str
    arguments: dict[str, Any] = field(default_factory=dict)


SCENARIOS = ("single-stream", "server", "offline", "phases")


@dataclass(frozen=True)
class Scenario:
    """How requests arrive; see `scenarios` and `phases`.

    Attributes:
        kind: "single-stream", one after the other; "server", at random times, at the largest rate
            whose percentile meets the limit; "offline", all at once; "phases", one after the other
            as in `phases`, without LoadGen.
        slo_seconds: The limit of the server scenario.
        percentile: The percentile that must meet it, and that every test has samples for.
        batch: How many requests are answered together offline.
        kept: About how many answers of the timed run are kept, to be looked at afterwards.
    """

    kind: str
    slo_seconds: float | None = None
    percentile: int = 99
    batch: int = 1
    kept: int = 64

    def __post_init__(self) -> None:
        if self.kind not in SCENARIOS:
            raise ValueError(f"a scenario is {', '.join(SCENARIOS)}, got {self.kind!r}")
        if (self.kind == "server") != (self.slo_seconds is not None):
            raise ValueError("the server scenario, and no other, needs a limit (slo_seconds)")
        if self.slo_seconds is not None and self.slo_seconds <= 0:
            raise ValueError(f"slo_seconds must be positive, got {self.slo_seconds}")
        if self.percentile not in SAMPLES_FOR:
            known = ", ".join(map(str, SAMPLES_FOR))
            raise ValueError(f"percentile must be one of {known}, got {self.percentile}")
        if self.batch < 1 or (self.batch > 1 and self.kind != "offline"):
            raise ValueError("batch must be at least 1, and is for the offline scenario only")


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        threads: Threads, and processors, of each process.
        rounds: How often the rows take turns.
        min_samples: Fewest samples of a row in a round.
        min_seconds: Shortest time of sampling a row in a round.
        timeout_seconds: Longest time that one process may take.
        scenario: How requests arrive; None measures calls without arguments.
    """

    threads: int = 2
    rounds: int = 5
    min_samples: int = 10
    min_seconds: float = 0.5
    timeout_seconds: float = 600.0
    scenario: Scenario | None = None

    def __post_init__(self) -> None:
        usable = len(os.sched_getaffinity(0))
        if not 1 <= self.threads <= usable:
            raise ValueError(f"threads must be from 1 to {usable}, got {self.threads}")
        if self.rounds < 1 or self.min_samples < 1:
            raise ValueError("rounds and min_samples must be at least 1")


@dataclass(frozen=True)
class Measured:
    """What was measured of a row: each round's phases in seconds, and memory in bytes.

    In a scenario also what it kept of the answers, as number of the request and values.
    """

    row: Row
    rounds: list[dict[str, Any]]
    memory: dict[str, float]
    answers: list[tuple[int, list[float]]] = field(default_factory=list)

    @property
    def samples(self) -> list[float]:
        """All samples of all rounds, in seconds."""
        return [sample for r in self.rounds for sample in r["samples"]]

    @property
    def medians(self) -> list[float]:
        """The median of each round, in seconds."""
        return [statistics.median(r["samples"]) for r in self.rounds]

    @property
    def latency_seconds(self) -> float:
        """The median of the rounds' medians."""
        return statistics.median(self.medians)

    @property
    def costs(self) -> list[float]:
        """What a request cost in each round, in seconds: what rows are compared by."""
        return [cost_of_round(r) for r in self.rounds]

    @property
    def cost_seconds(self) -> float:
        """The median of the rounds' costs."""
        return statistics.median(self.costs)

    @property
    def joules_per_call(self) -> float | None:
        """The median of the rounds' energy of a call, where the machine counts it."""
        found = [r["joules_per_call"] for r in self.rounds if "joules_per_call" in r]
        return statistics.median(found) if found else None

    @property
    def is_noisy(self) -> bool:
        """Whether the samples spread so far that their median says little."""
        return spread(self.samples) > NOISY_SPREAD

    def percentile_seconds(self, percent: int) -> float | None:
        """Return a percentile of all samples, None where they are too few for it."""
        return percentile(self.samples, percent)


@dataclass(frozen=True)
class Report:
    """The result of one interleaved run.

    Attributes:
        rows: What was measured.
        settings: How.
        machine: On what.
        facts: What else belongs to it: sizes, accuracies, the command.
    """

    rows: list[Measured]
    settings: Settings
    machine: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)

    def row(self, label: str) -> Measured:
        """Return the row of a label."""
        return next(row for row in self.rows if row.row.label == label)

    def ratio(self, slow: str, fast: str) -> tuple[float, float, float]:
        """Return how many times faster one row is than another, with its 95 % interval."""
        return ratio_interval(self.row(slow).costs, self.row(fast).costs)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, raw samples included."""
        return {
            "format": FORMAT,
            "machine": self.machine,
            "settings": {k: v for k, v in asdict(self.settings).items() if v is not None},
            "facts": self.facts,
            "rows": [_summary(row) for row in self.rows],
        }

    def save(self, path: Path) -> None:
        """Write report.json in one step."""
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(self.to_dict(), indent=1) + "\n")
        partial.replace(path)


def cost_of_round(of_round: Mapping[str, Any]) -> float:
    """Return what one request cost in a round, in seconds.

    That is its median call, or what the scenario says: a server's is infinite where no rate met the
    limit.
    """
    cost = of_round.get("cost_seconds", statistics.median(of_round["samples"]))
    return math.inf if cost is None else cost


def _summary(row: Measured) -> dict[str, Any]:
    return {
        "label": row.row.label,
        "target": row.row.target,
        "arguments": row.row.arguments,
        "latency_seconds": row.latency_seconds,
        "fastest_seconds": min(row.samples),
        "percentiles_seconds": {f"p{p}": row.percentile_seconds(p) for p in (50, 90, 95, 99)},
        "noisy": row.is_noisy,
        "memory": row.memory,
        "rounds": row.rounds,
    }
