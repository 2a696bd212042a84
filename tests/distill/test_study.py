"""Studies: settings that are checked, runs that go on, statistics that are what they say."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from scipy import stats

from graphstill.distill.errors import StudyError
from graphstill.distill.study import (
    Progress,
    StudyRunner,
    StudySettings,
    estimate,
    holm,
    paired,
    read_study,
    summarise,
)
from graphstill.distill.study.arms import Place, Plan, run_arm
from graphstill.distill.study.backfill import backfill, undiagnosed, with_diagnostics
from graphstill.distill.study.settings import MANDATORY

SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"digits": {"train": {"epochs": 5}}},
    "split": {"kind": "fractions", "train": 0.2, "val": 0.2},
    "seeds": 2,
    "tuning_seeds": [1000],
    "trials": 2,
    "teacher": {"model": "GCN", "hidden_channels": 16, "num_layers": 3},
    "teacher_train": {"epochs": 6, "lr": 0.02},
    "student": {"model": "GCN", "hidden_channels": 4, "num_layers": 3},
    "train": {"epochs": 4, "lr": 0.02},
    "space": {"lr": [0.01, 0.03], "dropout": [0.0, 0.2], "alpha": [0.5, 0.9], "weight": [0.1, 1.0]},
    "without": ["label smoothing", "logit KD, training nodes", "MLP", "GLNN"],
    "arms": {
        "ABKD": {"method": {"terms": [{"term": "abkd"}]}},
        "uniform": {
            "like": "ABKD",
            "method": {"terms": [{"term": "abkd", "attention": "uniform"}]},
        },
        "peers": {"learn": "peers", "peers": {"students": 2}},
    },
}


def small(**changes: Any) -> StudySettings:
    return StudySettings(**{**SMALL, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("study")
    return folder, StudyRunner(small(), folder, jobs=2).run()


def test_every_arm_has_every_seed(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    _, lines = finished
    ran = {(line["arm"], line["seed"]) for line in lines}
    arms = ("teacher", "scratch", "logit KD", "self-KD", "ABKD", "uniform", "peers")
    assert ran == {(arm, seed) for arm in arms for seed in (0, 1)}
    assert len(lines) == len(ran)
    by = {(line["arm"], line["seed"]): line for line in lines}
    assert by["scratch", 0]["params"] == (64 * 4 + 4) + (4 * 4 + 4) + (4 * 10 + 10)
    assert by["uniform", 0]["knobs"] == by["ABKD", 0]["knobs"]
    assert by["uniform", 0]["config_hash"] != by["ABKD", 0]["config_hash"]
    assert len(by["peers", 0]["students"]) == 2
    assert by["ABKD", 0]["epochs"] == 5
    assert 1 <= by["ABKD", 0]["epochs_to_95"] <= 5
    assert by["ABKD", 0]["split"] != by["ABKD", 1]["split"]


def test_teachers_alone_are_a_study(tmp_path: Path) -> None:
    study = small(without=list(MANDATORY), arms={}, against=[])
    lines = StudyRunner(study, tmp_path).run()
    assert [(line["arm"], line["seed"]) for line in lines] == [("teacher", 0), ("teacher", 1)]


def test_every_run_is_diagnosed(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, lines = finished
    by = {(line["arm"], line["seed"]): line for line in lines}
    assert all(0 <= line["ece"] <= 1 for line in lines)
    assert all(line["seconds_to_95"] > 0 for line in lines)
    assert by["teacher", 0]["agreement"] is None
    assert 0 < by["peers", 0]["agreement"] < 1
    found = {
        arm: json.loads((Place(folder, None).of("digits", arm, 0) / "diagnostics.json").read_text())
        for arm in ("teacher", "ABKD", "uniform", "peers", "scratch")
    }
    one = found["ABKD"]["students"][0]
    assert one["accuracy"] == pytest.approx(by["ABKD", 0]["test"], rel=1e-5)
    assert sum(one["degree"]["nodes"]) == sum(one["class"]["nodes"]) == 1078
    assert len(found["peers"]["students"]) == 2
    # each of the teacher's two hidden layers spreads 1 over the student's two
    np.testing.assert_allclose(np.sum(found["ABKD"]["attention"]["abkd"], axis=1), 1, rtol=1e-5)
    assert np.shape(found["ABKD"]["attention"]["abkd"]) == (2, 2)
    assert found["uniform"]["attention"] == {}
    assert "attention" not in found["scratch"]


def test_old_runs_are_diagnosed_afterwards(
    finished: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, lines = finished
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the study's own processes: the same bits
    place, fields = Place(tmp_path, None), ("ece", "agreement")
    shutil.copytree(folder / "teachers", tmp_path / "teachers")
    old = [{k: v for k, v in line.items() if k not in fields} for line in lines if line["seed"]]
    chosen = [line for line in old if line["arm"] in ("ABKD", "peers", "teacher")]
    for line in chosen:
        source = Place(folder, None).of("digits", line["arm"], 1)
        shutil.copytree(source, place.of("digits", line["arm"], 1), dirs_exist_ok=True)
        before = (source / "diagnostics.json").read_text()
        (place.of("digits", line["arm"], 1) / "diagnostics.json").unlink()
        assert undiagnosed(place, [line]) == [("digits", line["arm"], 1)]
        backfill(small(), place, "digits", line["arm"], 1)
        assert (place.of("digits", line["arm"], 1) / "diagnostics.json").read_text() == before
        assert undiagnosed(place, [line]) == []
        assert with_diagnostics(place, line)["ece"] is not None
    torch.set_num_threads(threads)


def test_each_arm_had_the_same_number_of_trials(
    finished: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, _ = finished
    for journal in (folder / "tuning").glob("*.log"):
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        values = [line for line in lines if line.get("state") == 1 or line.get("values")]
        assert len(values) == 2, journal.name
    names = {path.stem.removeprefix("digits-") for path in (folder / "tuning").glob("*.log")}
    assert names == {"scratch", "logit KD", "self-KD", "ABKD", "peers"}


def test_a_finished_study_runs_nothing(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, lines = finished
    tasks: list[Progress] = []
    assert StudyRunner(small(), folder, on_progress=tasks.append).run() == lines
    assert all(progress.total == 0 for progress in tasks)


def test_a_cut_line_is_run_again(
    finished: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, lines = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    text = (copy / "results.jsonl").read_text()
    (copy / "results.jsonl").write_text(text[:-20])  # as a crash leaves it
    again = StudyRunner(small(), copy).run()
    for mine, theirs in zip(again, lines, strict=True):
        assert {**mine, "seconds": None} == {**theirs, "seconds": None}


def test_workers_end_with_a_killed_study(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    slow = {"epochs": 100_000, "patience": 100_000}
    file.write_text(yaml.safe_dump({**SMALL, "data": {"digits": {}}, "teacher_train": slow}))
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from graphstill.distill.study import StudyRunner, read_study\n"
        "if __name__ == '__main__':\n"
        "    StudyRunner(read_study(Path(sys.argv[1])), Path(sys.argv[2])).run()\n"
    )
    (tmp_path / "run.py").write_text(code)
    folder = tmp_path / "out"
    process = subprocess.Popen([sys.executable, tmp_path / "run.py", file, folder])
    metrics = folder / "teachers" / "digits" / "1000" / "metrics.jsonl"
    wait_for(metrics.is_file)
    process.kill()
    process.wait()
    size = [-1, metrics.stat().st_size]

    def still() -> bool:
        size[:] = [size[1], metrics.stat().st_size]
        time.sleep(0.5)
        return size[0] == size[1]

    wait_for(still)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_study_may_grow_but_not_change(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, _ = finished
    with pytest.raises(StudyError, match="whose student is another"):
        StudyRunner(small(student={**SMALL["student"], "hidden_channels": 5}), folder)
    changed = {**SMALL["arms"], "peers": {"learn": "peers", "peers": {"students": 3}}}
    with pytest.raises(StudyError, match="whose arms is another"):
        StudyRunner(small(arms=changed), folder)
    more = {**SMALL["arms"], "R2": {"method": {"terms": [{"term": "r2"}]}}}
    StudyRunner(small(arms=more, seeds=3), folder)
    StudyRunner(small(arms=more, seeds=3), folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {"lrr": [1]}}, "no knob lrr"),
        ({"space": {"seed": [1]}}, "no knob seed"),
        ({"tuning_seeds": [1]}, "are evaluation seeds too"),
        ({"against": ["nobody"]}, "compared with nobody"),
        ({"arms": {"a": {"like": "b"}}}, "like 'b', which is no arm"),
        ({"arms": {"a": {"method": {"terms": [{"term": "abdk"}]}}}}, "abdk"),
        ({"name": "../up"}, "pattern"),
    ],
)
def test_wrong_study_files_say_what_is_wrong(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**SMALL, **changes}))
    with pytest.raises(StudyError, match=said):
        read_study(file)


def test_shipped_study_files_are_studies() -> None:
    root = Path(__file__).parents[2]
    kept = [file for file in (root / "docs/results").glob("*.yaml") if file.name != "plan.yaml"]
    files = [*kept, root / "examples" / "study.yaml"]
    assert len(files) >= 3
    for file in files:
        study = read_study(file)
        assert set(MANDATORY) - set(study.without) <= set(study.all_arms)


def test_knobs_reach_what_they_are_named_after() -> None:
    study = small()
    knobs = {"lr": 0.5, "dropout": 0.3, "alpha": 0.25, "weight": 7.0}
    plan = Plan.of(study, "digits", study.all_arms["ABKD"], knobs)
    assert plan.train.lr == 0.5
    assert plan.network.arguments == {"dropout": 0.3}
    assert plan.arm.method.alpha == 0.25
    assert plan.arm.method.terms[0].weight == 7.0
    assert Plan.of(study, "digits", study.all_arms["peers"], knobs).arm.peers.weight == 7.0
    assert set(study.all_arms["scratch"].knobs(study.space)) == {"lr", "dropout"}
    assert set(study.all_arms["logit KD"].knobs(study.space)) == {"lr", "dropout", "alpha"}


def test_a_paired_difference_is_students_t() -> None:
    a = {0: 81.0, 1: 82.5, 2: 80.0, 3: 83.0, 9: 10.0}
    b = {0: 80.0, 1: 80.5, 2: 80.5, 3: 81.0, 7: 99.0}
    found = paired(a, b)
    test = stats.ttest_rel([81.0, 82.5, 80.0, 83.0], [80.0, 80.5, 80.5, 81.0])
    interval = test.confidence_interval(0.95)
    assert found.pairs == 4
    np.testing.assert_allclose(
        [found.mean, found.low, found.high, found.p],
        [1.125, interval.low, interval.high, test.pvalue],
    )
    assert paired({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).p == 1.0
    with pytest.raises(ValueError, match="two seeds"):
        paired({0: 1.0}, {0: 2.0})


def test_holm_corrects_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_summary_compares_seed_by_seed() -> None:
    def line(arm: str, seed: int, test: float) -> dict[str, Any]:
        return {
            "study": "s", "data": "d", "arm": arm, "seed": seed, "test": test, "val": 0.5,
            "params": 10, "params_embedding": 4, "epochs_to_95": None, "seconds": 2.0,
        }  # fmt: skip

    lines = [line("a", seed, 0.8 + 0.1 * seed) for seed in (0, 1)]
    lines += [line("b", seed, 0.7 + 0.1 * seed) for seed in (0, 1, 2)]
    a, b = summarise(lines, ["b"]).arms
    assert (a.mean, a.runs, a.worst) == (pytest.approx(85), 2, pytest.approx(80))
    assert a.std == pytest.approx(100 * 0.1 / 2**0.5)
    assert a.against["b"].mean == pytest.approx(10)
    assert a.against["b"].pairs == 2
    assert b.against == {}
    assert b.params_embedding == 4


def test_the_time_is_estimated(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    one = estimate(small(), Place(tmp_path, None), 1)
    assert 0 < one < 600
    assert torch.get_num_threads() == threads


def test_lines_say_what_was_measured_and_on_whom(tmp_path: Path) -> None:
    split = {"kind": "per-class", "train": 20, "val": 30}
    unseen = small(split={**split, "inductive": 0.2, "largest_component": True})
    for arm in ("scratch", "ABKD"):
        line = run_arm(unseen, Place(tmp_path, None), "digits", arm, {}, 3, {}, keep=False)
        assert line["metric"] == "accuracy"
        mixed = 0.8 * line["test_observed"] + 0.2 * line["test_inductive"]
        assert line["production"] == pytest.approx(mixed, abs=1e-3)
        name = "largest component, 20 + 30 per class, seed 3, 0.2 of test unseen, seed 3"
        assert line["split"] == name
    line = run_arm(small(split=split), Place(tmp_path, None), "digits", "scratch", {}, 3, {})
    assert "test_inductive" not in line


def test_first_weights_and_int8_make_arms(tmp_path: Path) -> None:
    deep = {"model": "GCNII", "hidden_channels": 8, "num_layers": 2}
    method = {"terms": [{"term": "abkd", "dim": 4}]}
    study = small(
        teacher=deep,
        student={**deep, "hidden_channels": 4},
        arms={
            "pruned": {"method": {"terms": [], "initialise": {"kind": "pruned"}}},
            "absorbed": {"method": {**method, "initialise": {"kind": "attention"}}},
            "int8": {"method": {"terms": []}, "train": {"int8_weights": True}},
            "shared": {
                "student": {"model": "SharedGCNII", "num_layers": 5},
                "method": {"alpha": 0, "terms": [{"term": "mustad"}]},
            },
        },
    )
    place = Place(tmp_path, None)
    lines = {arm: run_arm(study, place, "digits", arm, {}, 0, {}) for arm in study.arms}
    ends = 64 * 4 + 4 + 4 * 10 + 10
    assert {arm: line["params"] for arm, line in lines.items()} == {
        "pruned": ends + 2 * 16,
        "absorbed": ends + 16,
        "int8": ends + 2 * 16,
        "shared": ends + 16,
    }
    assert (place.run("digits", "int8", 0) / "int8.safetensors").is_file()
    with pytest.raises(ValidationError, match="int9"):
        small(arms={"wrong": {"train": {"int9_weights": True}}})
    with pytest.raises(ValidationError, match="depth"):
        small(arms={"wrong": {"student": {"depth": 5}}})


def test_a_folder_from_before_a_setting_was_there_goes_on(tmp_path: Path) -> None:
    StudyRunner(small(), tmp_path)
    path = tmp_path / "study.json"
    known = json.loads(path.read_text())
    for part in (known["train"], known["teacher_train"]):
        del part["int8_weights"]
    del known["arms"]["ABKD"]["method"]["initialise"]
    path.write_text(json.dumps(known))
    with pytest.raises(StudyError, match="whose train is another"):
        StudyRunner(small(train={**SMALL["train"], "int8_weights": True}), tmp_path)
    StudyRunner(small(), tmp_path)
    assert "int8_weights" in json.loads(path.read_text())["train"]
