"""The C++ kernels against torch's own forms in float64, at every way of cutting a row up."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import GRAPHS, assert_close, graphs
from graphstill.kernels import CSRGraph, cpu, native, ops, reference
from graphstill.kernels.native import library

# channels: whole vectors, halves, quarters, singles, and the numbers that are compiled for
shapes = pytest.mark.parametrize(
    ("heads", "channels"), [(1, 1), (1, 7), (4, 8), (3, 16), (1, 64), (2, 29), (20, 3), (1, 128)]
)


@pytest.fixture(params=["usual", "a hub", "isolated nodes", "duplicates and self loops"])
def graph(request: pytest.FixtureRequest) -> CSRGraph:
    return CSRGraph.from_edge_index(*GRAPHS[request.param])


def agree(name: str, *arguments: Any) -> None:
    """Compare an operator in float32 with torch's form of it in float64."""
    got = getattr(native, name)(*(_as(a, torch.float32) for a in arguments))
    wanted = getattr(cpu, name)(*(_as(a, torch.float64) for a in arguments))
    got, wanted = ((t,) if isinstance(t, Tensor) else t for t in (got, wanted))
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.dtype == torch.float32
        assert_close(mine, theirs)


def _as(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).float()


@graphs
def test_csr(graph: str) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    for edges in (edge_index, edge_index[:, edge_index[1].argsort(stable=True)]):
        got = native.csr(edges, num_nodes, num_nodes)
        wanted = reference.csr(edges, num_nodes, num_nodes)
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


@graphs
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loops", [False, True])
def test_gcn_norm(graph: str, weighted: bool, loops: bool) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    weight = torch.rand(col.numel()) if weighted else None
    for degrees in (None, torch.empty(0), torch.rand(num_nodes)):
        got = native.gcn_norm(rowptr, col, weight, degrees, 2.0, loops)
        wanted = reference.gcn_norm(rowptr, col, weight, degrees, 2.0, loops)
        for mine, theirs in zip(got, wanted, strict=True):
            assert_close(mine, theirs.double())


def test_csr_of_many_runs() -> None:
    edge_index = torch.randint(0, 300, (2, 600_000))
    got, wanted = native.csr(edge_index, 300, 300), reference.csr(edge_index, 300, 300)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("place", [(0, 3), (1, 3), (1, 5)])
@pytest.mark.parametrize("wrong", [-1, 4, 2**40])
def test_csr_names_the_first_bad_edge(place: tuple[int, int], wrong: int) -> None:
    edge_index = torch.tensor([[0, 1, 2, 3, 0, 1], [0, 0, 1, 1, 2, 3]])
    edge_index[place] = wrong
    with pytest.raises(ValueError, match=f"edge {place[1]} names .* {wrong}"):
        native.csr(edge_index, 4, 4)


@shapes
@pytest.mark.usefixtures("poisoned")
def test_sums(graph: CSRGraph, heads: int, channels: int) -> None:
    nodes, edges, width = graph.num_nodes, graph.num_edges, heads * channels
    walked, x, per_node = (graph.rowptr, graph.col), random(nodes, width), random(nodes)
    agree("spmm", *walked, x, None, None, None, None, None, None, "sum", "none")
    agree("spmm", *walked, x, random(edges), per_node, per_node, per_node, random(width),
          random(nodes, width), "mean", "relu")  # fmt: skip
    agree("spmm", *walked, x, random(edges, heads), None, None, per_node, None, None, "sum", "elu")
    agree("spmm", *walked, x, random(edges, heads), per_node, per_node, None, random(width), None,
          "mean", "none")  # fmt: skip
    y = random(nodes, width)
    agree("sddmm", *walked, x, y, heads)
    agree("edge_l1", *walked, x, y)
    agree("edge_l1_backward", random(edges), *walked, x, y)


