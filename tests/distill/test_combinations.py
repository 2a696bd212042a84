"""Everything combines with everything: each term with each way to train, and all at once."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from graphstill.distill import (
    Architecture,
    DistillSettings,
    NodeData,
    Run,
    Split,
    TrainSettings,
    distill,
    train,
    training,
)
from graphstill.export.commands.training_options import TERMS

N, F, C = 40, 5, 3
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # of training, of distillation
    "plain": ({}, {}),
    "int8": ({"int8_weights": True}, {}),
    "int8 features": ({"int8_features": True, "protect": (0.1, 0.5)}, {}),
    "pruned": ({}, {"initialise": {"kind": "pruned", "importance": "taylor"}}),
    "bfloat16": ({"precision": "bfloat16"}, {}),
}
ALL = (
    {k: v for settings, _ in WAYS.values() for k, v in settings.items()} | {"input_dropout": 0.2},
    {"initialise": {"kind": "pruned"}, "temperature": ((0, 2.0), (1, 1.0))},
)
SMALL = {"dim": 6, "nodes": 16}


@pytest.fixture(scope="module")
def data() -> NodeData:
    torch.manual_seed(0)
    y = torch.arange(N) % C
    x, edges = torch.randn(N, F) + y.unsqueeze(1), torch.randint(0, N, (2, 150))
    return NodeData("tiny", x, edges, y, Split.per_class(y, 4, 4, seed=0))


def network(name: str, width: int) -> Architecture:
    sizes = {"in_channels": F, "hidden_channels": width, "num_layers": 3, "out_channels": C}
    return Architecture(name=name, arguments={"dropout": 0.3}, **sizes)


@pytest.fixture(scope="module")
def teachers(data: NodeData) -> dict[str, Run]:
    settings = TrainSettings(epochs=3)
    names = ("GCN", "GCNII")
    return {name: train(network(name, 8), data, settings, progress=False) for name in names}


class Stop(Exception):
    pass


def ends_the_same(
    arguments: tuple[Any, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distil in one go, then stop after an epoch and go on; compare bits."""
    whole = distill(*arguments, directory=folder / "whole", progress=False)
    original = training.remember

    def stop(state: training.State, *rest: Any) -> None:
        if state.epoch == 1:
            raise Stop
        original(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(training, "remember", stop)
        with pytest.raises(Stop):
            distill(*arguments, directory=folder / "cut", progress=False)
    torch.rand(5)
    resumed = distill(*arguments, directory=folder / "cut", progress=False)
    a, b = (
        safetensors.torch.load_file(folder / part / "weights.safetensors")
        for part in ("whole", "cut")
    )
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    for file in ("metrics.jsonl", "summary.json", "settings.json"):
        assert (folder / "whole" / file).read_text() == (folder / "cut" / file).read_text()
    assert resumed.accuracy == whole.accuracy


def term(name: str) -> dict[str, Any]:
    takes = {
        "abkd": ("dim",), "fitnet": ("dim",), "gsp": ("nodes",), "stride": ("dim", "nodes"),
        "r2": ("nodes",), "cka": ("nodes",), "g-crd": ("dim", "nodes"),
    }  # fmt: skip
    return {"term": name, "weight": 0.1, **{key: SMALL[key] for key in takes.get(name, ())}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TERMS.split(", "))
def test_every_term_trains_in_every_way_and_resumes(
    name: str,
    way: str,
    data: NodeData,
    teachers: dict[str, Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, method = WAYS[way]
    ends_the_same(
        (
            teachers["GCN"],
            network("GCN", 4),
            data,
            TrainSettings(epochs=2, checkpoint_every=1, **settings),
            DistillSettings(terms=(term(name),), **method),
        ),
        tmp_path,
        monkeypatch,
    )


@pytest.mark.parametrize("control", [None, "untrained", "shuffled"])
@pytest.mark.parametrize("name", ["GCN", "GCNII"])
def test_all_terms_and_all_ways_go_together(
    name: str,
    control: str | None,
    data: NodeData,
    teachers: dict[str, Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, method = ALL
    terms = tuple(term(name) for name in TERMS.split(", "))
    ends_the_same(
        (
            teachers[name],
            network(name, 4),
            data,
            TrainSettings(epochs=2, checkpoint_every=1, **settings),
            DistillSettings(terms=terms, control=control, **method),
        ),
        tmp_path,
        monkeypatch,
    )


@pytest.mark.parametrize("way", ["plain", "int8", "bfloat16"])
@pytest.mark.parametrize("name", ["abkd", "stride"])
def test_a_student_of_one_layer_in_every_way(
    name: str,
    way: str,
    data: NodeData,
    teachers: dict[str, Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = DistillSettings(terms=(term(name),), initialise={"kind": "attention"})
    settings = TrainSettings(epochs=2, checkpoint_every=1, **WAYS[way][0])
    arguments = (teachers["GCNII"], network("GCNII", 4), data, settings, method)
    ends_the_same(arguments, tmp_path, monkeypatch)
