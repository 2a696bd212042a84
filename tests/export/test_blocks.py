"""The blocks lowering: seeds and a fixed number of in-neighbours, in standard operators."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch_geometric import nn as pyg

from graphstill.export import ExportError, check, check_parity, export
from graphstill.export.lint import known_providers, lint
from graphstill.serve import Bundle, InputError, Manifest, Session

N, E = 30, 90
torch.manual_seed(0)
X, EDGES = torch.randn(N, 6), torch.randint(0, N, (2, E))
WEIGHT = {"edge_weight": torch.rand(E)}
TYPES = torch.randint(0, 3, (E,))
ATTRIBUTES = {"edge_attr": torch.randn(E, 5)}


class Two(torch.nn.Module):
    """Two convolutions of a kind, with what belongs to edges given to both."""

    def __init__(self, kind: Any, heads: int = 1, **settings: Any) -> None:
        super().__init__()
        many = {"heads": heads} if heads > 1 else {}
        self.first = kind(6, 4, **many, **settings)
        self.second = kind(4 * heads, 3, **settings)

    def forward(self, x: Tensor, edge_index: Tensor, *edge: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index, *edge).relu(), edge_index, *edge)


class Weighted(Two):
    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, edge_index, edge_weight)


class Attributed(Two):
    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, edge_index, edge_attr)


class Plain(Two):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, edge_index)


class Typed(torch.nn.Module):
    """Two relational convolutions."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.first = pyg.RGCNConv(6, 4, 3, **settings)
        self.second = pyg.RGCNConv(4, 4, 3, **settings)

    def forward(self, x: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index, edge_type).relu(), edge_index, edge_type)


