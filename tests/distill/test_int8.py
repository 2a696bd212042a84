"""Training with int8 simulated: exact in the end, straight-through in between, resumable."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from graphstill.distill import (
    Architecture,
    NodeData,
    OnlineSettings,
    Split,
    TrainSettings,
    build,
    call,
    load_run,
    train,
    train_together,
)
from graphstill.distill.int8 import (
    Int8Simulation,
    Int8Weight,
    in_degree,
    protection,
    round_features,
)
from graphstill.kernels import CSRGraph

N, F, C = 60, 6, 3
INT8 = TrainSettings(epochs=3, int8_weights=True, checkpoint_every=1)
networks = pytest.mark.parametrize(
    ("name", "arguments", "rounded"),
    [
        ("GCN", {}, 2),
        ("GraphSAGE", {}, 4),
        ("GAT", {"heads": 2}, 2),
        ("GCNII", {"shared_weights": False}, 6),
        ("SharedGCNII", {}, 3),
        ("MLP", {}, 2),
    ],
)


@pytest.fixture
def data() -> NodeData:
    y = torch.arange(N) % C
    x, edges = torch.randn(N, F) + y.unsqueeze(1), torch.randint(0, N, (2, 200))
    return NodeData("tiny", x, edges, y, Split.per_class(y, 5, 5, seed=0))


def architecture(name: str = "GCN", **arguments: Any) -> Architecture:
    sizes = {"in_channels": F, "hidden_channels": 4, "num_layers": 2, "out_channels": C}
    return Architecture(name=name, arguments=arguments, **sizes)


def test_rounding_is_its_formula_and_gradients_pass() -> None:
    weight = torch.randn(3, 5, requires_grad=True)
    rounded = Int8Weight(-1)(weight)
    by_hand = weight.detach().clone()
    for o in range(3):
        scale = by_hand[o].abs().max() / 127
        by_hand[o] = (by_hand[o] / scale).round() * scale
    assert torch.equal(rounded.detach(), by_hand)
    factor = torch.randn(3, 5)
    (rounded * factor).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, factor)


def test_a_channel_of_zeros_stays() -> None:
    q, scale = Int8Weight(-2).quantised(torch.zeros(4, 2))
    assert not q.any()
    assert torch.equal(scale, torch.ones(1, 2))
    assert torch.equal(round_features(torch.zeros(3, 2)), torch.zeros(3, 2))


@networks
def test_a_trained_network_holds_weights_that_int8_can_hold(
    name: str, arguments: dict[str, Any], rounded: int, data: NodeData, tmp_path: Path
) -> None:
    run = train(architecture(name, **arguments), data, INT8, directory=tmp_path, progress=False)
    saved = safetensors.torch.load_file(tmp_path / "int8.safetensors")
    weights = run.module.state_dict()
    names = [key.removesuffix(".q") for key in saved if key.endswith(".q")]
    assert len(names) == rounded
    for key in names:
        q, scale = saved[f"{key}.q"], saved[f"{key}.scale"]
        assert q.dtype == torch.int8
        axis = 1 if "lin" in key else 0
        assert scale.shape[axis] == 1
        assert scale.shape[1 - axis] == weights[key].shape[1 - axis]
        assert torch.equal(weights[key], q * scale)
        assert int(q.abs().amax(axis).min()) == 127
    again = load_run(tmp_path, fused=False)  # a plain network: nothing is simulated any more
    assert again.accuracy == run.accuracy
    assert not any("parametrizations" in name for name in again.module.state_dict())


def test_training_sees_what_it_ends_with(data: NodeData, tmp_path: Path) -> None:
    run = train(architecture(), data, INT8, directory=tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    best = min(lines, key=lambda line: line["val_loss"])
    logits = call(run.module, data.x, data.graph)[data.split.val]
    loss = torch.nn.functional.cross_entropy(logits, data.y[data.split.val])
    assert float(loss.detach()) == pytest.approx(best["val_loss"])


def test_students_that_teach_each_other_end_in_int8_too(data: NodeData, tmp_path: Path) -> None:
    method = OnlineSettings(students=2, method="mutual")
    runs = train_together(architecture(), data, INT8, method, directory=tmp_path)
    for number, run in enumerate(runs):
        saved = safetensors.torch.load_file(tmp_path / f"student{number}" / "int8.safetensors")
        weight = run.module.state_dict()["convs.0.lin.weight"]
        assert torch.equal(
            weight, saved["convs.0.lin.weight.q"] * saved["convs.0.lin.weight.scale"]
        )
    again = train_together(architecture(), data, INT8, method, directory=tmp_path)
    assert [run.accuracy for run in again] == [run.accuracy for run in runs]


def test_features_are_rounded_as_onnx_runtime_does() -> None:
    x = torch.randn(50, 8) * 3 + 1
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = (high - low) / 255
    zero = round(-low / scale)
    levels = ((x / scale).round() + zero).clamp(0, 255)
    x.requires_grad_()
    rounded = round_features(x)
    torch.testing.assert_close(rounded, (levels - zero) * scale)
    rounded.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_features_are_rounded_in_training_and_not_after_it(data: NodeData) -> None:
    module = build(architecture("GCNII"))
    plain = call(module, data.x, data.graph)
    simulation = Int8Simulation(module, weights=False, features=True)
    assert not torch.equal(plain, call(module, data.x, data.graph))
    torch.testing.assert_close(plain, call(module, data.x, data.graph), atol=0.1, rtol=0.1)
    simulation.settle()
    assert torch.equal(plain, call(module, data.x, data.graph))


def test_nodes_with_many_in_edges_are_protected_more_often() -> None:
    edges = torch.tensor([[1, 2, 3, 0, 1, 2, 2], [0, 0, 0, 1, 2, 1, 3]])
    for graph in (edges, CSRGraph.from_edge_index(edges, 5)):
        degree = in_degree(graph, 5)
        assert degree.tolist() == [3, 2, 1, 1, 0]
        found = protection(degree, 0.1, 0.5)
        wanted = [0.5, 0.4, 0.2, 0.2, 0.1]  # 4, 3, 1, 1 and 0 nodes have fewer
        torch.testing.assert_close(found, torch.tensor(wanted))
    alike = protection(torch.tensor([2, 2]), 0.1, 0.5)
    torch.testing.assert_close(alike, torch.tensor([0.1, 0.1]))


def test_protected_nodes_keep_their_features_in_training_alone(data: NodeData) -> None:
    seen: list[Tensor] = []
    module = build(architecture())
    simulation = Int8Simulation(module, weights=False, features=True, protect=(0.5, 0.5))
    module.convs[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for training in (True, False):
        module.train(training)(data.x, data.graph)
    unchanged = [int((x == data.x).all(dim=1).sum()) for x in seen]
    assert 15 < unchanged[0] < 45
    assert unchanged[1] == 0
    simulation.settle()


def test_protection_without_rounding_is_refused() -> None:
    with pytest.raises(ValidationError, match="set that too"):
        TrainSettings(protect=(0.0, 0.1))
    with pytest.raises(ValidationError):
        TrainSettings(int8_features=True, protect=(0.0, 1.1))