@shapes
@pytest.mark.parametrize("reduce", ["max", "min"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.usefixtures("poisoned")
def test_extrema(graph: CSRGraph, reduce: str, weighted: bool, heads: int, channels: int) -> None:
    x = random(graph.num_nodes, heads * channels).round(decimals=1)  # ties
    weight = torch.randint(1, 3, (graph.num_edges,)).float() if weighted else None
    walked = (graph.rowptr, graph.col)
    agree("extremum", *walked, x, weight, reduce)
    out = native.extremum(*walked, x, weight, reduce)
    agree("extremum_backward", random(*x.shape), *walked, graph.transposed, x, weight, out)


@shapes
@pytest.mark.parametrize("add_self_loops", [False, True])
@pytest.mark.usefixtures("poisoned")
def test_attention(graph: CSRGraph, add_self_loops: bool, heads: int, channels: int) -> None:
    nodes, width = graph.num_nodes, heads * channels
    walked, settings = (graph.rowptr, graph.col), (0.2, add_self_loops)
    x, y, z, grad = (random(nodes, width) for _ in range(4))
    a, b, mean = (random(nodes, heads) for _ in range(3))
    att, bias = random(heads, channels) / channels**0.5, random(width)
    agree("gat", *walked, x, a, b, bias, *settings)
    agree("gatv2", *walked, x, y, att, bias, *settings)
    agree("dot_attention", *walked, x, y, z, heads)
    back, kept = (grad, *walked, graph.transposed), (mean, *settings)
    agree("gat_backward", *back, x, a, b, native.gat(*walked, x, a, b, None, *settings)[1], *kept)
    lse = native.gatv2(*walked, x, y, att, None, *settings)[1]
    agree("gatv2_backward", *back, x, y, att, lse, *kept)
    lse = native.dot_attention(*walked, x, y, z, heads)[1]
    agree("dot_attention_backward", *back, x, y, z, lse, mean)


@pytest.mark.parametrize("heads", [1, 3, 4, 8, 17])
@pytest.mark.usefixtures("poisoned")
def test_softmax(graph: CSRGraph, heads: int) -> None:
    score, grad = random(graph.num_edges, heads), random(graph.num_edges, heads)
    agree("edge_softmax", graph.rowptr, score)
    agree("edge_softmax_backward", grad, graph.rowptr, native.edge_softmax(graph.rowptr, score))


def test_tensors_that_are_not_contiguous_are_taken() -> None:
    graph = CSRGraph.from_edge_index(*GRAPHS["usual"])
    x, walked = random(8, graph.num_nodes).t(), (graph.rowptr, graph.col)
    a = random(graph.num_nodes, 6)[:, ::3]
    agree("extremum", *walked, x, random(2 * graph.num_edges)[::2], "max")
    agree("gat", *walked, x, a, a, None, 0.2, False)
    agree("sddmm", *walked, x, x, 2)
    back = (x, *walked, graph.transposed)
    agree("gat_backward", *back, x, a, a, a.abs() + 9, a, 0.2, False)
    agree("dot_attention_backward", *back, x, x, x, a.abs() + 9, a)
    agree("extremum_backward", *back, x, None, native.extremum(*walked, x, None, "max"))


@graphs
def test_nan_reaches_what_it_touches(graph: str) -> None:
    csr = CSRGraph.from_edge_index(*GRAPHS[graph])
    if csr.num_edges == 0:
        return
    source, row = int(csr.col[0]), int(csr.rowptr.diff().nonzero()[0])
    walked, x = (csr.rowptr, csr.col), random(csr.num_nodes, 4)
    bad = x.clone()
    bad[source] = torch.nan
    assert native.extremum(*walked, bad, None, "max")[row].isnan().all()
    assert native.gat(*walked, x, bad, x, None, 0.2, False)[0][row].isnan().all()
    assert native.dot_attention(*walked, x, bad, x, 2)[0][row].isnan().all()


def test_what_does_not_fit_is_refused() -> None:
    graph, x = CSRGraph.from_edge_index(*GRAPHS["usual"]), random(23, 8)
    walked, spmm = (graph.rowptr, graph.col), torch.ops.graphstill.spmm
    with pytest.raises(ValueError, match=r"bias must be float32 \[8\] on a CPU, got .* \[7\]"):
        spmm(*walked, x, bias=random(7))
    with pytest.raises(ValueError, match=r"weight must be float32 \[140\] .*got torch.float64"):
        spmm(*walked, x, random(140).double())
    with pytest.raises(TypeError, match="rowptr must be int64 and col int32"):
        spmm(graph.rowptr.int(), graph.col, x)
    with pytest.raises(ValueError, match="what is scored of 23 nodes must be"):
        torch.ops.graphstill.gat(*walked, x, random(22, 2), random(23, 2), None, 0.2, False)


def test_threads_of_its_own_where_there_is_no_openmp() -> None:
    code = """
import ctypes, sys
import numpy as np
assert not hasattr(ctypes.CDLL(None), "GOMP_parallel")
rng, size = np.random.default_rng(0), ctypes.c_int64
pointer = lambda array: ctypes.c_void_p(array.ctypes.data)
rowptr = np.arange(0, 40 * 2001, 40)
col = rng.integers(0, 2000, 80000).astype(np.int32)
x, out = rng.standard_normal((2000, 20)).astype(np.float32), np.empty((2000, 20), np.float32)
status = ctypes.CDLL(sys.argv[1]).graphstill_spmm(
    size(3), size(2000), pointer(rowptr), pointer(col), size(2000), pointer(x), *[None] * 6,
    pointer(out), size(20), size(1), size(0), size(0))
assert status == 0
np.testing.assert_allclose(out, x[col].reshape(2000, 40, 20).sum(1), atol=1e-4)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, native.path()], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_without_the_library_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    graph, x = CSRGraph.from_edge_index(edge_index, num_nodes), random(num_nodes, 8)
    wanted = torch.ops.graphstill.spmm(graph.rowptr, graph.col, x)
    monkeypatch.setattr(library, "_library", lambda: "there is none")
    assert ops.implementation(x) is cpu
    assert_close(torch.ops.graphstill.spmm(graph.rowptr, graph.col, x), wanted)


def test_a_library_that_does_not_load_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_LIBRARY", tmp_path / "none.so")
    assert "not built" in library._library.__wrapped__()
    (tmp_path / "none.so").write_bytes(b"not a library")
    assert "does not load" in library._library.__wrapped__()
