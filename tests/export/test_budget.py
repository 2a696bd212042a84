"""The search within a budget: what is better, what is put aside, what survives a kill."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from graphstill.cli import app
from graphstill.distill import Architecture, NodeData, Run, TrainSettings, digits, runs, train
from graphstill.export.budget import (
    BudgetError,
    BudgetSettings,
    Candidate,
    Facts,
    Limits,
    Space,
    best,
    dominates,
    find_student,
    front,
    nearest,
)
from graphstill.export.budget.search import search
from graphstill.export.budget.workbench import Workbench

SPACE = Space(kinds=("GCN", "MLP"), depths=(2, 3), widths=(2, 4, 8))


def facts(accuracy: float | None, ms: float, kilobytes: int, **more: Any) -> Facts:
    candidate = Candidate("GCN", 2, len(repr((accuracy, ms, kilobytes, more))))
    return Facts(candidate, 100, 1000 * kilobytes, ms / 1e3, None, accuracy, **more)


GOOD, QUICK, SMALL = facts(0.9, 3, 30), facts(0.8, 1, 30), facts(0.7, 3, 10)
WORSE = facts(0.8, 2, 30)


def test_the_front_holds_what_nothing_dominates() -> None:
    assert front([WORSE, GOOD, SMALL, QUICK]) == [QUICK, SMALL, GOOD]
    assert dominates(QUICK, WORSE)
    assert not dominates(QUICK, QUICK)


def test_latencies_of_different_times_need_a_margin_to_differ() -> None:
    nearly = facts(0.8, 1.1, 30)
    assert front([QUICK, nearly]) == [QUICK]
    assert front([QUICK, nearly], slack=1.25) == [QUICK, nearly]


def test_the_best_is_the_most_accurate_within_the_limits() -> None:
    assert best([QUICK, GOOD, SMALL], Limits()) == GOOD
    assert best([QUICK, GOOD, SMALL], Limits(latency_ms=2)) == QUICK
    assert best([QUICK, GOOD, SMALL], Limits(bytes=10_000)) == SMALL
    assert best([WORSE, QUICK], Limits()) == QUICK  # of equals the faster
    assert best([QUICK, GOOD], Limits(parameters=99)) is None


def test_within_a_limit_is_whose_interval_is() -> None:
    wide = replace(QUICK, latency_interval=(0.8e-3, 1.3e-3))
    assert best([wide], Limits(latency_ms=1.2)) is None
    assert best([wide], Limits(latency_ms=1.3)) == wide


def test_nearest_is_who_passed_most_limits_and_then_missed_by_least() -> None:
    limits = Limits(parameters=90, latency_ms=0.5)
    by_parameters = Facts(Candidate("GCN", 2, 1), 91)
    slow, slower = (replace(one, parameters=80) for one in (QUICK, GOOD))
    assert nearest([by_parameters, slower, slow], limits) == slow
    assert nearest([by_parameters, Facts(Candidate("GCN", 3, 1), 400)], limits) == by_parameters
    assert nearest([], limits) is None


@pytest.fixture(scope="module")
def data() -> NodeData:
    return digits()


@pytest.fixture(scope="module")
def teacher(data: NodeData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("budget") / "teacher"
    shape = {"in_channels": data.num_features, "out_channels": data.num_classes}
    big = Architecture(name="GCN", hidden_channels=16, num_layers=2, **shape)
    train(big, data, TrainSettings(epochs=3), directory=folder, progress=False)
    return folder


class Timed(Workbench):
    """Trains, but takes size and latency from a formula; counts what it is asked."""

    stop_at: int | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, progress=False, **named)
        self.asked: list[Candidate] = []

    def examine(self, candidate: Candidate) -> Facts:
        self.asked.append(candidate)
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        return super().examine(candidate)

    def _probe(self, candidate: Candidate) -> dict[str, Any]:
        milliseconds = candidate.depth * candidate.width * (2 if candidate.kind == "GCN" else 1)
        return {"bytes": 100 * candidate.width, "latency_seconds": milliseconds / 1e3}


def bench(
    data: NodeData, teacher: Path, folder: Path, *, limits: Limits, trials: int, **more: Any
) -> Timed:
    settings = BudgetSettings(
        limits=limits, space=SPACE, trials=trials, train=TrainSettings(epochs=2), **more
    )
    return Timed(runs.load(teacher), data, settings, folder / "candidates")


def run_search(timed: Timed, folder: Path) -> list[Facts]:
    return search(timed, timed.settings, folder / "search.log")


def test_what_passes_a_limit_is_not_trained_and_the_test_nodes_are_not_read(
    data: NodeData, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the search read the test nodes")

    limits = Limits(parameters=600, latency_ms=20)
    timed = bench(data, teacher, tmp_path, limits=limits, trials=99)
    monkeypatch.setattr(runs, "accuracies", refuse)
    known = {one.candidate: one for one in run_search(timed, tmp_path)}
    assert len(known) == 12
    for candidate, one in known.items():
        within = one.parameters <= 600 and timed._probe(candidate)["latency_seconds"] <= 0.02
        assert (one.val_accuracy is not None) == within, one
        assert (timed.run_directory(candidate) / "weights.safetensors").is_file() == within
        assert not (timed.run_directory(candidate) / "summary.json").is_file()
        if one.parameters > 600:
            assert candidate not in timed.asked


def test_nothing_is_looked_at_where_a_smaller_one_is_too_slow_by_far(
    data: NodeData, teacher: Path, tmp_path: Path
) -> None:
    timed = bench(data, teacher, tmp_path, limits=Limits(latency_ms=5), trials=99)
    known = run_search(timed, tmp_path)
    asked = [candidate for candidate in timed.asked if candidate.kind == "GCN"]
    assert asked == [Candidate("GCN", 2, 2)]  # 8 ms
    assert {one.candidate for one in known if one.val_accuracy} == {Candidate("MLP", 2, 2)}


def test_a_search_that_was_killed_goes_on_with_what_it_was_at(
    data: NodeData, teacher: Path, tmp_path: Path
) -> None:
    first = bench(data, teacher, tmp_path, limits=Limits(), trials=5)
    first.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        run_search(first, tmp_path)
    second = bench(data, teacher, tmp_path, limits=Limits(), trials=5)
    seen: list[Candidate] = []
    known = search(
        second, second.settings, tmp_path / "search.log", lambda one, _: seen.append(one.candidate)
    )
    assert first.asked[2] in seen
    assert not set(seen) & set(first.asked[:2])
    assert sum(one.val_accuracy is not None for one in known) == 5
    more = bench(data, teacher, tmp_path, limits=Limits(), trials=6)
    assert sum(one.val_accuracy is not None for one in run_search(more, tmp_path)) == 6


def test_a_small_space_is_searched_whole(data: NodeData, teacher: Path, tmp_path: Path) -> None:
    timed = bench(data, teacher, tmp_path, limits=Limits(parameters=300), trials=99)
    known = run_search(timed, tmp_path)
    assert all((one.val_accuracy is not None) == (one.parameters <= 300) for one in known)
    assert len(timed.asked) == len(set(timed.asked)) == 4


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_an_impossible_budget_names_the_nearest_and_exits_with_one(
    teacher: Path, tmp_path: Path
) -> None:
    command = ["distill", "--teacher", teacher, "--out", tmp_path / "b", "--budget"]
    result = run(*command, "--max-parameters", 100, "--widths", "4,8", "--kinds", "GCN,MLP")
    assert result.exit_code == 1, result.output
    assert "Nearest came GCN 2×4: 310 parameters: 3.1 × the limit of parameters" in result.output
    saved = json.loads((tmp_path / "b" / "budget.json").read_text())
    assert saved["chosen"] is None
    assert saved["nearest"]["name"] == "GCN 2×4"
    assert "Nothing is within 100 parameters" in (tmp_path / "b" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-bytes", "10"], "--max-bytes needs --budget"),
        (["--budget", "--model", "MLP"], "--budget searches what --model would say"),
        (["--budget", "--kinds", "GTN"], "no network 'GTN'"),
        (["--budget", "--widths", "a,b"], "--widths takes numbers"),
        (["--budget", "--widths", "0"], "must be at least 1, got 0"),
        (["--budget", "--max-parameters", "0"], "greater than 0"),
        (["--budget", "--latency-threads", "999"], "threads must be from 1 to"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_two(
    arguments: list[str], said: str, teacher: Path, tmp_path: Path
) -> None:
    result = run("distill", "--teacher", teacher, "--out", tmp_path / "b", *arguments)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())


def test_another_search_in_the_folder_is_refused_and_other_limits_are_not(
    data: NodeData, teacher: Path, tmp_path: Path
) -> None:
    loaded: Run = runs.load(teacher)
    impossible = BudgetSettings(limits=Limits(parameters=1), space=SPACE)
    assert find_student(loaded, data, impossible, tmp_path).chosen is None
    other = impossible.model_copy(update={"limits": Limits(parameters=2)})
    assert find_student(loaded, data, other, tmp_path).chosen is None
    changed = impossible.model_copy(update={"train": TrainSettings(epochs=7)})
    with pytest.raises(BudgetError, match=r"another train.*Limits, trials"):
        find_student(loaded, data, changed, tmp_path)


@pytest.mark.slow
def test_the_command_finds_a_student_that_checks_benches_and_predicts(
    teacher: Path, tmp_path: Path
) -> None:
    out = tmp_path / "b"
    quick = ["--epochs", 30, "--trials", 3, "--kinds", "GraphSAGE,MLP", "--widths", "4,8"]
    command = ["distill", "--teacher", teacher, "--out", out, "--budget", "--rounds", 2, *quick]
    result = run(*command, "--max-bytes", 30_000, "--max-latency-ms", 1000, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    saved = json.loads((out / "budget.json").read_text())
    assert saved["format"] == 1
    assert said["chosen"] == saved["chosen"]
    assert said["trained"] == 3
    assert saved["chosen"]["bytes"] <= 30_000
    assert saved["chosen"]["val_accuracy"] == max(one["val_accuracy"] for one in said["front"])
    assert saved["parity"]["ok"]
    assert all(row["rounds"][0]["samples"] for row in saved["comparison"]["rows"])
    tried = [one for one in saved["candidates"] if one["val_accuracy"] is not None]
    assert all(one["kept"]["rounds"][0]["samples"] for one in tried)
    summary = json.loads((out / "student" / "summary.json").read_text())
    assert summary["accuracy"] == said["accuracy"]
    assert saved["chosen"]["name"] in (out / "table.md").read_text()
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 3
    for loading in ("<script", "<link", "src=", "url(http", 'href="http', "@import"):
        assert loading not in page
    assert run("check", out / "bundle").exit_code == 0
    assert run("predict", out / "bundle", "--data", "digits", "--nodes", 0).exit_code == 0
    short = ["--rounds", 2, "--min-samples", 3, "--min-seconds", 0.01, "--out", tmp_path / "bench"]
    assert run("bench", out / "bundle", out / "front" / "teacher", *short).exit_code == 0
    assert run("export", out / "student", "--out", tmp_path / "again").exit_code == 0
