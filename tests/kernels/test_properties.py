"""What must hold on any graph: hypothesis looks for one where it does not."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from cases import assert_close
from graphstill.kernels import CSRGraph, functional

DTYPES = (torch.float32, torch.float64)  # C++ and torch's own forms
Graph = tuple[Tensor, int, int]
anything = settings(max_examples=60, deadline=None)


@st.composite
def bipartite(draw: st.DrawFn) -> Graph:
    """Edges, sources and destinations; few nodes, so that hubs and duplicates are usual."""
    sources, targets = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    ends = st.tuples(st.integers(0, sources - 1), st.integers(0, targets - 1))
    edges = draw(st.lists(ends, max_size=80))
    return torch.tensor(edges, dtype=torch.int64).view(-1, 2).t(), sources, targets


def plan(graph: Graph) -> CSRGraph:
    edge_index, sources, targets = graph
    return CSRGraph.from_edge_index(edge_index, size=(sources, targets))


widths = st.integers(1, 40)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
reductions = pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])


@dtypes
@reductions
@anything
@given(graph=bipartite(), width=widths, data=st.randoms(use_true_random=False))
def test_the_order_of_edges_does_not_matter(
    dtype: torch.dtype, reduce: str, graph: Graph, width: int, data: object
) -> None:
    edge_index, sources, targets = graph
    order = list(range(edge_index.shape[1]))
    data.shuffle(order)  # type: ignore[attr-defined]
    x = torch.randn(sources, width, dtype=dtype)
    weight = torch.rand(edge_index.shape[1], dtype=dtype)
    wanted = functional.spmm(plan(graph), x, weight, reduce=reduce)
    shuffled = plan((edge_index[:, order], sources, targets))
    got = functional.spmm(shuffled, x, weight[order], reduce=reduce)
    assert_close(got, wanted, dtype)


@dtypes
@anything
@given(graph=bipartite(), width=widths)
def test_the_gradient_is_the_adjoint(dtype: torch.dtype, graph: Graph, width: int) -> None:
    edge_index, sources, targets = graph
    x = torch.randn(sources, width, dtype=dtype, requires_grad=True)
    y, weight = torch.randn(targets, width, dtype=dtype), torch.rand(edge_index.shape[1])
    out = functional.spmm(plan(graph), x, weight.to(dtype))
    (dx,) = torch.autograd.grad(out, x, y)
    assert_close((out * y).sum(), (x * dx).sum().detach().double(), dtype)


@dtypes
@anything
@given(graph=bipartite(), heads=st.integers(1, 5), channels=st.integers(1, 20))
def test_attention_to_equal_values_is_that_value(
    dtype: torch.dtype, graph: Graph, heads: int, channels: int
) -> None:
    csr, (_, sources, targets) = plan(graph), graph
    width, reached = heads * channels, (csr.rowptr.diff() > 0).to(dtype).unsqueeze(-1)
    value = torch.randn(1, width, dtype=dtype)
    values, query = value.expand(sources, -1), torch.randn(targets, width, dtype=dtype)
    scores = [torch.randn(count, heads, dtype=dtype) for count in (sources, targets)]
    key, att = torch.randn(sources, width, dtype=dtype), torch.randn(heads, channels, dtype=dtype)
    for out in (
        functional.gat(csr, values, *scores),
        functional.gatv2(csr, values, query, att),
        functional.dot_attention(csr, query, key, values, heads=heads),
    ):
        assert_close(out, (reached * value).double(), dtype)


@dtypes
@anything
@given(graph=bipartite(), width=widths)
def test_an_extremum_is_an_element_and_bounds_all_others(
    dtype: torch.dtype, graph: Graph, width: int
) -> None:
    edge_index, sources, _ = graph
    csr, x = plan(graph), torch.randn(sources, width, dtype=dtype)
    high, low = (functional.spmm(csr, x, reduce=reduce) for reduce in ("max", "min"))
    messages = x[edge_index[0]]
    assert bool((messages <= high[edge_index[1]]).all())
    assert bool((messages >= low[edge_index[1]]).all())
    for row in range(csr.num_nodes):
        mine = x[csr.col[csr.rowptr[row] : csr.rowptr[row + 1]]]
        assert all(bool((mine[:, f] == high[row, f]).any()) for f in range(width)) or not len(mine)
