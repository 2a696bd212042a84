"""Programs for AOTInductor: the operators' twins, and what torch's compiler sees of them."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import GRAPHS, assert_close, compiled_environment, graphs
from graphstill import kernels
from graphstill.kernels import aot, reference

pytest.importorskip("triton", reason="needs triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

# model: the operator it runs, and the kernel, over hubs and over rows
MODELS = {
    "GCN": ("spmm", "_spmm_kernel"),
    "SAGE": ("spmm", "_spmm_kernel"),
    "SAGE max": ("extremum", "_extremum_kernel"),
    "GAT": ("gat", "_gat_kernel"),
    "GATv2": ("gatv2", "_gatv2_kernel"),
    "Transformer": ("dot_attention", "_attention_kernel"),
}


@pytest.mark.parametrize(
    "names", [["GCN"], pytest.param(list(MODELS), marks=pytest.mark.slow)], ids=["GCN", "all"]
)
def test_inductor_is_given_the_kernels_and_no_operator_of_ours(names: list[str]) -> None:
    script = Path(__file__).with_name("packages.py")
    done = subprocess.run(
        [sys.executable, str(script), *names],
        capture_output=True,
        text=True,
        env=compiled_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert list(found) == names
    for name, program in found.items():
        operator, kernel = MODELS[name]
        assert f"{operator}.default" in program["before"]
        assert program["after"] == [f"{operator}_triton.default"]
        assert program["left"] == []
        assert program["kernels"] == [kernel] * 2
        assert program["sizes"] == ["VR[3, int_oo]"] * 2  # any number of nodes and of edges


def twin_inputs(name: str, num_nodes: int, num_edges: int) -> tuple[list[Tensor], tuple[Any, ...]]:
    """Return an operator's tensors after the graph's, of two heads or eight features, and more."""
    x, y, z = torch.randn(3, num_nodes, 8, dtype=torch.float64)
    bias, att = torch.randn(8, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    return {
        "spmm": ([x, torch.randn(num_edges, dtype=torch.float64)], ()),
        "extremum": ([x], (None, "max")),
        "gat": ([x, y[:, :2], z[:, :2], bias], (0.2, True)),
        "gatv2": ([x, y, att, bias], (0.2, True)),
        "dot_attention": ([x, y, z], (2,)),
        "sddmm": ([x, y], (2,)),
        "edge_softmax": ([torch.randn(num_edges, 2, dtype=torch.float64)], ()),
    }[name]


@graphs
@pytest.mark.parametrize(
    "name", ["spmm", "extremum", "gat", "gatv2", "dot_attention", "sddmm", "edge_softmax"]
)
@pytest.mark.usefixtures("poisoned")
def test_a_twin_computes_the_definition(name: str, graph: str) -> None:
    from graphstill.kernels.ops import twins

    edge_index, num_nodes = GRAPHS[graph]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    walked = (rowptr,) if name == "edge_softmax" else (rowptr, col)
    inputs, settings = twin_inputs(name, num_nodes, col.numel())
    wanted = getattr(reference, name)(*walked, *inputs, *settings)
    narrow = [t.float().to(DEVICE) for t in inputs]
    twin = getattr(twins, f"{name}_triton")
    got = twin(*(t.to(DEVICE) for t in walked), *narrow, *settings)
    pairs = zip(got, wanted, strict=True) if isinstance(got, tuple) else [(got, wanted)]
    for mine, exact in pairs:
        assert_close(mine.cpu(), exact)


@pytest.mark.parametrize("name", ["spmm", "gat"])
def test_opcheck_of_twins(name: str) -> None:
    from graphstill.kernels.ops import twins

    edge_index, num_nodes = GRAPHS["one node, one loop"]
    rowptr, col, _ = (t.to(DEVICE) for t in reference.csr(edge_index, num_nodes, num_nodes))
    tensors, settings = twin_inputs(name, num_nodes, col.numel())
    inputs = (rowptr, col, *(t.float().to(DEVICE) for t in tensors), *settings)
    # the rest traces the kernel, which the interpreter does not
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    twin = getattr(twins, f"{name}_triton")
    torch.library.opcheck(twin, inputs, test_utils=tests)


@graphs
@pytest.mark.usefixtures("poisoned")
def test_the_twin_of_integer_sums_is_exact(graph: str) -> None:
    from graphstill.kernels.ops import twins

    edge_index, num_nodes = GRAPHS[graph]
    rowptr, col, _ = (t.to(DEVICE) for t in reference.csr(edge_index, num_nodes, num_nodes))
    x = torch.randint(-128, 128, (num_nodes, 9), dtype=torch.int8, device=DEVICE)
    scale = torch.rand(9, device=DEVICE)
    got = twins.spmm_int8_triton(rowptr, col, x, scale, "mean")
    assert_close(got, reference.spmm_int8(rowptr, col, x, scale.double(), "mean"))


@pytest.mark.parametrize("name", ["spmm", "gat", "sddmm", "extremum"])
def test_a_twin_has_its_operators_arguments(name: str) -> None:
    from graphstill.kernels.ops import twins

    schemas = [
        str(operator._schema).partition("(")[2]
        for operator in (
            getattr(torch.ops.graphstill, name).default,
            getattr(twins, f"{name}_triton")._opoverload,
        )
    ]
    assert schemas[0] == schemas[1]


@graphs
def test_csr_and_gcn_norm_without_the_host_are_the_same(graph: str) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    wanted = reference.csr(edge_index, num_nodes, num_nodes)
    for mine, exact in zip(aot._csr(edge_index, num_nodes, num_nodes), wanted, strict=True):
        assert torch.equal(mine, exact)
        assert mine.dtype == exact.dtype
    rowptr, col, _ = wanted
    for weight in (None, torch.rand(col.numel())):
        for settings in ((None, 2.0, True), (None, 1.0, False), (torch.rand(num_nodes), 1.0, True)):
            mine = aot._gcn_norm(rowptr, col, weight, *settings)
            exact = reference.gcn_norm(rowptr, col, weight, *settings)
            torch.testing.assert_close(mine, exact)


@pytest.mark.filterwarnings("ignore")
def test_a_program_is_refused_off_the_gpu() -> None:
    inputs = (torch.randn(5, 4), torch.randint(0, 5, (2, 9)))
    program = torch.export.export(kernels.SAGEConv(4, 3).eval(), inputs)
    with pytest.raises(ValueError, match="runs on cpu, its Triton kernel needs a CUDA"):
        aot.with_triton_kernels(program)


@pytest.mark.parametrize(
    ("operator", "made", "message"),
    [
        ("spmm", torch.zeros(1, dtype=torch.float64), "is float64"),
        ("gat", (torch.zeros(1, dtype=torch.float64),), "is float64"),
        ("gat_backward", None, "export the model for inference"),
    ],
)
def test_what_no_twin_computes_is_refused(operator: str, made: object, message: str) -> None:
    target = getattr(torch.ops.graphstill, operator).default
    with pytest.raises(ValueError, match=message):
        aot._check(SimpleNamespace(target=target, meta={"val": made}))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layer", [kernels.GCNConv, kernels.SAGEConv, kernels.GATConv])
def test_a_package_computes_what_the_model_does(
    layer: type[torch.nn.Module], tmp_path: Path
) -> None:
    model = layer(16, 8).cuda().eval()
    x, edge_index = torch.randn(40, 16).cuda(), torch.randint(0, 40, (2, 2000)).cuda()
    dims = ({0: torch.export.Dim("nodes", min=3)}, {1: torch.export.Dim("edges", min=3)})
    with torch.no_grad():
        program = torch.export.export(model, (x, edge_index), dynamic_shapes=dims)
        path = torch._inductor.aoti_compile_and_package(
            aot.with_triton_kernels(program), package_path=str(tmp_path / "model.pt2")
        )
        package = torch._inductor.aoti_load_package(path)
        for size, count in ((40, 2000), (7, 5), (90, 700)):
            x, edges = torch.randn(size, 16).cuda(), torch.randint(0, size, (2, count)).cuda()
            torch.testing.assert_close(package(x, edges), model(x, edges))
