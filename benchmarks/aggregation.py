"""Aggregation in ONNX Runtime on the ogbn-arxiv graph: our C++ operators against every peer.

    python benchmarks/aggregation.py --data DATA [--threads 1 2] [--widths 32 64 128 256]

Each operator is a model of one node, the graph sorted beforehand, with nodes in the order of the
data set and in one of locality (reverse Cuthill-McKee). One interleaved run for each number of
threads, a fresh process for each row and round; all rows are checked against each other first.
Features are random. Rows:

    ours             graphstill::spmm or ::gat, the C++ kernel inside ONNX Runtime
    read             the same rows of x in the same order and nothing else (a ceiling)
    embedding_bag, torch CSR (MKL), torch COO (torch.sparse.mm)
    C loop           three nested loops, gcc -O3 -march=native, OpenMP over rows
    ScatterElements  Gather and ScatterElements, as torch.onnx.export writes it; width 32 only

Takes about 8 minutes on two cores.
"""

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

HEADS, CHANNELS, TOLERANCE = 4, 16, 1e-3
IN_TORCH = ("read", "embedding_bag", "torch CSR", "torch COO")
ORDERS = ("as given", "by locality")
LOOPS = r"""
#include <math.h>
#include <stdint.h>
#include <string.h>

void sum(int64_t n, int64_t f, const int64_t *rowptr, const int32_t *col, const float *x,
         float *out) {
#pragma omp parallel for schedule(dynamic, 256)
  for (int64_t i = 0; i < n; i++) {
    float *row = out + i * f;
    memset(row, 0, f * sizeof(float));
    for (int64_t e = rowptr[i]; e < rowptr[i + 1]; e++)
      for (int64_t k = 0; k < f; k++) row[k] += x[col[e] * f + k];
  }
}

void gat(int64_t n, int64_t h, int64_t c, const int64_t *rowptr, const int32_t *col,
         const float *x, const float *src, const float *dst, float *out) {
#pragma omp parallel for schedule(dynamic, 256)
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < h; k++) {
      float *row = out + (i * h + k) * c, most = -INFINITY, total = 0;
      memset(row, 0, c * sizeof(float));
      for (int64_t e = rowptr[i]; e < rowptr[i + 1]; e++) {
        float s = src[col[e] * h + k] + dst[i * h + k];
        s = s > 0 ? s : 0.2f * s;
        most = s > most ? s : most;
      }
      for (int64_t e = rowptr[i]; e < rowptr[i + 1]; e++) {
        float s = src[col[e] * h + k] + dst[i * h + k];
        float p = expf((s > 0 ? s : 0.2f * s) - most);
        total += p;
        for (int64_t j = 0; j < c; j++) row[j] += p * x[(col[e] * h + k) * c + j];
      }
      for (int64_t j = 0; j < c && total > 0; j++) row[j] /= total;
    }
}
"""
# how many times faster ours must at least be; `read` is a ceiling, of which 90 % is asked
BARS = {
    **dict.fromkeys(("embedding_bag", "torch CSR", "torch COO"), 1.0),
    "read": 0.9,
    "ScatterElements": 100.0,
}


def features(inputs: Mapping[str, Any], width: int) -> np.ndarray:
    """Return the same random features for every row."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((len(inputs["rowptr"]) - 1, width), np.float32)


def scores(inputs: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the two halves of attention's scores, [N, H] each."""
    rng = np.random.default_rng(1)
    shape = (2, len(inputs["rowptr"]) - 1, HEADS)
    first, second = rng.standard_normal(shape, np.float32)
    return first, second


def ours(inputs: Mapping[str, Any], threads: int, *, kind: str, width: int) -> Callable[[], Any]:
    """One node of our domain in ONNX Runtime."""
    feeds = {"rowptr": inputs["rowptr"], "col": inputs["col"], "x": features(inputs, width)}
    if kind == "gat":
        feeds["alpha_src"], feeds["alpha_dst"] = scores(inputs)
    session = _session(_one_node(kind, list(feeds)), threads, native=True)
    return lambda: session.run(None, feeds)[0]


def _one_node(kind: str, names: list[str]) -> Any:
    from onnx import TensorProto, helper

    from graphstill.export.bodies import DOMAIN, body_for

    settings = {"negative_slope": 0.2, "add_self_loops": 0} if kind == "gat" else {"reduce": "sum"}
    operator = "spmm" if kind == "sum" else kind
    node = helper.make_node(operator, names, ["out"], domain=DOMAIN, **settings)
    body = body_for(node)
    node.overload = body.overload
    types = {"rowptr": TensorProto.INT64, "col": TensorProto.INT32}
    values = [
        helper.make_tensor_value_info(
            name, types.get(name, TensorProto.FLOAT), [None] * (1 if name in types else 2)
        )
        for name in names
    ]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, None])
    return helper.make_model(
        helper.make_graph([node], kind, values, [out]),
        functions=[body],
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )


