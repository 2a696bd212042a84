"""Choices made at export: norms folded, linear layers merged, sums before products."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as pyg

from graphstill.export import check_parity, export
from graphstill.serve import Bundle

X, EDGES = torch.randn(9, 12), torch.randint(0, 9, (2, 17))


def norm(width: int) -> nn.BatchNorm1d:
    """A norm that has seen something: of scale, shift, means and variances of its own."""
    made = nn.BatchNorm1d(width)
    for tensor, low in ((made.weight, -1.0), (made.bias, -1.0)):
        nn.init.uniform_(tensor, low, 2.0)
    made.running_mean = torch.randn(width)
    made.running_var = torch.rand(width) + 0.2
    return made


class Normed(nn.Module):
    """Something on a graph, and a norm behind it."""

    def __init__(self, conv: nn.Module, width: int) -> None:
        super().__init__()
        self.conv, self.skip, self.norm = conv, nn.Linear(12, width), norm(width)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.norm(self.conv(x, edge_index)).relu()


class Skipped(Normed):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.norm(self.conv(x, edge_index) + self.skip(x))


class Activated(Normed):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.norm(self.conv(x, edge_index).relu())


class ReadTwice(Normed):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = self.conv(x, edge_index)
        return self.norm(h) + h


def exported(module: nn.Module, path: Path, **settings: Any) -> tuple[Bundle, Counter[str]]:
    """Export and check; return the bundle and how often it has each operator."""
    bundle = export(module.eval(), (X, EDGES), path, **settings)
    assert isinstance(bundle, Bundle)
    report = check_parity(module, bundle)
    assert report.ok, report.failures
    model = onnx.load_from_string(bundle.read_model())
    return bundle, Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(
    "module",
    [
        Normed(pyg.GCNConv(12, 5), 5),
        Normed(pyg.GCNConv(12, 5, bias=False), 5),
        Normed(pyg.SAGEConv(12, 20), 20),
        Normed(pyg.SAGEConv(12, 800), 800),
        Normed(pyg.SAGEConv(12, 5), 5),
        Skipped(pyg.SAGEConv(12, 5, aggr="max"), 5),
        Skipped(pyg.GCNConv(12, 20), 20),
    ],
    ids=[
        "narrow",
        "no bias",
        "wide root",
        "weights that torch does not fold",
        "narrow root",
        "max and skip",
        "wide and skip",
    ],
)
def test_a_norm_goes_into_weights(module: nn.Module, tmp_path: Path) -> None:
    bundle, kinds = exported(module, tmp_path / "b")
    assert kinds["BatchNormalization"] == 0
    assert bundle.manifest.choices["BatchNorm folded into weights"] == ["norm (BatchNorm1d)"]


@pytest.mark.parametrize(
    "module",
    [
        Activated(pyg.GCNConv(12, 5), 5),
        ReadTwice(pyg.GCNConv(12, 5), 5),
        Normed(pyg.GATConv(12, 5), 5),
    ],
    ids=["behind an activation", "read twice", "attention"],
)
def test_a_norm_that_stays(module: nn.Module, tmp_path: Path) -> None:
    bundle, kinds = exported(module, tmp_path / "b")
    assert kinds["BatchNormalization"] == 1
    assert "BatchNorm folded into weights" not in bundle.manifest.choices


class Linears(nn.Module):
    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))
        self.conv = pyg.SAGEConv(widths[-1], 3, aggr="max")

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(self.layers(x), edge_index)


def test_linear_layers_are_merged_where_that_saves_work(tmp_path: Path) -> None:
    bundle, kinds = exported(Linears(12, 20, 9, 10), tmp_path / "b")
    pairs = bundle.manifest.choices["linear layers merged"]
    assert pairs == [
        "layers.0 (Linear) and layers.1 (Linear)",
        "layers.1 (Linear) and layers.2 (Linear)",
    ]
    _, narrow = exported(Linears(12, 2, 12), tmp_path / "narrow")
    assert narrow["Gemm"] == kinds["Gemm"] + 1


def test_weights_stay_without_folding(tmp_path: Path) -> None:
    bundle, kinds = exported(Linears(12, 20, 9), tmp_path / "b", fold=False)
    assert "linear layers merged" not in bundle.manifest.choices
    _, merged = exported(Linears(12, 20, 9), tmp_path / "merged")
    assert kinds["Gemm"] == merged["Gemm"] + 1


def test_widths_decide_on_which_side_of_its_sum_a_product_is(tmp_path: Path) -> None:
    module = pyg.GCN(12, 20, 2, 3)
    first = "neighbours summed before the linear layer"
    fused, _ = exported(module, tmp_path / "fused")
    assert fused.manifest.choices[first] == ["convs.0 (GCNConv)"]
    assert fused.manifest.choices["linear layer before neighbours are summed"] == [
        "convs.1 (GCNConv)"
    ]
    blocks, kinds = exported(module, tmp_path / "blocks", lowering="blocks", fanouts=[3, 3])
    assert set(blocks.manifest.choices[first]) == {"convs.0 (GCNConv)", "convs.1 (GCNConv)"}
    assert kinds["Gemm"] == 3


def test_hops_without_anything_between_them_leave_one_product(tmp_path: Path) -> None:
    module = pyg.SGConv(12, 3, K=2)
    _, kinds = exported(module, tmp_path / "b", lowering="blocks", fanouts=[3, 3])
    assert kinds["Gemm"] == 1


class Averaged(nn.Module):
    """Attention whose heads are averaged, and something that reads the answers."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(x, edge_index).relu()


