"""Training: exact resume, selection by validation, and errors that lose nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from pydantic import ValidationError

from graphstill.distill import (
    Architecture,
    DataError,
    DistillSettings,
    NodeData,
    Run,
    TrainingError,
    TrainSettings,
    digits,
    distill,
    load_run,
    train,
    training,
)
from graphstill.distill.directory import claim
from graphstill.distill.methods.settings import ABKDSetting, R2Setting, STRIDESetting

SAGE = Architecture(
    name="GraphSAGE",
    in_channels=64,
    hidden_channels=8,
    num_layers=2,
    out_channels=10,
    arguments={"dropout": 0.3},
)
SETTINGS = TrainSettings(epochs=25, lr=0.05, checkpoint_every=4, input_dropout=0.2, seed=3)


@pytest.fixture(scope="module")
def data() -> NodeData:
    return digits()


@pytest.fixture(scope="module")
def teacher(data: NodeData) -> Run:
    return train(SAGE, data, SETTINGS, progress=False)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "weights.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Stop(Exception):
    pass


def stop_at(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    original = training.remember

    def stop(state: training.State, *rest: object) -> None:
        if state.epoch == epoch:
            raise Stop
        original(state, *rest)

    monkeypatch.setattr(training, "remember", stop)


@pytest.mark.parametrize("epoch", [2, 9, 23])
def test_an_interrupted_run_ends_with_the_same_bits(
    data: NodeData, teacher: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    method = DistillSettings(
        temperature=((0, 4.0), (20, 1.0)),
        terms=(
            ABKDSetting(weight=((0, 1.0), (10, 0.1))),
            STRIDESetting(weight=0.1, nodes=64),
            R2Setting(),
        ),
    )
    whole = distill(
        teacher, SAGE, data, SETTINGS, method, directory=tmp_path / "whole", progress=False
    )
    with monkeypatch.context() as patch:
        stop_at(patch, epoch)
        with pytest.raises(Stop):
            distill(
                teacher, SAGE, data, SETTINGS, method, directory=tmp_path / "cut", progress=False
            )
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    torch.rand(7)  # the generator is somewhere else by now
    resumed = distill(
        teacher, SAGE, data, SETTINGS, method, directory=tmp_path / "cut", progress=False
    )
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    for file in ("metrics.jsonl", "summary.json", "settings.json"):
        assert (tmp_path / "whole" / file).read_text() == (tmp_path / "cut" / file).read_text()
    assert resumed.accuracy == whole.accuracy


def test_a_killed_process_goes_on(data: NodeData, tmp_path: Path) -> None:
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from graphstill.distill import *\n"
        "torch.set_num_threads(1)\n"
        "a = Architecture(name='GCN', in_channels=64, hidden_channels=64, num_layers=3,\n"
        "                 out_channels=10, arguments={'dropout': 0.5})\n"
        "s = TrainSettings(epochs=120, patience=120, checkpoint_every=1)\n"
        "train(a, digits(), s, directory=Path(sys.argv[1]), progress=False)\n"
    )
    command = [sys.executable, "-c", code]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    process = subprocess.Popen([*command, str(tmp_path / "killed")])
    metrics = tmp_path / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not metrics.exists() or metrics.read_text().count("\n") < 15:
        assert time.monotonic() < deadline, "training did not start"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "weights.safetensors").exists()
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_a_finished_run_is_not_trained_again(
    data: NodeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(SAGE, data, SETTINGS, directory=tmp_path, progress=False)
    monkeypatch.setattr(training, "_step", None)
    again = train(SAGE, data, SETTINGS, directory=tmp_path, progress=False)
    assert same(first.module.state_dict(), again.module.state_dict())
    assert not (tmp_path / "checkpoint.safetensors").exists()
    loaded = load_run(tmp_path, fused=False)
    assert same(loaded.module.state_dict(), first.module.state_dict())
    assert loaded.accuracy == first.accuracy


def test_other_settings_do_not_overwrite_a_run(data: NodeData, tmp_path: Path) -> None:
    train(SAGE, data, SETTINGS, directory=tmp_path, progress=False)
    other = SETTINGS.model_copy(update={"lr": 0.5})
    with pytest.raises(TrainingError, match="other settings"):
        train(SAGE, data, other, directory=tmp_path, progress=False)


def test_a_damaged_checkpoint_is_named(
    data: NodeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 9)
        with pytest.raises(Stop):
            train(SAGE, data, SETTINGS, directory=tmp_path, progress=False)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(TrainingError, match="no usable checkpoint"):
        train(SAGE, data, SETTINGS, directory=tmp_path, progress=False)


def test_the_best_epoch_is_kept(data: NodeData, tmp_path: Path) -> None:
    run = train(SAGE, data, SETTINGS, directory=tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    best = min(lines, key=lambda line: line["val_loss"])
    assert run.provenance["best_epoch"] == best["epoch"]
    loss, accuracy = training.validate(run.module, data.observed())
    assert loss == pytest.approx(best["val_loss"])
    assert accuracy == best["val_accuracy"]


def test_training_stops_when_patience_runs_out(data: NodeData, tmp_path: Path) -> None:
    settings = TrainSettings(epochs=400, patience=3, lr=0.1)
    train(SAGE, data, settings, directory=tmp_path, progress=False)
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") < 400


def test_a_loss_that_blows_up_is_an_error(data: NodeData) -> None:
    gcn = SAGE.model_copy(update={"name": "GCN"})
    with pytest.raises(TrainingError, match="lower learning rate"):
        train(gcn, data, TrainSettings(lr=1e30), progress=False)


def test_training_learns(data: NodeData) -> None:
    wider = SAGE.model_copy(update={"hidden_channels": 32, "arguments": {}})
    run = train(wider, data, TrainSettings(epochs=80), progress=False)
    assert run.accuracy["test"] > 0.9


def test_a_teacher_of_another_split_is_refused(data: NodeData, teacher: Run) -> None:
    with pytest.raises(DataError, match=r"seed 0.*seed 1"):
        distill(teacher, SAGE, digits(seed=1), SETTINGS, DistillSettings(), progress=False)


def test_no_run_there(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"settings\.json is missing"):
        load_run(tmp_path)


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"lr": -1.0}, {"select": "luck"}, {"lrr": 1}])
def test_settings_are_checked(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainSettings(**changes)


def test_an_unknown_network_or_argument_is_named(data: NodeData) -> None:
    with pytest.raises(ValueError, match="GCNII, MLP"):
        train(SAGE.model_copy(update={"name": "GTN"}), data, SETTINGS, progress=False)
    wrong = SAGE.model_copy(update={"arguments": {"hedas": 2}})
    with pytest.raises(ValueError, match="hedas"):
        train(wrong, data, SETTINGS, progress=False)


def test_training_in_bfloat16_learns_and_keeps_float32_weights(data: NodeData) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 60, "precision": "bfloat16"})
    gcn = SAGE.model_copy(update={"name": "GCN"})
    teacher = train(gcn, data, settings, progress=False)
    method = DistillSettings(terms=(ABKDSetting(weight=0.1), R2Setting()))
    student = distill(teacher, gcn, data, settings, method, progress=False)
    assert student.accuracy["test"] > 0.8
    assert all(p.dtype == torch.float32 for p in student.module.parameters())


def test_a_setting_that_there_was_no_word_for_was_off(tmp_path: Path) -> None:
    before = {"train": {"lr": 0.1}, "terms": [{"term": "abkd"}]}
    claim(tmp_path, before)
    claim(tmp_path, {"train": {"lr": 0.1, "int8": False}, "terms": [{"term": "abkd", "cap": None}]})
    for other in (
        {"train": {"lr": 0.1, "int8": True}, "terms": [{"term": "abkd"}]},
        {"train": {"lr": 0.1}, "terms": []},
        {"train": {}, "terms": [{"term": "abkd"}]},
    ):
        with pytest.raises(TrainingError, match="other settings"):
            claim(tmp_path, other)
