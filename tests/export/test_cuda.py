"""The operators of ONNX Runtime's CUDA provider, as far as they can be proven without a GPU.

The library is built and registered, and what it launches is compared with what Triton's launcher
launches: a driver of our own stands in for CUDA's, and the operator runs under the CPU's provider.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
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
from graphstill.export.formats.cuda_variants import Variant, variants
from graphstill.serve import Bundle, Session

pytest.importorskip("triton", reason="needs triton")
no_driver = pytest.mark.skipif(
    os.path.exists("/dev/nvidia0"), reason="the real driver would be found in place of the test's"
)
WIDTH, NODES, EDGES = 140, 50, 1500
EXAMPLE = (torch.randn(6, WIDTH), torch.randint(0, 6, (2, 11)))
# a module with one node of each operator, of a width that is no power of two, and its key
MODULES: dict[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...]]] = {
    "spmm": (lambda: pyg.GCN(WIDTH, WIDTH, 1, 130), (130, 0b11110, 0, 0)),
    "extremum": (lambda: pyg.GraphSAGE(WIDTH, WIDTH, 1, 30, aggr="max"), (WIDTH, 0, 1, 0)),
    "gat": (lambda: pyg.GATConv(WIDTH, 12, heads=3), (3, 12, 1, 1)),
    "gatv2": (lambda: pyg.GATv2Conv(WIDTH, 12, heads=3), (3, 12, 1, 1)),
    "dot_attention": (lambda: pyg.TransformerConv(WIDTH, 12, heads=3), (3, 12, 0, 0)),
}

DRIVER = """
typedef unsigned long long Address;
typedef int (*Hook)(const void*, unsigned, unsigned, unsigned, unsigned, unsigned, void**);
static Hook hook;
static char room[1 << 20] __attribute__((aligned(256)));
static unsigned long allocated, released, next;
void set_hook(Hook given) { hook = given; }
unsigned long in_use(void) { return allocated - released; }
int cuCtxGetCurrent(void** context) { *context = room; return 0; }
int cuModuleLoadData(void** module, const void* image) { *module = (void*)image; return 0; }
int cuModuleGetFunction(void** function, void* module, const char* name) {
  *function = module;
  return name[0] != '_';
}
int cuMemAllocAsync(Address* address, unsigned long bytes, void* stream) {
  if (allocated == released) next = 0;
  *address = (Address)(room + next);
  next += (bytes + 255) / 256 * 256;
  ++allocated;
  return next > sizeof room;
}
int cuMemFreeAsync(Address address, void* stream) { ++released; return address == 0; }
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
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    place = tmp_path_factory.mktemp("bundles")
    made = {}
    for name, (make, _) in MODULES.items():
        torch.manual_seed(2)
        made[name] = export(make().eval(), EXAMPLE, place / name, graph="csr", fuse=False)
    return made


