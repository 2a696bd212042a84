"""The torch operators against their definitions, forward and backward."""

import pytest
import torch
from torch import Tensor

from cases import (
    GRAPHS,
    OPTIONS,
    Options,
    assert_close,
    graphs,
    spmm_inputs,
    torch_options,
    weighted_sum,
    widths,
)
from graphstill.kernels import CSRGraph, functional, ops, reference

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def csr_of(name: str) -> tuple[Tensor, Tensor, int]:
    edge_index, num_nodes = GRAPHS[name]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    return rowptr, col, num_nodes


@graphs
def test_csr_sorts_by_destination_and_keeps_order(graph: str) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    rowptr, col, perm = torch.ops.graphstill.csr(edge_index, num_nodes, num_nodes)
    assert rowptr[0] == 0
    assert rowptr[-1] == edge_index.shape[1]
    for node in range(num_nodes):
        into = (edge_index[1] == node).nonzero().squeeze(1)
        assert perm[rowptr[node] : rowptr[node + 1]].tolist() == into.tolist()
        assert col[rowptr[node] : rowptr[node + 1]].tolist() == edge_index[0, into].tolist()


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([[0, 9], [0, 1]], "edge 1 names source 9"),
        ([[0, 1], [0, -1]], "edge 1 names destination -1"),
        ([[-3, 0], [0, 0]], "edge 0 names source -3"),
    ],
)
def test_an_id_out_of_range_names_its_edge(edges: list[list[int]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CSRGraph.from_edge_index(torch.tensor(edges), 3)


@graphs
@torch_options
@pytest.mark.usefixtures("poisoned")
def test_spmm_forward(graph: str, options: Options) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    inputs = spmm_inputs(options, num_nodes, col.numel(), 33)
    wanted = reference.spmm(rowptr, col, **inputs, **options.choices)
    for dtype in FLOATS:
        narrow = {name: value.to(dtype) for name, value in inputs.items()}
        got = torch.ops.graphstill.spmm(rowptr, col, **narrow, **options.choices)
        assert got.dtype == dtype
        assert_close(got, wanted, dtype)


@widths
def test_spmm_at_every_width(width: int) -> None:
    rowptr, col, num_nodes = csr_of("a hub")
    inputs = spmm_inputs(OPTIONS[5], num_nodes, col.numel(), width)
    wanted = reference.spmm(rowptr, col, **inputs)
    got = torch.ops.graphstill.spmm(rowptr, col, **{n: v.float() for n, v in inputs.items()})
    assert_close(got, wanted)


@graphs
@torch_options
def test_spmm_gradients_are_the_definitions(graph: str, options: Options) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    inputs = spmm_inputs(options, num_nodes, col.numel(), 5)
    trained = [name for name in ("x", "weight", "bias", "residual") if name in inputs]
    gradients = []
    for operator in (reference.spmm, torch.ops.graphstill.spmm):
        leaves = {n: v.clone().requires_grad_(n in trained) for n, v in inputs.items()}
        out = operator(rowptr, col, **leaves, **options.choices)
        weighted_sum(out).backward()
        gradients.append([leaves[name].grad for name in trained])
    for got, wanted in zip(gradients[1], gradients[0], strict=True):
        assert_close(got, wanted, torch.float64)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_spmm_gradcheck_and_gradgradcheck(reduce: str) -> None:
    rowptr, col, num_nodes = csr_of("duplicates and self loops")
    inputs = spmm_inputs(Options(weight=True), num_nodes, col.numel(), 3)
    leaves = [value.requires_grad_() for value in inputs.values()]

    def operator(x: Tensor, weight: Tensor) -> Tensor:
        return torch.ops.graphstill.spmm(rowptr, col, x, weight, reduce=reduce)

    assert torch.autograd.gradcheck(operator, leaves)
    assert torch.autograd.gradgradcheck(operator, leaves)


def test_scales_that_are_trained_get_their_gradients() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    graph = CSRGraph.from_edge_index(edge_index, num_nodes)
    x = torch.randn(num_nodes, 4, dtype=torch.float64)
    scale = torch.rand(num_nodes, dtype=torch.float64, requires_grad=True)
    wanted = torch.autograd.grad(
        reference.spmm(graph.rowptr, graph.col, x, None, scale, scale, scale).sum(), scale
    )
    out = functional.spmm(graph, x, src_scale=scale, dst_scale=scale, self_weight=scale)
    assert_close(torch.autograd.grad(out.sum(), scale)[0], wanted[0], torch.float64)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_broken_row_stays_in_its_neighbourhood(value: float) -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    rowptr, col, _ = csr_of("usual")
    x = torch.randn(num_nodes, 8)
    x[3] = value
    out = torch.ops.graphstill.spmm(rowptr, col, x)
    reached = edge_index[1, edge_index[0] == 3].unique()
    broken = (~out.isfinite()).any(dim=1).nonzero().squeeze(1)
    assert broken.tolist() == reached.tolist()


def test_twenty_runs_give_the_same_bits() -> None:
    rowptr, col, num_nodes = csr_of("a hub")
    x = torch.randn(num_nodes, 64)
    first = torch.ops.graphstill.spmm(rowptr, col, x)
    for _ in range(20):
        assert torch.equal(torch.ops.graphstill.spmm(rowptr, col, x), first)


def test_rows_that_are_not_contiguous_are_read_right() -> None:
    rowptr, col, num_nodes = csr_of("usual")
    wide = torch.randn(24, num_nodes).T[:, 3:20]
    wanted = reference.spmm(rowptr, col, wide.double())
    assert_close(torch.ops.graphstill.spmm(rowptr, col, wide), wanted)


@graphs
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.usefixtures("poisoned")
def test_sddmm(graph: str, heads: int) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    a, b = torch.randn(2, num_nodes, 6, dtype=torch.float64)
    wanted = reference.sddmm(rowptr, col, a, b, heads)
    for dtype in FLOATS:
        got = torch.ops.graphstill.sddmm(rowptr, col, a.to(dtype), b.to(dtype), heads)
        assert got.dtype == dtype
        assert_close(got, wanted, dtype)


@graphs
@pytest.mark.usefixtures("poisoned")
def test_distances_along_edges(graph: str) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    a, b = torch.randn(2, num_nodes, 6, dtype=torch.float64)
    b[: num_nodes // 2] = a[: num_nodes // 2]  # a self loop has no slope
    for dtype in FLOATS:
        results = []
        for operator in (reference.edge_l1, torch.ops.graphstill.edge_l1):
            kind = torch.float64 if operator is reference.edge_l1 else dtype
            leaves = [t.to(dtype).to(kind).clone().requires_grad_() for t in (a, b)]
            out = operator(rowptr, col, *leaves)
            out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype))
            results.append([out.detach(), *(leaf.grad for leaf in leaves)])
        for got, wanted in zip(results[1], results[0], strict=True):
            assert_close(got, wanted, dtype)


def test_distances_have_one_derivative() -> None:
    graph = CSRGraph.from_edge_index(*GRAPHS["usual"])
    a = torch.randn(graph.num_nodes, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(graph.num_nodes, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: functional.edge_l1(graph, a, b), [a, b])
    (slope,) = torch.autograd.grad(functional.edge_l1(graph, a, a).sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        slope.sum().backward()


@graphs
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_weights_per_head(graph: str, reduce: str) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    x = torch.randn(num_nodes, 12, dtype=torch.float64)
    weight = torch.randn(col.numel(), 3, dtype=torch.float64)
    scale = torch.rand(num_nodes, dtype=torch.float64)
    results = []
    for operator in (reference.spmm, torch.ops.graphstill.spmm):
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        out = operator(rowptr, col, *leaves, scale, reduce=reduce)
        weighted_sum(out).backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for got, wanted in zip(results[1], results[0], strict=True):
        assert_close(got, wanted, torch.float64)


@pytest.mark.parametrize("heads", [1, 2])
def test_sddmm_gradcheck_and_gradgradcheck(heads: int) -> None:
    rowptr, col, num_nodes = csr_of("duplicates and self loops")
    a, b = torch.randn(2, num_nodes, 4, dtype=torch.float64).requires_grad_()

    def operator(a: Tensor, b: Tensor) -> Tensor:
        return torch.ops.graphstill.sddmm(rowptr, col, a, b, heads)

    leaves = [t.detach().requires_grad_() for t in (a, b)]
    assert torch.autograd.gradcheck(operator, leaves)
    assert torch.autograd.gradgradcheck(operator, leaves)


@graphs
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_sums_of_integers_are_exact_in_any_order(graph: str, reduce: str) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    x = torch.randint(-128, 128, (num_nodes, 9), dtype=torch.int8)
    scale = torch.rand(9)
    wanted = reference.spmm_int8(rowptr, col, x, scale, reduce)
    got = torch.ops.graphstill.spmm_int8(rowptr, col, x, scale, reduce)
    assert torch.equal(got, wanted)
    turned = col.clone()
    for start, stop in zip(rowptr[:-1].tolist(), rowptr[1:].tolist(), strict=True):
        turned[start:stop] = col[start:stop].flip(0)
    assert torch.equal(torch.ops.graphstill.spmm_int8(rowptr, turned, x, scale, reduce), got)


def test_integers_of_a_row_too_long_for_float32_are_still_exact() -> None:
    num_edges = 2**17 + 5
    rowptr, col = torch.tensor([0, num_edges]), torch.zeros(num_edges, dtype=torch.int32)
    x, scale = torch.tensor([[-128, 127]], dtype=torch.int8), torch.ones(2, dtype=torch.float64)
    got = torch.ops.graphstill.spmm_int8(rowptr, col, x, scale, "sum")
    assert got.tolist() == [[-128.0 * num_edges, 127.0 * num_edges]]


@graphs
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("add_self_loops", [False, True])
def test_gcn_norm_matches_pyg(graph: str, weighted: bool, add_self_loops: bool) -> None:
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    edge_index, num_nodes = GRAPHS[graph]
    weight = torch.rand(edge_index.shape[1]) if weighted else None
    csr = CSRGraph.from_edge_index(edge_index, num_nodes)
    scale, self_weight = functional.gcn_norm(
        csr, weight, fill_value=2.0, add_self_loops=add_self_loops
    )
    x = torch.randn(num_nodes, 3)
    got = functional.spmm(csr, x, weight, src_scale=scale, dst_scale=scale, self_weight=self_weight)
    edges, value = gcn_norm(
        edge_index, weight, num_nodes, improved=True, add_self_loops=add_self_loops
    )
    wanted = torch.zeros_like(x).index_add(0, edges[1], value.unsqueeze(-1) * x[edges[0]])
    assert_close(got, wanted)


def test_transposing_twice_gives_the_graph_back() -> None:
    rowptr, col, num_nodes = csr_of("usual")
    rowptr_t, row_t, _ = ops.transpose(rowptr, col, num_nodes)
    rowptr_tt, col_tt, _ = ops.transpose(rowptr_t, row_t, num_nodes)
    assert torch.equal(rowptr_tt, rowptr)
    for a, b in zip(rowptr[:-1].tolist(), rowptr[1:].tolist(), strict=True):
        assert sorted(col_tt[a:b].tolist()) == sorted(col[a:b].tolist())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda g: functional.spmm(g, torch.randn(4, 2)), "num_src = 23"),
        (lambda g: functional.spmm(g, torch.randn(23, 2), torch.randn(3)), "one value per edge"),
        (lambda g: functional.spmm(g, torch.randn(23, 2), reduce="median"), "sum, mean, max, min"),
        (lambda g: functional.spmm(g, torch.randn(23, 2), activation="gelu"), "none, relu, elu"),
        (lambda g: functional.spmm(g, torch.randn(23, 2), residual=torch.randn(2)), "residual"),
        (lambda g: functional.sddmm(g, torch.randn(9, 2), torch.randn(23, 2)), "a must be"),
        (lambda g: functional.edge_softmax(g, torch.randn(3, 2)), "score must be"),
        (
            lambda g: functional.gatv2(g, *torch.randn(2, 23, 4), torch.randn(2, 3)),
            r"att must be \[2, 2\]",
        ),
        (
            lambda g: functional.dot_attention(g, *torch.randn(3, 23, 4), heads=3),
            "3 heads cannot share",
        ),
        (
            lambda g: functional.gat(g, torch.randn(23, 5), *torch.randn(2, 23, 2)),
            "2 heads cannot share",
        ),
        (lambda g: functional.gat(g, torch.randn(23, 4), *torch.randn(2, 9, 2)), "alpha_src"),
    ],
)
def test_wrong_shapes_say_what_was_expected(call: object, said: str) -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    graph = CSRGraph.from_edge_index(edge_index, num_nodes)
    with pytest.raises(ValueError, match=said):
        call(graph)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("edge_index", "error"),
    [
        (torch.randn(2, 3), TypeError),
        (torch.zeros(3, 3, dtype=torch.long), ValueError),
        ([[0], [0]], TypeError),
    ],
)
def test_what_is_no_edge_list_is_refused(edge_index: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="edge_index"):
        CSRGraph.from_edge_index(edge_index, 3)  # type: ignore[arg-type]
