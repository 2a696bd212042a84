"""Students that teach each other: turns, exact resume, and what a group leaves behind."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from graphstill.distill import (
    Architecture,
    NodeData,
    Observed,
    OnlineSettings,
    TrainSettings,
    digits,
    load_run,
    online,
    train,
    train_together,
)
from graphstill.distill.losses import Pass

GCN = Architecture(
    name="GCN",
    in_channels=64,
    hidden_channels=8,
    num_layers=3,
    out_channels=10,
    arguments={"dropout": 0.2},
)
SETTINGS = TrainSettings(epochs=12, lr=0.02, checkpoint_every=4, input_dropout=0.1, seed=2)
PLUS = OnlineSettings(students=2, features=0.1, supervision=0.5)


@pytest.fixture(scope="module")
def data() -> NodeData:
    return digits()


def test_students_differ_and_learn(data: NodeData) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 40})
    runs = train_together(GCN, data, settings, OnlineSettings(students=3))
    assert len(runs) == 3
    assert all(run.accuracy["test"] > 0.8 for run in runs)
    first, second = (next(run.module.parameters()) for run in runs[:2])
    assert not torch.equal(first, second)


def test_a_student_alone_learns_from_labels(data: NodeData) -> None:
    (alone,) = train_together(GCN, data, SETTINGS, OnlineSettings(students=1))
    plain = train(GCN, data, SETTINGS, progress=False)
    assert alone.accuracy == plain.accuracy
    for mine, theirs in zip(alone.module.parameters(), plain.module.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    "method", [PLUS, OnlineSettings(method="mutual"), OnlineSettings(students=3)]
)
def test_an_interrupted_group_ends_with_the_same_bits(
    data: NodeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: OnlineSettings
) -> None:
    whole = train_together(GCN, data, SETTINGS, method, directory=tmp_path / "whole")
    original = online.validate
    calls: list[int] = []

    def stop(module: torch.nn.Module, observed: Observed) -> tuple[float, float]:
        calls.append(1)
        if len(calls) == 14:  # in the seventh epoch, behind the checkpoint of the fourth
            raise KeyboardInterrupt
        return original(module, observed)

    with monkeypatch.context() as patch:
        patch.setattr(online, "validate", stop)
        with pytest.raises(KeyboardInterrupt):
            train_together(GCN, data, SETTINGS, method, directory=tmp_path / "cut")
    torch.rand(5)
    resumed = train_together(GCN, data, SETTINGS, method, directory=tmp_path / "cut")
    for a, b in zip(whole, resumed, strict=True):
        assert a.accuracy == b.accuracy
        for name, tensor in a.module.state_dict().items():
            assert torch.equal(tensor, b.module.state_dict()[name]), name
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    assert metrics[0] == metrics[1]
    assert len(metrics[0].splitlines()) == method.students * SETTINGS.epochs


def test_a_finished_group_is_loaded_and_not_trained_again(data: NodeData, tmp_path: Path) -> None:
    runs = train_together(GCN, data, SETTINGS, PLUS, directory=tmp_path)
    again = train_together(GCN, data, SETTINGS, PLUS, directory=tmp_path)
    assert [run.accuracy for run in runs] == [run.accuracy for run in again]
    one = load_run(tmp_path / "student1")
    assert one.accuracy == runs[1].accuracy
    assert one.provenance["method"] == "alignahead++, 2 students, shift 1"
    assert not any("heads" in name for name in one.module.state_dict())
    assert json.loads((tmp_path / "settings.json").read_text())["online"]["supervision"] == 0.5


def test_each_peer_is_as_it_is_by_then(data: NodeData, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []
    original = online.Objective.forward

    def watch(self: object, student: Pass, teacher: Pass, *rest: object) -> object:
        assert not teacher.logits.requires_grad
        assert student.logits.requires_grad
        seen.append((float(student.logits.detach().sum()), float(teacher.logits.sum())))
        return original(self, student, teacher, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(online.Objective, "forward", watch)
    plain = GCN.model_copy(update={"arguments": {}})
    settings = SETTINGS.model_copy(update={"epochs": 2, "input_dropout": 0.0})
    train_together(plain, data, settings, OnlineSettings())
    (a0, b0), (b0_later, a1), (a1_later, b1), (b1_later, a2) = seen
    # the second student sees the first after its step, and the other way round
    assert b0 == b0_later
    assert a1 == a1_later
    assert b1 == b1_later
    assert len({a0, a1, a2}) == 3


def test_a_peer_answers_once_for_all_who_learn_from_it(
    data: NodeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Pass]] = []
    original = online._step

    def watch(student: Any, peers: Any, *rest: Any) -> dict[str, float]:
        seen.append([peer.answer(*rest[:1]) for peer in peers])
        return original(student, peers, *rest)

    monkeypatch.setattr(online, "_step", watch)
    settings = SETTINGS.model_copy(update={"epochs": 2})
    train_together(GCN, data, settings, OnlineSettings(students=3))
    (b0, c0), (a1, c0_later), (a1_later, b1), (b2, _), *_ = seen
    assert c0 is c0_later
    assert a1 is a1_later
    assert b0 is not b1
    assert b1 is not b2  # each epoch anew
