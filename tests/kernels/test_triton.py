"""The Triton kernel against the definition: compiled on a GPU, in the interpreter elsewhere."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import (
    GRAPHS,
    TORCH_OPTIONS,
    Options,
    assert_close,
    graphs,
    spmm_inputs,
    torch_options,
    weighted_sum,
)
from graphstill.kernels import ops, reference

gpu = pytest.importorskip("graphstill.kernels.gpu", reason="needs triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def triton_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the registered operators use the Triton kernels for CPU tensors too."""
    for module in ("spmm", "extremum", "attention", "gatv2"):
        monkeypatch.setattr(f"graphstill.kernels.ops.{module}.implementation", lambda x: gpu)


def csr_of(name: str) -> tuple[Tensor, Tensor, int]:
    edge_index, num_nodes = GRAPHS[name]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    return rowptr.to(DEVICE), col.to(DEVICE), num_nodes


@graphs
@torch_options
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_forward(graph: str, options: Options) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    inputs = spmm_inputs(options, num_nodes, col.numel(), 7)
    wanted = reference.spmm(rowptr.cpu(), col.cpu(), **inputs, **options.choices)
    narrow = {name: value.float().to(DEVICE) for name, value in inputs.items()}
    got = torch.ops.graphstill.spmm(rowptr, col, **narrow, **options.choices)
    assert_close(got.cpu(), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [1, 31, 64, 130])
@pytest.mark.usefixtures("triton_everywhere")
def test_every_dtype_and_odd_widths(dtype: torch.dtype, width: int) -> None:
    rowptr, col, num_nodes = csr_of("duplicates and self loops")
    inputs = spmm_inputs(Options(weight=True, bias=True), num_nodes, col.numel(), width)
    wanted = reference.spmm(rowptr.cpu(), col.cpu(), **inputs)
    narrow = {name: value.to(DEVICE, dtype) for name, value in inputs.items()}
    assert_close(torch.ops.graphstill.spmm(rowptr, col, **narrow).cpu(), wanted, dtype)


@graphs
@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.usefixtures("triton_everywhere")
def test_backward(graph: str, reduce: str) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    inputs = spmm_inputs(Options(weight=True, bias=True), num_nodes, col.numel(), 5)
    wanted = {n: v.clone().requires_grad_() for n, v in inputs.items()}
    reference.spmm(rowptr.cpu(), col.cpu(), **wanted, reduce=reduce).square().sum().backward()
    got = {n: v.float().to(DEVICE).requires_grad_() for n, v in inputs.items()}
    torch.ops.graphstill.spmm(rowptr, col, **got, reduce=reduce).square().sum().backward()
    for name in inputs:
        gradient, expected = got[name].grad, wanted[name].grad
        assert gradient is not None
        assert expected is not None
        assert_close(gradient.cpu(), expected)


def compare(
    name: str, graph: str, inputs: list[Tensor], *settings: Any, dtype: torch.dtype = torch.float32
) -> None:
    """Compare an operator's output and gradients with the definition's in float64."""
    rowptr, col, _ = csr_of(graph)
    results = []
    for operator in (getattr(reference, name), getattr(torch.ops.graphstill, name)):
        exact = operator is getattr(reference, name)
        place = (torch.float64, "cpu") if exact else (dtype, DEVICE)
        leaves = [t.to(dtype).to(*place[::-1]).requires_grad_() for t in inputs]
        walked = (rowptr.cpu(), col.cpu()) if exact else (rowptr, col)
        out = operator(*walked[: 1 if name == "edge_softmax" else 2], *leaves, *settings)
        out = out[0] if isinstance(out, tuple) else out
        weighted_sum(out).backward()
        results.append([out.detach().cpu(), *(leaf.grad.cpu() for leaf in leaves)])  # type: ignore[union-attr]
    for got, wanted in zip(results[1], results[0], strict=True):
        assert got.dtype == dtype
        assert_close(got, wanted, dtype)


shapes = pytest.mark.parametrize(("heads", "channels"), [(1, 5), (2, 8)])


@graphs
@shapes
@pytest.mark.parametrize("add_self_loops", [False, True])
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_gat(graph: str, heads: int, channels: int, add_self_loops: bool) -> None:
    num_nodes = GRAPHS[graph][1]
    x, bias = torch.randn(num_nodes, heads * channels), torch.randn(heads * channels)
    scores = [torch.randn(num_nodes, heads) for _ in range(2)]
    compare("gat", graph, [x, *scores, bias], 0.2, add_self_loops)


@graphs
@shapes
@pytest.mark.parametrize("add_self_loops", [False, True])
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_gatv2(graph: str, heads: int, channels: int, add_self_loops: bool) -> None:
    features = [torch.randn(GRAPHS[graph][1], heads * channels) for _ in range(2)]
    att, bias = torch.randn(heads, channels), torch.randn(heads * channels)
    compare("gatv2", graph, [*features, att, bias], 0.2, add_self_loops)


@pytest.mark.parametrize("limit", [0, 1 << 30])
@pytest.mark.parametrize(("heads", "channels"), [(1, 64), (2, 32)])
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_gatv2_with_signs_handed_over_and_without(
    heads: int, channels: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["graphstill.kernels.gpu.gatv2_backward"], "SIGN_BYTES", limit)
    num_nodes = GRAPHS["duplicates and self loops"][1]
    features = [torch.randn(num_nodes, heads * channels) for _ in range(2)]
    att, bias = torch.randn(heads, channels) / 8, torch.randn(heads * channels)
    compare("gatv2", "duplicates and self loops", [*features, att, bias], 0.2, True)


@graphs
@shapes
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_dot_attention(graph: str, heads: int, channels: int) -> None:
    inputs = [torch.randn(GRAPHS[graph][1], heads * channels) for _ in range(3)]
    compare("dot_attention", graph, inputs, heads)


