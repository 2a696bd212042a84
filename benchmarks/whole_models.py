"""Whole models on the ogbn-arxiv graph: what is exported against every way PyG offers.

    python benchmarks/whole_models.py --data DATA [--models gcn-256 gat-32 …] [--rounds 3]

3 layers, 128 → hidden → hidden → 40, hidden 256 and 32, random weights and features, the real graph
(169,343 nodes, 2.3 M edges, symmetrised), one interleaved run with a fresh process for each row and
round. DATA is a folder with ogbn_arxiv/raw/edge.csv.gz. Rows of a model:

    prepared        our bundle, the graph sorted once outside the call
    edge_index      our bundle, the edge list in the call
    PyG CSR         PyG with a prebuilt (for GCN normalised) sparse CSR adjacency; not for GAT
    PyG edge_index  PyG as everybody writes it
    AOTInductor     the PyG model compiled ahead of time
    plain ONNX      torch.onnx.export of the PyG model in ONNX Runtime; hidden 32 only

All rows are checked against PyG before anything is timed. Takes about 45 minutes on two cores.
"""

import argparse
import gzip
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
NUM_NODES, FEATURES, CLASSES = 169_343, 128, 40
MODELS = ("gcn-256", "gcn-32", "sage-256", "sage-32", "gat-256", "gat-32")
OURS = ("prepared", "edge_index")
TOLERANCE = 1e-3

# what each row must at least be times faster than; see the issue tracker for where they come from
BARS = {
    "gcn-256": {"PyG CSR": 2.0, "PyG edge_index": 10.0},
    "gcn-32": {"PyG CSR": 2.0, "PyG edge_index": 10.0, "plain ONNX": 60.0},
    "sage-256": {"PyG CSR": 1.9, "PyG edge_index": 5.0},
    "sage-32": {"PyG CSR": 2.0, "PyG edge_index": 10.0, "plain ONNX": 60.0},
    "gat-256": {"PyG edge_index": 5.0},
    "gat-32": {"PyG edge_index": 10.0, "plain ONNX": 60.0},
}
BAR_OF_EDGE_INDEX = {"plain ONNX": 45.0}


def network(model: str) -> Any:
    """Build a network in PyG; the same numbers each time."""
    import torch
    from torch_geometric import nn as pyg

    kind, _, hidden = model.partition("-")
    torch.manual_seed(0)
    make = {"gcn": pyg.GCN, "sage": pyg.GraphSAGE, "gat": pyg.GAT}[kind]
    extra = {"heads": 4} if kind == "gat" else {}
    return make(FEATURES, int(hidden), 3, CLASSES, **extra).eval()


def pyg_edge_index(inputs: Mapping[str, Any], threads: int, *, model: str) -> Callable[[], Any]:
    """PyG in eager mode on an edge list."""
    return _in_torch(network(model), inputs["x"], _tensor(inputs["edge_index"]), threads)


def pyg_csr(inputs: Mapping[str, Any], threads: int, *, model: str) -> Callable[[], Any]:
    """PyG in eager mode on a sparse CSR adjacency, normalised beforehand for GCN."""
    import torch
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    module: Any = network(model)
    edges: Any = _tensor(inputs["edge_index"])
    weight: Any = torch.ones(edges.shape[1])
    if model.startswith("gcn"):
        edges, weight = gcn_norm(edges, None, NUM_NODES)
        for conv in module.convs:
            conv.normalize = conv.add_self_loops = False
    adjacency = torch.sparse_coo_tensor(edges.flip(0), weight, (NUM_NODES, NUM_NODES))
    return _in_torch(module, inputs["x"], adjacency.to_sparse_csr(), threads)


def aot_inductor(inputs: Mapping[str, Any], threads: int, *, path: str) -> Callable[[], Any]:
    """The PyG network compiled ahead of time."""
    import torch

    torch.set_num_threads(threads)
    compiled = torch._inductor.aoti_load_package(path)
    return _in_torch(compiled, inputs["x"], _tensor(inputs["edge_index"]), threads)


