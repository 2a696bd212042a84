"""The Triton kernel against the definition: compiled on a GPU, in the interpreter elsewhere."""

import pytest
import torch
from torch import Tensor

from cases import GRAPHS, Options, assert_close, graphs, options, spmm_inputs
from graphstill.kernels import ops, reference

triton_spmm = pytest.importorskip("graphstill.kernels.triton_spmm", reason="needs triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def triton_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the registered operator use the Triton kernel for CPU tensors too."""
    monkeypatch.setattr(ops, "implementation", lambda x: triton_spmm)


def csr_of(name: str) -> tuple[Tensor, Tensor, int]:
    edge_index, num_nodes = GRAPHS[name]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    return rowptr.to(DEVICE), col.to(DEVICE), num_nodes


@graphs
@options
@pytest.mark.usefixtures("poisoned", "triton_everywhere")
def test_forward(graph: str, options: Options) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    inputs = spmm_inputs(options, num_nodes, col.numel(), 7)
    wanted = reference.spmm(rowptr.cpu(), col.cpu(), **inputs, reduce=options.reduce)
    narrow = {name: value.float().to(DEVICE) for name, value in inputs.items()}
    got = torch.ops.graphstill.spmm(rowptr, col, **narrow, reduce=options.reduce)
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_tensor_runs_the_triton_kernel() -> None:
    assert ops.implementation(torch.zeros(1, device="cuda")) is triton_spmm
