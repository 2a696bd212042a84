"""Requests in phases: what is timed is what happened, and what is said of it is right."""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric import nn as pyg
from typer.testing import CliRunner

from graphstill.cli import app
from graphstill.export import Row, Scenario, Settings, export
from graphstill.export.phase_page import groups_of, phase_table, size_table, write_phase_report
from graphstill.export.phases import PHASES, measure_phases, serialise
from graphstill.export.report import Measured, Report


class Slow:
    """Spends a known time in each phase; request r sees r nodes and 2 r edges."""

    count = 4

    def sample(self, requests: list[int]) -> int:
        time.sleep(0.003)
        return requests[0]

    def fetch(self, part: int) -> int:
        time.sleep(0.001)
        return 10 * part

    def run(self, part: int, feeds: int) -> list[np.ndarray]:
        time.sleep(0.002)
        return [np.array([part, feeds])]

    def size(self, part: int) -> tuple[int, int]:
        return part, 2 * part


def test_every_phase_is_timed_and_they_add_up() -> None:
    found = measure_phases(Slow(), 10, 0.0, kept=6, seed=0)
    assert set(Counter(found["requests"]).values()) == {3}  # ten, and then the round to its end
    for phase, shortest in zip(PHASES, (0.003, 0.001, 0.002, 0.0), strict=True):
        assert min(found["phases"][phase]) >= shortest
    totals = np.sum(list(found["phases"].values()), axis=0)
    np.testing.assert_allclose(found["samples"], totals)
    assert found["sizes"] == [[0, 0], [1, 2], [2, 4], [3, 6]]
    assert len(found["answers"]) == 6
    assert all(values == [request, 10 * request] for request, values in found["answers"])


def test_rounds_have_orders_of_their_own() -> None:
    orders = [measure_phases(Slow(), 8, 0.0, kept=0, seed=seed)["requests"] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:4] != orders[0][4:]


def test_the_body_is_that_of_the_protocol() -> None:
    body = json.loads(serialise("m", "logits", np.array([[1.5, 2.0], [3.0, -4.0]], np.float32)))
    assert body == {
        "model_name": "m",
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [2, 2], "data": [1.5, 2.0, 3.0, -4.0]}
        ],
    }


def report(rounds: int = 70) -> Report:
    """Two requests of one node (1 and 3 ms), two of eight (10 and 30 ms), in each round once."""
    of_round = {
        "samples": [0.030, 0.001, 0.010, 0.003],
        "requests": [3, 0, 2, 1],
        "phases": {phase: [0.0075, 0.00025, 0.0025, 0.00075] for phase in PHASES},
        "sizes": [[5, 4], [9, 8], [50, 100], [90, 300]],
    }
    asked = [
        {"count": 2, "nodes": nodes, "popularity": "degree", "num_neighbors": None, "seed": 0}
        for nodes in (1, 8)
    ]
    memory = {"loaded_bytes": 1e6, "extra_bytes": 2e6, "peak_bytes": 3e6}
    row = Measured(Row("row", "t:t"), [of_round] * rounds, memory)
    machine = {
        **{"processor": "P", "cores": 1, "memory_bytes": 1, "system": "S", "python": "3"},
        **{"versions": {}, "time": "now", "load_before": 0.0, "load_after": 0.0},
    }
    facts = {"requests": asked, "data": "D", "answers": {"row": {"answers": 4, "ok": True}}}
    return Report([row], Settings(threads=1, scenario=Scenario("phases")), machine, facts)


def test_samples_go_to_the_group_they_were_asked_for() -> None:
    small, large = groups_of(report())
    assert sorted(set(small.seconds)) == [0.001, 0.003]
    assert sorted(set(large.seconds)) == [0.010, 0.030]
    assert small.sizes.tolist() == [[5, 4], [9, 8]]
    assert sorted(set(large.requests)) == [0, 1]
    assert small.phases.shape == (4, 140)


def test_tables_have_percentiles_where_there_are_samples() -> None:
    assert size_table(report())[1] == [
        ["row", "degree", "1", "6", "8", "1", "3", "–", "3"],
        ["row", "degree", "8", "200", "300", "10", "30", "–", "30"],
    ]
    assert size_table(report(2))[1][0][5:] == ["–", "–", "–", "3"]
    quarter = "0.5 (25 %)"  # of 2 ms, the mean of 1 and 3
    assert phase_table(report())[1] == [["row", "degree", *[quarter] * 4, "2"]]


def test_the_page_says_if_answers_were_wrong(tmp_path: Path) -> None:
    wrong = report()
    write_phase_report(wrong, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 5
    assert "are right" in page
    wrong.facts["answers"]["row"]["ok"] = False
    write_phase_report(wrong, tmp_path)
    assert "SOME ARE WRONG" in (tmp_path / "report.html").read_text()


def bench(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_the_command_measures_all_sizes_and_popularities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    bundle = tmp_path / "sage"
    example = (torch.randn(5, 6), torch.randint(0, 5, (2, 9)))
    export(pyg.GraphSAGE(6, 8, 2, 3), example, bundle)
    graph = ["--num-nodes", 100, "--num-edges", 300, "--requests", 3]
    kinds = ["--nodes-per-request", "1,5", "--popularity", "uniform,zipf"]
    quick = ["--rounds", 1, "--min-samples", 1, "--min-seconds", 0.01, "--out", tmp_path]
    refused = bench(bundle, *graph, *kinds, *quick, "--scenario", "offline")
    assert refused.exit_code == 2
    assert "for --scenario phases" in refused.stderr
    result = bench(bundle, *graph, *kinds, *quick, "--scenario", "phases")
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "report.json").read_text())
    asked = [(group["popularity"], group["nodes"]) for group in saved["facts"]["requests"]]
    assert asked == [("uniform", 1), ("uniform", 5), ("zipf", 1), ("zipf", 5)]
    assert saved["facts"]["answers"]["sage"]["ok"]
    of_round = saved["rows"][0]["rounds"][0]
    assert len(of_round["sizes"]) == 12
    assert set(of_round["requests"]) == set(range(12))
