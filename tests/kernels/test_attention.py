"""Softmax and attention over in-edges against their definitions, forward and backward."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import GRAPHS, assert_close, graphs, weighted_sum
from graphstill.kernels import CSRGraph, functional, reference

HALF = (torch.float16, torch.bfloat16)
shapes = pytest.mark.parametrize(("heads", "channels"), [(1, 5), (4, 8), (3, 16)])
loops = pytest.mark.parametrize("add_self_loops", [False, True])


def csr_of(name: str) -> tuple[Tensor, Tensor, int]:
    edge_index, num_nodes = GRAPHS[name]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    return rowptr, col, num_nodes


def inputs_of(operator: str, num_nodes: int, heads: int, channels: int) -> list[Tensor]:
    """Return the differentiable float64 inputs of an attention operator."""

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    features = heads * channels
    if operator == "gat":
        scores = [random(num_nodes, heads) for _ in range(2)]
        return [random(num_nodes, features), *scores, random(features)]
    if operator == "gatv2":
        both = [random(num_nodes, features) for _ in range(2)]
        return [*both, random(heads, channels), random(features)]
    return [random(num_nodes, features) for _ in range(3)]


def settings_of(operator: str, heads: int, add_self_loops: bool) -> tuple[Any, ...]:
    return (heads,) if operator == "dot_attention" else (0.2, add_self_loops)


def run(
    function: Callable[..., tuple[Tensor, Tensor]],
    graph: tuple[Tensor, Tensor],
    inputs: list[Tensor],
    *settings: Any,
) -> tuple[list[Tensor], Tensor]:
    """Return out and the gradients, and lse."""
    leaves = [t.clone().requires_grad_() for t in inputs]
    out, lse = function(*graph, *leaves, *settings)
    weighted_sum(out).backward()
    gradients = [leaf.grad for leaf in leaves]
    return [out.detach(), *gradients], lse.detach()  # type: ignore[list-item]


@graphs
@loops
@shapes
@pytest.mark.parametrize("operator", ["gat", "gatv2", "dot_attention"])
@pytest.mark.usefixtures("poisoned")
def test_outputs_and_gradients_are_the_definitions(
    operator: str, graph: str, add_self_loops: bool, heads: int, channels: int
) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    inputs = inputs_of(operator, num_nodes, heads, channels)
    settings = settings_of(operator, heads, add_self_loops)
    wanted, wanted_lse = run(getattr(reference, operator), (rowptr, col), inputs, *settings)
    fast = getattr(torch.ops.graphstill, operator)
    got, lse = run(fast, (rowptr, col), inputs, *settings)
    assert_close(lse, wanted_lse, torch.float64)
    for mine, theirs in zip(got, wanted, strict=True):
        assert_close(mine, theirs, torch.float64)
    single, _ = run(fast, (rowptr, col), [t.float() for t in inputs], *settings)
    for mine, theirs in zip(single, wanted, strict=True):
        assert_close(mine, theirs)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("operator", ["gat", "gatv2", "dot_attention"])
def test_half_precision_is_summed_in_single(operator: str, dtype: torch.dtype) -> None:
    rowptr, col, num_nodes = csr_of("a hub")
    inputs = [t.to(dtype) for t in inputs_of(operator, num_nodes, 2, 8)]
    settings = settings_of(operator, 2, False)
    fast = getattr(torch.ops.graphstill, operator)
    got, lse = run(fast, (rowptr, col), inputs, *settings)
    assert lse.dtype == torch.float32
    exact = [t.double() for t in inputs]
    wanted, _ = run(getattr(reference, operator), (rowptr, col), exact, *settings)
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.dtype == dtype
        assert_close(mine, theirs, dtype)


@pytest.mark.parametrize("operator", ["gat", "gatv2", "dot_attention"])
def test_gradcheck_and_gradgradcheck(operator: str) -> None:
    rowptr, col, num_nodes = csr_of("duplicates and self loops")
    inputs = [t.requires_grad_() for t in inputs_of(operator, num_nodes, 2, 2)]
    settings = settings_of(operator, 2, operator != "dot_attention")

    def out(*leaves: Tensor) -> Tensor:
        return getattr(torch.ops.graphstill, operator)(rowptr, col, *leaves, *settings)[0]

    assert torch.autograd.gradcheck(out, inputs)
    assert torch.autograd.gradgradcheck(out, inputs)


def test_edge_softmax_gradcheck_and_gradgradcheck() -> None:
    rowptr, col, _ = csr_of("duplicates and self loops")
    score = torch.randn(col.numel(), 2, dtype=torch.float64, requires_grad=True)

    def operator(score: Tensor) -> Tensor:
        return torch.ops.graphstill.edge_softmax(rowptr, score)

    assert torch.autograd.gradcheck(operator, [score])
    assert torch.autograd.gradgradcheck(operator, [score])


def test_second_derivatives_of_one_tensor_in_three_places() -> None:
    rowptr, col, num_nodes = csr_of("usual")
    found = []
    for attend in (reference.dot_attention, torch.ops.graphstill.dot_attention):
        torch.manual_seed(0)
        x = torch.randn(num_nodes, 4, dtype=torch.float64, requires_grad=True)
        out = attend(rowptr, col, x, x, x, 2)[0]
        (force,) = torch.autograd.grad(weighted_sum(out), x, create_graph=True)
        force.square().sum().backward()
        found += [force.detach(), x.grad]
    assert_close(found[2], found[0], torch.float64)
    assert_close(found[3], found[1], torch.float64)


@pytest.mark.parametrize("operator", ["gat", "gatv2", "dot_attention"])
def test_large_scores_do_not_overflow(operator: str) -> None:
    rowptr, col, num_nodes = csr_of("a hub")
    inputs = [1e3 * t.float() for t in inputs_of(operator, num_nodes, 2, 4)]
    got, _ = run(
        getattr(torch.ops.graphstill, operator),
        (rowptr, col),
        inputs,
        *settings_of(operator, 2, operator != "dot_attention"),
    )
    assert all(bool(t.isfinite().all()) for t in got)


@graphs
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.usefixtures("poisoned")
def test_edge_softmax(graph: str, heads: int) -> None:
    rowptr, col, _ = csr_of(graph)
    score = torch.randn(col.numel(), heads, dtype=torch.float64)
    results = []
    for operator in (reference.edge_softmax, torch.ops.graphstill.edge_softmax):
        leaf = score.clone().requires_grad_()
        out = operator(rowptr, leaf)
        weighted_sum(out).backward()
        results.append((out.detach(), leaf.grad))
    for got, wanted in zip(results[1], results[0], strict=True):
        assert_close(got, wanted, torch.float64)
    total = torch.segment_reduce(results[1][0], "sum", offsets=rowptr, axis=0)
    assert_close(total[rowptr.diff() > 0], torch.ones_like(total[rowptr.diff() > 0]))


def test_edge_softmax_keeps_the_callers_order() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    graph = CSRGraph.from_edge_index(edge_index, num_nodes)
    score = torch.randn(edge_index.shape[1], 2)
    exp = score.exp()
    total = torch.zeros(num_nodes, 2).index_add(0, edge_index[1], exp)
    torch.testing.assert_close(functional.edge_softmax(graph, score), exp / total[edge_index[1]])


def test_sddmm_keeps_the_callers_order() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    graph = CSRGraph.from_edge_index(edge_index, num_nodes)
    a, b = torch.randn(2, num_nodes, 6)
    wanted = (a[edge_index[1]] * b[edge_index[0]]).unflatten(1, (2, 3)).sum(-1)
    torch.testing.assert_close(functional.sddmm(graph, a, b, heads=2), wanted)


@graphs
@loops
@pytest.mark.parametrize("operator", ["gat", "gatv2"])
def test_attention_written_out_is_the_attention_used(
    operator: str, graph: str, add_self_loops: bool
) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    csr = CSRGraph.from_edge_index(edge_index, num_nodes)
    *inputs, _bias = inputs_of(operator, num_nodes, 2, 3)
    x = inputs[0]
    written = getattr(functional, f"{operator}_attention")
    scored = inputs[1:] if operator == "gat" else inputs
    attention, own = written(csr, *scored, add_self_loops=add_self_loops)
    out = functional.spmm_csr(csr, x, attention)
    if own is not None:
        out = out + (own.unsqueeze(-1) * x.unflatten(1, (2, 3))).flatten(1)
    wanted = getattr(functional, operator)(csr, *inputs, add_self_loops=add_self_loops)
    assert_close(out, wanted, torch.float64)


@graphs
def test_dot_attention_written_out_is_the_attention_used(graph: str) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    csr = CSRGraph.from_edge_index(edge_index, num_nodes)
    query, key, value = inputs_of("dot_attention", num_nodes, 2, 3)
    attention = functional.dot_attention_weights(csr, query, key, heads=2)
    out = functional.spmm_csr(csr, value, attention)
    assert_close(out, functional.dot_attention(csr, query, key, value, heads=2), torch.float64)
