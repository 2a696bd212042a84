"""distill on the command line: first weights, and training with int8 simulated."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner, Result

from graphstill.cli import app
from graphstill.export import check_parity, export_run, rebuild

TINY = ["--epochs", "4", "--patience", "4", "--term", "abkd=0.01"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students") / "teacher"
    sizes = ["--hidden-channels", "12", "--num-layers", "3", "--epochs", "5"]
    result = run("train", "--model", "GCNII", *sizes, "--out", folder)
    assert result.exit_code == 0, result.output
    return folder


def test_a_student_cut_out_of_its_teacher_in_int8_is_exported_right(
    teacher: Path, tmp_path: Path
) -> None:
    shape = ["--model", "GCNII", "--hidden-channels", "4", "--num-layers", "3"]
    int8 = ["--int8-weights", "--int8-features", "--protect", "0,0.2"]
    first = ["--initialise", "pruned=taylor"]
    out = tmp_path / "student"
    done = run("distill", "--teacher", teacher, *shape, *int8, *first, *TINY, "--out", out)
    assert done.exit_code == 0, done.output
    settings = json.loads((out / "settings.json").read_text())
    assert settings["train"]["protect"] == [0.0, 0.2]
    assert settings["distill"]["initialise"] == {"kind": "pruned", "importance": "taylor"}
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["provenance"]["accuracy_before_training"]) == {"train", "val", "test"}
    bundle = export_run(out, tmp_path / "bundle")
    assert check_parity(rebuild(bundle), bundle).ok
    saved = safetensors.torch.load_file(out / "int8.safetensors")
    exported = safetensors.torch.load(bundle.read("weights.safetensors"))
    rounded = saved["lin_in.weight.q"] * saved["lin_in.weight.scale"]
    assert torch.equal(exported["lin_in.weight"], rounded)


def test_a_student_of_one_layer(teacher: Path, tmp_path: Path) -> None:
    shape = ["--model", "GCNII", "--hidden-channels", "4", "--num-layers", "2"]
    out = tmp_path / "student"
    first = ["--initialise", "attention"]
    done = run("distill", "--teacher", teacher, *shape, *first, *TINY, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["parameters"] == 64 * 4 + 4 + 16 + 40 + 10
    assert (out / "first" / "objective.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--initialise", "prune"], "pruned=taylor or attention, got 'prune'"),
        (["--initialise", "pruned=luck"], "'activation' or 'taylor'"),
        (["--initialise", "pruned", "--num-layers", "2"], "num_layers, 3; got 2"),
        (["--initialise", "pruned", "--model", "GAT"], "name, GCNII; got GAT"),
        (["--initialise", "attention", "--term", "lsp"], "one such as abkd or stride"),
        (["--protect", "0.1"], "LOW,HIGH"),
        (["--protect", "0,0.1"], "set that too"),
    ],
)
def test_what_does_not_fit_is_said(
    arguments: list[str], said: str, teacher: Path, tmp_path: Path
) -> None:
    shape = ["--model", "GCNII", "--hidden-channels", "4", "--num-layers", "3", "--epochs", "2"]
    result = run("distill", "--teacher", teacher, "--out", tmp_path / "s", *shape, *arguments)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
