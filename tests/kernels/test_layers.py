"""Our layers against PyG's: the same outputs and gradients from the same state dict."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric import nn as pyg

from cases import GRAPHS, assert_close, graphs, weighted_sum
from graphstill import kernels
from graphstill.kernels import CSRGraph, RelationalGraph

Make = Callable[[Any], torch.nn.Module]


def mlp() -> torch.nn.Module:
    """The network inside GIN."""
    return torch.nn.Sequential(torch.nn.Linear(12, 7), torch.nn.ReLU(), torch.nn.Linear(7, 5))


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
    "GATv2": lambda m: m.GATv2Conv(12, 4, heads=3),
    "GATv2 averaged, shared": lambda m: m.GATv2Conv(
        12, 4, heads=3, concat=False, share_weights=True
    ),
    "GATv2 residual": lambda m: m.GATv2Conv(12, 4, heads=2, residual=True, bias=False),
    "GATv2 without loops": lambda m: m.GATv2Conv(12, 4, negative_slope=0.9, add_self_loops=False),
    "Transformer": lambda m: m.TransformerConv(12, 4, heads=3),
    "Transformer averaged, gated": lambda m: m.TransformerConv(12, 4, 3, concat=False, beta=True),
    "Transformer without root": lambda m: m.TransformerConv(12, 4, root_weight=False, bias=False),
    "GIN": lambda m: m.GINConv(mlp(), eps=0.3),
    "GIN trained": lambda m: m.GINConv(mlp(), train_eps=True),
    "SAGE max": lambda m: m.SAGEConv(12, 5, aggr="max"),
    "SAGE min": lambda m: m.SAGEConv(5, 12, aggr="min"),
    "SG narrowing": lambda m: m.SGConv(12, 5, K=3),
    "SG widening": lambda m: m.SGConv(5, 12, K=2, add_self_loops=False),
    "Graph narrowing": lambda m: m.GraphConv(12, 5),
    "Graph widening, mean": lambda m: m.GraphConv(5, 12, aggr="mean", bias=False),
    "Graph max": lambda m: m.GraphConv(12, 5, aggr="max"),
    "GCN2": lambda m: m.GCN2Conv(12, 0.1, 0.5, 3),
    "GCN2 two weights": lambda m: m.GCN2Conv(12, 0.2, 0.5, 1, shared_weights=False),
    "GCN2 without norm": lambda m: m.GCN2Conv(12, 0.2, normalize=False, add_self_loops=False),
}
WEIGHTED = [name for name in LAYERS if name.startswith(("GCN", "Graph"))]


def width_of(layer: torch.nn.Module) -> int:
    return getattr(layer, "in_channels", None) or getattr(layer, "channels", 12)


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
    weighted_sum(out).backward()
    unused = getattr(layer, "root_weight", True) is False  # PyG keeps lin_skip even then
    gradients = [p.grad for n, p in layer.named_parameters() if not (unused and "lin_skip" in n)]
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


def test_bipartite_layers() -> None:
    edge_index = torch.stack([torch.randint(0, 9, (30,)), torch.randint(0, 4, (30,))])
    x = (torch.randn(9, 6), torch.randn(4, 3))
    for theirs, ours in (
        (pyg.SAGEConv((6, 3), 5), kernels.SAGEConv((6, 3), 5)),
        (
            pyg.GATConv((6, 3), 5, heads=2, add_self_loops=False),
            kernels.GATConv((6, 3), 5, heads=2, add_self_loops=False),
        ),
        (
            pyg.GATv2Conv((6, 3), 5, heads=2, add_self_loops=False),
            kernels.GATv2Conv((6, 3), 5, heads=2, add_self_loops=False),
        ),
        (
            pyg.TransformerConv((6, 3), 5, heads=2, beta=True),
            kernels.TransformerConv((6, 3), 5, heads=2, beta=True),
        ),
        (
            pyg.SAGEConv((6, 3), 5, aggr="max", project=True),
            kernels.SAGEConv((6, 3), 5, aggr="max", project=True),
        ),
    ):
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))
        size = CSRGraph.from_edge_index(edge_index, size=(9, 4))
        torch.testing.assert_close(ours(x, size), theirs(x, edge_index))


def test_bipartite_gin() -> None:
    edge_index = torch.stack([torch.randint(0, 9, (30,)), torch.randint(0, 4, (30,))])
    theirs, ours = pyg.GINConv(mlp(), eps=0.5), kernels.GINConv(mlp(), eps=0.5)
    ours.load_state_dict(theirs.state_dict())
    source, target = torch.randn(9, 12), torch.randn(4, 12)
    torch.testing.assert_close(
        ours((source, target), edge_index), theirs((source, target), edge_index)
    )
    torch.testing.assert_close(
        ours((source, None), edge_index, size=(9, 4)),
        theirs((source, None), edge_index, size=(9, 4)),
    )


WITH_EDGES: dict[str, Make] = {
    "GAT": lambda m: m.GATConv(12, 4, heads=3, edge_dim=6),
    "GAT filled": lambda m: m.GATConv(12, 4, edge_dim=6, fill_value=0.5, concat=False),
    "GAT without loops": lambda m: m.GATConv(12, 4, heads=2, edge_dim=6, add_self_loops=False),
    "GATv2": lambda m: m.GATv2Conv(12, 4, heads=3, edge_dim=6),
    "GATv2 filled": lambda m: m.GATv2Conv(12, 4, edge_dim=6, fill_value=torch.arange(6.0).double()),
    "GATv2 without loops": lambda m: m.GATv2Conv(12, 4, 2, edge_dim=6, add_self_loops=False),
    "Transformer": lambda m: m.TransformerConv(12, 4, heads=3, edge_dim=6),
    "Transformer averaged": lambda m: m.TransformerConv(12, 4, 3, concat=False, edge_dim=6),
}


@pytest.mark.parametrize("graph", [n for n, (edges, _) in GRAPHS.items() if edges.shape[1]])
@pytest.mark.parametrize("name", WITH_EDGES)
def test_features_of_edges(name: str, graph: str) -> None:
    theirs, ours = WITH_EDGES[name](pyg).double(), WITH_EDGES[name](kernels).double()
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    edge_index, num_nodes = GRAPHS[graph]
    edge_attr = torch.randn(edge_index.shape[1], 6, dtype=torch.float64)
    outputs = []
    for layer, edges in ((theirs, edge_index), (ours, CSRGraph.from_edge_index(*GRAPHS[graph]))):
        leaf = edge_attr.clone().requires_grad_()
        outputs.append([*run(layer, (edges, num_nodes), leaf), leaf.grad])
    for got, wanted in zip(outputs[1], outputs[0], strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in LAYERS if n.startswith(("GAT", "Transformer"))])
def test_attention_is_returned_as_pyg_returns_it(name: str) -> None:
    theirs, ours = pair(name)
    edge_index, num_nodes = GRAPHS["duplicates and self loops"]
    x = torch.randn(num_nodes, 12, dtype=torch.float64)
    out, (edges, alpha) = ours(x, edge_index, return_attention_weights=True)
    wanted, (pyg_edges, pyg_alpha) = theirs(x, edge_index, return_attention_weights=True)
    assert torch.equal(edges, pyg_edges)
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(alpha, pyg_alpha)


def test_features_of_edges_that_do_not_fit_are_refused() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    x, one = torch.randn(num_nodes, 12), torch.randn(edge_index.shape[1], 1)
    with pytest.raises(ValueError, match="edge_attr must be"):
        kernels.GATConv(12, 4, edge_dim=6)(x, edge_index, one)
    with pytest.raises(ValueError, match="without edge_dim"):
        kernels.GATv2Conv(12, 4)(x, edge_index, one)
    with pytest.raises(ValueError, match="edge_attr must be given"):
        kernels.TransformerConv(12, 4, edge_dim=6)(x, edge_index)
    flat = kernels.GATv2Conv(12, 4, edge_dim=1)
    torch.testing.assert_close(flat(x, edge_index, one), flat(x, edge_index, one.squeeze(1)))


RELATIONAL: dict[str, Callable[[Any], torch.nn.Module]] = {
    "mean": lambda m: m.RGCNConv(6, 4, 5),
    "sum": lambda m: m.RGCNConv(6, 4, 5, aggr="add", root_weight=False),
    "bases": lambda m: m.RGCNConv(6, 4, 5, num_bases=2, bias=False),
    "blocks": lambda m: m.RGCNConv(6, 4, 5, num_blocks=2),
}


@pytest.mark.parametrize("graph", [name for name, (_, nodes) in GRAPHS.items() if nodes])
@pytest.mark.parametrize(
    ("name", "ids"),
    [(n, ids) for n in RELATIONAL for ids in (False, True) if n != "blocks" or not ids],
)
def test_relational_layers_are_pygs(name: str, ids: bool, graph: str) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    edge_type = torch.randint(0, 4, (edge_index.shape[1],))
    theirs, ours = RELATIONAL[name](pyg).double(), RELATIONAL[name](kernels).double()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randint(0, 6, (num_nodes,)) if ids else torch.randn(num_nodes, 6).double()
    plan = RelationalGraph.from_edge_index(edge_index, edge_type, 5, num_nodes)
    outputs = []
    for layer, edges in (
        (theirs, (edge_index, edge_type)),
        (ours, (edge_index, edge_type)),
        (ours, (plan,)),
    ):
        layer.zero_grad()
        out = layer(x, *edges)
        weighted_sum(out).backward()
        outputs.append(
            [
                out.detach(),
                *(
                    torch.zeros_like(p) if p.grad is None else p.grad.clone()
                    for p in layer.parameters()
                ),
            ]
        )
    for got in outputs[1:]:
        for mine, value in zip(got, outputs[0], strict=True):
            torch.testing.assert_close(mine, value, rtol=1e-9, atol=1e-9)


def test_relational_layer_without_features() -> None:
    edge_index, _ = GRAPHS["usual"]
    edge_type = torch.randint(0, 3, (edge_index.shape[1],))
    theirs, ours = pyg.FastRGCNConv(23, 4, 3), kernels.RGCNConv(23, 4, 3)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(
        ours(None, edge_index, edge_type), theirs(None, edge_index, edge_type)
    )


@pytest.mark.filterwarnings("ignore")  # PyG's own, about sparse tensors
def test_sign_propagates_like_pygs_transform() -> None:
    from torch_geometric.data import Data
    from torch_geometric.transforms import SIGN

    edge_index, num_nodes = GRAPHS["usual"]
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    data = SIGN(3)(Data(x=torch.randn(num_nodes, 4), edge_index=edge_index))
    hops = kernels.sign(data.x, edge_index, 3)
    for got, wanted in zip(hops, (data.x, data.x1, data.x2, data.x3), strict=True):
        torch.testing.assert_close(got, wanted)


WITH_DROPOUT: dict[str, Make] = {
    "GAT": lambda m: m.GATConv(6, 4, heads=2, dropout=0.4),
    "GATv2": lambda m: m.GATv2Conv(6, 4, heads=2, dropout=0.4),
    "Transformer": lambda m: m.TransformerConv(6, 4, heads=2, dropout=0.4),
}


@pytest.mark.parametrize("name", WITH_DROPOUT)
def test_attention_with_dropout_is_right_on_average(name: str) -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    layer, copies = WITH_DROPOUT[name](kernels), 3000
    x = torch.randn(num_nodes, 6)
    exact = layer.eval()(x, edge_index)
    apart = num_nodes * torch.arange(copies).repeat_interleave(edge_index.shape[1])
    many = layer.train()(x.repeat(copies, 1), edge_index.repeat(1, copies) + apart).detach()
    mean = many.view(copies, *exact.shape).mean(dim=0)
    torch.testing.assert_close(mean, exact, rtol=0.0, atol=0.06)


@pytest.mark.parametrize("name", WITH_DROPOUT)
def test_attention_with_dropout_trains(name: str) -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    layer = WITH_DROPOUT[name](kernels)
    layer(torch.randn(num_nodes, 6), edge_index).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in layer.parameters())


class Heterogeneous(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.HeteroConv(
            {
                ("author", "writes", "paper"): pyg.SAGEConv((3, 5), 4),
                ("paper", "cites", "paper"): pyg.GATv2Conv(5, 4),
                ("paper", "of", "author"): pyg.GATConv((5, 3), 4, add_self_loops=False),
            }
        )

    def forward(self, x: dict[str, Any], edges: dict[Any, Any]) -> dict[str, torch.Tensor]:
        return self.conv(x, edges)


def heterogeneous_inputs() -> tuple[dict[str, Any], dict[Any, Any]]:
    x = {"author": torch.randn(6, 3), "paper": torch.randn(9, 5)}
    sizes = {"author": 6, "paper": 9}
    kinds = [("author", "writes", "paper"), ("paper", "cites", "paper"), ("paper", "of", "author")]
    edges = {
        kind: torch.stack(
            [torch.randint(0, sizes[kind[0]], (20,)), torch.randint(0, sizes[kind[2]], (20,))]
        )
        for kind in kinds
    }
    return x, edges


def test_accelerate_swaps_inside_hetero_conv() -> None:
    module, (x, edges) = Heterogeneous(), heterogeneous_inputs()
    wanted = module(x, edges)
    report = kernels.accelerate(module)
    assert sorted(report.swapped.values()) == ["GATConv", "GATv2Conv", "SAGEConv"]
    assert not report.kept
    for kind, value in module(x, edges).items():
        torch.testing.assert_close(value, wanted[kind])


def test_accelerate_swaps_inside_to_hetero() -> None:
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = pyg.SAGEConv((-1, -1), 8)
            self.conv2 = pyg.GATv2Conv((-1, -1), 4, add_self_loops=False)

        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            return self.conv2(self.conv1(x, edge_index).relu(), edge_index)

    x, edges = heterogeneous_inputs()
    module = pyg.to_hetero(Plain(), (list(x), list(edges)))
    wanted = module(x, edges)
    report = kernels.accelerate(module)
    assert len(report.swapped) == 6
    assert not report.kept
    for kind, value in module(x, edges).items():
        torch.testing.assert_close(value, wanted[kind])


class Nested(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = pyg.GCNConv(4, 8)
        self.again = self.first
        self.inner = torch.nn.ModuleDict(
            {"a": pyg.Sequential("x, e", [(pyg.SAGEConv(8, 8), "x, e -> x")])}
        )
        self.edge = pyg.GATConv(8, 8, edge_dim=3)
        self.filled = pyg.GATConv(8, 8, edge_dim=3, fill_value="max")
        self.other = pyg.ChebConv(8, 8, 2)
        self.median = pyg.SAGEConv(8, 8, aggr="median")
        self.shared = pyg.GATv2Conv(8, 8, share_weights=True)
        self.eps = pyg.GINConv(torch.nn.Linear(8, 8), eps=0.25)
        self.lazy = pyg.GCNConv(-1, 8)
        self.backwards = pyg.GCNConv(8, 8, flow="target_to_source")


def test_accelerate_says_what_it_swapped_and_what_not() -> None:
    module = Nested()
    report = kernels.accelerate(module)
    swapped = {"first", "again", "inner.a.module_0", "edge", "shared", "eps"}
    assert set(report.swapped) == swapped
    assert module.first is module.again
    assert isinstance(module.first, kernels.GCNConv)
    assert set(report.kept) == {
        "filled",
        "other",
        "median",
        "lazy",
        "backwards",
    }
    assert "fill_value='max'" in report.kept["filled"]
    assert module.shared.lin_l is module.shared.lin_r
    assert float(module.eps.eps) == 0.25
    assert "ChebConv" in report.kept["other"]
    assert "aggr='median'" in report.kept["median"]
    assert "lazy" in report.kept["lazy"]
    assert "flow" in report.kept["backwards"]
    assert "kept    filled: GATConv" in str(report)


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


def test_hgt_is_pygs() -> None:
    x, edges = heterogeneous_inputs()
    edges = {**edges, ("paper", "by", "author"): torch.zeros(2, 0, dtype=torch.long)}
    widths, metadata = {"author": 3, "paper": 8}, (["author", "paper"], list(edges))
    x = {"author": x["author"], "paper": torch.randn(9, 8)}
    layers = [m.HGTConv(widths, 8, metadata, heads=2) for m in (pyg, kernels)]
    for parameter in layers[0].parameters():
        torch.nn.init.normal_(parameter)
    layers[1].load_state_dict(layers[0].state_dict())
    graphs: list[Any] = [edges, edges]
    graphs.append(
        {
            k: CSRGraph.from_edge_index(e, size=(len(x[k[0]]), len(x[k[2]])))
            for k, e in edges.items()
        }
    )
    for dtype in (torch.float64, torch.float32):
        results = []
        for layer, graph in zip([*layers, layers[1]], graphs, strict=True):
            layer.to(dtype).zero_grad()
            leaves = {kind: h.to(dtype).requires_grad_() for kind, h in x.items()}
            out = layer(leaves, graph)
            torch.stack([weighted_sum(h) for h in out.values()]).sum().backward()
            found = {kind: h.detach() for kind, h in out.items()}
            found |= {f"d {kind}": h.grad for kind, h in leaves.items()}
            grads = {name: p.grad for name, p in layer.named_parameters()}
            results.append(found | {n: g.clone() for n, g in grads.items() if g is not None})
        for got in results[1:]:
            assert got.keys() == results[0].keys()
            for name, wanted in results[0].items():
                assert_close(got[name], wanted, dtype)


def test_hgt_is_swapped_with_its_parameters() -> None:
    x, edges = heterogeneous_inputs()
    module = torch.nn.ModuleDict(
        {"conv": pyg.HGTConv({"author": 3, "paper": 5}, 4, (list(x), list(edges)))}
    )
    wanted, parameters = module["conv"](x, edges), dict(module.named_parameters())
    assert kernels.accelerate(module).swapped == {"conv": "HGTConv"}
    assert all(parameters[name] is p for name, p in module.named_parameters())
    for kind, value in module["conv"](x, edges).items():
        torch.testing.assert_close(value, wanted[kind])
    lazy = torch.nn.ModuleDict({"conv": pyg.HGTConv(-1, 4, (list(x), list(edges)))})
    assert "lazy" in kernels.accelerate(lazy).kept["conv"]
