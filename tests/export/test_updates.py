"""Sums that take in what follows them, and what comes of taking them apart again."""

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as pyg

from graphstill.export import check_parity, export
from graphstill.export.bodies import UPDATE_INPUTS
from graphstill.export.commands.formats import is_bundle
from graphstill.export.passes import ours
from graphstill.export.splitting import split_updates
from graphstill.serve import Bundle, Session

X, EDGES = torch.randn(9, 12), torch.randint(0, 9, (2, 17))
SUMS = ("spmm", "spmm_update")
UPDATED = "rows updated while neighbours are summed"


class Stack(nn.Module):
    """Convolutions with something between them."""

    def __init__(self, *convs: nn.Module, between: Any = torch.relu) -> None:
        super().__init__()
        self.convs, self.between = nn.ModuleList(convs), between

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for conv in self.convs:
            x = self.between(conv(x, edge_index))
        return x


class GCNII(nn.Module):
    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 6)
        self.convs = nn.ModuleList(
            pyg.GCN2Conv(6, 0.1, 0.5, layer, shared_weights=shared) for layer in (1, 2)
        )

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = x_0 = self.linear(x).relu()
        for conv in self.convs:
            x = conv(x, x_0, edge_index).relu()
        return x


class ReadTwice(nn.Module):
    """What lies between a sum and its product is read by something else too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = pyg.GINConv(nn.Identity()), nn.Linear(12, 12)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = self.conv(x, edge_index)
        return self.linear(h) + h


def kinds_of(bundle: Bundle) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(bundle.read_model()).graph.node)


def exported(module: nn.Module, path: Path, **settings: Any) -> tuple[Bundle, Counter[str]]:
    """Export and check; return the bundle and how often it has each operator."""
    bundle = export(module.eval(), (X, EDGES), path, **settings)
    assert isinstance(bundle, Bundle)
    report = check_parity(module, bundle)
    assert report.ok, report
    return bundle, kinds_of(bundle)


MODULES: dict[str, tuple[Any, dict[str, int]]] = {
    "sum first": (lambda: Stack(pyg.GCNConv(12, 20)), {}),
    "product first": (lambda: Stack(pyg.GCNConv(12, 7), pyg.GCNConv(7, 5)), {"Gemm": 1}),
    "elu": (lambda: Stack(pyg.GCNConv(12, 20), between=nn.functional.elu), {}),
    "another elu": (lambda: Stack(pyg.GCNConv(12, 20), between=nn.ELU(0.5)), {"Elu": 1}),
    "means and roots": (lambda: Stack(pyg.SAGEConv(12, 20), pyg.SAGEConv(20, 30)), {}),
    "root after": (lambda: Stack(pyg.SAGEConv(12, 5)), {"Gemm": 2}),
    "GIN": (
        lambda: Stack(pyg.GINConv(nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)))),
        {"Gemm": 1, "Relu": 1},
    ),
    "GCNII": (lambda: GCNII(True), {"Gemm": 1, "Relu": 1}),
    "GCNII, two weights": (lambda: GCNII(False), {"Gemm": 3, "Add": 2, "Relu": 3}),
}
_TAKEN = {"Add", "Elu", "Gemm", "MatMul", "Relu"}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("settings", [{}, {"graph": "csr"}], ids=str)
def test_what_follows_a_sum_is_taken_in(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    make, left = MODULES[name]
    bundle, kinds = exported(make(), tmp_path / "b", **settings)
    assert bundle.manifest.choices[UPDATED]
    assert kinds["spmm_update"]
    assert kinds["spmm"] == 0
    assert {kind: count for kind, count in kinds.items() if kind in _TAKEN} == left


SCALED: dict[str, tuple[Any, list[bool]]] = {
    "sums that feed sums": (lambda: pyg.SGConv(12, 5, K=3), [True, False, False]),
    "product first": (lambda: Stack(pyg.GCNConv(12, 7), pyg.GCNConv(7, 5)), [True, False]),
    "GCNII": (lambda: GCNII(True), [True, False]),
    "scales of another graph": (
        lambda: Stack(pyg.GCNConv(12, 20), pyg.GCNConv(20, 30, add_self_loops=False)),
        [True, False],
    ),
}


@pytest.mark.parametrize("name", SCALED)
def test_rows_are_scaled_for_the_next_sum(name: str, tmp_path: Path) -> None:
    make, wanted = SCALED[name]
    bundle, _ = exported(make(), tmp_path / "b")
    model = onnx.load_from_string(bundle.read_model())
    names = [dict(zip(UPDATE_INPUTS, n.input, strict=False)) for n in ours(model, *SUMS)]
    assert [bool(inputs.get("src_scale")) for inputs in names] == wanted
    split_updates(model)
    sums = ours(model, *SUMS)
    assert all(n.op_type == "spmm" and n.input[UPDATE_INPUTS.index("src_scale")] for n in sums)


def test_what_others_read_is_left_alone(tmp_path: Path) -> None:
    bundle, kinds = exported(ReadTwice(), tmp_path / "b")
    assert UPDATED not in bundle.manifest.choices
    assert kinds["spmm"] == 1


def test_nothing_is_fused_where_that_is_not_wanted(tmp_path: Path) -> None:
    attention = pyg.GATConv(12, 5, heads=3, concat=False)
    bundle, kinds = exported(Stack(pyg.GCNConv(12, 12), attention), tmp_path / "b", fuse=False)
    assert UPDATED not in bundle.manifest.choices
    assert kinds["spmm"] == kinds["gat"] == 1
    assert kinds["spmm_update"] == kinds["gat_mean"] == 0


def test_a_bundle_is_not_taken_apart_by_exporting_it_again(tmp_path: Path) -> None:
    exported(Stack(pyg.GCNConv(12, 20)), tmp_path / "b")
    with pytest.raises(ValueError, match="--no-fuse are chosen when a run"):
        is_bundle(tmp_path / "b", "web", "edge_index", "fused", fuse=False)


@pytest.mark.parametrize("name", MODULES)
def test_an_update_can_be_taken_apart(name: str, tmp_path: Path) -> None:
    bundle, _ = exported(MODULES[name][0](), tmp_path / "b")
    model = onnx.load_from_string(bundle.read_model())
    split_updates(model)
    assert not ours(model, "spmm_update")
    onnx.checker.check_model(model)
    split = Bundle.write(tmp_path / "c", bundle.manifest, files_of(bundle, model))
    x, edges = torch.randn(30, 12).numpy(), torch.randint(0, 30, (2, 90)).numpy()
    (wanted,), (got,) = (Session(b)(x=x, edge_index=edges).values() for b in (bundle, split))
    torch.testing.assert_close(torch.from_numpy(got), torch.from_numpy(wanted))


def files_of(bundle: Bundle, model: onnx.ModelProto) -> dict[str, bytes]:
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return files | {"model.onnx": model.SerializeToString()}
