"""Every layer that `accelerate` knows, exported alone and inside a module, in both graph forms."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch_geometric import nn as pyg

from graphstill import kernels
from graphstill.export import check_parity, export
from graphstill.serve import InputError, Session

forms = pytest.mark.parametrize("form", ["edge_index", "csr"])

X, EDGES = torch.randn(9, 12), torch.randint(0, 9, (2, 17))
RELATIONS = 3
TYPES = torch.randint(0, RELATIONS, (17,))
ATTRIBUTES = torch.randn(17, 6)


def relational(**settings: Any) -> torch.nn.Module:
    return pyg.RGCNConv(12, 8, RELATIONS, **settings)


# layer and what belongs to its edges
LAYERS: dict[str, tuple[torch.nn.Module, dict[str, Tensor]]] = {
    "SAGE max": (pyg.SAGEConv(12, 5, aggr="max"), {}),
    "SAGE min, pooling": (pyg.SAGEConv(12, 20, aggr="min", project=True, normalize=True), {}),
    "Graph": (pyg.GraphConv(12, 5), {"edge_weight": torch.rand(17)}),
    "Graph mean": (pyg.GraphConv(12, 20, aggr="mean"), {"edge_weight": torch.rand(17)}),
    "GATv2": (pyg.GATv2Conv(12, 4, heads=3), {}),
    "GATv2, one": (
        pyg.GATv2Conv(12, 5, concat=False, add_self_loops=False, share_weights=True, residual=True),
        {},
    ),
    "Transformer": (pyg.TransformerConv(12, 4, heads=3), {}),
    "Transformer, gated": (pyg.TransformerConv(12, 5, heads=2, concat=False, beta=True), {}),
    "Transformer, no root": (pyg.TransformerConv(12, 5, root_weight=False, bias=False), {}),
    "RGCN": (relational(), {"edge_type": TYPES}),
    "RGCN, bases": (relational(num_bases=2, aggr="add"), {"edge_type": TYPES}),
    "RGCN, blocks": (relational(num_blocks=4, root_weight=False, bias=False), {"edge_type": TYPES}),
    "GAT, edges": (pyg.GATConv(12, 4, heads=2, edge_dim=6), {"edge_attr": ATTRIBUTES}),
    "GAT, edges, no loops": (
        pyg.GATConv(12, 4, heads=2, edge_dim=6, add_self_loops=False),
        {"edge_attr": ATTRIBUTES},
    ),
    "GATv2, edges": (
        pyg.GATv2Conv(12, 4, heads=2, edge_dim=6, fill_value=0.5),
        {"edge_attr": ATTRIBUTES},
    ),
    "Transformer, edges": (
        pyg.TransformerConv(12, 4, heads=2, edge_dim=6),
        {"edge_attr": ATTRIBUTES},
    ),
}


def named(extra: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"x": X, "edge_index": EDGES, **extra}


@forms
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_alone(name: str, form: str, tmp_path: Path) -> None:
    layer, extra = LAYERS[name]
    bundle = export(layer, named(extra), tmp_path / "b", graph=form)
    report = check_parity(layer, bundle)
    assert report.native_operators
    assert report.ok, report.failures
    assert bundle.manifest.hops == 1


class Mixture(torch.nn.Module):
    """A module of somebody's own, in which every kind of layer stands behind another one."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = pyg.GATv2Conv(12, 4, heads=2)
        self.pool = torch.nn.ModuleList([pyg.SAGEConv(8, 8, aggr="max"), relational()])
        self.norm = pyg.BatchNorm(8)
        self.relate = pyg.RGCNConv(8, 8, RELATIONS, num_bases=2)
        self.last = pyg.TransformerConv(8 + 12, 3)

    def forward(self, x: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        h = self.pool[0](self.attend(x, edge_index).relu(), edge_index)
        h = h + self.pool[1](x, edge_index, edge_type)
        h = self.relate(self.norm(h).relu(), edge_index, edge_type)
        return self.last(torch.cat([h, x], dim=1), edge_index)


@forms
def test_layers_inside_a_module(form: str, tmp_path: Path) -> None:
    module = Mixture()
    bundle = export(module, named({"edge_type": TYPES}), tmp_path / "b", graph=form)
    report = check_parity(module, bundle)
    assert report.ok, report.failures
    assert bundle.manifest.hops == 4
    kinds = [node.op_type for node in onnx.load(tmp_path / "b" / "model.onnx").graph.node]
    assert kinds.count("csr") == (form == "edge_index")
    assert kinds.count("relational_csr") == 1


def test_node_ids_may_be_the_features_of_relations(tmp_path: Path) -> None:
    for settings in ({}, {"num_bases": 2}):
        layer = pyg.RGCNConv(9, 8, RELATIONS, **settings).eval()
        ids = torch.randperm(9)
        inputs = {"x": ids, "edge_index": EDGES, "edge_type": TYPES}
        session = Session(export(layer, inputs, tmp_path / "b"))
        got = session({name: value.numpy() for name, value in inputs.items()})["logits"]
        wanted = layer(ids, EDGES, TYPES).detach().numpy()
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("relation", [-1, RELATIONS])
def test_a_relation_out_of_range_is_refused(relation: int, tmp_path: Path) -> None:
    bundle = export(relational(), named({"edge_type": TYPES}), tmp_path / "b")
    wrong = TYPES.clone()
    wrong[4] = relation
    inputs = {name: t.numpy() for name, t in named({"edge_type": wrong}).items()}
    with pytest.raises(InputError, match=f"holds the relation {relation}, relations must lie in"):
        Session(bundle)(inputs)
    with pytest.raises(Exception, match="out of"):
        Session(bundle, native=False)(inputs)


class Operators(torch.nn.Module):
    """A module that calls operators itself: features of edges decide who is listened to."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        graph = kernels.CSRGraph.from_edge_index(edge_index, x.size(0))
        score = edge_attr + kernels.sddmm(graph, x, x, heads=6)
        attention, node = kernels.edge_softmax(graph, score), x.detach()[:, 0].abs()
        out = kernels.spmm(graph, x, attention, src_scale=node, dst_scale=node, self_weight=node)
        return out + kernels.spmm(graph, x, attention, bias=x.new_ones(12), reduce="mean")


def test_operators_called_by_a_module(tmp_path: Path) -> None:
    module = Operators()
    bundle = export(module, named({"edge_attr": ATTRIBUTES}), tmp_path / "b")
    report = check_parity(module, bundle)
    assert report.ok, report.failures
    assert bundle.manifest.hops == 1


class Quantised(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.rand(12))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        graph = kernels.CSRGraph.from_edge_index(edge_index, x.size(0))
        return kernels.spmm_int8(graph, x, self.scale, reduce="mean")


def test_sums_of_integers_are_the_same_everywhere(tmp_path: Path) -> None:
    module, x = Quantised(), torch.randint(-128, 128, (9, 12)).to(torch.int8)
    bundle = export(module, (x, EDGES), tmp_path / "b")
    wanted = module(x, EDGES).detach().numpy()
    for native in (True, False):
        got = Session(bundle, native=native)(x=x.numpy(), edge_index=EDGES.numpy())["logits"]
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
