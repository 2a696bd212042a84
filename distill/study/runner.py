"""The runner: teachers, searches, evaluation, over several processes, going on where it stopped.

A study's folder holds

    study.json       the settings in effect
    teachers/, self/ run directories of what arms learn from
    tuning/          what each search tried, and knobs.json, what it found
    runs/            run directories of the evaluation
    results.jsonl    one line for each evaluation run, written when it is finished
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..checkpoint import write_in_one_step
from ..directory import agrees
from ..errors import StudyError
from ..runs import SUMMARY
from .arms import Place, run_arm, teacher_line, train_itself, train_teacher
from .backfill import backfill, undiagnosed, with_diagnostics
from .processes import Processes, Progress, Task
from .resuming import TakenOver, knobs_to_keep, take_over
from .settings import StudySettings
from .tuning import tune_arm

RESULTS, SETTINGS, KNOBS = "results.jsonl", "study.json", "tuning/knobs.json"


class StudyRunner:
    """Runs a study in a folder.

    Args:
        study: The study.
        folder: Where its files go; a study that was stopped goes on there.
        root: Where raw data is.
        jobs: Number of processes, each with one thread.
        on_progress: Called whenever a task is finished.

    Raises:
        StudyError: If the folder holds a study with other settings. Further arms, data sets and
            seeds may be added to one.
    """

    def __init__(
        self,
        study: StudySettings,
        folder: Path,
        *,
        root: Path | None = None,
        jobs: int = 1,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.study, self.place, self.jobs = study, Place(folder, root), jobs
        self.on_progress = on_progress
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder / SETTINGS, study)

    def take_over(self, folder: Path) -> TakenOver:
        """Take knobs and lines that were kept in a folder as far as they are this study's.

        What is here already stays. Returns what was taken over, and why the rest was not.
        """
        here = self.lines()
        found = take_over(self.study, self.place, folder, self._found(), here)
        for key, knobs in found.knobs.items():
            self._keep_knobs(key, knobs)
        if found.lines:
            self._write_lines([*here, *found.lines])
        return found

    def run(self) -> list[dict[str, Any]]:
        """Run what is not done yet and return all lines of results."""
        with Processes(self.jobs, self.on_progress) as processes:
            for stage, tasks in self._stages():
                processes.run(stage, tasks)
        return self.lines()

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of results there are."""
        path = self.place.folder / RESULTS
        if not path.is_file():
            return []
        # the last line may have been cut by a crash: that run is done again
        whole = [text for text in path.read_text().splitlines(keepends=True) if text.endswith("\n")]
        return [json.loads(text) for text in whole]

    def knobs(self, data: str, arm: str) -> dict[str, Any]:
        """Return what an arm's search found; another arm's for one that is to be like it."""
        like = self.study.all_arms[arm].like if arm in self.study.all_arms else None
        return self._found().get(f"{data}: {like or arm}", {})

    def knobs_to_keep(self) -> dict[str, dict[str, Any]]:
        """Return what all searches found, in the form that `take_over` reads."""
        return knobs_to_keep(self.study, self._found())

    def _stages(self) -> Iterator[tuple[str, list[Task]]]:
        """Yield stages and their tasks, each stage when the one before it is done."""
        searched = [name for name, arm in self.study.all_arms.items() if arm.like is None]
        # the longest first, and nobody waits for one: scratch learns from no teacher
        first = [name for name in searched if name == "scratch"]
        yield "scratch and teachers", [*self._searches(first), *self._teachers()]
        yield "networks of the student's size", self._selves()
        yield "search", self._searches(searched)
        yield "evaluation", self._evaluations()
        yield "diagnostics", self._backfills()
        self._write_lines([with_diagnostics(self.place, line) for line in self.lines()])

    def _teachers(self) -> list[Task]:
        # every evaluation run is compared with its teacher, whatever it learns from
        wanted = self._seeds_left(["teacher"], ["teacher", *self.study.all_arms])
        return [
            Task(f"{data}, seed {seed}", train_teacher, (self.study, self.place, data, seed))
            for data, seed in wanted
            if not (self.place.teacher(data, seed) / SUMMARY).is_file()
        ]

    def _selves(self) -> list[Task]:
        arms = [name for name, arm in self.study.all_arms.items() if arm.learn == "self"]
        return [
            Task(
                f"{data}, seed {seed}",
                train_itself,
                (self.study, self.place, data, seed, self.knobs(data, "scratch")),
            )
            for data, seed in self._seeds_left(["self"], arms)
            if not (self.place.itself(data, seed) / SUMMARY).is_file()
        ]

    def _seeds_left(
        self, learning: Sequence[str], arms: Sequence[str]
    ) -> Iterable[tuple[str, int]]:
        """Yield data and seeds with which arms that learn so are searched, or arms evaluated."""
        found, done = self._found(), {_key(line) for line in self.lines()}
        searched = [
            name
            for name, arm in self.study.all_arms.items()
            if arm.learn in learning and arm.like is None
        ]
        for data in self.study.data:
            if any(f"{data}: {name}" not in found for name in searched):
                yield from ((data, seed) for seed in self.study.tuning_seeds)
            for seed in range(self.study.number_of_seeds(data)):
                if any((data, name, seed) not in done for name in arms):
                    yield data, seed

    def _searches(self, arms: list[str]) -> list[Task]:
        found = self._found()
        return [
            Task(
                f"search of {data}: {name}",
                tune_arm,
                (self.study, self.place, data, name, self.knobs(data, "scratch")),
                partial(self._keep_knobs, f"{data}: {name}"),
            )
            for data in self.study.data
            for name in arms
            if f"{data}: {name}" not in found
        ]

    def _keep_knobs(self, key: str, knobs: dict[str, Any]) -> None:
        found = {**self._found(), key: knobs}
        text = json.dumps(found, indent=2, sort_keys=True) + "\n"
        write_in_one_step(self.place.folder / KNOBS, text.encode())

    def _found(self) -> dict[str, dict[str, Any]]:
        path = self.place.folder / KNOBS
        return json.loads(path.read_text()) if path.is_file() else {}

    def _evaluations(self) -> list[Task]:
        done = {_key(line) for line in self.lines()}
        self._write_lines(self.lines())
        return [
            self._evaluation(data, name, seed)
            for data in self.study.data
            for seed in range(self.study.number_of_seeds(data))
            for name in ("teacher", *self.study.all_arms)
            if (data, name, seed) not in done
        ]

    def _evaluation(self, data: str, name: str, seed: int) -> Task:
        common, title = (self.study, self.place, data), f"{data}: {name}, seed {seed}"
        if name == "teacher":
            return Task(title, teacher_line, (*common, seed), self._keep_line)
        knobs = (self.knobs(data, name), seed, self.knobs(data, "scratch"))
        return Task(title, run_arm, (*common, name, *knobs), self._keep_line)

    def _backfills(self) -> list[Task]:
        return [
            Task(f"{data}: {arm}, seed {seed}", backfill, (self.study, self.place, data, arm, seed))
            for data, arm, seed in undiagnosed(self.place, self.lines())
        ]

    def _write_lines(self, lines: Sequence[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_in_one_step(self.place.folder / RESULTS, text.encode())

    def _keep_line(self, line: dict[str, Any]) -> None:
        with (self.place.folder / RESULTS).open("a") as file:
            file.write(json.dumps(line) + "\n")


def _key(line: dict[str, Any]) -> tuple[str, str, int]:
    return line["data"], line["arm"], line["seed"]


def _claim(path: Path, study: StudySettings) -> None:
    """Write the settings, or make sure that those there are the same, or a part of these."""
    settings = study.model_dump(mode="json")
    if path.is_file():
        # by way of the settings: those of today may have fields that had no name then
        before = StudySettings(**json.loads(path.read_text())).model_dump(mode="json")
        for name, value in before.items():
            if not _extends(name, value, settings[name]):
                raise StudyError(
                    f"{path.parent} holds a study whose {name} is another (see {path}); "
                    "choose another folder, or remove this one"
                )
    write_in_one_step(path, (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode())


def _extends(name: str, before: Any, now: Any) -> bool:
    if name in ("arms", "data"):
        return all(key in now and agrees(value, now[key]) for key, value in before.items())
    if name == "seeds":
        return now >= before
    return name in ("question", "against", "without") or agrees(before, now)
