"""Attention that sums rows before it multiplies them: the node, and when it is made."""

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as pyg

from attention_layers import Network, assert_the_same_taken_apart
from cases import assert_close, graphs
from graphstill.export import check_parity, export
from graphstill.export.bodies import GAT_UPDATE_INPUTS
from graphstill.kernels import reference
from graphstill.serve import Bundle
from onnx_nodes import csr_of, homes, node, run, threads

X, EDGES = torch.randn(9, 12), torch.randint(0, 9, (2, 17))
FIRST = "neighbours summed before the linear layer"
activations = pytest.mark.parametrize("activation", ["none", "relu", "elu"])


def inputs_of(graph: str, heads: int, features: int, channels: int) -> dict[str, Tensor]:
    """Return the inputs of a node, in float64."""
    rowptr, col, num_nodes = csr_of(graph)
    sizes = {
        "x": (num_nodes, features),
        "alpha_src": (num_nodes, heads),
        "alpha_dst": (num_nodes, heads),
        "linear_weight": (features, heads * channels),
        "bias": (channels,),
    }
    values = {name: torch.randn(*size, dtype=torch.float64) for name, size in sizes.items()}
    return {"rowptr": rowptr, "col": col, **values}


def settings_of(**changed: Any) -> dict[str, Any]:
    plain = {"negative_slope": 0.2, "add_self_loops": 0, "trans_weight": 0, "activation": "none"}
    return plain | changed


def call(values: dict[str, Tensor], settings: dict[str, Any], home: str, threads: int) -> Tensor:
    """Run a node on what its definition takes."""
    turned = settings["trans_weight"]
    given = {
        name: value.float() if value.is_floating_point() else value
        for name, value in values.items()
    }
    if turned:
        given["linear_weight"] = given["linear_weight"].T.contiguous()
    names = [name if name in given else "" for name in GAT_UPDATE_INPUTS]
    made = node("gat_update", names[: None if names[-1] else -1], ["out"], **settings)
    return run(made, given, home, threads)[0]


def defined(values: dict[str, Tensor], settings: dict[str, Any]) -> Tensor:
    plain = {name: value for name, value in settings.items() if name != "trans_weight"}
    return reference.gat_update(**values, **plain)


@pytest.mark.parametrize("loops", [0, 1])
def test_it_is_gat_of_the_products_with_its_heads_averaged(loops: int) -> None:
    values = inputs_of("usual", 3, 4, 5)
    product = values["x"] @ values["linear_weight"]
    ends = values["rowptr"], values["col"], product, values["alpha_src"], values["alpha_dst"]
    every, _ = reference.gat(*ends, add_self_loops=bool(loops))
    wanted = every.unflatten(1, (3, 5)).mean(1) + values["bias"]
    assert_close(defined(values, settings_of(add_self_loops=loops)), wanted)


@homes
@threads
@graphs
@pytest.mark.parametrize("loops", [0, 1])
def test_the_node(graph: str, loops: int, threads: int, home: str) -> None:
    values = inputs_of(graph, 4, 24, 10)
    settings = settings_of(add_self_loops=loops)
    assert_close(call(values, settings, home, threads), defined(values, settings))


@homes
@activations
@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
def test_its_settings(biased: bool, turned: int, activation: str, home: str) -> None:
    values = inputs_of("usual", 2, 6, 9)
    if not biased:
        del values["bias"]
    settings = settings_of(trans_weight=turned, activation=activation, negative_slope=0.4)
    assert_close(call(values, settings, home, 1), defined(values, settings))


@homes
@pytest.mark.parametrize(
    ("heads", "features", "channels"),
    [(1, 1, 1), (1, 16, 40), (8, 3, 2), (3, 8, 17), (4, 32, 40), (16, 64, 33), (5, 70, 64)],
)
def test_it_at_every_width(heads: int, features: int, channels: int, home: str) -> None:
    values, settings = inputs_of("a hub", heads, features, channels), settings_of(add_self_loops=1)
    assert_close(call(values, settings, home, 2), defined(values, settings))


def test_many_rows_are_the_same_at_any_number_of_threads() -> None:
    values = inputs_of("usual", 4, 24, 10)
    values |= {"rowptr": torch.arange(0, 30_001, 3)}
    values |= {"col": torch.randint(0, 10_000, (30_000,), dtype=torch.int32)}
    values |= {
        n: torch.randn(10_000, *values[n].shape[1:]) for n in ("x", "alpha_src", "alpha_dst")
    }
    one, two = (call(values, settings_of(), "C++", threads) for threads in (1, 2))
    assert torch.equal(one, two)
    values = {n: v.double() if v.is_floating_point() else v for n, v in values.items()}
    assert_close(one, defined(values, settings_of()))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"alpha_src": torch.rand(22, 2)}, "alpha_src must have the shape"),
        ({"alpha_dst": torch.rand(23, 3)}, "alpha_dst must have the shape"),
        ({"linear_weight": torch.rand(5, 6)}, "a row for each feature"),
        ({"linear_weight": torch.rand(4, 7)}, "as wide as heads times channels"),
        ({"bias": torch.rand(6)}, "one value per column"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_the_library_checks_what_it_is_given(changed: dict[str, Tensor], said: str) -> None:
    values = inputs_of("usual", 2, 4, 3) | changed
    with pytest.raises(Exception, match=said):
        call(values, settings_of(), "C++", 1)


NETWORKS = {
    "averaged": lambda: Network(pyg.GATConv(12, 7, heads=3, concat=False)),
    "one head": lambda: Network(pyg.GATConv(12, 13, heads=1), nn.functional.elu),
    "without loops": lambda: Network(pyg.GATConv(12, 20, 2, False, add_self_loops=False)),
    "without a bias": lambda: Network(pyg.GATConv(12, 20, heads=2, concat=False, bias=False)),
    "an ELU of another kind": lambda: Network(pyg.GATConv(12, 9, 4, False), nn.ELU(0.5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_narrow_rows_are_summed_first_and_can_be_taken_apart(name: str, tmp_path: Path) -> None:
    module = NETWORKS[name]().eval()
    bundle = export(module, (X, EDGES), tmp_path / "b")
    assert isinstance(bundle, Bundle)
    assert bundle.manifest.choices[FIRST] == ["conv (GATConv)"]
    assert (report := check_parity(module, bundle)).ok, report
    model = onnx.load_from_string(bundle.read_model())
    kinds = [n.op_type for n in model.graph.node]
    assert kinds.count("gat_update") == 1
    assert ("Relu" in kinds, "Elu" in kinds) == (False, name == "an ELU of another kind")
    assert_the_same_taken_apart(bundle, model, "gat_update", tmp_path / "c")


@pytest.mark.parametrize(
    "conv",
    [
        lambda: pyg.GATConv(12, 5, heads=3, concat=False),  # rows wider than two heads
        lambda: pyg.GATConv(12, 20, heads=2),  # heads side by side
        lambda: pyg.GATv2Conv(12, 20, heads=2, concat=False),  # scores need the products
    ],
)
def test_others_are_multiplied_first(conv: Any, tmp_path: Path) -> None:
    bundle = export(Network(conv()).eval(), (X, EDGES), tmp_path / "b")
    assert isinstance(bundle, Bundle)
    assert FIRST not in bundle.manifest.choices
