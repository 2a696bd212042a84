"""The baked lowering: a graph inside the model."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch_geometric import nn as pyg

from graphstill.export import ExportError, check_parity, export
from graphstill.serve import InputError, Session

N, E = 30, 140
torch.manual_seed(0)
EDGES = torch.randint(0, N, (2, E))
WEIGHT = torch.rand(E)
MODELS: dict[str, Any] = {
    "GCN": (pyg.GCN(6, 8, 2, 3), {}),
    "GCN, weighted": (pyg.GCN(6, 8, 2, 3), {"edge_weight": WEIGHT}),
    "SAGE": (pyg.GraphSAGE(6, 8, 2, 3), {}),
    "SAGE max": (pyg.GraphSAGE(6, 8, 2, 3, aggr="max"), {}),
    "GAT": (pyg.GAT(6, 8, 2, 3, heads=2), {}),
    "GATv2": (pyg.GAT(6, 8, 2, 3, heads=2, v2=True), {}),
    "RGCN": (pyg.RGCNConv(6, 3, 4), {"edge_type": torch.randint(0, 4, (E,))}),
}


def baked(module: torch.nn.Module, path: Path, **more: torch.Tensor) -> Any:
    example = {"x": torch.randn(N, 6), "edge_index": EDGES, **more}
    return export(module, example, path, lowering="baked")


@pytest.mark.parametrize("name", MODELS)
def test_a_baked_model_takes_features_alone_and_is_right(name: str, tmp_path: Path) -> None:
    module, more = MODELS[name]
    bundle = baked(module.eval(), tmp_path / "b", **more)
    assert [(s.name, s.shape) for s in bundle.manifest.inputs] == [("x", (N, 6))]
    assert (bundle.manifest.lowering, bundle.manifest.graph) == ("baked", "none")
    report = check_parity(module, bundle)
    assert report.ok, report.failures
    x = torch.randn(N, 6)
    got = Session(bundle)({"x": x.numpy()})["logits"]
    wanted = module(x, EDGES, **more).detach().numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_what_depends_on_the_graph_alone_is_not_computed_again(tmp_path: Path) -> None:
    bundle = baked(MODELS["GCN"][0], tmp_path / "b")
    model = onnx.load_from_string(bundle.read_model())
    kinds = [node.op_type for node in model.graph.node]
    assert not {"csr", "gcn_norm", "Shape"} & set(kinds)
    assert kinds.count("spmm") == kinds.count("spmm_update") == 1
    assert "edge_index" not in {tensor.name for tensor in model.graph.initializer}
    onnx.checker.check_model(model)


def test_another_graph_or_size_is_refused(tmp_path: Path) -> None:
    session = Session(baked(MODELS["SAGE"][0], tmp_path / "b"))
    with pytest.raises(InputError, match="unknown edge_index"):
        session({"x": np.zeros((N, 6), np.float32), "edge_index": EDGES.numpy()})
    with pytest.raises(InputError, match=rf"x must have shape \[{N}, 6\], got \[31, 6\]"):
        session({"x": np.zeros((N + 1, 6), np.float32)})


@pytest.mark.parametrize(
    ("example", "graph", "message"),
    [
        ({"x": torch.randn(N, 6), "edge_index": EDGES}, "csr", "has no meaning"),
        ({"x": torch.randn(N, 6)}, "edge_index", "needs features x and a graph edge_index"),
    ],
)
def test_what_cannot_be_baked(
    example: dict[str, torch.Tensor], graph: str, message: str, tmp_path: Path
) -> None:
    module = MODELS["GCN"][0] if "edge_index" in example else torch.nn.Linear(6, 3)
    if isinstance(module, torch.nn.Linear):
        example = {"input": example["x"]}
    with pytest.raises(ExportError, match=message):
        export(module, example, tmp_path / "b", lowering="baked", graph=graph)
    assert not (tmp_path / "b").exists()
