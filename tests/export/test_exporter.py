"""export: any module whose convolutions are known, in both graph forms, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch_geometric import nn as pyg

from graphstill.distill import Architecture, build
from graphstill.export import About, ExportError, check_parity, export, rebuild
from graphstill.serve import Bundle, Session

forms = pytest.mark.parametrize("form", ["edge_index", "csr"])

NETWORKS: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "GCN": ("GCN", {}, 3),
    "GCN, normed and jumping": ("GCN", {"norm": "batch_norm", "jk": "cat", "act": "elu"}, 3),
    "GCN, not normalised": ("GCN", {"normalize": False, "add_self_loops": False}, 3),
    "GCN, without loops": ("GCN", {"add_self_loops": False}, 3),
    "GCN, normed over the graph": ("GCN", {"norm": "GraphNorm"}, None),
    "GraphSAGE": ("GraphSAGE", {"dropout": 0.5}, 3),
    "GraphSAGE, each column normed over the graph": ("GraphSAGE", {"norm": "instance_norm"}, None),
    "GraphSAGE, projecting": ("GraphSAGE", {"project": True, "normalize": True}, 3),
    "GAT": ("GAT", {"heads": 4, "dropout": 0.5}, 3),
    "GAT, averaged": ("GAT", {"heads": 2, "concat": False, "residual": True}, 3),
    "GCNII": ("GCNII", {"shared_weights": False}, 3),
    "MLP": ("MLP", {}, 0),
    "GCN, shared": ("SharedGCN", {"dropout": 0.5}, 3),
    "GCNII, shared": ("SharedGCNII", {"alpha": 0.2}, 3),
}


def network(name: str) -> tuple[torch.nn.Module, Architecture, int | None]:
    kind, arguments, hops = NETWORKS[name]
    architecture = Architecture(
        name=kind,
        in_channels=12,
        hidden_channels=16,
        num_layers=3,
        out_channels=5,
        arguments=arguments,
    )
    return build(architecture, fused=False), architecture, hops


def example(width: int = 12) -> tuple[Tensor, Tensor]:
    return torch.randn(9, width), torch.randint(0, 9, (2, 17))


@forms
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_exported_right(name: str, form: str, tmp_path: Path) -> None:
    module, architecture, hops = network(name)
    inputs = example()[:1] if name == "MLP" else example()
    about = About(architecture=architecture.model_dump())
    bundle = export(module, inputs, tmp_path / "b", graph=form, about=about)
    report = check_parity(module, bundle)
    assert report.native_operators
    assert report.ok, report.failures
    assert bundle.manifest.hops == hops
    assert bool(bundle.manifest.warnings) == ("over the graph" in name)
    assert bundle.manifest.graph == ("none" if name == "MLP" else form)
    assert bundle.manifest.in_degree == (name.startswith(("GCN", "GCNII")) and "not" not in name)
    again = rebuild(Bundle.load(tmp_path / "b"))
    torch.testing.assert_close(again(*inputs), module.eval()(*inputs))


class Custom(torch.nn.Module):
    """A module of somebody's own: weights, several layers on one graph, a skip, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(7, 6)
        self.first = pyg.GCNConv(12, 16)
        self.inner = torch.nn.ModuleDict({"attend": pyg.GATConv(16, 4, heads=2)})
        self.last = pyg.SAGEConv(8 + 12, 3)

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor, kind: Tensor
    ) -> dict[str, Tensor]:
        h = self.first(x, edge_index, edge_weight).relu()
        h = self.inner["attend"](h, edge_index)
        return {"logits": self.last(torch.cat([h, x], 1), edge_index), "kinds": self.embed(kind)}