def _session(model: Any, threads: int, *, native: bool) -> Any:
    import onnxruntime

    from graphstill.serve import native as library

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if native:
        options.register_custom_ops_library(library.library())
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def scatter(inputs: Mapping[str, Any], threads: int, *, kind: str, width: int) -> Callable[[], Any]:
    """Gather and ScatterElements with a sum, as an exported scatter_add is written."""
    from onnx import TensorProto, helper

    x, count = features(inputs, width), len(inputs["rowptr"]) - 1
    row = np.repeat(np.arange(count), np.diff(inputs["rowptr"]))
    nodes = [
        helper.make_node("Gather", ["x", "col"], ["messages"], axis=0),
        helper.make_node("Shape", ["messages"], ["shape"]),
        helper.make_node("Unsqueeze", ["row", "one"], ["column"]),
        helper.make_node("Expand", ["column", "shape"], ["index"]),
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node(
            "ScatterElements", ["zeros", "index", "messages"], ["out"], axis=0, reduction="add"
        ),
    ]
    inputs_of = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width]),
        helper.make_tensor_value_info("col", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("row", TensorProto.INT64, [None]),
    ]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, width])
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "scatter", inputs_of, [out], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = _session(model, threads, native=False)
    feeds = {"x": x, "col": inputs["col"].astype(np.int64), "row": row}
    return lambda: session.run(None, feeds)[0]


def in_torch(
    inputs: Mapping[str, Any], threads: int, *, kind: str, width: int, peer: str
) -> Callable[[], Any]:
    """What torch has for it; see `kernel_rows`."""
    import torch
    from kernel_rows import BUILDERS

    torch.set_num_threads(threads)
    count = len(inputs["rowptr"]) - 1
    row = np.repeat(np.arange(count), np.diff(inputs["rowptr"]))
    edges = torch.from_numpy(np.stack([inputs["col"].astype(np.int64), row]))
    function = BUILDERS[kind]({"edge_index": edges}, count, width, kind, peer)
    x = torch.from_numpy(features(inputs, width))

    def call() -> Any:
        with torch.inference_mode():
            return function(x)

    return call


def loop(
    inputs: Mapping[str, Any], threads: int, *, kind: str, width: int, library: str
) -> Callable[[], Any]:
    """The loops, compiled by gcc."""
    x = features(inputs, width)
    arrays = [inputs["rowptr"], inputs["col"], x, *(scores(inputs) if kind == "gat" else ())]
    sizes = (HEADS, CHANNELS) if kind == "gat" else (width,)
    return _in_c(library, kind, threads, sizes, arrays)


