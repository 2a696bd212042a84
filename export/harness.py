"""The harness: rows measured side by side, each round of each row in a fresh process.

It knows no model: a row is a label, a function to load it by (see `targets`) and its arguments.
Rows take turns in rounds, so that whatever slows the machine down hits all of them; threads are
pinned and recorded; raw samples are kept; memory is measured in a pass of its own.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .energy import counters
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


class MeasurementError(RuntimeError):
    """A measured process failed; holds the end of what it said."""


def measure(
    rows: Sequence[Row],
    inputs: Mapping[str, np.ndarray],
    settings: Settings,
    *,
    facts: dict[str, Any] | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Report:
    """Measure rows side by side.

    Args:
        rows: What to measure, each with a label of its own.
        inputs: Inputs that every call gets.
        settings: How to measure.
        facts: What else the report should hold.
        on_step: Called with a label before each process starts; there are
            len(rows) · (rounds + 1) of them.

    Raises:
        MeasurementError: If a process fails or takes too long.
    """
    if len({row.label for row in rows}) < len(rows):
        raise ValueError("rows must have different labels")
    machine = describe_machine()
    if settings.scenario is not None:
        machine["versions"]["mlcommons_loadgen"] = _version("mlcommons_loadgen")
    rounds: dict[str, list[dict[str, Any]]] = {row.label: [] for row in rows}
    answers: dict[str, list[tuple[int, list[float]]]] = {row.label: [] for row in rows}
    memory = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.npz"
        np.savez(path, allow_pickle=False, **inputs)
        for turn in range(settings.rounds):
            shift = turn % len(rows)
            for row in [*rows[shift:], *rows[:shift]]:
                _step(on_step, row)
                found = _run(row, path, settings, "latency", turn)
                answers[row.label] += found.pop("answers", [])
                rounds[row.label].append(found)
        for row in rows:
            _step(on_step, row)
            memory[row.label] = _run(row, path, settings, "memory")
    machine["load_after"] = os.getloadavg()[0]
    measured = [
        Measured(row, rounds[row.label], memory[row.label], answers[row.label]) for row in rows
    ]
    return Report(measured, settings, machine, facts or {})


def describe_machine() -> dict[str, Any]:
    """Return what the numbers depend on: processor, memory, system, versions, load."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if "model name" in line), "")
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    packages = ("graphstill", "onnxruntime", "numpy", "torch", "torch_geometric")
    return {
        "processor": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": page * pages,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: found for name in packages if (found := _version(name))},
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "energy": counters()[1],
        "load_before": os.getloadavg()[0],
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _step(on_step: Callable[[str], None] | None, row: Row) -> None:
    if on_step is not None:
        on_step(row.label)


def _run(row: Row, inputs: Path, settings: Settings, kind: str, turn: int = 0) -> dict[str, Any]:
    task = inputs.with_name("task.json")
    result = task.with_suffix(".result")
    result.unlink(missing_ok=True)
    task.write_text(
        json.dumps(
            {
                "kind": kind,
                "target": row.target,
                "arguments": row.arguments,
                "inputs": str(inputs),
                "threads": settings.threads,
                "min_samples": settings.min_samples,
                "min_seconds": settings.min_seconds,
                "scenario": settings.scenario and asdict(settings.scenario),
                "round": turn,
            }
        )
    )
    command = [sys.executable, "-W", "ignore", "-m", "graphstill.export.worker", str(task)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=settings.timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(
            f"{row.label} took longer than {settings.timeout_seconds:.0f} s"
        ) from None
    if done.returncode or not result.is_file():
        said = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise MeasurementError(f"{row.label} failed with exit code {done.returncode}: {said}")
    return json.loads(result.read_text())


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
