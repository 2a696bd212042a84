"""The command line as a user sees it: output, exit codes, errors that say what to do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from graphstill.cli import app
from graphstill.distill import digits

TINY = ["--hidden-channels", "8", "--epochs", "6", "--patience", "6"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, a student, and both exported."""
    place = tmp_path_factory.mktemp("cli")
    teacher, student = place / "teacher", place / "student"
    commands = [
        ["train", "--data", "digits", "--argument", "dropout=0.5", "--out", teacher, *TINY],
        ["distill", "--teacher", teacher, "--model", "GraphSAGE", "--out", student, *TINY],
        ["export", teacher, "--out", place / "b" / "teacher"],
        ["export", student, "--out", place / "b" / "student", "--graph", "csr"],
    ]
    for command in commands:
        result = run(*command)
        assert result.exit_code == 0, result.output
    return place


def test_version_says_whether_the_library_is_there() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert "graphstill 0." in result.output
    assert "libgraphstill_ort" in result.output
    assert "libgraphstill_torch" in result.output


@pytest.mark.parametrize(
    "command",
    [
        *["", "demo", "train", "distill", "study", "results", "export", "check", "lint"],
        *["quantise", "bench", "predict"],
    ],
)
def test_help_teaches(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_runs_leave_their_settings(place: Path) -> None:
    settings = json.loads((place / "student" / "settings.json").read_text())
    assert settings["method"] == "logit KD + abkd"
    assert settings["architecture"]["name"] == "GraphSAGE"
    assert settings["train"]["epochs"] == 6
    assert settings["teacher"]["arguments"] == {"dropout": 0.5}


def test_large_graphs_are_trained_on_in_parts(place: Path, tmp_path: Path) -> None:
    parts = ["--batch-size", "600", "--num-neighbors", "4,4", "--eval-batch-size", "900"]
    command = ["distill", "--teacher", place / "teacher", "--out", tmp_path / "student", *TINY]
    result = run(*command, *parts, "--teacher-store", tmp_path / "store", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["accuracy"]["test"] > 0.2
    settings = json.loads((tmp_path / "student" / "settings.json").read_text())
    assert settings["batches"]["num_neighbors"] == [4, 4]
    assert (tmp_path / "store" / "store.json").exists()


@pytest.mark.slow
def test_torchrun_shares_the_work(place: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    command = [*launch, "-m", "graphstill", "distill", "--teacher", place / "teacher", *TINY]
    command += ["--batch-size", 600, "--out", tmp_path, "--json"]
    told = [str(part) for part in command]
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["test"] > 0.2  # one of the two prints
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 6
    other = subprocess.run([*told, "--lr", "0.5"], capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert "train.lr is 0.01 there, 0.5 here" in other.stderr


def test_check_passes_and_fails(place: Path, tmp_path: Path) -> None:
    result = run("check", place / "b" / "student")
    assert result.exit_code == 0, result.output
    assert "all cases pass" in result.output
    report = json.loads(run("check", place / "b" / "teacher", "--json").output)
    assert report["ok"]
    strict = run("check", place / "b" / "teacher", "--tolerance", "1e-12")
    assert strict.exit_code == 1
    assert "FAILED" in strict.output


def test_check_of_a_module_of_ones_own(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_module.py").write_text(
        "import torch\nfrom torch_geometric.nn import GraphSAGE\n"
        "from graphstill.export import export\n"
        "def build():\n    torch.manual_seed(3)\n    return GraphSAGE(4, 8, 2, 3)\n"
        "def write():\n"
        "    example = (torch.rand(4, 4), torch.tensor([[0, 1, 2], [1, 2, 3]]))\n"
        "    export(build(), example, 'mine')\n"
    )
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", "import their_module as t; t.write()"], check=True)
    assert run("check", "mine", "--module", "their_module:build").exit_code == 0
    without = run("check", "mine")
    assert without.exit_code == 2
    assert "does not say what network" in without.stderr


def test_a_run_becomes_a_model_repository(place: Path, tmp_path: Path) -> None:
    result = run("export", place / "teacher", "--out", tmp_path / "models", "--format", "triton")
    assert result.exit_code == 0, result.output
    assert "a model repository of Triton" in " ".join(result.output.split())
    # it is called after the run
    assert (tmp_path / "models" / "teacher" / "1" / "model.onnx").is_file()
    result = run("export", place / "b" / "student", "--out", tmp_path / "m", "--format", "triton")
    assert result.exit_code == 2  # its graph is rowptr and col
    assert "join two requests" in " ".join(result.stderr.split())


def test_bench_writes_a_report_and_a_page(place: Path, tmp_path: Path) -> None:
    quick = ["--rounds", "1", "--min-samples", "3", "--min-seconds", "0.01"]
    paths = [place / "b" / "teacher", place / "b" / "student"]
    result = run("bench", *paths, "--data", "digits", "--pyg", "--out", tmp_path, *quick)
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "report.json").read_text())
    labels = [row["label"] for row in saved["rows"]]
    assert labels == ["teacher", "teacher, PyG", "student", "student, PyG"]
    assert 0 < saved["facts"]["quality"]["student"]["accuracy"] < 1
    assert "<svg" in (tmp_path / "report.html").read_text()
    small = ["--num-nodes", "50", "--num-edges", "100", "--portable", "--prepared", *quick]
    result = run("bench", *paths, "--out", tmp_path, "--json", *small)
    assert json.loads(result.stdout)["facts"]["native_operators"] is False


def test_predict(place: Path, tmp_path: Path) -> None:
    data = digits()
    np.savez(tmp_path / "g.npz", x=data.x.numpy(), edge_index=data.edge_index.numpy())
    for source in (tmp_path / "g.npz", "digits"):
        result = run(
            "predict", place / "b" / "student", "--data", source, "--nodes", "3,5", "--json"
        )
        answers = json.loads(result.stdout)
        assert [a["node"] for a in answers] == [3, 5]
        assert all(a["class"] in data.class_names for a in answers)  # type: ignore[operator]
    out = tmp_path / "all.csv"
    run("predict", place / "b" / "teacher", "--data", tmp_path / "g.npz", "--out", out)
    lines = out.read_text().splitlines()
    assert lines[0] == "node,class,probability"
    assert len(lines) == 1798


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "nowhere"], "no such directory"),
        (["train", "--data", "nothing", "--out", "x"], "no data set 'nothing'"),
        (["train", "--model", "GTN", "--out", "x"], "no network 'GTN'"),
        (["train", "--argument", "heads", "--out", "x"], "name=value"),
        (["train", "--argument", "hedas=2", "--out", "x"], "hedas"),
        (["train", "--lr", "-1", "--out", "x"], "greater than 0"),
        (["train", "--select", "luck", "--out", "x"], "accuracy"),
        (["train", "--threads", "0", "--out", "x"], "threads"),
        (["train", "--num-neighbors", "5,5", "--out", "x"], "needs --batch-size"),
        (["train", "--batch-size", "9", "--num-neighbors", "5", "--out", "x"], "has 2 layers"),
        (["train", "--batch-size", "9", "--num-neighbors", "a", "--out", "x"], "takes 15,10"),
        (["distill", "--teacher", "x", "--out", "y"], "no finished run"),
        (["export", "x", "--out", "y"], "no finished run"),
        (["bench", "x"], "no such directory"),
    ],
)
def test_errors_are_one_line_and_exit_code_two(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_damaged_bundle_is_refused(place: Path, tmp_path: Path) -> None:
    run("export", place / "teacher", "--out", tmp_path / "b")
    file = tmp_path / "b" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    for command in (["check"], ["predict", "--data", "digits"], ["bench"]):
        result = run(command[0], tmp_path / "b", *command[1:])
        assert result.exit_code == 2
        assert "cut short" in " ".join(result.stderr.split())


def test_predicting_for_a_node_that_is_not_there(place: Path) -> None:
    result = run("predict", place / "b" / "teacher", "--data", "digits", "--nodes", "1797")
    assert result.exit_code == 2
    assert "[0, 1797)" in result.stderr


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "graphstill.distill", raising=False)
    for name in [name for name in sys.modules if name.startswith("graphstill.distill.")]:
        monkeypatch.delitem(sys.modules, name)
    result = run("train", "--out", tmp_path / "x")
    assert result.exit_code == 2
    assert "pip install 'graphstill[train]'" in result.stderr


