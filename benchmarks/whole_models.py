"""Whole models on the ogbn-arxiv graph: what is exported against every way PyG offers.

    python benchmarks/whole_models.py --data DATA [--models gcn-256 gat-32 …] [--rounds 3]

3 layers, 128 → hidden → hidden → 40, hidden 256 and 32, and GCNII of 64 × 64 and 4 × 4, random
weights and features, the real graph (169,343 nodes, 2.3 M edges, symmetrised), one interleaved run
with a fresh process for each row and round. DATA is a folder with ogbn_arxiv/raw/edge.csv.gz. Rows
of a model:

    prepared        our bundle, the graph sorted once outside the call
    edge_index      our bundle, the edge list in the call
    PyG CSR         PyG with a prebuilt (for GCN normalised) sparse CSR adjacency; not for GAT
    PyG edge_index  PyG as everybody writes it
    AOTInductor     the PyG model compiled ahead of time
    plain ONNX      torch.onnx.export of the PyG model in ONNX Runtime; hidden 32 only

All rows are checked against PyG before anything is timed. Takes about 45 minutes on two cores.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

OURS = ("prepared", "edge_index")
TOLERANCE = 1e-3
# what each row must at least be times faster than; see the issue tracker for where they come from
BARS = {
    "gcn-256": {"PyG CSR": 2.5, "PyG edge_index": 12.0, "AOTInductor": 8.0},
    "gcn-32": {"PyG CSR": 2.5, "PyG edge_index": 12.0, "AOTInductor": 8.0, "plain ONNX": 80.0},
    "sage-256": {"PyG CSR": 2.0, "PyG edge_index": 5.0, "AOTInductor": 5.0},
    "sage-32": {"PyG CSR": 2.5, "PyG edge_index": 10.0, "AOTInductor": 8.0, "plain ONNX": 80.0},
    "gat-256": {"PyG edge_index": 7.0, "AOTInductor": 5.0},
    "gat-32": {"PyG edge_index": 7.0, "AOTInductor": 5.0, "plain ONNX": 80.0},
    "gatv2-256": {"PyG edge_index": 7.0, "AOTInductor": 5.0},
    "gatv2-32": {"PyG edge_index": 7.0, "AOTInductor": 5.0, "plain ONNX": 80.0},
    "gcnii-64": {},
    "gcnii-4": {},
}
MODELS = tuple(BARS)
BAR_OF_EDGE_INDEX = {"plain ONNX": 45.0}
# a teacher in PyG against a student's bundle, and how many times faster that is to be
COMPRESSED = {
    ("gcn-256 PyG CSR", "gcn-32 prepared"): 25.0,
    ("gat-256 PyG edge_index", "gcn-32 prepared"): 100.0,
    ("gcnii-64 PyG CSR", "gcnii-4 prepared"): 100.0,
}


def read_inputs(data: Path) -> dict[str, np.ndarray]:
    """Read the graph and draw features."""
    from graphs import arxiv
    from whole_model_rows import FEATURES

    graph = arxiv(data)
    shape = int(graph["num_nodes"]), FEATURES
    return {
        "x": np.random.default_rng(0).standard_normal(shape, np.float32),
        "edge_index": graph["edge_index"],
    }


def prepare(model: str, folder: Path) -> list[Any]:
    """Export and compile one network every way, and return its rows."""
    import torch
    from whole_model_rows import FEATURES, network

    from graphstill.export import Row, export
    from graphstill.export.peer_files import compile_ahead, export_plainly

    module = network(model)
    example = (torch.randn(50, FEATURES), torch.randint(0, 50, (2, 300)))
    rows = []
    for label, form in (("prepared", "csr"), ("edge_index", "edge_index")):
        path = folder / f"{model}-{form}"
        export(module, example, path, graph=form)
        arguments = {"path": str(path), "prepared": label == "prepared"}
        rows.append(Row(f"{model} {label}", "graphstill.export.targets:bundle", arguments))
    if not model.startswith("gat"):
        rows.append(Row(f"{model} PyG CSR", "whole_model_rows:pyg_csr", {"model": model}))
    if model.startswith("gcnii"):  # there to be compressed, not to be compared
        return rows
    rows.append(Row(f"{model} PyG edge_index", "whole_model_rows:pyg_edge_index", {"model": model}))
    package = folder / f"{model}.pt2"
    path = str(package if package.exists() else compile_ahead(module, example, package))
    rows.append(Row(f"{model} AOTInductor", "whole_model_rows:aot_inductor", {"path": path}))
    if model.endswith("-32"):
        path = str(export_plainly(module, example, folder / f"{model}.onnx"))
        rows.append(Row(f"{model} plain ONNX", "whole_model_rows:plain_onnx", {"path": path}))
    return rows


def check(rows: list[Any], inputs: dict[str, np.ndarray], threads: int) -> dict[str, float]:
    """Return the largest difference of each row to PyG on the edge list; fail if one is large."""
    from graphstill.export.bench import differences

    errors: dict[str, float] = {}
    ordered = sorted(rows, key=lambda r: not r.label.endswith("PyG edge_index"))
    for label, error in differences(ordered, inputs, threads):
        print(f"{label}: differs by {error} of the largest value", flush=True)
        if isinstance(error, str) or not error <= TOLERANCE:
            raise SystemExit(f"{label} is wrong: no speed is reported")
        errors[label] = error
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


def compressed(report: Any) -> list[list[str]]:
    """Return how many times faster students' bundles are than teachers in PyG, as cells."""
    labels, cells = {r.row.label for r in report.rows}, []
    for (teacher, student), bar in COMPRESSED.items():
        if {teacher, student} <= labels:
            ratio, low, high = report.ratio(teacher, student)
            cells.append([teacher, student, f"{ratio:.0f}", f"{low:.0f} – {high:.0f}", f"{bar:g}"])
    return cells


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
    if students := compressed(report):
        header = ["teacher", "student", "times faster", "95 % interval", "at least"]
        sections.append(Section("Teachers against students", "", header, students))
        lines = [header, ["---"] * len(header), *students]
        table += "\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)
        (chosen.out / "table.md").write_text(table + "\n")
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
