"""How soon a run became good: its validation accuracy epoch by epoch, and what epochs took.

An epoch of a group of peers is one step of each, so its seconds are those of all of them together.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..directory import METRICS, SECONDS


@dataclass(frozen=True, eq=False)
class Curves:
    """What a run directory says of how a run went.

    Attributes:
        accuracy: Validation accuracy, [students, epochs], 0-1.
        seconds: Seconds from the start to the end of each epoch, [epochs], training and validation
            of all students; None where they were not recorded.
    """

    accuracy: np.ndarray
    seconds: np.ndarray | None

    @property
    def best(self) -> np.ndarray:
        """The best validation accuracy so far, [epochs], the mean over students."""
        return np.maximum.accumulate(self.accuracy, axis=1).mean(axis=0)


def read_curves(folder: Path | None) -> Curves | None:
    """Return the curves in a run directory, or None if there are none."""
    if folder is None or not (folder / METRICS).is_file():
        return None
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    students: dict[int, list[float]] = {}
    for line in lines:
        students.setdefault(int(line.get("student", 0)), []).append(line["val_accuracy"])
    if not lines:
        return None
    return Curves(np.array(list(students.values())), _seconds(folder, len(lines), len(students)))


def reached(curves: Curves | None, share: float = 0.95) -> dict[str, float | None]:
    """Return after how long validation accuracy first reached a share of its best.

    In epochs and in seconds, as a line of results has it; of several students, the mean.
    """
    names = (f"epochs_to_{100 * share:.0f}", f"seconds_to_{100 * share:.0f}")
    if curves is None:
        return dict.fromkeys(names)
    goal = share * curves.accuracy.max(axis=1, keepdims=True)
    first = (curves.accuracy >= goal).argmax(axis=1)
    seconds = None if curves.seconds is None else float(curves.seconds[first].mean())
    return dict(zip(names, (float(first.mean() + 1), seconds), strict=True))


def _seconds(folder: Path, lines: int, students: int) -> np.ndarray | None:
    if not (folder / SECONDS).is_file():
        return None
    took = np.array([float(line) for line in (folder / SECONDS).read_text().splitlines()])
    # a run that was begun before seconds were recorded has too few of them
    return took.reshape(-1, students).sum(axis=1).cumsum() if len(took) == lines else None
