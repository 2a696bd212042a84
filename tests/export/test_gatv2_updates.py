"""GATv2 with the products of both ends in it: the node, and when it is made."""

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
from graphstill.export.bodies import GATV2_UPDATE_INPUTS
from graphstill.kernels import reference
from graphstill.serve import Bundle
from onnx_nodes import csr_of, homes, node, run, threads

X, EDGES = torch.randn(9, 12), torch.randint(0, 9, (2, 17))
FUSED = "both ends multiplied where they are attended to"
BIASES = ("bias_l", "bias_r", "bias")
activations = pytest.mark.parametrize("activation", ["none", "relu", "elu"])
averaging = pytest.mark.parametrize("mean_heads", [0, 1])


def inputs_of(
    graph: str, heads: int, features: int, channels: int, mean_heads: int = 0
) -> dict[str, Tensor]:
    """Return the inputs of a node, in float64."""
    rowptr, col, num_nodes = csr_of(graph)
    width = heads * channels
    sizes = {
        "x": (num_nodes, features),
        "x_dst": (num_nodes, features + 1),
        "weight_l": (features, width),
        "weight_r": (features + 1, width),
        "att": (heads, channels),
        "bias_l": (width,),
        "bias_r": (width,),
        "bias": (channels if mean_heads else width,),
    }
    values = {name: torch.randn(*size, dtype=torch.float64) for name, size in sizes.items()}
    return {"rowptr": rowptr, "col": col, **values}


def settings_of(**changed: Any) -> dict[str, Any]:
    plain = {"negative_slope": 0.2, "add_self_loops": 0, "mean_heads": 0, "activation": "none"}
    return {**plain, "trans_l": 0, "trans_r": 0, **changed}


def call(values: dict[str, Tensor], settings: dict[str, Any], home: str, threads: int) -> Tensor:
    """Run a node on what its definition takes."""
    given = {
        name: value.float() if value.is_floating_point() else value
        for name, value in values.items()
    }
    for side in "lr":
        if settings[f"trans_{side}"]:
            given[f"weight_{side}"] = given[f"weight_{side}"].T.contiguous()
    names = [name if name in given else "" for name in GATV2_UPDATE_INPUTS]
    while not names[-1]:
        names.pop()
    return run(node("gatv2_update", names, ["out"], **settings), given, home, threads)[0]


def defined(values: dict[str, Tensor], settings: dict[str, Any]) -> Tensor:
    plain = {name: value for name, value in settings.items() if not name.startswith("trans")}
    return reference.gatv2_update(**values, **plain)


@pytest.mark.parametrize("loops", [0, 1])
def test_it_is_gatv2_of_the_products(loops: int) -> None:
    values = inputs_of("usual", 3, 4, 5)
    ends = (
        values["x"] @ values["weight_l"] + values["bias_l"],
        values["x_dst"] @ values["weight_r"] + values["bias_r"],
    )
    graph, rest = (values["rowptr"], values["col"]), (values["att"], values["bias"])
    wanted, _ = reference.gatv2(*graph, *ends, *rest, add_self_loops=bool(loops))
    assert_close(defined(values, settings_of(add_self_loops=loops)), wanted)


@homes
@threads
@graphs
@averaging
@pytest.mark.parametrize("loops", [0, 1])
def test_the_node(graph: str, loops: int, mean_heads: int, threads: int, home: str) -> None:
    values = inputs_of(graph, 4, 24, 20, mean_heads)
    settings = settings_of(add_self_loops=loops, mean_heads=mean_heads)
    assert_close(call(values, settings, home, threads), defined(values, settings))


@homes
@activations
@averaging
@pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("without", [(), *((name,) for name in BIASES), BIASES])
def test_its_settings(
    without: tuple[str, ...], turned: tuple[int, int], mean_heads: int, activation: str, home: str
) -> None:
    values = inputs_of("usual", 2, 6, 9, mean_heads)
    for name in without:
        del values[name]
    sides = {"trans_l": turned[0], "trans_r": turned[1]}
    settings = settings_of(**sides, mean_heads=mean_heads, activation=activation)
    settings["negative_slope"] = 0.4
    assert_close(call(values, settings, home, 1), defined(values, settings))


