"""Going on with a study on another machine: what is taken over, and what must not be."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from graphstill.cli import app
from graphstill.distill.study import Progress, StudyRunner, StudySettings
from graphstill.distill.study.arms import mark_of
from graphstill.distill.study.resuming import knobs_to_keep

STUDY: dict[str, Any] = {
    "name": "moved",
    "data": {"digits": {}},
    "split": {"kind": "fractions", "train": 0.2, "val": 0.2},
    "seeds": 2,
    "tuning_seeds": [1000],
    "trials": 2,
    "teacher": {"model": "GCN", "hidden_channels": 8, "num_layers": 3},
    "teacher_train": {"epochs": 2},
    "student": {"model": "GCN", "hidden_channels": 4, "num_layers": 3},
    "train": {"epochs": 2},
    "space": {"lr": [0.01, 0.03], "alpha": [0.5, 0.9]},
    "without": ["label smoothing", "logit KD, training nodes", "MLP", "GLNN"],
    "arms": {"ABKD": {"like": "logit KD", "method": {"terms": [{"term": "abkd"}]}}},
}
FOUND = {
    "digits: scratch": {"lr": 0.03},
    "digits: logit KD": {"lr": 0.01, "alpha": 0.5},
    "digits: self-KD": {},
}
ARMS = ("teacher", "scratch", "logit KD", "self-KD", "ABKD")


def study_of(**changes: Any) -> StudySettings:
    return StudySettings(**{**STUDY, **changes})


def line(study: StudySettings, arm: str, seed: int, **changes: Any) -> dict[str, Any]:
    knobs = {} if arm == "teacher" else FOUND[f"digits: {'logit KD' if arm == 'ABKD' else arm}"]
    made = {
        "study": study.name, "data": "digits", "arm": arm, "seed": seed, "test": 0.5, "val": 0.5,
        "split": f"0.2 / 0.2 at random, seed {seed}", "params": 9, "params_embedding": 0,
        "epochs": 2.0, "epochs_to_95": 1.0, "seconds": 1.0, "knobs": knobs,
        "config_hash": mark_of(study, "digits", arm, knobs, FOUND["digits: scratch"]),
    }  # fmt: skip
    return {**made, **changes}


def keep(folder: Path, study: StudySettings, lines: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "moved.jsonl").write_text("".join(json.dumps(made) + "\n" for made in lines))
    (folder / "moved.knobs.json").write_text(json.dumps(knobs_to_keep(study, FOUND)))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    study = study_of()
    keep(tmp_path / "kept", study, [line(study, arm, seed) for seed in (0, 1) for arm in ARMS])
    return tmp_path / "kept"


def test_a_finished_study_is_taken_over_whole_and_nothing_is_run(
    kept: Path, tmp_path: Path
) -> None:
    progress: list[Progress] = []
    runner = StudyRunner(study_of(), tmp_path / "new", on_progress=progress.append)
    found = runner.take_over(kept)
    assert str(found) == "took over 10 runs and the knobs of 3 searches"
    assert len(runner.run()) == 10
    assert all(stage.total == 0 for stage in progress)
    assert runner.knobs("digits", "ABKD") == {"lr": 0.01, "alpha": 0.5}
    again = runner.take_over(kept)
    assert (again.lines, again.knobs, again.refused) == ([], {}, {})


def test_only_what_is_left_needs_a_teacher(kept: Path, tmp_path: Path) -> None:
    study = study_of()
    lines = [line(study, arm, seed) for seed in (0, 1) for arm in ARMS]
    keep(kept, study, lines[:-2])  # self-KD and ABKD with seed 1
    runner = StudyRunner(study, tmp_path / "new")
    runner.take_over(kept)
    assert [task.name for task in runner._teachers()] == ["digits, seed 1"]
    assert [task.name for task in runner._selves()] == ["digits, seed 1"]


def test_what_is_not_this_studys_is_not_taken_over(kept: Path, tmp_path: Path) -> None:
    study = study_of()
    lines = [
        line(study, "scratch", 0, config_hash="0" * 16),
        line(study, "scratch", 1, split="given masks"),
        line(study, "scratch", 7),
        line(study, "logit KD", 0),
    ]
    keep(kept, study, lines)
    found = StudyRunner(study, tmp_path / "new").take_over(kept)
    assert [made["arm"] for made in found.lines] == ["logit KD"]
    assert found.refused == {
        "their settings are others": 1,
        "their split is another": 1,
        "data, arm or seed are not in the study": 1,
    }


def test_knobs_of_another_search_are_not_taken_over(kept: Path, tmp_path: Path) -> None:
    more = study_of(trials=5)
    found = StudyRunner(more, tmp_path / "new").take_over(kept)
    assert found.knobs == {}
    assert [made["arm"] for made in found.lines] == ["teacher", "teacher"]
    assert found.refused == {"their knobs were not kept, or searched otherwise": 8}


def test_what_is_here_stays(kept: Path, tmp_path: Path) -> None:
    study = study_of()
    runner = StudyRunner(study, tmp_path / "new")
    runner._keep_knobs("digits: scratch", {"lr": 0.01})
    runner._write_lines([line(study, "teacher", 0, test=0.9)])
    found = runner.take_over(kept)
    assert runner.knobs("digits", "scratch") == {"lr": 0.01}
    assert runner.lines()[0]["test"] == 0.9
    # every student's hash holds the knobs of scratch, which self-KD learns from
    assert [made["arm"] for made in found.lines] == ["teacher"]
    assert "digits: self-KD" not in found.knobs


def test_an_empty_folder_has_nothing_to_take_over(tmp_path: Path) -> None:
    found = StudyRunner(study_of(), tmp_path / "new").take_over(tmp_path)
    assert not found.lines
    assert not found.knobs


def test_the_command_takes_over_what_results_hold(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    command = ["study", str(file), "--out", str(tmp_path / "new"), "--results", str(kept)]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "took over 10 runs and the knobs of 3 searches" in first.output
    assert "All 10 runs were done." in (tmp_path / "results.md").read_text()
    again = CliRunner().invoke(app, command)
    assert "took over" not in again.output
