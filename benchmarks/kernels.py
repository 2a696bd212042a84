"""The operators and their layers against every peer, forward and backward.

    python benchmarks/kernels.py --data DATA [--only sum gatv2 …] [--rounds 3]

One interleaved run with a fresh process for each row and round; a call is a forward pass, or a
forward and a backward pass. All rows of a case are checked against each other, outputs and
gradients, before anything is timed. The graph is prepared outside the call for those who can.
Features are random. Cases are named operator/graph/width/direction.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

TOLERANCE = 1e-3
SUMS = ("ours", "torch CSR", "torch COO", "embedding_bag", "PyG")
REDUCED = ("ours", "PyG", "PyG compiled")
LAYERS = ("ours", "PyG", "PyG compiled")

# operator: its graphs, its widths, its rows
CASES: dict[str, tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]] = {
    "sum": (("arxiv", "computers"), (32, 64, 128, 256), SUMS),
    "mean": (("arxiv",), (32, 128), REDUCED),
    "max": (("arxiv",), (32, 128), REDUCED),
    "min": (("arxiv",), (128,), REDUCED),
    "gat": (("arxiv", "computers"), (64,), LAYERS),
    "gatv2": (("arxiv", "computers"), (64,), LAYERS),
    "transformer": (("arxiv",), (64,), LAYERS),
    "rgcn": (("aifb", "am", "mag-shaped"), (16,), ("ours", "PyG", "PyG fast")),
}
DIRECTIONS = ("forward", "forward+backward")

# what ours must at least be times faster than, by operator, row and direction
BARS: dict[tuple[str, str], tuple[float, float]] = {
    **{("sum", peer): (1.0, 1.0) for peer in ("torch CSR", "torch COO")},
    ("sum", "embedding_bag"): (1.0, 2.0),
    **{(kind, peer): (3.0, 3.0) for kind in ("mean", "max", "min") for peer in ("PyG",)},
    **{(kind, "PyG"): (4.0, 4.0) for kind in ("gat", "gatv2", "transformer", "rgcn")},
    ("rgcn", "PyG fast"): (4.0, 4.0),
}


def rows_of(kind: str, graph: str, width: int, direction: str) -> list[Any]:
    """Return the rows of one case."""
    from graphstill.export import Row

    return [
        Row(
            f"{kind}/{graph}/{width}/{direction} {peer}",
            "kernel_rows:target",
            {"kind": kind, "width": width, "peer": peer, "direction": direction},
        )
        for peer in CASES[kind][2]
    ]


def check(rows: list[Any], inputs: Mapping[str, Any], threads: int) -> None:
    """Compare outputs and gradients of all rows with the first one's; stop if one is wrong."""
    from kernel_rows import target

    first = None
    for row in rows:
        answers = [np.asarray(t) for t in target(inputs, threads, **row.arguments)()]
        first = answers if first is None else first
        errors = [
            float(np.abs(a - b).max() / np.abs(b).max())
            for a, b in zip(answers, first, strict=True)
        ]
        print(f"{row.label}: differs by {max(errors):.1e} of the largest value", flush=True)
        if not max(errors) <= TOLERANCE:
            raise SystemExit(f"{row.label} is wrong: no speed is reported")


def compare(report: Any, labels: list[str]) -> list[dict[str, Any]]:
    """Return how ours compares with each peer of each case."""
    found = []
    for label in labels:
        case, _, peer = label.partition(" ")
        if peer == "ours":
            continue
        kind, direction = case.split("/")[0], case.split("/")[3]
        ratio, low, high = report.ratio(label, f"{case} ours")
        bars = BARS.get((kind, peer))
        mine, theirs = report.row(f"{case} ours"), report.row(label)
        found.append(
            {
                "case": case,
                "peer": peer,
                "ms": [1e3 * mine.latency_seconds, 1e3 * theirs.latency_seconds],
                "ratio": ratio,
                "interval": [low, high],
                "bar": None if bars is None else bars[DIRECTIONS.index(direction)],
                "extra_mb": [row.memory["extra_bytes"] / 1e6 for row in (mine, theirs)],
            }
        )
    return found


def table_of(found: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells."""
    header = ["case", "peer", "ours ms", "peer ms", "times faster", "95 % interval", "at least"]
    header += ["ours MB", "peer MB"]
    cells = [
        [
            c["case"],
            c["peer"],
            *(f"{ms:,.3g}" if ms < 100 else f"{ms:,.0f}" for ms in c["ms"]),
            f"{c['ratio']:.2f}",
            f"{c['interval'][0]:.2f} – {c['interval'][1]:.2f}",
            "–" if c["bar"] is None else f"{c['bar']:g}",
            *(f"{mb:,.0f}" for mb in c["extra_mb"]),
        ]
        for c in found
    ]
    return header, cells


def main() -> None:
    """Check, measure, and write report.json, report.html and table.md for each operator."""
    parser = argparse.ArgumentParser(description="Operators and layers against their peers")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "kernels")
    chosen = parser.parse_args()

    from graphs import GRAPHS

    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    for kind in chosen.only:
        graphs, widths, _ = CASES[kind]
        for graph in graphs:
            inputs = GRAPHS[graph](chosen.data)
            name = f"{kind}-{graph}"
            print(f"{name}: {inputs['edge_index'].shape[1]:,} edges", flush=True)
            cases = [rows_of(kind, graph, w, d) for w in widths for d in DIRECTIONS]
            for rows in cases:
                check(rows, inputs, chosen.threads)
            _measure(name, [row for rows in cases for row in rows], inputs, chosen)


def _measure(name: str, rows: list[Any], inputs: Mapping[str, Any], chosen: Any) -> None:
    from graphstill.export import Settings, measure
    from graphstill.export.bench import machine_line
    from graphstill.export.page import Section, write_page
    from graphstill.export.plots import latency

    report = measure(
        rows,
        inputs,
        Settings(threads=chosen.threads, rounds=chosen.rounds, min_samples=3, min_seconds=0.5),
        facts={"graph": name},
        on_step=lambda label: print(label, flush=True),
    )
    found = compare(report, [row.label for row in rows])
    report.facts["comparisons"] = found
    header, cells = table_of(found)
    out = chosen.out / name
    out.mkdir(parents=True, exist_ok=True)
    report.save(out / "report.json")
    lines = [header, ["---"] * len(header), *cells]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (out / "table.md").write_text(text + "\n")
    cases = dict.fromkeys(row.label.partition(" ")[0] for row in rows)
    sections = [Section("How many times faster", "", header, cells)]
    for case in cases:
        part = [r for r in report.rows if r.row.label.startswith(f"{case} ")]
        sections.append(Section(case, "", svg=latency(part)))
    write_page(out / "report.html", name, "Interleaved.", sections, footer=machine_line(report))
    print(text)
    for c in found:
        if c["bar"] is not None and c["ratio"] < c["bar"]:
            print(f"below the bar: {c['case']} against {c['peer']}: {c['ratio']:.2f}")


if __name__ == "__main__":
    main()
