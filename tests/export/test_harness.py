"""The harness: fresh processes, turns, raw samples, intervals that mean something."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from torch_geometric import nn as pyg

from graphstill.export import (
    MeasurementError,
    Row,
    Settings,
    bench as benches,
    export,
    measure,
    worker,
)
from graphstill.export.intervals import percentile, ratio_interval, spread
from graphstill.serve import Bundle

QUICK = Settings(threads=1, rounds=2, min_samples=3, min_seconds=0.01)

TARGETS = """
import os, time
from pathlib import Path

def sleeper(inputs, threads, *, seconds, log=None):
    assert inputs["x"].shape == (3, 2)
    assert len(os.sched_getaffinity(0)) == threads
    assert os.environ["OMP_NUM_THREADS"] == str(threads)
    def call():
        if log:
            with open(log, "a") as file:
                file.write(f"{os.getpid()} {seconds}\\n")
        time.sleep(seconds)
    return call

def eater(inputs, threads, *, megabytes):
    def call():
        data = bytearray(megabytes * 1000 * 1000)
        data[::4096] = b"x" * len(data[::4096])
    return call

def broken(inputs, threads):
    raise RuntimeError("no such luck")
"""


@pytest.fixture
def targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "row_targets.py").write_text(TARGETS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")
    return "row_targets"


INPUTS = {"x": np.zeros((3, 2), np.float32)}


def test_rows_take_turns_in_fresh_processes(targets: str, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    rows = [
        Row("slow", f"{targets}:sleeper", {"seconds": 0.02, "log": log}),
        Row("fast", f"{targets}:sleeper", {"seconds": 0.005, "log": log}),
    ]
    steps: list[str] = []
    report = measure(rows, INPUTS, QUICK, facts={"a": 1}, on_step=steps.append)
    assert steps == ["slow", "fast", "fast", "slow", "slow", "fast"]
    pids = list(dict.fromkeys(line.split()[0] for line in Path(log).read_text().splitlines()))
    assert len(pids) == 6
    assert 0.02 <= report.row("slow").latency_seconds < 0.1
    ratio, low, high = report.ratio("slow", "fast")
    assert low <= ratio <= high
    assert ratio > 1.5
    for row in report.rows:
        assert len(row.samples) >= 2 * QUICK.min_samples
        assert {"import_seconds", "load_seconds", "first_call_seconds", "stable"} <= set(
            row.rounds[0]
        )
    report.save(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["format"] == 1
    assert saved["facts"] == {"a": 1}
    assert saved["machine"]["cores"] >= 1
    assert saved["rows"][0]["rounds"][0]["samples"] == report.rows[0].rounds[0]["samples"]
    assert saved["rows"][0]["percentiles_seconds"]["p99"] is None


def test_memory_is_the_peak_of_calls_not_of_loading(targets: str) -> None:
    rows = [
        Row("small", f"{targets}:eater", {"megabytes": 5}),
        Row("large", f"{targets}:eater", {"megabytes": 80}),
    ]
    report = measure(rows, INPUTS, QUICK)
    small, large = (report.row(label).memory["extra_bytes"] for label in ("small", "large"))
    assert small < 20e6
    assert 70e6 < large < 110e6


def test_a_row_that_fails_says_why(targets: str) -> None:
    with pytest.raises(MeasurementError, match=r"(?s)bad failed.*no such luck"):
        measure([Row("bad", f"{targets}:broken")], INPUTS, QUICK)


def test_a_row_that_hangs_is_stopped(targets: str) -> None:
    rows = [Row("stuck", f"{targets}:sleeper", {"seconds": 60})]
    with pytest.raises(MeasurementError, match="longer than 2 s"):
        measure(rows, INPUTS, Settings(threads=1, timeout_seconds=2))


def test_labels_must_differ(targets: str) -> None:
    with pytest.raises(ValueError, match="different labels"):
        measure([Row("a", "x:y"), Row("a", "x:z")], INPUTS, QUICK)


@pytest.mark.parametrize("changes", [{"threads": 0}, {"threads": 10_000}, {"rounds": 0}])
def test_settings_are_checked(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Settings(**changes)


def test_no_percentile_without_the_samples_for_it() -> None:
    assert percentile([1.0] * 10, 50) is None
    assert percentile(list(range(1, 12)), 50) == 6
    assert percentile([1.0] * 661, 99) is None
    assert percentile(list(range(1, 1001)), 99) == 990


def test_an_interval_of_equal_things_holds_one() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        a, b = np.exp(rng.normal(0, 0.1, (2, 6)))
        _, low, high = ratio_interval(list(a), list(b))
        inside += low <= 1 <= high
    assert 0.92 <= inside / 400 <= 0.98


def test_one_round_carries_no_interval() -> None:
    assert ratio_interval([2.0], [1.0]) == (2.0, 0.0, math.inf)
    assert spread([1.0, 1.0]) == 0.0


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    import torch

    folder = tmp_path_factory.mktemp("bundles")
    example = (torch.randn(5, 6), torch.randint(0, 5, (2, 9)))
    for name, width in (("wide", 64), ("narrow", 4)):
        export(pyg.GCN(6, width, 2, 3), example, folder / name)
    return [folder / "wide", folder / "narrow"]


def test_bundles_side_by_side(bundles: list[Path], tmp_path: Path) -> None:
    inputs = benches.random_inputs(Bundle.load(bundles[0]), 500, 3000)
    labels = np.zeros(500, np.int64)
    quality = benches.quality(bundles, inputs, labels, np.arange(100))
    assert quality["wide"]["agreement"] == 1.0
    assert 0 <= quality["narrow"]["accuracy"] <= 1
    report = measure(
        benches.bundle_rows(bundles),
        inputs,
        QUICK,
        facts={"quality": quality, "native_operators": 1},
    )
    header, rows = benches.table(report)
    assert [row[0] for row in rows] == ["wide", "narrow"]
    assert all(len(row) == len(header) for row in rows)
    assert report.row("narrow").memory["peak_bytes"] < 200e6  # no torch in there
    assert "wide" in benches.verdict(report, "wide", "narrow")
    benches.write_report_page(report, tmp_path / "report.html", "Test")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3
    for loading in ("<script", "<link", "src=", "url(http", 'href="http', "@import"):
        assert loading not in page


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([2.0, 2.1, 1.9], [1.0, 1.0, 1.0], "b is 2.00 times as fast as a"),
        ([1.0, 1.0, 1.0], [2.0, 2.1, 1.9], "a is 2.00 times as fast as b"),
        ([1.0, 2.0, 0.5], [1.0, 1.0, 1.1], "neither a nor b is faster for certain"),
    ],
)
def test_no_winner_without_an_interval(a: list[float], b: list[float], said: str) -> None:
    from graphstill.export.report import Measured, Report

    rows = [
        Measured(Row(label, "t:t"), [{"samples": [value]} for value in values], {})
        for label, values in (("a", a), ("b", b))
    ]
    assert benches.verdict(Report(rows, QUICK, {}), "a", "b").startswith(said)


def test_slow_calls_are_not_warmed_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 40))  # each look at the clock is 40 seconds after the last
    monkeypatch.setattr(worker.time, "perf_counter", lambda: float(next(clock)))
    found = worker.measure_latency(lambda: None, min_samples=3, min_seconds=0.3)
    assert (found["warmup_calls"], found["stable"]) == (1, False)
    assert found["samples"] == [40.0] * 3