class Deep(torch.nn.Module):
    """GCNII, with a first layer that every other one sees again."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.into, self.out = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)
        self.convs = torch.nn.ModuleList(
            pyg.GCN2Conv(8, 0.1, 0.5, layer, **settings) for layer in (1, 2)
        )

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        first = x = self.into(x).relu()
        for conv in self.convs:
            x = conv(x, first, edge_index).relu()
        return self.out(x)


MODELS: dict[str, tuple[torch.nn.Module, dict[str, Tensor]]] = {
    "GCN": (pyg.GCN(6, 8, 2, 3), {}),
    "GCN, weighted": (pyg.GCN(6, 8, 2, 3), WEIGHT),
    "SAGE": (pyg.GraphSAGE(6, 8, 2, 3, jk="cat", norm="batch_norm"), {}),
    "SAGE, wide": (pyg.GraphSAGE(6, 100, 2, 110), {}),
    "SAGE max": (pyg.GraphSAGE(6, 8, 2, 3, aggr="max"), {}),
    "SAGE min, pooling": (pyg.GraphSAGE(6, 8, 2, 3, aggr="min", project=True), {}),
    "SAGE sum": (pyg.GraphSAGE(6, 8, 2, 3, aggr="add", normalize=True), {}),
    "GIN": (pyg.GIN(6, 8, 2, 3, train_eps=True), {}),
    "GAT": (pyg.GAT(6, 8, 2, 3, heads=2), {}),
    "GAT, no loops": (pyg.GAT(6, 8, 2, 3, heads=2, add_self_loops=False), {}),
    "GATv2": (pyg.GAT(6, 8, 2, 3, heads=2, v2=True), {}),
    "GraphConv": (Weighted(pyg.GraphConv), WEIGHT),
    "GraphConv mean": (Weighted(pyg.GraphConv, aggr="mean"), WEIGHT),
    "GraphConv max": (Weighted(pyg.GraphConv, aggr="max"), WEIGHT),
    "GCN2": (Deep(), {}),
    "GCN2, two weights": (Deep(shared_weights=False), {}),
    "Transformer": (Plain(pyg.TransformerConv, heads=2, beta=True), {}),
    "SGC": (pyg.SGConv(6, 3, K=2), {}),
    "RGCN": (Typed(), {"edge_type": TYPES}),
    "RGCN, bases": (Typed(num_bases=2, aggr="add"), {"edge_type": TYPES}),
    "RGCN, blocks": (Typed(num_blocks=2, root_weight=False), {"edge_type": TYPES}),
    "GAT, edges": (Attributed(pyg.GATConv, heads=2, edge_dim=5), ATTRIBUTES),
    "GATv2, edges": (Attributed(pyg.GATv2Conv, heads=2, edge_dim=5, fill_value=0.5), ATTRIBUTES),
    "Transformer, edges": (Attributed(pyg.TransformerConv, heads=2, edge_dim=5), ATTRIBUTES),
}
FANOUTS = [4, 3]


def blocks(module: torch.nn.Module, path: Path, fanouts: Any = FANOUTS, **more: Tensor) -> Bundle:
    inputs = {"x": X, "edge_index": EDGES, **more}
    return export(module.eval(), inputs, path, lowering="blocks", fanouts=fanouts)


@pytest.mark.parametrize("name", MODELS)
def test_seeds_answer_like_the_whole_graph(name: str, tmp_path: Path) -> None:
    module, more = MODELS[name]
    bundle = blocks(module, tmp_path / "b", **more)
    report = check_parity(module, bundle)
    assert report.ok, report.failures
    assert {d.case for d in report.differences} >= {"seeds one by one", "neighbours left out"}
    model = onnx.load_from_string(bundle.read_model())
    onnx.checker.check_model(model, full_check=True)
    kinds = {node.op_type for node in model.graph.node}
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    assert not {kind for kind in kinds if "Scatter" in kind} | kinds & {"Loop", "If", "NonZero"}
    x = next(spec for spec in bundle.manifest.inputs if spec.name == "x")
    assert x.shape == ("batch", 1 + 4 + 4 * 3, 6)
    if name not in ("GAT, edges", "GATv2, edges"):  # which ask which edges are loops
        assert not lint(bundle.path, providers=known_providers()).findings


def test_what_the_manifest_says(tmp_path: Path) -> None:
    manifest = blocks(MODELS["GCN"][0], tmp_path / "b").manifest
    assert (manifest.graph, manifest.lowering, manifest.hops) == ("blocks", "blocks", 2)
    assert manifest.fanouts == FANOUTS
    assert [spec.name for spec in manifest.inputs] == ["x", "edge_count", "in_degree"]
    assert manifest.outputs[0].shape == ("batch", 3)
    summed = manifest.choices["neighbours summed before the linear layer"]
    assert summed == ["convs.1 (GCNConv)", "convs.0 (GCNConv)"]
    assert Manifest.from_json(manifest.to_json()) == manifest
    model = onnx.load(tmp_path / "b" / "model.onnx")
    known = {entry.key: entry.value for entry in model.metadata_props}
    assert known["graphstill.lowering"] == "blocks"
    assert known["graphstill.fanouts"] == "4,3"


def test_no_layer_computes_what_no_seed_needs(tmp_path: Path) -> None:
    model = onnx.load_from_string(blocks(MODELS["GCN"][0], tmp_path / "b").read_model())
    products = [node for node in model.graph.node if node.op_type == "Gemm"]
    assert len(products) == 3  # of two layers for seeds, of one for their neighbours


def test_hubs_stand_for_all_their_edges(tmp_path: Path) -> None:
    """A sum over neighbours that are all alike is exact, however many were left out."""
    module = pyg.GIN(6, 8, 2, 3).eval()
    edges = torch.cat([torch.randint(0, 40, (2, 300)), torch.zeros(2, 50, dtype=torch.int64)], 1)
    edges[1, :50] = 7
    x = torch.randn(1, 6).expand(40, 6).contiguous()
    first = module.convs[0]
    session = Session(blocks(torch.nn.ModuleDict({"c": first})["c"], tmp_path / "b", [3]))
    feeds = session.blocks(edges.numpy(), range(40), x=x.numpy())
    wanted = first(x, edges).detach().numpy()
    np.testing.assert_allclose(session(feeds)["logits"], wanted, rtol=1e-4, atol=1e-4)
    assert feeds["edge_count"].max() > 3


def test_ids_of_an_embedding_lie_in_slots(tmp_path: Path) -> None:
    class Ids(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.conv = torch.nn.Embedding(11, 6), pyg.SAGEConv(6, 3)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.conv(self.table(x), edge_index)

    module = Ids().eval()
    ids = torch.randint(0, 11, (N,))
    bundle = export(module, (ids, EDGES), tmp_path / "b", lowering="blocks", fanouts=[4])
    assert bundle.manifest.inputs[0].below == 11
    assert check_parity(module, bundle).ok


class NodeIds(torch.nn.Module):
    """A row of a table for each node and relation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.RGCNConv(N, 3, 3)

    def forward(self, x: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        return self.conv(torch.arange(x.size(0)), edge_index, edge_type)


class Pooled(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.SAGEConv(6, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(x, edge_index).mean(dim=0, keepdim=True)


class AlongEdges(Pooled):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        return self.conv(torch.zeros_like(x).index_copy(0, target, x[source]), edge_index)


@pytest.mark.parametrize(
    ("module", "more", "settings", "message"),
    [
        (pyg.GCN(6, 8, 2, 3, norm="graph_norm"), {}, {}, r"norms.0 \(GraphNorm\)"),
        (pyg.GCN(6, 8, 2, 3, norm="layer"), {}, {}, r"norms.0 \(LayerNorm\)"),
        (Pooled(), {}, {"fanouts": [4]}, r"\(itself\) \(Pooled\): ReduceMean computes one value"),
        (AlongEdges(), {}, {"fanouts": [4]}, r"\(AlongEdges\): .* of all nodes or edges"),
        (
            NodeIds(),
            {"edge_type": TYPES},
            {"fanouts": [4]},
            r"conv \(RGCNConv\): relational_csr has no form for trees",
        ),
        (MODELS["GCN"][0], {}, {"fanouts": [4]}, "looks along 2 hops: give 2 fanouts"),
        (MODELS["GCN"][0], {}, {"fanouts": [4, 0]}, "positive whole numbers"),
        (MODELS["GCN"][0], {}, {"fanouts": [4000, 4000]}, "at most 1,048,576"),
        (MODELS["GCN"][0], {}, {"fanouts": None}, "go together"),
        (MODELS["GCN"][0], {}, {"graph": "csr"}, "as edge_index"),
    ],
)
def test_what_is_refused(
    module: torch.nn.Module,
    more: dict[str, Tensor],
    settings: dict[str, Any],
    message: str,
    tmp_path: Path,
) -> None:
    inputs = {"x": X, "edge_index": EDGES, **more}
    with pytest.raises(ExportError, match=message):
        export(
            module.eval(),
            inputs,
            tmp_path / "b",
            **{"lowering": "blocks", "fanouts": FANOUTS} | settings,
        )
    assert not (tmp_path / "b").exists()


def test_a_batch_of_one_size(tmp_path: Path) -> None:
    module = MODELS["GAT"][0].eval()
    inputs = {"x": X, "edge_index": EDGES}
    bundle = export(module, inputs, tmp_path / "b", lowering="blocks", fanouts=FANOUTS, batch=8)
    model = onnx.load_from_string(bundle.read_model())
    sizes = [d for v in model.graph.value_info for d in v.type.tensor_type.shape.dim]
    assert all(d.HasField("dim_value") for d in sizes)
    assert check_parity(module, bundle).ok
    session = Session(bundle)
    answers = session.answer(EDGES.numpy(), range(11), x=X.numpy())["logits"]
    free = Session(blocks(module, tmp_path / "free"))
    wanted = free.answer(EDGES.numpy(), range(11), x=X.numpy(), batch=3)["logits"]
    np.testing.assert_allclose(answers, wanted, atol=1e-6)
    with pytest.raises(InputError, match=r"x must have shape \[8, 17, 6\], got \[1, 17, 6\]"):
        session(session.blocks(EDGES.numpy(), [0], x=X.numpy()))


def test_a_whole_graph_is_no_block(tmp_path: Path) -> None:
    session = Session(blocks(MODELS["GCN"][0], tmp_path / "b"))
    with pytest.raises(InputError, match="cut them out of a graph"):
        session(x=X.numpy(), graph=session.prepare(EDGES.numpy(), N))
    with pytest.raises(InputError, match="unknown edge_index"):
        session(x=X.numpy(), edge_index=EDGES.numpy())


def test_a_model_without_a_graph_is_a_block_already(tmp_path: Path) -> None:
    module = pyg.MLP([6, 8, 3]).eval()
    bundle = export(module, (X,), tmp_path / "b", lowering="blocks", fanouts=[])
    assert (bundle.manifest.lowering, bundle.manifest.graph) == ("blocks", "none")
    assert check(module, bundle).ok


def test_a_wrong_weight_fails_the_check(tmp_path: Path) -> None:
    bundle = blocks(MODELS["SAGE max"][0], tmp_path / "b")
    other = pyg.GraphSAGE(6, 8, 2, 3, aggr="max").eval()
    assert not check_parity(other, bundle).ok