AVERAGED = "heads averaged while neighbours are summed"


@pytest.mark.parametrize(
    ("operator", "conv"),
    [
        ("gat_mean", pyg.GATConv(12, 5, heads=3, concat=False)),
        ("gat_mean", pyg.GATConv(12, 5, heads=3, concat=False, bias=False)),
        ("gat_mean", pyg.GATConv(12, 5, heads=3, concat=False, residual=True)),
        ("gatv2_update", pyg.GATv2Conv(12, 5, heads=3, concat=False)),  # and its products
        ("dot_attention_mean", pyg.TransformerConv(12, 5, heads=3, concat=False)),
    ],
    ids=["GAT", "no bias", "residual", "GATv2", "transformer"],
)
@pytest.mark.parametrize("settings", [{}, {"graph": "csr"}, {"fold": False}], ids=str)
def test_heads_are_averaged_in_their_node(
    operator: str, conv: nn.Module, settings: dict[str, Any], tmp_path: Path
) -> None:
    bundle, kinds = exported(Averaged(conv), tmp_path / "b", **settings)
    assert bundle.manifest.choices[AVERAGED] == [f"conv ({type(conv).__name__})"]
    assert kinds[operator] == 1
    assert kinds["ReduceMean"] == kinds[operator.rpartition("_")[0]] == 0


class Raised(Averaged):
    """One number for all channels is no bias."""

    def __init__(self) -> None:
        super().__init__(pyg.GATConv(12, 5, heads=3, concat=False, bias=False))
        self.more = nn.Parameter(torch.rand(1))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(x, edge_index) + self.more


def test_what_is_no_bias_is_added_behind(tmp_path: Path) -> None:
    _, kinds = exported(Raised(), tmp_path / "b")
    assert kinds["gat_mean"] == kinds["Add"] == 1


class ManyReaders(nn.Module):
    """Takes the mean over heads itself, and reads something else of them."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.conv, self.axis = pyg.GATConv(12, 5, heads=5), axis

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        heads = self.conv(x, edge_index).unflatten(1, (5, 5))
        return heads.mean(dim=self.axis) + (heads[:, 0] if self.axis == 1 else 0.0)


def test_other_means_are_left_alone(tmp_path: Path) -> None:
    for axis in (1, 2):
        bundle, kinds = exported(ManyReaders(axis), tmp_path / str(axis))
        assert AVERAGED not in bundle.manifest.choices
        assert kinds["gat"] == 1


def test_scores_are_computed_from_what_is_narrower(tmp_path: Path) -> None:
    """GAT's scores are products with products: of what goes in, where the heads are wider."""
    bundle, kinds = exported(pyg.GATConv(12, 8, heads=3), tmp_path / "wide")
    assert len(bundle.manifest.choices["linear layers merged"]) == 1
    assert kinds["MatMul"] == 0
    bundle, kinds = exported(pyg.GATConv(12, 4, heads=3), tmp_path / "even")
    assert "linear layers merged" not in bundle.manifest.choices