def launched(bundle: Bundle, library: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Build a library and return what Triton's own launcher would do."""
    script = Path(__file__).with_name("cuda_launches.py")
    done = subprocess.run(
        [sys.executable, str(script), str(bundle.path), str(library), str(NODES), str(EDGES)],
        capture_output=True,
        text=True,
        env=compiled_environment() | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def compile_c(source: str, path: Path, *flags: str) -> None:
    command = ["gcc", "-x", "c", "-shared", "-fPIC", "-", "-o", str(path), *flags]
    subprocess.run(command, input=source, text=True, check=True)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """A library that whoever asks for libcuda.so.1 is given from now on."""
    path = tmp_path_factory.mktemp("driver") / "driver.so"
    compile_c(DRIVER, path, "-Wl,-soname,libcuda.so.1")
    found = ctypes.CDLL(str(path))
    found.in_use.restype = ctypes.c_ulong
    return found


def graph() -> tuple[np.ndarray, np.ndarray]:
    """A hub of more edges than a program walks, and others."""
    rng = np.random.default_rng(4)
    edges = rng.integers(0, NODES - 1, (2, EDGES))  # the last node has none
    edges[1, :900] = 7
    return rng.standard_normal((NODES, WIDTH), np.float32), edges


@pytest.mark.parametrize("name", MODULES)
def test_variants_are_what_the_nodes_need(bundles: dict[str, Bundle], name: str) -> None:
    model = onnx.load_from_string(bundles[name].read_model())
    assert variants(model) == [Variant(name, MODULES[name][1])]
    del model.graph.value_info[:], model.graph.initializer[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.ClearField("dim")
    with pytest.raises(ExportError, match="does not say how wide"):
        variants(model)


def test_what_cannot_be_built_is_named(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="TRITON_INTERPRET"):
        cuda.build(tmp_path / "l.so", bundles["gat"])
    mlp = export(pyg.MLP([4, 2], norm=None).eval(), (torch.randn(3, 4),), tmp_path / "mlp")
    with pytest.raises(ExportError, match=r"no node .* with fuse=False"):
        cuda.build(tmp_path / "l.so", mlp)
    assert not (tmp_path / "l.so").exists()


def test_a_session_on_the_cpu_runs_the_operators_of_the_cpu(
    bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    library = tmp_path / "libgraphstill_cuda.so"
    launched(bundles["spmm"], library, {})
    x, edges = graph()
    for bundle in bundles.values():
        session = Session(bundle, native=library)
        assert session.native_operators
        expected = Session(bundle)(x=x, edge_index=edges)["logits"]
        np.testing.assert_array_equal(session(x=x, edge_index=edges)["logits"], expected)
    with pytest.raises(ValueError, match="no library of operators"):
        Session(bundles["gat"], native=tmp_path / "none.so")
    (tmp_path / "empty.so").write_bytes(b"")
    with pytest.raises(ValueError, match="is no library of operators"):
        Session(bundles["gat"], native=tmp_path / "empty.so")


@no_driver
@pytest.mark.parametrize(
    "name",
    [name if name == "spmm" else pytest.param(name, marks=pytest.mark.slow) for name in MODULES],
)
def test_the_library_launches_what_triton_launches(
    bundles: dict[str, Bundle], name: str, driver: ctypes.CDLL, tmp_path: Path
) -> None:
    library, bundle = tmp_path / "libgraphstill_cuda.so", bundles[name]
    compiler = tmp_path / "compiler"
    macro = "'-DGRAPHSTILL_PROVIDER=(const char*)nullptr'"  # the CPU
    compiler.write_text(f'#!/bin/sh\nexec g++ {macro} "$@"\n')
    compiler.chmod(0o755)
    facts = launched(bundle, library, {"CXX": str(compiler)})
    compile_c(NO_OPERATORS, library.with_name("libgraphstill_ort.so"))
    for level in library.parent.glob("libgraphstill_ort.*-*.so"):
        level.unlink()
    assert len(facts["launches"]) == len(facts["compiled"]) == 2  # hubs, then rows
    for launch, kernel in zip(facts["launches"], facts["compiled"], strict=True):
        agree(launch, kernel)
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
            threads = 32 * kernel["num_warps"]
            assert numbers == [*planned["grid"], threads, kernel["shared_bytes"], 0]
            count = len(kernel["arguments"])
            assert [parameters[count + i][0] for i in range(kernel["hidden"])] == [0, 0]
            given = {n: parameters[i][0] for i, n in enumerate(kernel["arguments"])}
            assert (given["num_rows"], given["num_edges"]) == (NODES, EDGES)
            memory = {n: read(given[n], planned, n) for n in planned["shapes"]}
            if len(calls) == 2:
                COMPUTE[name](memory, given)
        except Exception as error:  # ctypes would print it and go on
            problems.append(repr(error))
            return 1
        return 0

    hook = HOOK(launch)
    driver.set_hook(hook)
    before = driver.in_use()
    session = Session(bundle, native=library, threads=1)
    try:
        answer = session(x=x, edge_index=edges)["logits"]
    finally:
        assert not problems
    assert len(calls) == 2
    assert driver.in_use() == before
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)
    if name == "spmm":
        other = export(pyg.GCN(WIDTH, WIDTH, 1, 5).eval(), EXAMPLE, tmp_path / "o", graph="csr")
        with pytest.raises(Exception, match="no kernel for 5 30 0 0; build it"):
            Session(other, native=library)(x=x, edge_index=edges)


def agree(launch: dict[str, Any], kernel: dict[str, Any]) -> None:
    """Compare what was compiled with what PyTorch launches."""
    assert kernel["arguments"] == launch["arguments"]
    assert kernel["constants"] == launch["constants"]
    assert kernel["num_warps"] == launch["num_warps"]
    assert launch["maxnreg"] is None
    assert kernel["hidden"] == 2
    types = {"torch.int64": "*i64", "torch.int32": "*i32", "torch.float32": "*fp32"}
    scalars = {"num_rows": "i64", "num_edges": "i64", "slope": "fp32", "scale": "fp32"}
    tensors = {name: types[kind] for name, kind in launch["types"].items()}
    assert dict(zip(kernel["arguments"], kernel["types"], strict=True)) == tensors | {
        name: kind for name, kind in scalars.items() if name in kernel["arguments"]
    }


def read(address: int, planned: dict[str, Any], name: str) -> np.ndarray:
    """Return the memory at an address, as large as what Triton's launcher gives."""
    dtype = np.dtype(planned["types"][name].removeprefix("torch."))
    shape = planned["shapes"][name]
    assert address % 16 == 0
    assert address > 0
    memory = (ctypes.c_char * (int(np.prod(shape)) * dtype.itemsize)).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)


def rows_of(m: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [m["col_ptr"][a:b] for a, b in zip(m["rowptr_ptr"], m["rowptr_ptr"][1:], strict=False)]


def spmm(m: dict[str, np.ndarray], given: dict[str, int]) -> None:
    x = m["x_ptr"] * m["src_scale_ptr"][:, None]
    m["part_ptr"][:] = 0  # as large as Triton's own
    for row, sources in enumerate(rows_of(m)):
        sums = x[sources].sum(axis=0) + m["self_weight_ptr"][row] * x[row]
        m["out_ptr"][row] = m["dst_scale_ptr"][row] * sums + m["bias_ptr"]


def extremum(m: dict[str, np.ndarray], given: dict[str, int]) -> None:
    m["part_ptr"][:] = 0
    for row, sources in enumerate(rows_of(m)):
        m["out_ptr"][row] = m["x_ptr"][sources].max(axis=0) if sources.size else 0.0


def gat(m: dict[str, np.ndarray], given: dict[str, int]) -> None:
    slope = real(given["slope"])
    for row, sources in enumerate(rows_of(m)):
        seen = np.append(sources[sources != row], row)
        raw = m["src_ptr"][seen] + m["dst_ptr"][row]
        score = np.where(raw > 0, raw, raw * slope)
        m["out_ptr"][row] = attended(m, score, m["x_ptr"][seen]) + m["bias_ptr"]


def gatv2(m: dict[str, np.ndarray], given: dict[str, int]) -> None:
    slope = real(given["slope"])
    for row, sources in enumerate(rows_of(m)):
        seen = np.append(sources[sources != row], row)
        raw = by_head(m, m["xl_ptr"][seen] + m["xr_ptr"][row])
        score = (np.where(raw > 0, raw, raw * slope) * m["att_ptr"]).sum(axis=-1)
        m["out_ptr"][row] = attended(m, score, m["xl_ptr"][seen]) + m["bias_ptr"]


def dot_attention(m: dict[str, np.ndarray], given: dict[str, int]) -> None:
    scale = real(given["scale"])
    m["out_ptr"][:] = 0.0
    for row, seen in enumerate(rows_of(m)):
        if seen.size:
            score = by_head(m, m["query_ptr"][row] * m["key_ptr"][seen]).sum(axis=-1) * scale
            m["out_ptr"][row] = attended(m, score, m["value_ptr"][seen])


def real(word: int) -> np.float32:
    """Return the float in the lower half of a word."""
    return np.array([word & 0xFFFFFFFF], np.uint32).view(np.float32)[0]


def by_head(m: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), m["lse_ptr"].shape[1], -1)


def attended(m: dict[str, np.ndarray], score: np.ndarray, values: np.ndarray) -> np.ndarray:
    for name in ("sums_ptr", "stats_ptr", "lse_ptr"):
        m[name][:] = 0  # as large as Triton's own
    part = np.exp(score - score.max(axis=0))
    part /= part.sum(axis=0)
    return (part[:, :, None] * by_head(m, values)).sum(axis=0).reshape(-1)


COMPUTE = {
    "spmm": spmm,
    "extremum": extremum,
    "gat": gat,
    "gatv2": gatv2,
    "dot_attention": dot_attention,
}