def attention_loop(
    rowptr: np.ndarray, col: np.ndarray, x: np.ndarray, threads: int, *, library: str, heads: int
) -> Callable[[], Any]:
    """The loop of attention on features of any width."""
    halves = scores({"rowptr": rowptr})
    return _in_c(library, "gat", threads, (heads, x.shape[1] // heads), [rowptr, col, x, *halves])


def _in_c(
    library: str, kind: str, threads: int, sizes: tuple[int, ...], arrays: list[np.ndarray]
) -> Callable[[], Any]:
    """Return a call of a loop; the third array is x, whose shape is the result's."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    function = getattr(ctypes.CDLL(library), kind)
    arrays = [np.ascontiguousarray(array) for array in arrays]

    def pointer(array: np.ndarray) -> ctypes.c_void_p:
        return array.ctypes.data_as(ctypes.c_void_p)

    def call() -> np.ndarray:
        out = np.empty_like(arrays[2])
        numbers = [ctypes.c_int64(size) for size in (len(out), *sizes)]
        function(*numbers, *(pointer(array) for array in arrays), pointer(out))
        return out

    return call


def compiled(folder: Path) -> str:
    """Compile the loops."""
    gcc = shutil.which("gcc")
    if gcc is None:
        raise SystemExit("gcc is needed for the C loops")
    source, library = folder / "loops.c", folder / "loops.so"
    source.write_text(LOOPS)
    flags = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-lm"]
    subprocess.run([gcc, str(source), *flags, "-o", str(library)], check=True)
    return os.path.relpath(library)


def rows_of(kind: str, width: int, order: str, library: str) -> list[Any]:
    """Return the rows of an operator at one width, on one order of nodes."""
    from graphstill.export import Row

    case, common = f"{kind}/{width}/{order}", {"kind": kind, "width": width}
    rows = [Row(f"{case} ours", "aggregation:ours", common)]
    rows.append(Row(f"{case} C loop", "aggregation:loop", {**common, "library": library}))
    if kind == "gat":
        return rows
    rows += [
        Row(f"{case} {peer}", "aggregation:in_torch", {**common, "peer": peer}) for peer in IN_TORCH
    ]
    if width == 32:
        rows.append(Row(f"{case} ScatterElements", "aggregation:scatter", common))
    return rows


def check(rows: list[Any], inputs: Mapping[str, Any], threads: int) -> None:
    """Compare all rows with the first; stop if one is wrong."""
    wanted = None
    for row in rows:
        if row.label.endswith(" read"):
            continue
        function = globals()[row.target.partition(":")[2]]
        answer = np.asarray(function(inputs, threads, **row.arguments)())
        wanted = answer if wanted is None else wanted
        error = float(np.abs(answer - wanted).max() / np.abs(wanted).max())
        if not error <= TOLERANCE:
            raise SystemExit(f"{row.label} is wrong by {error:.1e}: no speed is reported")


def graphs(data: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return the graph as CSR with nodes as they come and in an order of locality."""
    from graphs import arxiv
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    edges = arxiv(data)["edge_index"]
    count = int(edges.max()) + 1
    matrix = csr_matrix((np.ones(edges.shape[1], np.int8), (edges[1], edges[0])), (count, count))
    order = reverse_cuthill_mckee(matrix, symmetric_mode=True)
    found = {}
    for name, some in zip(ORDERS, (matrix, matrix[order][:, order]), strict=True):
        some.sort_indices()
        found[name] = {
            "rowptr": some.indptr.astype(np.int64),
            "col": some.indices.astype(np.int32),
        }
    return found


def compare(report: Any, threads: int) -> list[list[str]]:
    """Return a line of cells for each peer of each case, and where a bar is missed."""
    cells = []
    for label in (measured.row.label for measured in report.rows):
        kind, width, rest = label.split("/")
        order = next(name for name in ORDERS if rest.startswith(name))
        peer = rest.removeprefix(f"{order} ")
        if peer == "ours":
            continue
        mine = f"{kind}/{width}/{order} ours"
        ratio, low, high = report.ratio(label, mine)
        bar = 1.5 if kind == "gat" else BARS.get(peer, 1.0)
        times = [1e3 * report.row(name).latency_seconds for name in (mine, label)]
        cells.append(
            [
                str(threads),
                kind,
                width,
                order,
                peer,
                *(f"{ms:.3g}" for ms in times),
                f"{ratio:.2f}",
                f"{low:.2f} – {high:.2f}",
                f"{bar:g}" if ratio >= bar else f"{bar:g}, missed",
            ]
        )
    return cells


HEADER = ["threads", "operator", "width", "order of nodes", "peer", "ours ms", "peer ms"]
HEADER += ["times faster", "95 % interval", "at least"]


def main() -> None:
    """Check, measure, and write a report for each number of threads, and table.md of both."""
    parser = argparse.ArgumentParser(description="Aggregation in ONNX Runtime against its peers")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/aggregation"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "aggregation")
    chosen = parser.parse_args()

    from graphstill.export import Settings, measure
    from graphstill.export.bench import machine_line

    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    chosen.work.mkdir(parents=True, exist_ok=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    library, lines = compiled(chosen.work), []
    cases = [("sum", width) for width in chosen.widths] + [("gat", HEADS * CHANNELS)]
    orders = graphs(chosen.data)
    footer = ""
    for threads in chosen.threads:
        for order, inputs in orders.items():
            groups = [rows_of(kind, width, order, library) for kind, width in cases]
            for rows in groups:
                check(rows, inputs, threads)
            report = measure(
                [row for rows in groups for row in rows],
                inputs,
                Settings(threads, chosen.rounds, min_samples=3, min_seconds=0.3),
                facts={"graph": f"ogbn-arxiv, symmetrised, {order}"},
                on_step=lambda label: print(label, flush=True),
            )
            report.save(chosen.out / f"{order.replace(' ', '-')}-{threads}.json")
            lines += compare(report, threads)
            footer = machine_line(report)
    table = [HEADER, ["---"] * len(HEADER), *lines]
    text = "\n".join(f"| {' | '.join(line)} |" for line in table)
    (chosen.out / "table.md").write_text(f"{text}\n\n{footer}\n")
    print(text)


if __name__ == "__main__":
    main()