@forms
def test_a_module_of_ones_own(form: str, tmp_path: Path) -> None:
    module = Custom()
    x, edge_index = example()
    inputs = {
        "x": x,
        "edge_index": edge_index,
        "edge_weight": torch.rand(17),
        "kind": torch.randint(0, 7, (9,)),
    }
    bundle = export(module, inputs, tmp_path / "b", graph=form)
    assert check_parity(module, bundle).ok
    assert [output.name for output in bundle.manifest.outputs] == ["logits", "kinds"]
    assert bundle.manifest.embedding_parameters == 42
    assert bundle.manifest.parameters == sum(p.numel() for p in module.parameters())
    assert bundle.manifest.hops == 3
    model = onnx.load(tmp_path / "b" / "model.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("csr") == (1 if form == "edge_index" else 0)
    assert kinds.count("gcn_norm") == 1
    with pytest.raises(ExportError, match="does not say what network"):
        rebuild(bundle)


@forms
@pytest.mark.parametrize(
    "conv",
    [
        pyg.GINConv(torch.nn.Linear(12, 7), eps=0.4),
        pyg.GINConv(torch.nn.Linear(12, 7), train_eps=True),
        pyg.SGConv(12, 5, K=2),
        pyg.SGConv(12, 20, K=3, add_self_loops=False),
    ],
    ids=["GIN", "GIN trained", "SG narrowing", "SG widening"],
)
def test_layers_that_are_made_of_known_operators(
    conv: torch.nn.Module, form: str, tmp_path: Path
) -> None:
    report = check_parity(conv, export(conv, example(), tmp_path / "b", graph=form))
    assert report.ok, report.failures


def test_degrees_are_counted_as_the_layer_counts_them(tmp_path: Path) -> None:
    conv = pyg.GCNConv(12, 5, improved=True)
    bundle = export(conv, (*example(), torch.rand(17)), tmp_path / "b")
    assert (bundle.manifest.in_degree, bundle.manifest.fill_value) == (True, 2.0)
    report = check_parity(conv, bundle)
    assert report.ok, report.failures


def test_layers_that_count_degrees_differently_see_the_whole_graph(tmp_path: Path) -> None:
    class Mixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = pyg.GCNConv(12, 6), pyg.GCNConv(6, 5, add_self_loops=False)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.b(self.a(x, edge_index), edge_index)

    module = Mixed()
    bundle = export(module, example(), tmp_path / "b")
    assert (bundle.manifest.in_degree, bundle.manifest.hops) == (False, None)
    report = check_parity(module, bundle)
    assert report.ok, report.failures


def test_the_module_itself_is_not_changed(tmp_path: Path) -> None:
    module = network("GCN")[0].train()
    export(module, example(), tmp_path / "b")
    assert module.training
    assert all(type(conv) is pyg.GCNConv for conv in module.convs)


def test_a_convolution_alone(tmp_path: Path) -> None:
    class Alone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = pyg.SAGEConv(12, 4)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.conv(x, edge_index)

    for module in (pyg.SAGEConv(12, 4), Alone()):
        bundle = export(module, {"x": example()[0], "edge_index": example()[1]}, tmp_path / "b")
        assert check_parity(module, bundle).ok


def test_bodies_and_library_are_both_in_use(tmp_path: Path) -> None:
    module, _, _ = network("GAT")
    export(module, example(), tmp_path / "b")
    model = onnx.load(tmp_path / "b" / "model.onnx")
    assert {f.name for f in model.functions} == {"csr", "gat", "gat_mean"}
    for node in model.graph.node:
        if node.domain == "graphstill":
            assert any(
                f.name == node.op_type and f.overload == node.overload for f in model.functions
            )
    # a deliberately wrong body shows which of the two runs
    for function in model.functions:
        if function.name == "gat":
            function.node[-1].CopyFrom(
                onnx.helper.make_node("Neg", list(function.node[-1].input)[:1], ["out"])
            )
    native, portable = (
        _session(model, native=native).run(None, {"x": X, "edge_index": E})[0]
        for native in (True, False)
    )
    wanted = Session(tmp_path / "b")(x=X, edge_index=E)["logits"]
    np.testing.assert_allclose(native, wanted, atol=1e-6)
    assert not np.allclose(portable, wanted, atol=1e-3)


X = np.random.default_rng(0).standard_normal((30, 12)).astype(np.float32)
E = np.random.default_rng(0).integers(0, 30, (2, 90))


def _session(model: onnx.ModelProto, *, native: bool) -> Any:
    import onnxruntime

    from graphstill.serve import native as library

    options = onnxruntime.SessionOptions()
    if native:
        options.register_custom_ops_library(library.library())
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def test_any_onnx_runtime_can_run_the_file(tmp_path: Path) -> None:
    module, _, _ = network("GCN")
    export(module, example(), tmp_path / "b")
    model = onnx.load(tmp_path / "b" / "model.onnx")
    session = _session(model, native=False)
    assert [i.name for i in session.get_inputs()] == ["x", "edge_index"]
    assert [i.name for i in session.get_overridable_initializers()] == ["in_degree"]
    logits = session.run(None, {"x": X, "edge_index": E})[0]
    wanted = module.eval()(torch.from_numpy(X), torch.from_numpy(E)).detach().numpy()
    np.testing.assert_allclose(logits, wanted, atol=1e-5)
    assert {p.key for p in model.metadata_props} >= {"graphstill.lowering", "graphstill.hops"}


class Unknown(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = pyg.GCNConv(12, 4)
        self.b = torch.nn.ModuleList([pyg.ChebConv(4, 4, K=2)])

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.b[0](self.a(x, edge_index), edge_index)


class UsesEdges(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.GCNConv(12, 4)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(x, edge_index) + x[edge_index[0]].sum()


class Racing(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.GCNConv(12, 12)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(x, edge_index).index_add(0, edge_index[1], x[edge_index[0]])


class Odd(torch.nn.Module):
    def forward(self, x: Tensor, edge_index: Tensor) -> int:
        return 3


def bad_exports() -> list[Any]:
    x, edges = example()
    nan = x.clone()
    nan[0, 0] = torch.nan
    gcn = pyg.GCN(12, 4, 2, 3)
    return [
        pytest.param(Unknown(), (x, edges), {}, r"b\.0: ChebConv", id="unknown layer"),
        pytest.param(UsesEdges(), (x, edges), {"graph": "csr"}, "outside its conv", id="edges"),
        pytest.param(Racing(), (x, edges), {}, "scatter_add computes the same", id="racing"),
        pytest.param(Odd(), (x, edges), {}, "must return tensors", id="no tensor"),
        pytest.param(gcn, (x,), {}, "example does not fit GCN", id="missing argument"),
        pytest.param(gcn, {"x": x, "e": edges}, {}, "example does not fit", id="unknown argument"),
        pytest.param(gcn, (nan, edges), {}, "NaN", id="NaN"),
        pytest.param(gcn, (x.double(), edges), {}, "float32, got torch.float64", id="float64"),
        pytest.param(gcn, (x, edges.int()), {}, "int64", id="int32"),
        pytest.param(gcn, (x[:1], edges * 0), {}, "two of num_nodes", id="one node"),
        pytest.param(gcn, (x, edges[:, :1]), {}, "two of num_edges", id="one edge"),
        pytest.param(gcn, (x, edges), {"graph": "coo"}, "edge_index, csr", id="form"),
        pytest.param(gcn, (x, edges), {"lowering": "magic"}, "fused", id="lowering"),
    ]


@pytest.mark.parametrize(("module", "inputs", "settings", "said"), bad_exports())
def test_what_cannot_be_exported_says_why_and_writes_nothing(
    module: torch.nn.Module, inputs: Any, settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=said):
        export(module, inputs, tmp_path / "b", **settings)
    assert not list(tmp_path.iterdir())


def test_scatter_add_in_a_module_is_fine(tmp_path: Path) -> None:
    class Counting(Racing):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            at = edge_index[1].unsqueeze(-1).expand(-1, 12)
            return self.conv(x, edge_index).scatter_add(0, at, x[edge_index[0]])

    module = Counting()
    report = check_parity(module, export(module, example(), tmp_path / "b"))
    assert report.ok, report.failures


def test_parity_fails_for_other_weights(tmp_path: Path) -> None:
    bundle = export(network("GCN")[0], example(), tmp_path / "b")
    report = check_parity(network("GCN")[0], bundle)
    assert not report.ok
    assert any(failure.max_abs_error > 0.01 for failure in report.failures)
    assert report.to_dict()["ok"] is False


def test_parity_reports_a_call_that_fails(tmp_path: Path) -> None:
    class Reshaping(torch.nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.conv, self.size = pyg.SAGEConv(12, 4), size

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            out = self.conv(x, edge_index)
            return out[:, : self.size]

    bundle = export(Reshaping(4), example(), tmp_path / "b")
    report = check_parity(Reshaping(3), bundle)
    assert not report.ok
    assert any("shape" in failure.note for failure in report.failures)


class Picky(torch.nn.Module):
    """Fails on graphs of too few nodes, as norms over the nodes do in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.least = pyg.SAGEConv(12, 4), 2

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        if not torch.compiler.is_exporting() and len(x) < self.least:
            raise ValueError("too few nodes")
        return self.conv(x, edge_index)


def test_graphs_on_which_the_module_itself_fails_are_listed(tmp_path: Path) -> None:
    module = Picky()
    bundle = export(module, example(), tmp_path / "b")
    report = check_parity(module, bundle)
    assert report.ok
    said = "too few nodes"
    assert report.refused == {"one node": said, "one node, one loop": said}
    module.least = 10**6
    with pytest.raises(ValueError, match="too few nodes"):
        check_parity(module, bundle)