def plain_onnx(inputs: Mapping[str, Any], threads: int, *, path: str) -> Callable[[], Any]:
    """The plain export of the PyG network, in ONNX Runtime with its defaults."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {name: inputs[name] for name in ("x", "edge_index")}
    return lambda: session.run(None, feeds)[0]


def _tensor(value: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(value)


def _in_torch(module: Any, x: np.ndarray, graph: Any, threads: int) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    features = torch.from_numpy(x)

    def call() -> Any:
        with torch.inference_mode():
            return module(features, graph)

    return call


def read_inputs(data: Path) -> dict[str, np.ndarray]:
    """Read the graph, make it symmetric, and draw features."""
    with gzip.open(data / "ogbn_arxiv" / "raw" / "edge.csv.gz", "rt") as file:
        edges = np.loadtxt(file, delimiter=",", dtype=np.int64).T
    both = np.concatenate([edges, edges[::-1]], axis=1)
    pairs = np.unique(both[0] * NUM_NODES + both[1])
    edge_index = np.stack([pairs // NUM_NODES, pairs % NUM_NODES])
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((NUM_NODES, FEATURES), np.float32),
        "edge_index": edge_index,
    }


def prepare(model: str, folder: Path) -> list[Any]:
    """Export and compile one network every way, and return its rows."""
    import torch

    from graphstill.export import Row, export

    module = network(model)
    example = (torch.randn(50, FEATURES), torch.randint(0, 50, (2, 300)))
    rows = []
    for label, form in (("prepared", "csr"), ("edge_index", "edge_index")):
        path = folder / f"{model}-{form}"
        export(module, example, path, graph=form)
        arguments = {"path": str(path), "prepared": label == "prepared"}
        rows.append(Row(f"{model} {label}", "graphstill.export.targets:bundle", arguments))
    if not model.startswith("gat"):
        rows.append(Row(f"{model} PyG CSR", "whole_models:pyg_csr", {"model": model}))
    rows.append(Row(f"{model} PyG edge_index", "whole_models:pyg_edge_index", {"model": model}))
    path = str(_compile(module, example, folder / f"{model}.pt2"))
    rows.append(Row(f"{model} AOTInductor", "whole_models:aot_inductor", {"path": path}))
    if model.endswith("-32"):
        path = str(_plain_export(module, example, folder / f"{model}.onnx"))
        rows.append(Row(f"{model} plain ONNX", "whole_models:plain_onnx", {"path": path}))
    return rows


def _dynamic() -> Any:
    import torch

    nodes, edges = torch.export.Dim("num_nodes", min=2), torch.export.Dim("num_edges", min=2)
    return ({0: nodes}, {1: edges})


def _compile(module: Any, example: Any, path: Path) -> Path:
    import torch

    if not path.exists():
        with torch.no_grad():
            program = torch.export.export(module, example, dynamic_shapes=_dynamic())
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return path


def _plain_export(module: Any, example: Any, path: Path) -> Path:
    import torch

    torch.onnx.export(
        module,
        example,
        str(path),
        dynamo=True,
        dynamic_shapes=_dynamic(),
        input_names=["x", "edge_index"],
        external_data=False,
        verbose=False,
    )
    return path


def check(rows: list[Any], inputs: dict[str, np.ndarray], threads: int) -> dict[str, float]:
    """Return the largest difference of each row to PyG on the edge list; fail if one is large."""
    import importlib

    errors: dict[str, float] = {}
    wanted = None
    for row in sorted(rows, key=lambda r: not r.label.endswith("PyG edge_index")):
        module, _, function = row.target.partition(":")
        call = getattr(importlib.import_module(module), function)
        answer = call(inputs, threads, **row.arguments)()
        answer = answer["logits"] if isinstance(answer, dict) else answer
        answer = np.asarray(answer)
        wanted = answer if wanted is None else wanted
        errors[row.label] = float(np.abs(answer - wanted).max() / np.abs(wanted).max())
        print(f"{row.label}: differs by {errors[row.label]:.1e} of the largest value", flush=True)
        if not errors[row.label] <= TOLERANCE:
            raise SystemExit(f"{row.label} is wrong: no speed is reported")
    return errors


def ratios(report: Any, models: list[str]) -> list[dict[str, Any]]:
    """Return how many times faster each of ours is than each peer, and where a bar is missed."""
    found = []
    for model in models:
        peers = [r.row.label for r in report.rows if r.row.label.startswith(f"{model} ")]
        for ours in OURS:
            bars = BARS[model] if ours == "prepared" else BAR_OF_EDGE_INDEX
            for label in peers:
                peer = label.removeprefix(f"{model} ")
                if peer in OURS:
                    continue
                ratio, low, high = report.ratio(label, f"{model} {ours}")
                memory = [
                    report.row(name).memory["extra_bytes"] / 1e6
                    for name in (f"{model} {ours}", label)
                ]
                found.append(
                    {
                        "model": model,
                        "ours": ours,
                        "peer": peer,
                        "ratio": ratio,
                        "interval": [low, high],
                        "bar": bars.get(peer),
                        "extra_mb": memory,
                    }
                )
    return found


def markdown(report: Any, models: list[str]) -> str:
    """Return latency and extra memory of all rows as a table."""
    columns = ["prepared", "edge_index", "PyG CSR", "PyG edge_index", "AOTInductor", "plain ONNX"]
    lines = [f"| ms (extra MB) | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    labels = {r.row.label for r in report.rows}
    for model in models:
        cells = []
        for column in columns:
            label = f"{model} {column}"
            if label not in labels:
                cells.append("–")
                continue
            row = report.row(label)
            ms, mb = 1e3 * row.latency_seconds, row.memory["extra_bytes"] / 1e6
            cells.append(f"{ms:,.0f} ({mb:,.0f})")
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prepare, check, measure, and write report.json, report.html and table.md."""
    parser = argparse.ArgumentParser(description="Whole models on the ogbn-arxiv graph")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/whole_models"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "whole_models")
    chosen = parser.parse_args()

    from graphstill.export import Settings, measure
    from graphstill.export.bench import machine_line
    from graphstill.export.page import Section, write_page
    from graphstill.export.plots import latency, memory

    # the measuring processes find this file by its name
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(HERE))
    chosen.work.mkdir(parents=True, exist_ok=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    inputs = read_inputs(chosen.data)
    print(f"{inputs['edge_index'].shape[1]:,} edges", flush=True)
    rows, errors = [], {}
    for model in chosen.models:
        of_model = prepare(model, chosen.work)
        errors |= check(of_model, inputs, chosen.threads)
        rows += of_model
    report = measure(
        rows,
        inputs,
        Settings(threads=chosen.threads, rounds=chosen.rounds, min_samples=3, min_seconds=1.0),
        facts={"graph": "ogbn-arxiv, symmetrised", "errors": errors, "native_operators": True},
        on_step=lambda label: print(label, flush=True),
    )
    compared = ratios(report, chosen.models)
    report.facts["ratios"] = compared
    report.save(chosen.out / "report.json")
    table = markdown(report, chosen.models)
    (chosen.out / "table.md").write_text(table + "\n")
    header = ["model", "ours", "against", "times faster", "95 % interval", "at least", "extra MB"]
    cells = [
        [
            c["model"],
            c["ours"],
            c["peer"],
            f"{c['ratio']:.1f}",
            f"{c['interval'][0]:.1f} – {c['interval'][1]:.1f}",
            "–" if c["bar"] is None else f"{c['bar']:g}",
            f"{c['extra_mb'][0]:,.0f} against {c['extra_mb'][1]:,.0f}",
        ]
        for c in compared
    ]
    sections = [Section("How many times faster", "", header, cells)]
    for model in chosen.models:
        part = [r for r in report.rows if r.row.label.startswith(f"{model} ")]
        sections.append(Section(f"{model}: latency", "", svg=latency(part)))
        sections.append(Section(f"{model}: memory", "", svg=memory(part)))
    write_page(
        chosen.out / "report.html",
        "Whole models on the ogbn-arxiv graph",
        "Three layers, 128 → hidden → hidden → 40, random weights and features, interleaved.",
        sections,
        footer=machine_line(report),
    )
    print(table)
    for c in compared:
        if c["bar"] is not None and c["ratio"] < c["bar"]:
            print(f"below the bar: {c['model']} {c['ours']} against {c['peer']}: {c['ratio']:.1f}")


if __name__ == "__main__":
    main()