def test_without_the_cli_extra_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom graphstill.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == "the command line needs: pip install 'graphstill[cli]'"


def test_ctrl_c_can_be_resumed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "graphstill", "train", "--out", str(tmp_path / "run")]
    command += ["--epochs", "4000", "--patience", "4000", "--hidden-channels", "64"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    deadline = time.monotonic() + 60
    while not checkpoint.exists():
        assert time.monotonic() < deadline, "training did not start"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on from the last checkpoint" in " ".join(said.split())
    assert checkpoint.exists()
    assert "Traceback" not in said


def test_unseen_nodes_are_reported_apart(tmp_path: Path) -> None:
    settings = ["--inductive", "0.2", *TINY]
    result = run("train", "--data", "digits", "--out", tmp_path / "teacher", "--json", *settings)
    assert result.exit_code == 0, result.output
    accuracy = json.loads(result.output)["accuracy"]
    assert {"test_observed", "test_inductive", "production"} < set(accuracy)
    student = ["distill", "--teacher", tmp_path / "teacher", "--model", "MLP", "--out"]
    result = run(*student, tmp_path / "a", "--term", "none", *settings)
    assert result.exit_code == 0, result.output
    assert "accuracy train" in result.output
    assert "test_inductive" in result.output
    result = run(*student, tmp_path / "b", *TINY)  # the student would see what is held back
    assert result.exit_code == 2
    assert "use the same data and split seed" in " ".join(result.output.split())
