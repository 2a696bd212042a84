"""A student of one layer, from the layer that absorbs most of the teacher."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from graphstill.distill import (
    Architecture,
    DistillSettings,
    NodeData,
    Run,
    TrainSettings,
    digits,
    distill,
    load_run,
    train,
)
from graphstill.distill.absorbed import absorbing, layer_of, one_layer
from graphstill.distill.distiller import Role, observe
from graphstill.distill.errors import TrainingError
from graphstill.distill.initial import Absorbed
from graphstill.distill.methods.settings import ABKDSetting, FitNetSetting, STRIDESetting
from graphstill.distill.models import build
from graphstill.distill.single import one_layer_of

SIZES = {"name": "GCNII", "in_channels": 64, "out_channels": 10}
WIDE = Architecture(hidden_channels=12, num_layers=5, **SIZES)
DEEP = Architecture(hidden_channels=6, num_layers=3, arguments={"theta": 0.8}, **SIZES)
SETTINGS = TrainSettings(epochs=4, lr=0.02, checkpoint_every=2)


@pytest.fixture(scope="module")
def data() -> NodeData:
    return digits()


@pytest.fixture(scope="module")
def teacher(data: NodeData) -> Run:
    return train(WIDE, data, SETTINGS, progress=False)


def test_the_column_that_most_rows_choose_absorbs() -> None:
    rows = [[0.1, 0.6, 0.3], [0.0, 0.4, 0.6], [0.2, 0.5, 0.3]]
    assert absorbing(torch.tensor(rows)) == 1
    two_each = [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    assert absorbing(torch.tensor(two_each)) == 1  # 2.5 of the sum against 1.5


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("shared", [True, False])
def test_the_kept_layer_computes_what_it_computed_deeper(
    layer: int, shared: bool, data: NodeData
) -> None:
    deep = DEEP.model_copy(update={"arguments": {"theta": 0.8, "shared_weights": shared}})
    module = build(deep).eval()
    single, state = one_layer(deep, module.state_dict(), layer)
    alone = build(single).eval()
    alone.load_state_dict(state)
    assert single.num_layers == 1
    x, x_0 = torch.randn(2, data.num_nodes, 6)
    wanted = module.convs[layer](x, x_0, data.graph)
    torch.testing.assert_close(alone.convs[0](x, x_0, data.graph), wanted)
    assert torch.equal(state["lin_in.weight"], module.lin_in.weight)
    assert torch.equal(state["lin_out.bias"], module.lin_out.bias)


def test_a_run_becomes_a_network_of_one_layer(data: NodeData, teacher: Run, tmp_path: Path) -> None:
    method = DistillSettings(terms=(STRIDESetting(weight=0.1, dim=8, nodes=32),))
    deep = distill(teacher, DEEP, data, SETTINGS, method, directory=tmp_path, progress=False)
    single = one_layer_of(teacher, tmp_path, data)
    layer = single.provenance["layer"]
    weights = deep.module.state_dict()
    assert torch.equal(single.module.state_dict()["lin_in.weight"], weights["lin_in.weight"])
    # by hand: the attention from the saved projections and the means of layers
    taps = ([f"act#{i}" for i in range(3)], [f"act#{i}" for i in range(5)])
    own, taught = (
        observe(Role(run.module, t), data.observed()).layers
        for run, t in zip((deep, teacher), taps, strict=True)
    )
    learnt = safetensors.torch.load_file(tmp_path / "objective.safetensors")
    attend = "terms.stride.attention"
    # layers of one width lie in one tensor, [layers, width, 8]
    maps = [
        learnt[f"{attend}.{role}.maps.{layers[0].shape[1]}"]
        for role, layers in (("teacher", taught), ("student", own))
    ]
    q = torch.stack([t.mean(0) @ maps[0][i] for i, t in enumerate(taught)])
    k = torch.stack([s.mean(0) @ maps[1][j] for j, s in enumerate(own)])
    choices = (q @ k.T).argmax(1)
    assert layer == int(choices.mode().values)
    assert single.provenance["absorbed"] == float((choices == layer).double().mean())
    assert 0 <= single.accuracy["test"] <= 1


def test_a_student_of_one_layer_is_distilled_in_one_call_and_says_where_it_started(
    data: NodeData, teacher: Run, tmp_path: Path
) -> None:
    method = DistillSettings(terms=(ABKDSetting(weight=0.1, dim=8),), initialise=Absorbed())
    arguments = (teacher, DEEP, data, SETTINGS, method)
    run = distill(*arguments, directory=tmp_path, progress=False)
    assert run.architecture.num_layers == 1
    assert sum(p.numel() for p in run.module.parameters()) == 64 * 6 + 6 + 36 + 60 + 10
    before = one_layer_of(teacher, tmp_path / "first", data).accuracy
    assert run.provenance["accuracy_before_training"] == before
    assert load_run(tmp_path).accuracy == run.accuracy
    assert json.loads((tmp_path / "settings.json").read_text())["architecture"]["num_layers"] == 1
    again = distill(*arguments, progress=False)  # without a directory
    assert again.accuracy == run.accuracy


def test_what_gives_no_single_layer_is_refused(
    data: NodeData, teacher: Run, tmp_path: Path
) -> None:
    method = DistillSettings(terms=(FitNetSetting(dim=4),), initialise=Absorbed())
    with pytest.raises(ValueError, match=r"learned attention; use a term such as abkd"):
        distill(teacher, DEEP, data, SETTINGS, method, progress=False)
    none = DistillSettings(terms=(), initialise=Absorbed())
    with pytest.raises(ValueError, match="no term with trained attention"):
        distill(teacher, DEEP, data, SETTINGS, none, progress=False)
    gcn = DEEP.model_copy(update={"name": "GCN", "arguments": {}})
    with pytest.raises(ValueError, match=r"GCNII of two or more.*got GCN of 3"):
        distill(teacher, gcn, data, SETTINGS, method, progress=False)
    with pytest.raises(TrainingError, match="leave it out of student_layers"):
        layer_of("")