@graphs
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_edge_softmax_and_sddmm(graph: str, heads: int) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    compare("edge_softmax", graph, [torch.randn(edge_index.shape[1], heads)])
    a, b = torch.randn(2, num_nodes, 5 * heads)
    compare("sddmm", graph, [a, b], heads)


@graphs
@pytest.mark.parametrize("reduce", ["max", "min"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_extremum(graph: str, reduce: str, weighted: bool, ties: bool) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    inputs = [torch.randn(num_nodes, 9)]
    inputs += [torch.randn(edge_index.shape[1])] if weighted else []
    inputs = [t.round() if ties else t for t in inputs]
    compare("extremum", graph, inputs, *([] if weighted else [None]), reduce)


def hub_inputs(name: str, num_nodes: int, num_edges: int) -> tuple[list[Tensor], tuple[Any, ...]]:
    """Return an operator's inputs, of two heads or eight features, and its settings."""
    x, y, z = torch.randn(3, num_nodes, 8)
    weight, bias = torch.randn(num_edges), torch.randn(8)
    cases: dict[str, tuple[list[Tensor], tuple[Any, ...]]] = {
        "spmm": ([x, weight], ()),
        "extremum": ([x.round(), weight.round()], ("max",)),
        "gat": ([x, y[:, :2], z[:, :2], bias], (0.2, True)),
        "gatv2": ([x, y, torch.randn(2, 4), bias], (0.2, True)),
        "dot_attention": ([x, y, z], (2,)),
        "sddmm": ([x, y], (2,)),
        "edge_softmax": ([torch.randn(num_edges, 2)], ()),
    }
    return cases[name]


# parts of one hub, of several in a tile, and hubs that end where a tile does; the interpreter takes
# seconds for a hundred parts, which the long tests join
LONG = [
    pytest.param(graph, chunk, marks=pytest.mark.slow)
    for graph, chunk in (
        ("a hub", 4),
        ("a hub", 16),
        ("all edges into the last node", 16),
        ("sorted", 4),
        ("sorted", 16),
    )
]


@pytest.mark.parametrize(
    ("graph", "chunk"),
    [("a hub", 64), ("all edges into the last node", 4), ("usual", 4), ("usual", 16), *LONG],
)
@pytest.mark.parametrize(
    "name", ["spmm", "extremum", "gat", "gatv2", "dot_attention", "sddmm", "edge_softmax"]
)
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_hubs_are_joined_from_parts(
    name: str, chunk: int, graph: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu.hubs, "CHUNK", chunk)
    edge_index, num_nodes = GRAPHS[graph]
    inputs, settings = hub_inputs(name, num_nodes, edge_index.shape[1])
    compare(name, graph, inputs, *settings)


@pytest.mark.parametrize(("graph", "chunk"), [("a hub", 64), ("usual", 8), *LONG[:2]])
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_hubs_have_an_epilogue_too(graph: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.hubs, "CHUNK", chunk)
    rowptr, col, num_nodes = csr_of(graph)
    for options in TORCH_OPTIONS[3:]:
        inputs = spmm_inputs(options, num_nodes, col.numel(), 7)
        wanted = reference.spmm(rowptr.cpu(), col.cpu(), **inputs, **options.choices)
        narrow = {name: value.float().to(DEVICE) for name, value in inputs.items()}
        first, again = (
            torch.ops.graphstill.spmm(rowptr, col, **narrow, **options.choices) for _ in range(2)
        )
        assert_close(first.cpu(), wanted)
        assert torch.equal(first, again)


@pytest.mark.usefixtures("triton_everywhere")
def test_nan_propagates_through_maxima() -> None:
    rowptr, col, num_nodes = csr_of("usual")
    x = torch.randn(num_nodes, 8, device=DEVICE)
    x[3] = torch.nan
    got = torch.ops.graphstill.extremum(rowptr, col, x, None, "max")
    wanted = reference.extremum(rowptr, col, x, None, "max")
    assert torch.equal(got.isnan(), wanted.isnan())


@graphs
@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize("chunk", [4, 512])
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_integer_sums_are_exact(
    graph: str, reduce: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu.hubs, "CHUNK", chunk)
    rowptr, col, num_nodes = csr_of(graph)
    x = torch.randint(-128, 128, (num_nodes, 9), dtype=torch.int8, device=DEVICE)
    scale = torch.rand(9, device=DEVICE)
    got = torch.ops.graphstill.spmm_int8(rowptr, col, x, scale, reduce)
    assert_close(got, reference.spmm_int8(rowptr, col, x, scale.double(), reduce))


@graphs
@pytest.mark.usefixtures("triton_everywhere")
def test_weights_per_head(graph: str) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    compare("spmm", graph, [torch.randn(num_nodes, 12), torch.randn(edge_index.shape[1], 3)])


@pytest.mark.parametrize("name", ["gat", "gatv2", "dot_attention"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.usefixtures("triton_everywhere")
def test_attention_in_half_precision(name: str, dtype: torch.dtype) -> None:
    num_nodes = GRAPHS["usual"][1]
    x, y, z = torch.randn(3, num_nodes, 8)
    inputs = {
        "gat": [x, y[:, :2], z[:, :2], torch.randn(8)],
        "gatv2": [x, y, torch.randn(2, 4), torch.randn(8)],
        "dot_attention": [x, y, z],
    }[name]
    settings = (2,) if name == "dot_attention" else (0.2, True)
    compare(name, "usual", inputs, *settings, dtype=dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_tensor_runs_the_triton_kernel() -> None:
    assert ops.implementation(torch.zeros(1, device="cuda")) is gpu
