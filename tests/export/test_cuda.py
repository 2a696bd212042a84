"""The operators of ONNX Runtime's CUDA provider, as far as they can be proven without a GPU.

The library is built and registered, and what it launches is compared with what Triton's launcher
launches: a driver of our own stands in for CUDA's, and the operator runs under the CPU's provider.
"""

import ctypes
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch_geometric import nn as pyg

from cases import compiled_environment
from graphstill.export import ExportError, export
from graphstill.export.formats import cuda
from graphstill.serve import Bundle, Session

pytest.importorskip("triton", reason="needs triton")
no_driver = pytest.mark.skipif(
    os.path.exists("/dev/nvidia0"), reason="the real driver would be found in place of the test's"
)
WIDTH, FEATURES, NODES, EDGES = 140, 130, 50, 1500
EXAMPLE = (torch.randn(6, WIDTH), torch.randint(0, 6, (2, 11)))

DRIVER = """
typedef unsigned long long Address;
typedef int (*Hook)(const void*, unsigned, unsigned, unsigned, unsigned, unsigned, void**);
static Hook hook;
static char room[1 << 20] __attribute__((aligned(256)));
static unsigned long allocated, released;
void set_hook(Hook given) { hook = given; }
unsigned long in_use(void) { return allocated - released; }
int cuCtxGetCurrent(void** context) { *context = room; return 0; }
int cuModuleLoadData(void** module, const void* image) { *module = (void*)image; return 0; }
int cuModuleGetFunction(void** function, void* module, const char* name) {
  *function = module;
  return name[0] != '_';
}
int cuMemAllocAsync(Address* address, unsigned long bytes, void* stream) {
  *address = (Address)room;
  ++allocated;
  return bytes > sizeof room;
}
int cuMemFreeAsync(Address address, void* stream) { ++released; return address != (Address)room; }
int cuGetErrorString(int error, const char** text) { *text = "made up"; return 0; }
int cuLaunchKernel(const void* function, unsigned x, unsigned y, unsigned z, unsigned threads,
                   unsigned b, unsigned c, unsigned shared, void* stream, void** parameters,
                   void** extra) {
  return z != 1 || b != 1 || c != 1 || hook(function, x, y, threads, shared, 0, parameters);
}
"""
# in place of the CPU's operators, of which one is spmm
NO_OPERATORS = """
void graphstill_add_operators(const void* api, void* domain) {}
const char* graphstill_level(void) { return "none"; }
"""
HOOK = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    *[ctypes.c_uint] * 5,
    ctypes.POINTER(ctypes.POINTER(ctypes.c_uint64)),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("gcn") / "bundle"
    return export(pyg.GCN(WIDTH, WIDTH, 1, FEATURES).eval(), EXAMPLE, path, graph="csr")


