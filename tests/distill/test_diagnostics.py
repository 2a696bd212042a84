"""Diagnostics, curves and statistics: each number against its formula, written out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from graphstill.distill import NodeData, Split
from graphstill.distill.distillation import DistillSettings
from graphstill.distill.study.curves import reached, read_curves
from graphstill.distill.study.diagnostics import answers, brief
from graphstill.distill.study.report import seconds_to_95
from graphstill.distill.study.settings import Arm, digest
from graphstill.distill.study.statistics import dead, holm, paired, ratio


def star(leaves: int) -> NodeData:
    """Node 0 with an edge from every other one, which have none; nodes 0, 1, 2 are tested."""
    sources = torch.arange(1, leaves + 1)
    edge_index = torch.stack([sources, torch.zeros_like(sources)])
    y = torch.arange(leaves + 1) % 2
    nodes = torch.arange(3, leaves + 1)
    split = Split(nodes[:1], nodes[1:2], torch.tensor([0, 1, 2]))
    return NodeData("star", torch.ones(leaves + 1, 2), edge_index, y, split)


def logits_of(probabilities: list[list[float]], data: NodeData) -> torch.Tensor:
    rows = probabilities + [[0.5, 0.5]] * (data.num_nodes - len(probabilities))
    return torch.tensor(rows).log()


def test_calibration_is_the_gap_of_each_bin_weighed_by_its_nodes() -> None:
    data = star(5)
    # right with 0.9, wrong with 0.9, right with 0.6
    found = answers(logits_of([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]], data), data)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["confidence"] == pytest.approx(0.8)
    assert found["ece"] == pytest.approx((2 * abs(0.5 - 0.9) + 1 * abs(1 - 0.6)) / 3)
    assert sum(found["calibration"]["nodes"]) == 3
    assert found["calibration"]["accuracy"][13] == 0.5
    assert found["calibration"]["accuracy"][0] is None


def test_accuracy_is_told_by_degree_and_by_class() -> None:
    data = star(9)
    found = answers(logits_of([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]], data), data)
    degree = found["degree"]
    assert degree["from"] == [0, 1, 2, 4, 8]
    assert degree["nodes"] == [2, 0, 0, 0, 1]
    assert degree["accuracy"] == [0.5, None, None, None, 1.0]
    assert found["class"] == {"nodes": [2, 1], "accuracy": [1.0, 0.0]}


def test_of_several_labels_each_is_an_answer() -> None:
    data = star(5)
    y = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]] + [[0.0, 0.0]] * 3)
    object.__setattr__(data, "y", y)
    object.__setattr__(data, "num_classes", 2)
    logits = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.4]] + [[0.5, 0.5]] * 3).logit()
    found = answers(logits, data, -logits)
    assert found["accuracy"] == pytest.approx(5 / 6)
    assert found["confidence"] == pytest.approx((4 * 0.9 + 0.8 + 0.6) / 6)
    assert found["class"] == {"nodes": [3, 3], "accuracy": [1.0, pytest.approx(2 / 3)]}
    assert found["degree"]["nodes"] == [2, 0, 0, 1]
    assert found["degree"]["accuracy"] == [0.75, None, None, 1.0]
    assert sum(found["calibration"]["nodes"]) == 6
    assert found["agreement"] == 0


def test_agreement_is_with_the_teacher_on_test_nodes() -> None:
    data = star(5)
    own = logits_of([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]], data)
    taught = logits_of([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], data)
    assert answers(own, data, taught)["agreement"] == pytest.approx(2 / 3)
    assert answers(own, data)["agreement"] is None


def test_several_students_are_told_by_their_mean() -> None:
    students = [{"ece": 0.1, "agreement": 0.8}, {"ece": 0.3, "agreement": 0.9}]
    assert brief({"students": students}) == pytest.approx({"ece": 0.2, "agreement": 0.85})
    assert brief({"students": [{"ece": 0.1, "agreement": None}]})["agreement"] is None
    assert brief(None) == {"ece": None, "agreement": None}


def write_run(folder: Path, accuracies: list[list[float]], seconds: list[float]) -> None:
    lines = [
        {"epoch": epoch, "student": student, "val_accuracy": value}
        for epoch, values in enumerate(zip(*accuracies, strict=True))
        for student, value in enumerate(values)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "seconds.jsonl").write_text("".join(f"{second}\n" for second in seconds))


def test_peers_take_the_time_of_all_of_them(tmp_path: Path) -> None:
    # 95 % of the best is reached in the second and in the fourth epoch
    write_run(tmp_path, [[0.1, 0.99, 0.2, 1.0], [0.1, 0.2, 0.3, 0.5]], [1, 2, 1, 2, 1, 2, 1, 2])
    curves = read_curves(tmp_path)
    assert curves is not None
    assert reached(curves) == {"epochs_to_95": 3.0, "seconds_to_95": pytest.approx((6 + 12) / 2)}
    np.testing.assert_allclose(curves.best, [0.1, 0.595, 0.645, 0.75])


def test_a_run_begun_before_seconds_were_kept_has_none(tmp_path: Path) -> None:
    write_run(tmp_path, [[0.5, 1.0]], [0.1])
    assert reached(read_curves(tmp_path)) == {"epochs_to_95": 2.0, "seconds_to_95": None}
    assert reached(read_curves(tmp_path / "nowhere"))["epochs_to_95"] is None
    old = {"epochs_to_95": 5.0, "epochs": 20.0, "seconds": 8.0}
    assert seconds_to_95(old) == 2.0
    assert seconds_to_95({**old, "seconds": None}) is None
    assert seconds_to_95({**old, "seconds_to_95": 1.5}) == 1.5


def test_equal_differences_are_not_taken_for_certainty() -> None:
    base = {seed: 80.1 + 0.7 * seed for seed in range(4)}
    same, better = paired(base, base), paired({s: v + 0.3 for s, v in base.items()}, base)
    assert (same.p, same.low, same.high) == (1.0, 0.0, 0.0)
    assert better.mean == pytest.approx(0.3)
    assert better.p == 2.0**-3
    assert holm([same.p, better.p, same.p]) == [1.0, 0.375, 1.0]
    assert holm([1.0, 1.0]) == [1.0, 1.0]
    nothing = dict.fromkeys(range(4), 0.0)
    assert paired(nothing, nothing).p == 1.0


def test_a_ratio_is_geometric_and_above_one_where_one_is_sooner() -> None:
    found = ratio({0: 10.0, 1: 40.0, 2: 9.0}, {0: 20.0, 1: 40.0, 2: 36.0})
    logs = np.log([2.0, 1.0, 4.0])
    assert found.mean == pytest.approx(np.exp(logs.mean()))
    assert found.low < found.mean < found.high
    assert found.pairs == 3


def test_dead_seeds_are_far_below() -> None:
    alive = [73.0, 74.0, 74.5, 75.0, 74.2]
    assert dead(alive, best=75.0) == 0
    assert dead([*alive, 24.0], best=75.0) == 1
    assert dead([*alive, 69.5], best=75.0) == 0
    # an arm whose seeds all but agree: five points, not three tiny ranges
    assert dead([80.0, 80.0, 80.0, 80.0, 79.0], best=80.0) == 0
    # most of them dead: their own median says nothing
    assert dead([24.0, 25.0, 23.0, 74.0], best=75.0) == 3


def test_a_hash_of_settings_outlives_new_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphstill.distill.study import settings

    before = digest(Arm(), DistillSettings())
    known = settings._FIRST - {"control"}
    monkeypatch.setattr(settings, "_FIRST", known)
    without = digest(Arm(), DistillSettings())
    assert without != before
    changed = DistillSettings(control="untrained")
    assert digest(Arm(), changed) not in (before, without)


def test_marks_are_those_of_the_first_results() -> None:
    # kept results are told by their marks: whoever changes this one disowns them all
    assert digest(Arm(), DistillSettings(), {"lr": 0.1}) == "73df73c3ea50715f"
