"""Taps: layers seen by path, and loud about every way this can go wrong."""

import pytest
import torch
from torch_geometric import nn as pyg

from graphstill.distill import TapError, Taps, build, hidden_layers
from graphstill.distill.models import Architecture

X, EDGES = torch.randn(5, 4), torch.tensor([[0, 1, 2], [1, 2, 3]])


def model() -> torch.nn.Module:
    return pyg.GCN(4, 8, 3, 2)


def test_layers_are_seen_in_the_order_asked_for() -> None:
    module = model()
    with Taps(module, ["act#1", "convs.0", "", "act#0"]) as taps:
        logits = module(X, EDGES)
    second, first_conv, whole, first = taps.outputs()
    assert torch.equal(whole, logits)
    assert torch.equal(first, first_conv.relu())
    assert second.shape == (5, 8)


def test_hooks_are_gone_afterwards() -> None:
    module = model()
    with Taps(module, ["convs.0"]):
        module(X, EDGES)
    assert not module.convs[0]._forward_hooks


def test_gradients_flow_through_taps() -> None:
    module = model()
    with Taps(module, ["convs.0"]) as taps:
        module(X, EDGES)
    taps.outputs()[0].sum().backward()
    assert module.convs[0].lin.weight.grad is not None


def test_a_layer_that_is_not_there_names_near_misses() -> None:
    with pytest.raises(TapError, match=r"conv\.0.*did you mean convs\.0"):
        Taps(model(), ["conv.0"])


def test_a_layer_that_did_not_run() -> None:
    module = model()
    module.add_module("unused", torch.nn.Identity())
    with Taps(module, ["unused", "convs.0"]) as taps:
        module(X, EDGES)
    with pytest.raises(TapError, match=r"'unused' did not run, 'convs\.0' did"):
        taps.outputs()


def test_a_layer_that_ran_twice_must_be_told_apart() -> None:
    module = model()
    with Taps(module, ["act"]) as taps:
        module(X, EDGES)
    with pytest.raises(TapError, match=r"ran 2 times.*act#0"):
        taps.outputs()


def test_a_call_that_did_not_happen() -> None:
    module = model()
    with Taps(module, ["act#2"]) as taps:
        module(X, EDGES)
    with pytest.raises(TapError, match="ran only 2 times"):
        taps.outputs()
    with pytest.raises(TapError, match="number of a call"):
        Taps(module, ["act#first"])


def test_a_layer_that_changes_its_width() -> None:
    class Fickle(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    module = torch.nn.Sequential(Fickle())
    taps = Taps(module, ["0"])
    with taps:
        module(torch.ones(2, 3))
    taps.outputs()
    with taps:
        module(torch.ones(2, 4))
    with pytest.raises(TapError, match="gave width 4, before it was 3"):
        taps.outputs()


def test_a_layer_that_gives_no_tensor() -> None:
    class Pair(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    module = torch.nn.Sequential(Pair())
    with pytest.raises(TapError, match="gave no tensor: tuple"), Taps(module, ["0"]):
        module(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("name", "layers", "taps"),
    [
        ("GCN", 3, ["act#0", "act#1"]),
        ("GraphSAGE", 2, ["act#0", ""]),
        ("GAT", 4, ["act#0", "act#1", "act#2"]),
        ("GCNII", 3, ["act#0", "act#1", "act#2"]),
        ("MLP", 3, ["act#0", "act#1"]),
    ],
)
def test_hidden_layers_of_every_network(name: str, layers: int, taps: list[str]) -> None:
    architecture = Architecture(
        name=name, in_channels=4, hidden_channels=8, num_layers=layers, out_channels=2
    )
    module = build(architecture)
    assert hidden_layers(module) == taps
    with Taps(module, taps) as watched:
        module(X) if name == "MLP" else module(X, EDGES)
    assert all(len(output) == 5 for output in watched.outputs())


def test_hidden_layers_of_an_unknown_network() -> None:
    with pytest.raises(ValueError, match="name them"):
        hidden_layers(torch.nn.Linear(2, 2))
