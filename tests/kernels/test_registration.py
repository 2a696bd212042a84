"""The operators as torch's compiler and exporter see them."""

from collections.abc import Callable

import pytest
import torch

from cases import GRAPHS
from graphstill import kernels
from graphstill.kernels import CSRGraph, GCNConv, reference


def arguments(operator: str) -> tuple[object, ...]:
    edge_index, num_nodes = GRAPHS["usual"]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    x = torch.randn(num_nodes, 6, requires_grad=True)
    scores = torch.randn(2, num_nodes, 2)
    weight = torch.rand(col.numel(), requires_grad=True)
    return {
        "csr": (edge_index, num_nodes, num_nodes),
        "gcn_norm": (rowptr, col, None, None, 1.0, True),
        "spmm": (rowptr, col, x, weight),
        "sddmm": (rowptr, col, x, x, 2),
        "edge_l1": (rowptr, col, x, x.detach().clone().requires_grad_()),
        "spmm_int8": (rowptr, col, x.detach().to(torch.int8), torch.rand(6), "mean"),
        "extremum": (rowptr, col, x, weight, "max"),
        "edge_softmax": (rowptr, weight.detach().unsqueeze(1).requires_grad_()),
        "edge_softmax_own": (rowptr, weight.detach().unsqueeze(1), x.detach()[:, :1]),
        "edge_rows": (rowptr, col),
        "relational_csr": (rowptr, col, torch.randint(0, 3, (col.numel(),)), 3),
        "relation_products": (x.detach(), torch.tensor([20, 3]), torch.randn(2, 6, 4)),
        "gat": (rowptr, col, x, *scores.requires_grad_(), None, 0.2, True),
        "gatv2": (rowptr, col, x, x, torch.randn(2, 3, requires_grad=True), None, 0.2, True),
        "dot_attention": (rowptr, col, x, x, x, 2),
    }[operator]


@pytest.mark.parametrize(
    "operator",
    [
        "csr",
        "dot_attention",
        "edge_l1",
        "edge_rows",
        "edge_softmax",
        "edge_softmax_own",
        "extremum",
        "gat",
        "gatv2",
        "gcn_norm",
        "relation_products",
        "relational_csr",
        "sddmm",
        "spmm",
        "spmm_int8",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_opcheck(operator: str) -> None:
    torch.library.opcheck(getattr(torch.ops.graphstill, operator).default, arguments(operator))


LAYERS: dict[str, Callable[[], torch.nn.Module]] = {
    "GCN": lambda: kernels.GCNConv(8, 4),
    "SAGE": lambda: kernels.SAGEConv(8, 4),
    "SAGE max": lambda: kernels.SAGEConv(8, 4, aggr="max"),
    "GIN": lambda: kernels.GINConv(torch.nn.Linear(8, 4)),
    "Graph": lambda: kernels.GraphConv(8, 4),
    "SG": lambda: kernels.SGConv(8, 4, K=2),
    "GAT": lambda: kernels.GATConv(8, 4, heads=2),
    "GATv2": lambda: kernels.GATv2Conv(8, 4, heads=2),
    "Transformer": lambda: kernels.TransformerConv(8, 4, heads=2),
}


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore")
def test_layers_compile_whole_and_once_for_all_sizes(
    name: str, trained: bool, prepared: bool
) -> None:
    torch._dynamo.reset()
    layer = LAYERS[name]()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True), torch.set_grad_enabled(trained):
        for num_nodes, num_edges in ((30, 100), (41, 177), (57, 300)):
            edges = torch.randint(0, num_nodes, (2, num_edges))
            graph = CSRGraph.from_edge_index(edges, num_nodes) if prepared else edges
            x = torch.randn(num_nodes, 8, requires_grad=trained)
            got, wanted = compiled(x, graph), layer(x, graph)
            torch.testing.assert_close(got, wanted)
            if trained:
                gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in (got, wanted)]
                torch.testing.assert_close(*gradients)


def test_a_layer_exports_with_dynamic_sizes() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    layer = GCNConv(4, 3).eval()
    dims = {"num_nodes": torch.export.Dim("n", min=1), "num_edges": torch.export.Dim("e", min=0)}
    with torch.no_grad():
        program = torch.export.export(
            layer,
            (torch.randn(num_nodes, 4), edge_index),
            dynamic_shapes=({0: dims["num_nodes"]}, {1: dims["num_edges"]}),
        )
    for name in ("a hub", "no edges", "one node"):
        edges, count = GRAPHS[name]
        x = torch.randn(count, 4)
        torch.testing.assert_close(program.module()(x, edges), layer(x, edges))


def test_a_graph_can_be_moved() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    graph = CSRGraph.from_edge_index(edge_index, num_nodes).to("cpu")
    assert (graph.num_nodes, graph.num_edges) == (num_nodes, edge_index.shape[1])
