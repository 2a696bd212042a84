"""Indices beyond 2³¹ elements, repeatability, and memory that does not grow with edges."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import GRAPHS
from graphstill.kernels import CSRGraph, functional, reference

WIDTH = 32
MANY = 2**31 // WIDTH + 1  # rows, of which the last begins at element 2³¹

Call = Callable[[Tensor, Tensor, Tensor], Tensor]
graphstill = torch.ops.graphstill


def lazily_zero(*shape: int) -> Tensor:
    """Return zeros whose memory is only there where it is touched."""
    return torch.from_numpy(np.zeros(shape, np.float32))


CALLS: dict[str, Call] = {
    "spmm": lambda r, c, x: graphstill.spmm(r, c, x),
    "spmm weighted": lambda r, c, x: graphstill.spmm(r, c, x, torch.ones(2)),
    "extremum": lambda r, c, x: graphstill.extremum(r, c, x, None, "max"),
    "sddmm": lambda r, c, x: graphstill.sddmm(r, c, torch.ones(1, WIDTH), x, 1),
    "gat": lambda r, c, x: graphstill.gat(
        r, c, x, lazily_zero(MANY, 1), torch.ones(1, 1), None, 0.2, False
    )[0],
    "gatv2": lambda r, c, x: graphstill.gatv2(
        r, c, x, torch.ones(1, WIDTH), torch.ones(1, WIDTH), None, 0.2, False
    )[0],
    "dot_attention": lambda r, c, x: graphstill.dot_attention(r, c, torch.ones(1, WIDTH), x, x, 1)[
        0
    ],
}


@pytest.fixture(params=["cpu", "triton"])
def home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "triton":
        gpu = pytest.importorskip("graphstill.kernels.gpu", reason="needs triton")
        for module in ("spmm", "extremum", "attention", "gatv2"):
            monkeypatch.setattr(f"graphstill.kernels.ops.{module}.implementation", lambda x: gpu)
    return request.param


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter needs tensors on the CPU")
def test_rows_beyond_two_to_the_31_are_found(name: str, home: str) -> None:
    x = lazily_zero(MANY, WIDTH)
    x[-1], x[3] = torch.randn(WIDTH), torch.randn(WIDTH)
    rowptr, far = torch.tensor([0, 2]), torch.tensor([3, MANY - 1], dtype=torch.int32)
    got = CALLS[name](rowptr, far, x)
    # the same two rows side by side
    near = CALLS[name] if name != "gat" else _gat_of_two
    wanted = near(rowptr, torch.tensor([0, 1], dtype=torch.int32), torch.stack([x[3], x[-1]]))
    torch.testing.assert_close(got, wanted)


def _gat_of_two(rowptr: Tensor, col: Tensor, x: Tensor) -> Tensor:
    return graphstill.gat(rowptr, col, x, torch.zeros(2, 1), torch.ones(1, 1), None, 0.2, False)[0]


REPEATED: dict[str, Callable[[CSRGraph, Tensor], Tensor]] = {
    "sum": lambda g, x: functional.spmm(g, x),
    "max": lambda g, x: functional.spmm(g, x, reduce="max"),
    "gat": lambda g, x: functional.gat(g, x, x[:, :2], x[:, 2:4]),
    "gatv2": lambda g, x: functional.gatv2(g, x, x, x[:2, : x.shape[1] // 2]),
    "dot_attention": lambda g, x: functional.dot_attention(g, x, x, x, heads=2),
    "sddmm": lambda g, x: functional.sddmm(g, x, x, heads=2),
}


@pytest.mark.parametrize("name", REPEATED)
def test_twenty_runs_give_the_same_bits_forward_and_backward(name: str) -> None:
    edge_index, num_nodes = GRAPHS["a hub"]
    graph, x = CSRGraph.from_edge_index(edge_index, num_nodes), torch.randn(num_nodes, 8)

    def run() -> tuple[Tensor, Tensor]:
        leaf = x.clone().requires_grad_()
        out = REPEATED[name](graph, leaf)
        out.square().sum().backward()
        assert leaf.grad is not None
        return out.detach(), leaf.grad

    first = run()
    for _ in range(20):
        assert all(torch.equal(a, b) for a, b in zip(run(), first, strict=True))


@pytest.mark.parametrize("name", REPEATED)
def test_threads_do_not_change_the_bits(name: str) -> None:
    # enough that torch shares the work out
    graph = CSRGraph.from_edge_index(torch.randint(0, 5000, (2, 60_000)), 5000)
    x = torch.randn(5000, 64, requires_grad=True)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            out = REPEATED[name](graph, x)
            found.append((out, *torch.autograd.grad(out.square().sum(), x)))
    finally:
        torch.set_num_threads(threads)
    for tensors in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(tensors, found[0], strict=True))


def test_a_source_count_that_int32_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="col is int32"):
        reference.csr(torch.zeros(2, 0, dtype=torch.long), 2**31, 1)