@homes
@averaging
@pytest.mark.parametrize(
    ("heads", "features", "channels"),
    # one head and several at a time, the last of them fewer; channels of every kind
    [(1, 1, 1), (1, 16, 40), (8, 3, 2), (7, 8, 17), (4, 32, 40), (16, 64, 33), (5, 70, 64)],
)
def test_it_at_every_width(
    heads: int, features: int, channels: int, mean_heads: int, home: str
) -> None:
    values = inputs_of("a hub", heads, features, channels, mean_heads)
    settings = settings_of(add_self_loops=1, mean_heads=mean_heads)
    assert_close(call(values, settings, home, 2), defined(values, settings))


def test_many_rows_are_the_same_at_any_number_of_threads() -> None:
    values = inputs_of("usual", 4, 24, 20)
    values |= {"rowptr": torch.arange(0, 15_001, 3)}
    values |= {"col": torch.randint(0, 5_000, (15_000,), dtype=torch.int32)}
    values |= {name: torch.randn(5_000, values[name].shape[1]) for name in ("x", "x_dst")}
    one, two = (call(values, settings_of(), "C++", threads) for threads in (1, 2))
    assert torch.equal(one, two)
    values = {n: v.double() if v.is_floating_point() else v for n, v in values.items()}
    assert_close(one, defined(values, settings_of()))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"x": torch.rand(22, 5)}, "weight_l needs a row for each feature"),
        ({"x_dst": torch.rand(22, 5)}, "x_dst must have the shape"),
        ({"weight_l": torch.rand(4, 7)}, "as wide as heads times channels"),
        ({"att": torch.rand(2, 4)}, "as wide as heads times channels"),
        ({"att": torch.rand(2, 0)}, "of some of each"),
        ({"bias_r": torch.rand(5)}, "bias_r needs one value per column"),
        ({"bias": torch.rand(3)}, "bias needs one value per column"),
    ],
    ids=lambda v: v if isinstance(v, str) else ", ".join(v),
)
def test_the_library_checks_what_it_is_given(changed: dict[str, Tensor], said: str) -> None:
    values = inputs_of("usual", 2, 4, 3) | changed
    with pytest.raises(Exception, match=said):
        call(values, settings_of(), "C++", 1)


NETWORKS = {
    "side by side": lambda: Network(pyg.GATv2Conv(12, 20, heads=4)),
    "averaged": lambda: Network(pyg.GATv2Conv(12, 7, heads=3, concat=False), nn.functional.elu),
    "one head": lambda: Network(pyg.GATv2Conv(12, 13), nn.functional.elu),
    "without loops": lambda: Network(pyg.GATv2Conv(12, 20, 2, add_self_loops=False)),
    "without a bias": lambda: Network(pyg.GATv2Conv(12, 20, heads=2, bias=False)),
    "one weight for both ends": lambda: Network(pyg.GATv2Conv(12, 20, share_weights=True)),
    "an ELU of another kind": lambda: Network(pyg.GATv2Conv(12, 9, 4), nn.ELU(0.5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_become_one_node_and_can_be_taken_apart(name: str, tmp_path: Path) -> None:
    module = NETWORKS[name]().eval()
    bundle = export(module, (X, EDGES), tmp_path / "b")
    assert isinstance(bundle, Bundle)
    assert bundle.manifest.choices[FUSED] == ["conv (GATv2Conv)"]
    assert bundle.manifest.hops == 1
    assert (report := check_parity(module, bundle)).ok, report
    model = onnx.load_from_string(bundle.read_model())
    kinds = [n.op_type for n in model.graph.node]
    assert kinds.count("gatv2_update") == 1
    assert not {"Gemm", "MatMul"}.intersection(kinds)
    assert ("Relu" in kinds, "Elu" in kinds) == (False, name == "an ELU of another kind")
    assert_the_same_taken_apart(bundle, model, "gatv2_update", tmp_path / "c")


class Watched(nn.Module):
    """A GATv2 whose products somebody else reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.GATv2Conv(12, 20, heads=2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(x, edge_index) + self.conv.lin_l(x)


def test_products_that_others_read_stay(tmp_path: Path) -> None:
    bundle = export(Watched().eval(), (X, EDGES), tmp_path / "b")
    assert isinstance(bundle, Bundle)
    assert FUSED not in bundle.manifest.choices


def test_without_fusing_nodes_stay_apart(tmp_path: Path) -> None:
    bundle = export(NETWORKS["averaged"]().eval(), (X, EDGES), tmp_path / "b", fuse=False)
    assert isinstance(bundle, Bundle)
    assert FUSED not in bundle.manifest.choices
