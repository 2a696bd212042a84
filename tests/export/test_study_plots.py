"""Plots of studies: they show every arm, and stand what is missing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from graphstill.cli import app
from graphstill.distill.errors import StudyError
from graphstill.distill.study import Place, StudySettings, read_study, summarise
from graphstill.export import cost_plots, study_plots as plots
from graphstill.export.results_page import write_results
from graphstill.export.study_figures import family, figure_sections, plots_to_keep

STUDY: dict[str, Any] = {
    "name": "shown",
    "data": {"digits": {}},
    "seeds": 2,
    "tuning_seeds": [1000],
    "trials": 1,
    "teacher": {"model": "GCN", "hidden_channels": 8, "num_layers": 3},
    "student": {"model": "GCN", "hidden_channels": 4, "num_layers": 3},
    "without": ["label smoothing", "self-KD", "logit KD, training nodes", "MLP"],
    "against": ["scratch"],
    "arms": {
        "ABKD": {"method": {"terms": [{"term": "abkd"}]}},
        "uniform": {"like": "ABKD"},
        "two": {"learn": "peers"},
    },
}
ARMS = ("teacher", "scratch", "logit KD", "GLNN", "ABKD", "uniform", "two")


def line(arm: str, seed: int) -> dict[str, Any]:
    return {
        "study": "shown", "data": "digits", "arm": arm, "seed": seed, "test": 0.7 + 0.01 * seed,
        "val": 0.7, "params": 1234, "params_embedding": 0, "epochs_to_95": 2.0, "seconds": 0.5,
    }  # fmt: skip


def write_run(folder: Path, attention: bool) -> None:
    folder.mkdir(parents=True)
    metrics = [{"epoch": i, "val_accuracy": 0.2 * (i + 1)} for i in range(4)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    (folder / "seconds.jsonl").write_text("0.1\n" * 4)
    student = {
        "ece": 0.1,
        "calibration": {"nodes": [0, 5], "accuracy": [None, 0.6], "confidence": [None, 0.8]},
        "degree": {"from": [0, 1, 2], "nodes": [0, 2, 3], "accuracy": [None, 0.5, 1.0]},
    }
    found: dict[str, Any] = {"students": [student]}
    if attention:
        found["attention"] = {"abkd": [[0.25, 0.75], [0.5, 0.5]]}
    (folder / "diagnostics.json").write_text(json.dumps(found))


def test_every_run_directory_is_in_the_figures(tmp_path: Path) -> None:
    study, place = StudySettings(**STUDY), Place(tmp_path, None)
    lines = [line(arm, seed) for arm in ARMS for seed in (0, 1)]
    for made in lines[:-1]:
        write_run(place.of("digits", made["arm"], made["seed"]), made["arm"] == "ABKD")
    sections = figure_sections(study, place, "digits", summarise(lines, ["scratch"]), lines)
    titles = [section.title.partition(": ")[2] for section in sections]
    assert titles == ["convergence", "attention over layers", "accuracy by degree", "reliability"]
    assert "11 runs are shown" in sections[0].text
    assert "13 runs are shown" in sections[3].text
    for arm in ("scratch", "logit KD", "ABKD", "uniform", "two"):
        assert f">{arm}<" in sections[0].svg
        assert f">{arm}<" in sections[2].svg
    assert ">2–3<" in sections[2].svg
    assert ">ECE 10.0 %<" in sections[3].svg
    assert ">mean of 2 seeds: 0.25 to 0.75<" in sections[1].svg
    assert ">seconds of training<" in sections[0].svg
    assert plots_to_keep(study, place, lines) == {}  # a run is elsewhere
    assert list(plots_to_keep(study, place, lines[:-1])) == ["digits.convergence"]


def test_without_run_directories_there_are_no_figures(tmp_path: Path) -> None:
    lines = [line("scratch", 0), line("scratch", 1)]
    summary = summarise(lines, ["scratch"])
    place = Place(tmp_path, None)
    assert figure_sections(StudySettings(**STUDY), place, "digits", summary, lines) == []


def test_arms_are_told_by_kind() -> None:
    kinds = {arm: family(StudySettings(**STUDY), arm) for arm in ARMS}
    assert list(kinds.values()) == [
        "teacher", "labels alone", "logits", "logits", "layers", "controls", "peers",
    ]  # fmt: skip
    assert set(kinds.values()) == set(cost_plots.FAMILIES)


def test_accuracy_against_parameters_has_a_panel_for_each_data_set() -> None:
    costs = [
        cost_plots.Cost("a", "teacher", 2_500_000, [80, 81]),
        cost_plots.Cost("b", "logits", 940, [24]),
    ]
    svg = cost_plots.accuracy_against_parameters({"cora": costs, "photo": costs, "cs": costs[:1]})
    for text in ("cora", "photo", "cs", "2.5 M", "940", "teacher", "logits"):
        assert f">{text}<" in svg
    assert ">layers<" not in svg


def test_a_figure_is_the_same_bytes_again() -> None:
    maps = {"ABKD": np.full((2, 9, 2), 0.5)}
    assert plots.attention_maps(maps) == plots.attention_maps(maps)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    lines = [line(arm, seed) for arm in ARMS for seed in (0, 1)][:-1]
    write_results(read_study(file), file, lines, {}, tmp_path / "results")
    return tmp_path


def test_one_command_writes_results_from_what_is_kept(kept: Path) -> None:
    page = (kept / "results.md").read_text()
    (kept / "results.md").unlink()
    plan = {"Tier 1": [{"what": "Digits", "study": "shown"}, {"what": "GAT"}]}
    (kept / "results" / "plan.yaml").write_text(yaml.safe_dump(plan))
    done = CliRunner().invoke(app, ["results", str(kept / "results")])
    assert done.exit_code == 0, done.output
    again = (kept / "results.md").read_text()
    assert "| Tier 1 | Digits | shown | 13 of 14 runs |" in again
    assert "| Tier 1 | GAT | – | not run |" in again
    assert page.partition("## shown")[2] == again.partition("## shown")[2]
    assert "13 of 14 runs were done. Not all of: two on digits." in again
    table = again.partition("| data |")[2].splitlines()
    assert table[2].startswith("| digits | teacher | 2 | 1,234 | 70.50 ± 0.71")
    assert "Against scratch: no student differs for certain." in again


def test_a_report_without_runs_is_of_what_is_kept_and_loses_nothing(kept: Path) -> None:
    before = (kept / "results" / "shown.jsonl").read_text()
    command = ["study", str(kept / "study.yaml"), "--out", str(kept / "empty"), "--report-only"]
    done = CliRunner().invoke(app, [*command, "--results", str(kept / "results")])
    assert done.exit_code == 0, done.output
    assert "70.50 ± 0.71" in done.output
    assert (kept / "results" / "shown.jsonl").read_text() == before
    study = read_study(kept / "study.yaml")
    with pytest.raises(StudyError, match="holds 12 runs that are not in this study's folder"):
        write_results(study, kept / "study.yaml", [line("scratch", 0)], {}, kept / "results")
    assert (kept / "results" / "shown.jsonl").read_text() == before
