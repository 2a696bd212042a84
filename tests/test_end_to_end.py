"""The road from end to end: the demo, and the same by hand on graphs of other people."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cases import DATA, needs_data
from graphstill.cli import app
from graphstill.serve import Bundle, Session


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_the_demo_keeps_its_promises(tmp_path: Path) -> None:
    said = run("demo", "--out", tmp_path)
    assert "fewer parameters" in said
    summary = json.loads((tmp_path / "summary.json").read_text())
    teacher, student = summary["teacher"], summary["student"]
    assert summary["compression"] >= 30
    assert summary["compression"] == pytest.approx(teacher["parameters"] / student["parameters"])
    assert student["accuracy"] >= teacher["accuracy"] - 0.01
    assert teacher["accuracy"] > 0.95
    assert summary["seeds"] == 3
    assert summary["parity"]["ok"]
    assert summary["native_operators"]
    assert 0.9 < summary["agreement"] <= 1
    # wide margins: that there are figures and what they mean, not how fast this machine is
    assert summary["speedup"] == pytest.approx(
        teacher["latency_ms"] / student["latency_ms"], rel=0.5
    )
    assert summary["speedup"] > 1
    assert summary["speedup_vs_pyg"] > 1
    for figures in (teacher, student):
        assert set(figures) >= {"accuracy", "parameters", "bytes", "latency_ms", "peak_mb"}
    for name in ("teacher", "student"):
        bundle = Bundle.load(tmp_path / name)
        assert bundle.size_bytes == summary[name]["bytes"]
        assert bundle.manifest.class_names == [str(digit) for digit in range(10)]
        Session(bundle)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 5
    again = json.loads(run("demo", "--out", tmp_path, "--json"))  # finds its finished runs
    assert again["student"]["accuracy"] == student["accuracy"]


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("cora", ["--hidden-channels", "16", "--argument", "dropout=0.5"]),
        ("amazon-photo", ["--model", "GraphSAGE", "--hidden-channels", "16"]),
    ],
)
def test_the_road_by_hand(
    name: str, student: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shorter = ["--epochs", "60"]
    run(
        "train", "--data", name, "--root", DATA, "--argument", "dropout=0.5", "--out", "t", *shorter
    )
    run("distill", "--teacher", "t", "--out", "s", *student, *shorter)
    for which in ("t", "s"):
        run("export", which, "--out", f"b/{which}")
        run("check", f"b/{which}")
    quick = ["--rounds", "2", "--min-samples", "3", "--min-seconds", "0.05"]
    run("bench", "b/t", "b/s", "--data", name, "--pyg", *quick)
    report = json.loads(Path("bench/report.json").read_text())
    assert report["facts"]["quality"]["t"]["accuracy"] > 0.7
    answers = json.loads(run("predict", "b/s", "--data", name, "--nodes", "0,1", "--json"))
    assert [answer["node"] for answer in answers] == [0, 1]
