"""Blocks on the command line, from a run to answers and times."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from graphstill.cli import app
from graphstill.distill import digits
from graphstill.export import targets
from graphstill.serve import Session


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and its bundles: of the whole graph, of all neighbours, and of one."""
    place = tmp_path_factory.mktemp("blocks")
    tiny = ["--hidden-channels", "8", "--epochs", "30", "--patience", "30"]
    lowered = ["--lowering", "blocks", "--fanouts"]
    commands = [
        ["train", "--data", "digits", "--out", place / "run", *tiny],
        ["export", place / "run", "--out", place / "fused"],
        ["export", place / "run", "--out", place / "all", *lowered, "26,26"],
        ["export", place / "run", "--out", place / "one", *lowered, "1,1", "--batch", "4"],
    ]
    for command in commands:
        result = run(*command)
        assert result.exit_code == 0, result.output
    return place


def test_answers_are_those_of_the_whole_graph(place: Path) -> None:
    data = digits()
    asked = ["--data", "digits", "--nodes", "3,1796,5", "--json"]
    whole, cut = (json.loads(run("predict", place / b, *asked).stdout) for b in ("fused", "all"))
    assert [a["node"] for a in cut] == [3, 1796, 5]
    assert [a["class"] for a in cut] == [a["class"] for a in whole]
    assert cut[0]["probability"] == pytest.approx(whole[0]["probability"], abs=1e-5)
    assert data.num_nodes == 1797
    assert run("predict", place / "all", "--data", "digits", "--nodes", "1797").exit_code == 2


def test_check_says_what_neighbours_left_out_cost(place: Path) -> None:
    exact = json.loads(run("check", place / "all", "--json").stdout)
    assert exact["ok"]
    assert (exact["labels"]["agreement"], exact["labels"]["truncated"]) == (1.0, 0.0)
    result = run("check", place / "one", "--json")
    found = json.loads(result.stdout)
    assert not any(not d["passes"] for d in found["differences"])
    assert found["labels"]["truncated"] > 0.9
    assert found["labels"]["bundle"]["test"] < found["labels"]["pyg"]["test"]
    assert result.exit_code == (0 if found["labels"]["ok"] else 1)
    assert "more neighbours than fit" in (place / "one" / "check.md").read_text()


@pytest.mark.parametrize(("bundle", "rows"), [("all", 64), ("one", 4)])
@pytest.mark.parametrize("prepared", [False, True])
def test_what_the_harness_calls(place: Path, bundle: str, rows: int, prepared: bool) -> None:
    data = digits()
    inputs = {"x": data.x.numpy(), "edge_index": data.edge_index.numpy()}
    call = targets.bundle(inputs, 1, path=str(place / bundle), prepared=prepared)
    logits = call()["logits"]
    assert logits.shape == (rows, 10)
    session = Session(place / bundle)
    graph = session.prepare(inputs["edge_index"], 1797)
    wanted = session.answer(graph, np.arange(rows), x=inputs["x"])["logits"]
    np.testing.assert_allclose(logits, wanted, atol=1e-6)


def test_bundles_of_both_kinds_are_measured_side_by_side(place: Path, tmp_path: Path) -> None:
    quick = ["--rounds", "2", "--min-samples", "3", "--min-seconds", "0.01"]
    paths = [place / "fused", place / "all"]
    result = run("bench", *paths, "--data", "digits", "--out", tmp_path, *quick)
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "report.json").read_text())["facts"]
    assert facts["blocks"]
    assert facts["quality"]["all"]["agreement"] == 1.0
    assert "one of blocks for 64 nodes" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lowering", "blocks"], "go together"),
        (["--fanouts", "3,3"], "go together"),
        (["--lowering", "blocks", "--fanouts", "3,x"], "whole numbers, such as 10,10"),
        (["--lowering", "blocks", "--fanouts", "3"], "looks along 2 hops"),
        (["--batch", "3"], "batch fixes the number of seeds"),
    ],
)
def test_what_export_refuses(arguments: list[str], said: str, place: Path, tmp_path: Path) -> None:
    result = run("export", place / "run", "--out", tmp_path / "b", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_blocks_are_not_quantised(place: Path, tmp_path: Path) -> None:
    result = run("quantise", place / "all", "--out", tmp_path / "q", "--data", "digits")
    assert result.exit_code == 2
    assert "not quantised" in result.stderr
