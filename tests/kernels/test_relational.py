"""R-GCN's aggregation by pairs against its definition over edges."""

import pytest
import torch
from torch import Tensor

from cases import GRAPHS, assert_close, graphs, weighted_sum
from graphstill.kernels import RelationalGraph, functional, reference

RELATIONS = 5
reductions = pytest.mark.parametrize("reduce", ["mean", "sum"])


def relational(name: str) -> tuple[Tensor, Tensor, int, RelationalGraph]:
    edge_index, num_nodes = GRAPHS[name]
    # one relation has no edges
    edge_type = torch.randint(0, RELATIONS - 1, (edge_index.shape[1],))
    graph = RelationalGraph.from_edge_index(edge_index, edge_type, RELATIONS, num_nodes)
    return edge_index, edge_type, num_nodes, graph


def blocks_of(weight: Tensor) -> Tensor:
    return torch.stack([torch.block_diag(*blocks) for blocks in weight])


@graphs
@reductions
@pytest.mark.parametrize("blocks", [None, 2])
def test_outputs_and_gradients_are_the_definitions(
    graph: str, reduce: str, blocks: int | None
) -> None:
    edge_index, edge_type, num_nodes, plan = relational(graph)
    shape = (RELATIONS, 6, 4) if blocks is None else (RELATIONS, blocks, 3, 2)
    inputs = [torch.randn(num_nodes, 6).double(), torch.randn(shape).double()]
    dense = [t.clone().requires_grad_() for t in inputs]
    weight = dense[1] if blocks is None else blocks_of(dense[1])
    wanted = reference.rgcn(edge_index, edge_type, dense[0], weight, num_nodes, reduce)
    weighted_sum(wanted).backward()
    fast = [t.clone().requires_grad_() for t in inputs]
    got = functional.rgcn(plan, *fast, reduce=reduce)
    weighted_sum(got).backward()
    assert_close(got.detach(), wanted.detach(), torch.float64)
    for mine, theirs in zip(fast, dense, strict=True):
        theirs_grad = torch.zeros_like(theirs) if theirs.grad is None else theirs.grad
        mine_grad = torch.zeros_like(mine) if mine.grad is None else mine.grad
        assert_close(mine_grad, theirs_grad, torch.float64)


@reductions
def test_gradcheck_and_gradgradcheck(reduce: str) -> None:
    _, _, num_nodes, plan = relational("duplicates and self loops")
    x = torch.randn(num_nodes, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(RELATIONS, 3, 2, dtype=torch.float64, requires_grad=True)

    def operator(x: Tensor, weight: Tensor) -> Tensor:
        return functional.rgcn(plan, x, weight, reduce=reduce)

    assert torch.autograd.gradcheck(operator, [x, weight])
    assert torch.autograd.gradgradcheck(operator, [x, weight])


@graphs
@reductions
@pytest.mark.parametrize("bases", [None, 3])
def test_tables_are_features_that_are_one_hot(graph: str, reduce: str, bases: int | None) -> None:
    edge_index, edge_type, num_nodes, plan = relational(graph)
    inputs = [torch.randn(bases or RELATIONS, num_nodes, 4).double()]
    inputs += [] if bases is None else [torch.randn(RELATIONS, bases).double()]
    dense = [t.clone().requires_grad_() for t in inputs]
    weight = dense[0] if bases is None else torch.einsum("rb,bio->rio", dense[1], dense[0])
    eye = torch.eye(num_nodes, dtype=torch.float64)
    wanted = reference.rgcn(edge_index, edge_type, eye, weight, num_nodes, reduce)
    weighted_sum(wanted).backward()
    fast = [t.clone().requires_grad_() for t in inputs]
    got = functional.rgcn_embeddings(plan, *fast, reduce=reduce)
    weighted_sum(got).backward()
    assert_close(got.detach(), wanted.detach(), torch.float64)
    for mine, theirs in zip(fast, dense, strict=True):
        mine_grad = torch.zeros_like(mine) if mine.grad is None else mine.grad
        theirs_grad = torch.zeros_like(theirs) if theirs.grad is None else theirs.grad
        assert_close(mine_grad, theirs_grad, torch.float64)


def test_bias_and_residual() -> None:
    _, _, num_nodes, plan = relational("usual")
    x, weight = torch.randn(num_nodes, 3), torch.randn(RELATIONS, 3, 4)
    bias, residual = torch.randn(4), torch.randn(num_nodes, 4)
    got = functional.rgcn(plan, x, weight, bias=bias, residual=residual)
    torch.testing.assert_close(got, functional.rgcn(plan, x, weight) + bias + residual)


def test_pairs_are_counted_once() -> None:
    edge_index = torch.tensor([[0, 1, 1, 2], [2, 2, 2, 0]])
    plan = RelationalGraph.from_edge_index(edge_index, torch.tensor([1, 1, 0, 1]), 3, 3)
    assert plan.sizes == (1, 2, 0)
    assert (plan.num_nodes, plan.num_src, plan.num_relations) == (3, 3, 3)
    assert plan.pairs.num_nodes == 3
    assert sorted(plan.count.tolist()) == [1, 1, 2, 2]
    assert plan.to("cpu").sizes == plan.sizes


@pytest.mark.parametrize(
    ("edge_type", "error", "said"),
    [
        (torch.tensor([0, 3]), ValueError, r"edge 1 has relation 3"),
        (torch.tensor([-1, 0]), ValueError, r"edge 0 has relation -1"),
        (torch.tensor([0]), ValueError, r"edge_type must be \[2\]"),
        (torch.tensor([0.0, 1.0]), TypeError, "must hold integers"),
    ],
)
def test_wrong_relations_are_refused(edge_type: Tensor, error: type[Exception], said: str) -> None:
    edge_index = torch.zeros(2, 2, dtype=torch.long)
    with pytest.raises(error, match=said):
        RelationalGraph.from_edge_index(edge_index, edge_type, 3, 1)
