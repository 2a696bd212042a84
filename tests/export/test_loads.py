"""Requests for single nodes: who is asked for, what is answered, and whether that is noticed."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric import nn as pyg
from typer.testing import CliRunner

from graphstill.cli import app
from graphstill.export import Row, Scenario, Settings, export
from graphstill.export.answers import answers_of
from graphstill.export.load_page import audit_table, load_table, verdicts
from graphstill.export.loads import check_answers, request_inputs, request_rows
from graphstill.export.neighbourhoods import BundleRequests
from graphstill.export.report import Measured, Report
from graphstill.export.requests import Requests, draw_seeds
from graphstill.serve import Bundle

NODES, FEATURES, CLASSES = 300, 6, 4
EDGES = np.random.default_rng(0).integers(0, NODES, (2, 1200))


@pytest.fixture(autouse=True)
def _measured_processes_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    x = np.random.default_rng(1).standard_normal((NODES, FEATURES)).astype(np.float32)
    return {"x": x, "edge_index": EDGES}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    x, edges = torch.randn(5, FEATURES), torch.randint(0, 5, (2, 9))
    torch.manual_seed(0)
    gcn, weight = pyg.GCN(FEATURES, 8, 2, CLASSES), {"edge_weight": torch.rand(9)}
    export(gcn, {"x": x, "edge_index": edges}, folder / "gcn")
    export(gcn, {"x": x, "edge_index": edges, **weight}, folder / "weighted", graph="csr")
    export(pyg.MLP([FEATURES, 8, CLASSES], norm=None), {"x": x}, folder / "mlp")
    return {name: folder / name for name in ("gcn", "weighted", "mlp")}


@pytest.mark.parametrize("name", ["gcn", "weighted", "mlp"])
def test_a_neighbourhood_answers_as_the_whole_graph(
    name: str, bundles: dict[str, Path], inputs: dict[str, np.ndarray]
) -> None:
    given = {**inputs, "edge_weight": np.random.default_rng(2).random(1200).astype(np.float32)}
    given = request_inputs(given, Requests(count=12, nodes=3))
    bundle = Bundle.load(bundles[name])
    system = BundleRequests(bundle, given, 1)
    whole = next(iter(answers_of(bundle, given)[0].values()))
    for requests in ([4], [7, 2, 7]):  # alone, and together with one that is there twice
        for request, got in zip(requests, system.answer(requests), strict=True):
            np.testing.assert_allclose(got, whole[given["seeds"][request]], atol=1e-5)


def test_drawn_neighbours_depend_on_the_request_alone(
    bundles: dict[str, Path], inputs: dict[str, np.ndarray]
) -> None:
    given = request_inputs(inputs, Requests(count=9, nodes=2))
    first, second = (
        BundleRequests(Bundle.load(bundles["gcn"]), given, 1, num_neighbors=[2, 1])
        for _ in range(2)
    )
    backwards = {request: second.answer([request])[0] for request in range(8, -1, -1)}
    for request in range(9):
        np.testing.assert_array_equal(first.answer([request])[0], backwards[request])
    part = first.sample([0])
    assert int(part.sample.graph.rowptr.diff().max()) <= 2


@pytest.mark.parametrize(
    ("changes", "said"), [({"num_neighbors": [3]}, "looks 2 hops far"), ({}, "whole graph")]
)
def test_what_has_no_neighbourhood_is_refused(
    changes: dict[str, Any],
    said: str,
    bundles: dict[str, Path],
    inputs: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = Bundle.load(bundles["gcn"])
    if not changes:
        object.__setattr__(bundle.manifest, "hops", None)
    with pytest.raises(ValueError, match=said):
        BundleRequests(bundle, request_inputs(inputs, Requests(count=2)), 1, **changes)


def test_popular_nodes_are_asked_for_more_often() -> None:
    # node 0 is at an end of 300 edges, nodes 1 to 100 of one each and the others of none
    edges = np.stack([np.zeros(200, int), np.r_[np.zeros(100, int), np.arange(1, 101)]])
    drawn = draw_seeds(Requests(4000, popularity="degree"), edges, 500)
    share = float((drawn == 0).mean())
    assert share == pytest.approx(300 / 400, abs=0.03)
    assert drawn.max() <= 100
    uniform = draw_seeds(Requests(4000), edges, 500)
    assert np.bincount(uniform.ravel(), minlength=500).max() < 30  # 8 expected


def test_zipf_is_one_over_the_rank() -> None:
    drawn = draw_seeds(Requests(20_000, popularity="zipf"), EDGES, 50)
    counts = np.sort(np.bincount(drawn.ravel(), minlength=50))[::-1] / 20_000
    expected = 1 / np.arange(1, 51)
    expected /= expected.sum()
    np.testing.assert_allclose(counts[:5], expected[:5], atol=0.015)


def test_nodes_of_a_request_differ_and_draws_repeat() -> None:
    asked = Requests(50, nodes=20, popularity="zipf", seed=3)
    seeds = draw_seeds(asked, EDGES, 25)
    assert all(len(set(row)) == 20 for row in seeds.tolist())
    np.testing.assert_array_equal(seeds, draw_seeds(asked, EDGES, 25))
    with pytest.raises(ValueError, match="asks for 26 nodes, there are 25"):
        draw_seeds(Requests(nodes=26), EDGES, 25)
    with pytest.raises(ValueError, match="popularity"):
        Requests(popularity="luck")


def report_of(path: Path, kept: list[tuple[int, list[float]]], **facts: Any) -> Report:
    of_round = {
        "samples": [0.001] * 70,
        "cost_seconds": 0.002,
        "valid": True,
        "audit": {"among_others_seconds": 0.002, "repeated_seconds": 0.001},
    }
    row = Row("row", "t:t", {"path": str(path), "num_neighbors": None})
    settings = Settings(threads=1, scenario=Scenario("server", 0.01, 90))
    rows = [Measured(row, [of_round] * 3, {}, kept)]
    return Report(rows, settings, {}, dict(facts))


def test_a_wrong_answer_is_noticed(bundles: dict[str, Path], inputs: dict[str, np.ndarray]) -> None:
    given = request_inputs(inputs, Requests(count=5, nodes=2))
    path = bundles["gcn"]
    whole = next(iter(answers_of(Bundle.load(path), given)[0].values()))
    right = [(request, whole[given["seeds"][request]].ravel().tolist()) for request in (0, 3, 3)]
    labels = whole.argmax(-1)
    found = check_answers(report_of(path, right), given, labels)["row"]
    assert found == {
        "answers": 3,
        "relative_error": 0.0,
        "ok": True,
        "agreement": 1.0,
        "accuracy": 1.0,
    }
    counted = np.full_like(labels, -1)
    assert "accuracy" not in check_answers(report_of(path, right), given, counted)["row"]
    counted[given["seeds"][0, 0]] = labels[given["seeds"][0, 0]] + 1
    assert check_answers(report_of(path, right[:1]), given, counted)["row"]["accuracy"] == 0.0
    swapped = [right[0], (1, right[1][1])]  # another request's answer
    found = check_answers(report_of(path, swapped), given, labels)["row"]
    assert not found["ok"]
    assert found["relative_error"] > 1e-3
    lost = [(request, [math.nan] * len(values)) for request, values in right]
    assert not check_answers(report_of(path, [*right, *lost]), given)["row"]["ok"]
    assert not check_answers(report_of(path, []), given)["row"]["ok"]


def test_what_tables_say(bundles: dict[str, Path], inputs: dict[str, np.ndarray]) -> None:
    answers = {"row": {"answers": 9, "relative_error": 2e-7, "ok": True, "accuracy": 0.5}}
    report = report_of(bundles["gcn"], [], answers=answers)
    header, rows = load_table(report)
    assert header[:3] == ["", "requests/s", "p50 ms"]
    assert rows == [["row", "500", "1", "1", "–", "3 of 3", "9 right", "2e-07", "50.00 %"]]
    assert audit_table(report)[1] == [["row", "2", "1", "2.00", "2.00 – 2.00"]]
    assert verdicts(report) == []
    none = {"cost_seconds": None, "valid": False, "why": "no rate met the limit"}
    report.rows[0].rounds[:] = [{**r, **none} for r in report.rows[0].rounds]
    assert load_table(report)[1][0][1] == "none"
    assert verdicts(report) == ["row: no rate met the limit"]


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ([0.001, 0.0011, 0.001], "row answers 1.9"),  # the other's are 0.002
        ([0.004, 0.004, 0.004], "other answers 2.00 times as many as row"),
        ([0.0005, 0.008, 0.002], "neither other nor row answers more for certain"),
        ([None] * 3, "other holds a rate within the limit, row none"),
    ],
)
def test_more_is_said_only_for_certain(costs: list[float | None], said: str) -> None:
    report = report_of(Path("b"), [])
    of_round = report.rows[0].rounds[0]
    other = Measured(Row("other", "t:t"), [of_round] * 3, {})
    row = Measured(report.rows[0].row, [{**of_round, "cost_seconds": cost} for cost in costs], {})
    told = verdicts(Report([other, row], report.settings, {}))
    assert told[0].startswith(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "closed-loop"}, "a scenario is"),
        ({"kind": "server"}, "needs a limit"),
        ({"kind": "offline", "slo_seconds": 1.0}, "needs a limit"),
        ({"kind": "server", "slo_seconds": 0.0}, "must be positive"),
        ({"kind": "offline", "percentile": 98}, "one of 50, 90"),
        ({"kind": "single-stream", "batch": 2}, "offline scenario only"),
    ],
)
def test_scenarios_are_checked(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Scenario(**changes)


def bench(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_the_command_writes_report_and_page(bundles: dict[str, Path], tmp_path: Path) -> None:
    graph = ["--num-nodes", 200, "--num-edges", 600, "--requests", 5, "--nodes-per-request", 2]
    quick = ["--rounds", 1, "--min-seconds", 0.01, "--percentile", 50, "--out", tmp_path]
    result = bench(bundles["gcn"], *graph, *quick, "--scenario", "server", "--slo-ms", 20)
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["settings"]["scenario"]["kind"] == "server"
    assert saved["facts"]["answers"]["gcn"]["ok"]
    assert saved["facts"]["requests"][0]["nodes"] == 2
    assert "mlcommons_loadgen" in saved["machine"]["versions"]
    of_round = saved["rows"][0]["rounds"][0]
    assert set(of_round["requests"]) == set(range(5))
    assert len(of_round["requests"]) == len(of_round["samples"])
    assert saved["rows"][0]["memory"]["peak_bytes"] > 0
    assert (tmp_path / "report.html").read_text().count("<svg") == 4
    assert "| gcn | " in (tmp_path / "report.md").read_text()
    again = bench("--compare", tmp_path / "report.json", tmp_path / "report.json")
    assert again.exit_code == 0, again.output


def test_a_scenario_is_asked_for_rightly(bundles: dict[str, Path], tmp_path: Path) -> None:
    wrong = bench(bundles["gcn"], "--scenario", "server", "--out", tmp_path)
    assert wrong.exit_code == 2
    assert "needs a limit" in wrong.stderr
    wrong = bench(bundles["gcn"], "--scenario", "offline", "--num-neighbors", "a,b")
    assert wrong.exit_code == 2
    assert "such as 15,10" in wrong.stderr


def test_rows_are_what_the_harness_loads(bundles: dict[str, Path]) -> None:
    rows = request_rows([bundles["gcn"], bundles["mlp"]], Requests(num_neighbors=(3, 2)))
    assert [row.label for row in rows] == ["gcn", "mlp"]
    assert rows[0].arguments["num_neighbors"] == [3, 2]
