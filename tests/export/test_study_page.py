"""Reports of studies: what they say, and what they must not say."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from graphstill.cli import app
from graphstill.distill.study import StudySettings, read_study
from graphstill.export.results_page import write_results
from graphstill.export.study_page import write_report

STUDY: dict[str, Any] = {
    "name": "made-up",
    "question": "Is better better?",
    "data": {"digits": {}},
    "seeds": 4,
    "tuning_seeds": [1000],
    "trials": 1,
    "split": {"kind": "fractions", "train": 0.2, "val": 0.2},
    "teacher": {"model": "GCN", "hidden_channels": 8, "num_layers": 3},
    "teacher_train": {"epochs": 2},
    "student": {"model": "GCN", "hidden_channels": 4, "num_layers": 3},
    "train": {"epochs": 2},
    "without": ["label smoothing", "self-KD", "logit KD, training nodes", "MLP", "GLNN"],
    "against": ["scratch"],
    "arms": {"better": {}, "alike": {}},
}


def line(arm: str, seed: int, test: float) -> dict[str, Any]:
    return {
        "study": "made-up",
        "data": "digits",
        "arm": arm,
        "seed": seed,
        "test": test,
        "val": test,
        "params": 1234,
        "params_embedding": 0,
        "epochs_to_95": 7.0,
        "seconds": 0.5,
    }


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    scratch = [0.70, 0.72, 0.69, 0.73]
    made = [line("scratch", seed, value) for seed, value in enumerate(scratch)]
    made += [line("better", s, v + 0.1 + 0.001 * (-1) ** s) for s, v in enumerate(scratch)]
    return made + [line("alike", s, v + 0.02 * (-1) ** s) for s, v in enumerate(scratch)]


def test_a_winner_is_named_with_its_interval_and_nobody_else_is(
    tmp_path: Path, lines: list[dict[str, Any]]
) -> None:
    table = write_report(StudySettings(**STUDY), lines, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Against scratch: above are better by 10.00 [9.82, 10.18]." in page
    first = table.partition("\n\n")[0]
    better, alike = (row for row in first.splitlines() if "| better" in row or "| alike" in row)
    assert "**+10.00 [9.82, 10.18]**" in better
    assert "81.00 ± 1.72" in better
    assert "**" not in alike
    assert page.count("<svg") == 3


def test_parts_of_the_test_nodes_and_other_metrics_have_their_columns(
    tmp_path: Path, lines: list[dict[str, Any]]
) -> None:
    more = [{**made, "metric": "micro-F1", "test_inductive": 0.61234} for made in lines]
    table = write_report(StudySettings(**STUDY), more, tmp_path)
    assert "| test micro-F1 |" in table
    assert "| test, inductive |" in table
    assert "| 61.23 |" in table
    page = (tmp_path / "report.html").read_text()
    assert "<b>+10.00 [9.82, 10.18]</b>" in page
    assert "**" not in page


def test_one_page_holds_every_study_with_its_command(
    tmp_path: Path, lines: list[dict[str, Any]]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    write_results(read_study(file), file, lines, {}, tmp_path / "docs" / "results")
    kept = (tmp_path / "docs" / "results" / "made-up.jsonl").read_text().splitlines()
    assert sorted(map(json.dumps, lines)) == sorted(kept)
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "graphstill study docs/results/made-up.yaml --root DATA --out studies/made-up" in page
    assert "Is better better?" in page
    assert "Not run yet" not in page
    later = {**STUDY, "name": "later", "question": "And then?"}
    (tmp_path / "docs" / "results" / "later.yaml").write_text(yaml.safe_dump(later))
    write_results(read_study(file), file, lines, {}, tmp_path / "docs" / "results")
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "And then?" in page
    assert page.count("Not run yet.") == 1
    assert "**+10.00 [9.82, 10.18]**" in page


def test_plots_are_kept_beside_their_table(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    file, kept = tmp_path / "mine.yaml", tmp_path / "results"
    file.write_text(yaml.safe_dump(STUDY))
    plots = {"digits.convergence": "<svg/>"}
    write_results(read_study(file), file, lines, {}, kept, plots)
    write_results(read_study(file), file, lines, {}, kept)  # from lines alone: the plot stays
    assert (kept / "made-up.digits.convergence.svg").read_text() == "<svg/>"
    shown = "![digits: convergence](results/made-up.digits.convergence.svg)"
    assert shown in (tmp_path / "results.md").read_text()


@pytest.mark.slow
def test_the_command_runs_reports_and_goes_on(tmp_path: Path) -> None:
    file, out = tmp_path / "study.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump({**STUDY, "seeds": 2}))
    first = CliRunner().invoke(app, ["study", str(file), "--out", str(out)])
    assert first.exit_code == 0, first.output
    assert "at most" in first.output
    assert "evaluation 10/10" in first.output
    assert (out / "report.html").is_file()
    again = CliRunner().invoke(app, ["study", str(file), "--out", str(out)])
    assert again.exit_code == 0, again.output
    assert "evaluation" not in again.output
    file.write_text(yaml.safe_dump({**STUDY, "seeds": 2, "trials": 2}))
    changed = CliRunner().invoke(app, ["study", str(file), "--out", str(out)])
    assert changed.exit_code == 2
    assert "whose trials is another" in changed.output
