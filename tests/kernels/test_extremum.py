"""Maxima and minima over in-neighbours against their definition, forward and backward."""

import pytest
import torch
from torch import Tensor

from cases import GRAPHS, assert_close, graphs, weighted_sum
from graphstill.kernels import CSRGraph, functional, reference

reductions = pytest.mark.parametrize("reduce", ["max", "min"])


def csr_of(name: str) -> tuple[Tensor, Tensor, int]:
    edge_index, num_nodes = GRAPHS[name]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    return rowptr, col, num_nodes


@graphs
@reductions
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.usefixtures("poisoned")
def test_outputs_and_gradients_are_the_definitions(
    graph: str, reduce: str, weighted: bool, ties: bool
) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    inputs = [torch.randn(num_nodes, 9, dtype=torch.float64)]
    inputs += [torch.randn(col.numel(), dtype=torch.float64)] if weighted else []
    inputs = [t.round() if ties else t for t in inputs]
    results = []
    for operator in (reference.extremum, torch.ops.graphstill.extremum):
        leaves = [t.clone().requires_grad_() for t in inputs]
        out = operator(rowptr, col, *leaves, *([] if weighted else [None]), reduce)
        weighted_sum(out).backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for got, wanted in zip(results[1], results[0], strict=True):
        assert_close(got, wanted, torch.float64)


@reductions
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_dtype(reduce: str, weighted: bool, dtype: torch.dtype) -> None:
    rowptr, col, num_nodes = csr_of("a hub")
    x = torch.randn(num_nodes, 33).to(dtype).requires_grad_()
    weight = torch.randn(col.numel()).to(dtype).requires_grad_() if weighted else None
    out = torch.ops.graphstill.extremum(rowptr, col, x, weight, reduce)
    message = x[col] if weight is None else weight.unsqueeze(-1) * x[col]
    wanted = torch.segment_reduce(message.float(), reduce, offsets=rowptr, axis=0)
    assert torch.equal(out.float(), torch.where(wanted.isinf(), 0.0, wanted))
    out.sum().backward()
    assert x.grad is not None
    # every row hands on its whole gradient, one for each feature, to edges without weight
    if weight is None:
        assert float(x.grad.float().sum()) == pytest.approx(
            33 * int((rowptr.diff() > 0).sum()), rel=0.02
        )
    else:
        assert weight.grad is not None
        assert bool((weight.grad != 0).any())


@reductions
def test_gradcheck_and_gradgradcheck(reduce: str) -> None:
    rowptr, col, num_nodes = csr_of("duplicates and self loops")
    x = torch.randn(num_nodes, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(col.numel(), dtype=torch.float64, requires_grad=True)

    def operator(x: Tensor, weight: Tensor) -> Tensor:
        return torch.ops.graphstill.extremum(rowptr, col, x, weight, reduce)

    assert torch.autograd.gradcheck(operator, [x, weight])
    assert torch.autograd.gradgradcheck(operator, [x, weight])


@reductions
def test_nan_propagates_and_goes_nowhere_else(reduce: str) -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    rowptr, col, _ = csr_of("usual")
    x = torch.randn(num_nodes, 8)
    x[3] = torch.nan
    out = torch.ops.graphstill.extremum(rowptr, col, x, None, reduce)
    reached = edge_index[1, edge_index[0] == 3].unique()
    assert out.isnan().all(dim=1).nonzero().squeeze(1).tolist() == reached.tolist()


@reductions
def test_scales_and_bias_come_after(reduce: str) -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    graph = CSRGraph.from_edge_index(edge_index, num_nodes)
    x, residual = torch.randn(2, num_nodes, 4, dtype=torch.float64)
    scale, bias = torch.rand(num_nodes).double(), torch.randn(4).double()
    got = functional.spmm(
        graph, x, dst_scale=scale, bias=bias, residual=residual, reduce=reduce, activation="relu"
    )
    plain = reference.extremum(graph.rowptr, graph.col, x, None, reduce)
    wanted = (scale.unsqueeze(-1) * plain + bias + residual).relu()
    assert_close(got, wanted, torch.float64)


def test_weights_per_head_are_refused() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    graph = CSRGraph.from_edge_index(edge_index, num_nodes)
    with pytest.raises(ValueError, match="per head"):
        functional.spmm(
            graph, torch.randn(num_nodes, 4), torch.rand(edge_index.shape[1], 2), reduce="max"
        )