@pytest.fixture(scope="module")
def built(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The library, whose operator runs under the CPU's provider, and Triton's own launches."""
    place = tmp_path_factory.mktemp("cuda")
    compiler = place / "compiler"
    macro = "'-DGRAPHSTILL_PROVIDER=(const char*)nullptr'"
    compiler.write_text(f'#!/bin/sh\nexec g++ {macro} "$@"\n')
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    library = place / "libgraphstill_cuda.so"
    facts = launched(bundle, library, {"CXX": str(compiler)})
    _compile_c(NO_OPERATORS, place / "libgraphstill_ort.so")
    return library, facts


def launched(bundle: Bundle, library: Path, environment: dict[str, str]) -> dict[str, Any]:
    script = Path(__file__).with_name("cuda_launches.py")
    sizes = [str(size) for size in (NODES, EDGES, FEATURES)]
    done = subprocess.run(
        [sys.executable, str(script), str(bundle.path), str(library), *sizes],
        capture_output=True,
        text=True,
        env=compiled_environment() | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def _compile_c(source: str, path: Path, *flags: str) -> None:
    command = ["gcc", "-x", "c", "-shared", "-fPIC", "-", "-o", str(path), *flags]
    subprocess.run(command, input=source, text=True, check=True)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """A library that whoever asks for libcuda.so.1 is given from now on."""
    path = tmp_path_factory.mktemp("driver") / "driver.so"
    _compile_c(DRIVER, path, "-Wl,-soname,libcuda.so.1")
    found = ctypes.CDLL(str(path))
    found.in_use.restype = ctypes.c_ulong
    return found


def graph() -> tuple[np.ndarray, np.ndarray]:
    """A hub of more edges than a program walks, and others."""
    rng = np.random.default_rng(4)
    edges = rng.integers(0, NODES, (2, EDGES))
    edges[1, :900] = 7
    return rng.standard_normal((NODES, WIDTH), np.float32), edges


def test_variants_are_what_the_nodes_need(bundle: Bundle) -> None:
    model = onnx.load_from_string(bundle.read_model())
    operands = ("src_scale", "dst_scale", "self_weight", "bias")
    assert cuda.variants(model) == [cuda.Variant(FEATURES, operands, mean=False)]
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.shape.ClearField("dim")
    with pytest.raises(ExportError, match="does not say how wide"):
        cuda.variants(model)


def test_what_cannot_be_built_is_named(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="TRITON_INTERPRET"):
        cuda.build(tmp_path / "l.so", bundle)
    mlp = export(pyg.MLP([4, 2], norm=None).eval(), (torch.randn(3, 4),), tmp_path / "mlp")
    with pytest.raises(ExportError, match="no node of spmm"):
        cuda.build(tmp_path / "l.so", mlp)
    assert not (tmp_path / "l.so").exists()


def test_compiled_kernels_take_what_triton_launches(built: tuple[Path, dict[str, Any]]) -> None:
    _, facts = built
    assert len(facts["launches"]) == len(facts["compiled"]) == 2  # hubs, then rows
    for launch, kernel in zip(facts["launches"], facts["compiled"], strict=True):
        assert kernel["arguments"] == launch["arguments"]
        assert kernel["constants"] == launch["constants"]
        assert kernel["num_warps"] == launch["num_warps"]
        assert launch["maxnreg"] is None
        assert kernel["hidden"] == 2
        counts = ["i64", "i64"]
        pointers = ["*fp32"] * (len(kernel["arguments"]) - 4)
        assert kernel["types"] == ["*i64", "*i32", *pointers, *counts]


@no_driver
def test_the_library_launches_what_triton_launches(
    bundle: Bundle, built: tuple[Path, dict[str, Any]], driver: ctypes.CDLL
) -> None:
    library, facts = built
    x, edges = graph()
    expected = Session(bundle)(x=x, edge_index=edges)["logits"]
    calls: list[list[int]] = []
    problems: list[str] = []

    def launch(image: int, *sizes: Any) -> int:
        *numbers, parameters = sizes
        try:
            kernel, planned = facts["compiled"][len(calls)], facts["launches"][len(calls)]
            calls.append(numbers)
            assert ctypes.string_at(image, 4) == b"\x7fELF"
            given = {n: parameters[i][0] for i, n in enumerate(kernel["arguments"])}
            hidden = len(kernel["arguments"])
            assert [parameters[hidden + i][0] for i in range(kernel["hidden"])] == [0, 0]
            threads = 32 * kernel["num_warps"]
            assert numbers == [*planned["grid"], threads, kernel["shared_bytes"], 0]
            shapes = planned["shapes"]
            compute(given, shapes, hubs=len(calls) == 1)
        except Exception as error:  # ctypes would print it and go on
            problems.append(repr(error))
            return 1
        return 0

    hook = HOOK(launch)
    driver.set_hook(hook)
    session = Session(bundle, native=library, threads=1)
    answer = session(x=x, edge_index=edges)["logits"]
    assert not problems
    assert len(calls) == 2
    assert driver.in_use() == 0
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)


def compute(given: dict[str, int], shapes: dict[str, list[int]], *, hubs: bool) -> None:
    """Do what the kernel does, with the memory that it is given."""
    assert (given["num_rows"], given["num_edges"]) == (NODES, EDGES)

    def read(name: str, dtype: type = np.float32, shape: list[int] | None = None) -> np.ndarray:
        shape = shape or shapes[name]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_char * size).from_address(given[name])
        return np.frombuffer(memory, dtype).reshape(shape)

    assert given["part_ptr"] % 16 == 0
    read("part_ptr")[:] = 0  # as large as Triton's own
    if hubs:
        return
    rowptr, col = read("rowptr_ptr", np.int64), read("col_ptr", np.int32)
    x = read("x_ptr") * read("src_scale_ptr")[:, None]
    out = read("out_ptr")
    for row in range(NODES):
        sums = x[col[rowptr[row] : rowptr[row + 1]]].sum(axis=0)
        sums += read("self_weight_ptr")[row] * x[row]
        out[row] = read("dst_scale_ptr")[row] * sums + read("bias_ptr")


def test_a_library_for_another_bundle_says_so(
    built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    other = export(pyg.GCN(WIDTH, WIDTH, 1, 5).eval(), EXAMPLE, tmp_path / "o", graph="csr")
    x, edges = graph()
    with pytest.raises(Exception, match="no kernel for 5 features"):
        Session(other, native=built[0])(x=x, edge_index=edges)


def test_a_session_on_the_cpu_runs_the_operators_of_the_cpu(bundle: Bundle, tmp_path: Path) -> None:
    library = tmp_path / "libgraphstill_cuda.so"
    launched(bundle, library, {})
    x, edges = graph()
    session = Session(bundle, native=library)
    assert session.native_operators
    expected = Session(bundle)(x=x, edge_index=edges)["logits"]
    np.testing.assert_array_equal(session(x=x, edge_index=edges)["logits"], expected)
    with pytest.raises(ValueError, match="no library of operators"):
        Session(bundle, native=tmp_path / "none.so")
