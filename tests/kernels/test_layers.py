"""Our layers against PyG's: the same outputs and gradients from the same state dict."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric import nn as pyg

from cases import GRAPHS, graphs
from graphstill import kernels
from graphstill.kernels import CSRGraph

Make = Callable[[Any], torch.nn.Module]

LAYERS: dict[str, Make] = {
    "GCN narrowing": lambda m: m.GCNConv(12, 5),
    "GCN widening": lambda m: m.GCNConv(5, 12),
    "GCN without loops": lambda m: m.GCNConv(12, 5, add_self_loops=False),
    "GCN without norm": lambda m: m.GCNConv(12, 5, normalize=False, bias=False),
    "GCN improved": lambda m: m.GCNConv(12, 5, improved=True),
    "SAGE narrowing": lambda m: m.SAGEConv(12, 5),
    "SAGE widening": lambda m: m.SAGEConv(5, 12),
    "SAGE sum": lambda m: m.SAGEConv(12, 5, aggr="add", bias=False),
    "SAGE project, normalise": lambda m: m.SAGEConv(12, 5, project=True, normalize=True),
    "SAGE without root": lambda m: m.SAGEConv(12, 5, root_weight=False),
    "GAT": lambda m: m.GATConv(12, 4, heads=3),
    "GAT averaged": lambda m: m.GATConv(12, 4, heads=3, concat=False),
    "GAT residual": lambda m: m.GATConv(12, 4, heads=2, residual=True, bias=False),
    "GAT without loops": lambda m: m.GATConv(12, 4, heads=2, add_self_loops=False),
    "GAT steep": lambda m: m.GATConv(12, 4, negative_slope=0.9),
    "GCN2": lambda m: m.GCN2Conv(12, 0.1, 0.5, 3),
    "GCN2 two weights": lambda m: m.GCN2Conv(12, 0.2, 0.5, 1, shared_weights=False),
    "GCN2 without norm": lambda m: m.GCN2Conv(12, 0.2, normalize=False, add_self_loops=False),
}
WEIGHTED = [name for name in LAYERS if name.startswith("GCN")]


def width_of(layer: torch.nn.Module) -> int:
    return getattr(layer, "in_channels", None) or layer.channels  # type: ignore[return-value]


def pair(name: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    theirs, ours = LAYERS[name](pyg).double(), LAYERS[name](kernels).double()
    for parameter in theirs.parameters():  # PyG starts biases at zero, which hides them
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def run(layer: torch.nn.Module, graph: Any, weight: torch.Tensor | None) -> list[torch.Tensor]:
    torch.manual_seed(1)
    num_nodes = graph.num_nodes if isinstance(graph, CSRGraph) else graph[1]
    x = torch.randn(num_nodes, width_of(layer), dtype=torch.float64, requires_grad=True)
    edges = graph if isinstance(graph, CSRGraph) else graph[0]
    inputs = [x, x.detach() + 1] if type(layer).__name__ == "GCN2Conv" else [x]
    extra = [] if weight is None else [weight]
    out = layer(*inputs, edges, *extra)
    (out * torch.linspace(-1, 1, out.numel()).double().view_as(out)).sum().backward()
    gradients = [p.grad for p in layer.parameters()]
    assert all(g is not None for g in gradients)
    return [out.detach(), x.grad, *gradients]  # type: ignore[list-item]


@graphs
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_are_pygs(name: str, graph: str) -> None:
    theirs, ours = pair(name)
    if graph == "no nodes":  # PyG's layers fail there
        assert run(ours, GRAPHS[graph], None)[0].shape[0] == 0
        return
    wanted = run(theirs, GRAPHS[graph], None)
    csr = CSRGraph.from_edge_index(*GRAPHS[graph])
    for form in (GRAPHS[graph], csr):
        ours.zero_grad()
        for got, value in zip(run(ours, form, None), wanted, strict=True):
            torch.testing.assert_close(got, value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", WEIGHTED)
def test_edge_weights(name: str, trained: bool) -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    # one loop of a node at most: with several PyG's gradient counts all, though the last one wins
    keep = edge_index[0] != edge_index[1]
    loops = torch.tensor([[2, 5], [2, 5]])
    graph = (torch.cat([edge_index[:, keep], loops], dim=1), num_nodes)
    theirs, ours = pair(name)
    weight = torch.rand(graph[0].shape[1], dtype=torch.float64)
    results = []
    for layer in (theirs, ours):
        leaf = weight.clone().requires_grad_(trained)
        results.append([*run(layer, graph, leaf), *([leaf.grad] if trained else [])])
    for got, wanted in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_state_dicts_have_the_same_keys_and_shapes(name: str) -> None:
    theirs, ours = LAYERS[name](pyg).state_dict(), LAYERS[name](kernels).state_dict()
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in ours.items()}


@pytest.mark.parametrize("name", LAYERS)
def test_initial_parameters_are_spread_like_pygs(name: str) -> None:
    theirs = [LAYERS[name](pyg).state_dict() for _ in range(60)]
    ours = [LAYERS[name](kernels).state_dict() for _ in range(60)]
    for key in theirs[0]:
        a, b = (torch.stack([d[key] for d in many]) for many in (theirs, ours))
        assert abs(a.abs().max() - b.abs().max()) <= 0.12 * a.abs().max() + 1e-9, key


def test_bipartite_sage_and_gat() -> None:
    edge_index = torch.stack([torch.randint(0, 9, (30,)), torch.randint(0, 4, (30,))])
    x = (torch.randn(9, 6), torch.randn(4, 3))
    for theirs, ours in (
        (pyg.SAGEConv((6, 3), 5), kernels.SAGEConv((6, 3), 5)),
        (
            pyg.GATConv((6, 3), 5, heads=2, add_self_loops=False),
            kernels.GATConv((6, 3), 5, heads=2, add_self_loops=False),
        ),
    ):
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))
        size = CSRGraph.from_edge_index(edge_index, size=(9, 4))
        torch.testing.assert_close(ours(x, size), theirs(x, edge_index))


def test_gat_with_dropout_is_right_on_average() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    layer = kernels.GATConv(6, 4, heads=2, dropout=0.4)
    x = torch.randn(num_nodes, 6)
    exact = layer.eval()(x, edge_index)
    layer.train()
    mean = torch.stack([layer(x, edge_index).detach() for _ in range(3000)]).mean(dim=0)
    torch.testing.assert_close(mean, exact, rtol=0.0, atol=0.06)


def test_gat_with_dropout_trains() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    layer = kernels.GATConv(6, 4, heads=2, dropout=0.4)
    layer(torch.randn(num_nodes, 6), edge_index).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in layer.parameters())


class Nested(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = pyg.GCNConv(4, 8)
        self.again = self.first
        self.inner = torch.nn.ModuleDict(
            {"a": pyg.Sequential("x, e", [(pyg.SAGEConv(8, 8), "x, e -> x")])}
        )
        self.edge = pyg.GATConv(8, 8, edge_dim=3)
        self.other = pyg.TransformerConv(8, 8)
        self.maximum = pyg.SAGEConv(8, 8, aggr="max")
        self.lazy = pyg.GCNConv(-1, 8)
        self.backwards = pyg.GCNConv(8, 8, flow="target_to_source")


def test_accelerate_says_what_it_swapped_and_what_not() -> None:
    module = Nested()
    report = kernels.accelerate(module)
    assert set(report.swapped) == {"first", "again", "inner.a.module_0"}
    assert module.first is module.again
    assert isinstance(module.first, kernels.GCNConv)
    assert set(report.kept) == {
        "edge",
        "other",
        "maximum",
        "lazy",
        "backwards",
    }
    assert "edge_dim=3" in report.kept["edge"]
    assert "TransformerConv" in report.kept["other"]
    assert "aggr='max'" in report.kept["maximum"]
    assert "lazy" in report.kept["lazy"]
    assert "flow" in report.kept["backwards"]
    assert "kept    edge: GATConv" in str(report)


def test_accelerate_keeps_parameters_hooks_and_random_numbers() -> None:
    model = pyg.GCN(4, 8, 2, 3)
    seen = []
    model.convs[0].register_forward_hook(lambda *_: seen.append(1))
    parameters, state = list(model.parameters()), torch.get_rng_state()
    wanted = copy.deepcopy(model)(torch.ones(5, 4), torch.zeros(2, 0, dtype=torch.long))
    kernels.accelerate(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    seen.clear()
    got = model(torch.ones(5, 4), torch.zeros(2, 0, dtype=torch.long))
    torch.testing.assert_close(got, wanted)
    assert seen == [1]


def test_a_subclass_of_a_known_layer_is_kept() -> None:
    class Mine(pyg.GCNConv):
        def message(self, x_j: torch.Tensor, edge_weight: torch.Tensor) -> torch.Tensor:
            return 2 * x_j

    report = kernels.accelerate(torch.nn.ModuleList([Mine(2, 2)]))
    assert not report.swapped
    assert "your own" in report.kept["0"]


def test_a_convolution_alone_cannot_be_swapped_in_place() -> None:
    report = kernels.accelerate(pyg.GCNConv(2, 2))
    assert "itself" in report.kept[""]
