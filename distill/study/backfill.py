"""Diagnostics of runs that were finished before there were any."""

from collections.abc import Sequence
from typing import Any

from ..directory import WEIGHTS
from ..online import student_folder
from ..runs import SUMMARY, load
from .arms import Place, diagnose_run
from .diagnostics import DIAGNOSTICS, brief, read_diagnostics
from .settings import StudySettings


def undiagnosed(place: Place, lines: Sequence[dict[str, Any]]) -> list[tuple[str, str, int]]:
    """Return data, arm and seed of each line whose run directory is there without diagnostics."""
    keys = [(line["data"], line["arm"], line["seed"]) for line in lines]
    return [
        (data, arm, seed)
        for data, arm, seed in keys
        if not (place.of(data, arm, seed) / DIAGNOSTICS).is_file()
        and any(place.of(data, arm, seed).glob(f"**/{WEIGHTS}"))
        and (place.teacher(data, seed) / SUMMARY).is_file()
    ]


def backfill(study: StudySettings, place: Place, data: str, arm: str, seed: int) -> None:
    """Diagnose a finished run."""
    folder = place.of(data, arm, seed)
    students, number = [], 0
    while (student := student_folder(folder, number)) and student.is_dir():
        students.append(load(student))
        number += 1
    diagnose_run(study, place, data, arm, seed, students or [load(folder)])


def with_diagnostics(place: Place, line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of results with what its run's diagnostics add to it."""
    found = read_diagnostics(place.of(line["data"], line["arm"], line["seed"]))
    return line if found is None else {**line, **brief(found)}
