"""The harness: rows measured side by side, each round of each row in a fresh process.

It knows no model: a row is a label, a function to load it by (see `targets`) and its arguments.
Rows take turns in rounds, so that whatever slows the machine down hits all of them; threads are
pinned and recorded; raw samples are kept; memory is measured in a pass of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .machine import describe_machine, version_of
from .report import Measured, Report, Row, Settings


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
        machine["versions"]["mlcommons_loadgen"] = version_of("mlcommons_loadgen")
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
