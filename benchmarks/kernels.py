"""The operators and their layers against every peer, forward and backward.

    python benchmarks/kernels.py --data DATA [--only sum gatv2 …] [--graphs arxiv ppi …]

One interleaved run with a fresh process for each row and round; a call is a forward pass, or a
forward and a backward pass. All rows of a case are checked against each other, outputs and
gradients, before anything is timed. The graph is prepared outside the call for those who can.
Features are random. Cases are named operator/graph/width/direction.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

TOLERANCE = 1e-3
DIRECTIONS = ("forward", "forward+backward")


@dataclass(frozen=True)
class Case:
    """An operator on some graphs, at some widths.

    Attributes:
        kind: The operator or layer.
        graphs: Names of the graphs.
        widths: Numbers of features.
        peers: The rows.
        directions: Forward, and forward and backward.
    """

    kind: str
    graphs: tuple[str, ...]
    widths: tuple[int, ...]
    peers: tuple[str, ...]
    directions: tuple[str, ...] = DIRECTIONS

    def rows(self, width: int, graph: str, direction: str) -> list[Any]:
        """Return the rows at one width, in one direction."""
        from graphstill.export import Row

        both = () if direction == "forward" else FORWARD_ONLY
        return [
            Row(
                f"{self.kind}/{graph}/{width}/{direction} {peer}",
                "kernel_rows:target",
                {"kind": self.kind, "width": width, "peer": peer, "direction": direction},
            )
            for peer in self.peers
            if peer not in both
        ]


# read: the same rows of x in the same order, and nothing else; no sum over neighbours is faster
FORWARD_ONLY = ("read", "AOTInductor", "PyG compiled")
SUMS = ("ours", "read", "torch CSR", "embedding_bag", "PyG")
REDUCED = ("ours", "PyG", "PyG CSR")
COMPILED = ("PyG compiled", "AOTInductor")  # their compilers take minutes: two operators
GENERATED = ("products-shaped", "products-shaped-ordered", "reddit-shaped")
CASES = (
    Case("sum", ("arxiv",), (32, 64, 128, 256), SUMS),
    Case("sum", ("computers", "ppi"), (64,), (*SUMS, "torch COO")),
    Case("sum", GENERATED, (64,), ("ours", "read", "torch CSR", "embedding_bag"), ("forward",)),
    Case("mean", ("arxiv",), (64,), (*REDUCED, *COMPILED)),
    Case("max", ("arxiv",), (64,), REDUCED),
    Case("min", ("arxiv",), (64,), REDUCED),
    Case("gat", ("arxiv", "computers"), (64,), ("ours", "PyG")),
    Case("gatv2", ("arxiv",), (64,), ("ours", "PyG", *COMPILED)),
    Case("gatv2", ("computers",), (64,), ("ours", "PyG")),
    Case("transformer", ("arxiv",), (64,), ("ours", "PyG")),
    Case("l1", ("computers",), (64,), ("ours", "plain torch")),
    Case("rgcn", ("aifb", "am", "mag-shaped"), (16,), ("ours", "PyG", "PyG fast")),
)

# what ours must at least be times faster than, by operator, row and direction
BARS: dict[tuple[str, str], tuple[float, float]] = {
    **{("sum", peer): (1.0, 1.0) for peer in ("torch CSR", "torch COO")},
    ("sum", "embedding_bag"): (1.0, 2.0),
    **{(kind, "PyG"): (3.0, 3.0) for kind in ("mean", "max", "min")},
    **{(kind, "PyG"): (4.0, 4.0) for kind in ("gat", "gatv2", "transformer", "rgcn")},
    ("rgcn", "PyG fast"): (4.0, 4.0),
}


def check(rows: list[Any], inputs: Mapping[str, Any], threads: int) -> None:
    """Compare outputs and gradients of all rows with the first one's; stop if one is wrong."""
    from kernel_rows import target

    first = None
    for row in rows:
        if row.arguments["peer"] == "read":
            continue
        answers = [np.asarray(t) for t in target(inputs, threads, **row.arguments)()]
        first = answers if first is None else first
        errors = [
            float(np.abs(a - b).max() / np.abs(b).max())
            for a, b in zip(answers, first, strict=True)
        ]
        print(f"{row.label}: differs by {max(errors):.1e} of the largest value", flush=True)
        if not max(errors) <= TOLERANCE:
            raise SystemExit(f"{row.label} is wrong: no speed is reported")


def compare(report: Any, labels: list[str], edges: int) -> list[dict[str, Any]]:
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
                # what is read of x at least, if no row of it is read twice from one cache
                "gather_gb_per_second": 4
                * edges
                * int(case.split("/")[2])
                / mine.latency_seconds
                / 1e9,
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
            c["peer"] if c["peer"] != "read" else "read of the same rows",
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
    kinds = list(dict.fromkeys(case.kind for case in CASES))
    parser.add_argument("--only", nargs="+", default=kinds, choices=kinds)
    graphs = list(dict.fromkeys(graph for case in CASES for graph in case.graphs))
    parser.add_argument("--graphs", nargs="+", default=graphs, choices=graphs)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "kernels")
    chosen = parser.parse_args()

    from graphs import GRAPHS

    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    for case in CASES:
        wanted = chosen.graphs if case.kind in chosen.only else ()
        for graph in (graph for graph in case.graphs if graph in wanted):
            inputs = GRAPHS[graph](chosen.data)
            name = f"{case.kind}-{graph}"
            print(f"{name}: {inputs['edge_index'].shape[1]:,} edges", flush=True)
            groups = [case.rows(w, graph, d) for w in case.widths for d in case.directions]
            for rows in groups:
                check(rows, inputs, chosen.threads)
            _measure(name, [row for rows in groups for row in rows], inputs, chosen)


def facts_of(name: str, inputs: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Return the graph's size, how long its plan takes to build, and what memory can do."""
    import torch

    from graphstill.kernels import CSRGraph

    torch.set_num_threads(threads)
    edge_index, num_nodes = torch.from_numpy(inputs["edge_index"]), int(inputs["num_nodes"])

    def plan() -> None:
        _ = CSRGraph.from_edge_index(edge_index, num_nodes).transposed

    memory = torch.ones(2, 1 << 26)  # 256 MB each
    copy = fastest(lambda: memory[0].copy_(memory[1]))
    return {
        "graph": name,
        "nodes": num_nodes,
        "edges": edge_index.shape[1],
        "plan_ms": 1e3 * fastest(plan),
        "copy_gb_per_second": 2 * memory[0].nbytes / copy / 1e9,
    }


def fastest(call: Callable[[], Any], times: int = 5) -> float:
    """Return the least seconds that a call took."""

    def once() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return min(once() for _ in range(times))


def _measure(name: str, rows: list[Any], inputs: Mapping[str, Any], chosen: Any) -> None:
    from graphstill.export import Settings, measure
    from graphstill.export.bench import machine_line
    from graphstill.export.page import Section, write_page
    from graphstill.export.plots import latency

    report = measure(
        rows,
        inputs,
        Settings(threads=chosen.threads, rounds=chosen.rounds, min_samples=3, min_seconds=0.5),
        facts=facts_of(name, inputs, chosen.threads),
        on_step=lambda label: print(label, flush=True),
    )
    found = compare(report, [row.label for row in rows], int(report.facts["edges"]))
    report.facts["comparisons"] = found
    header, cells = table_of(found)
    sizes = "{nodes:,} nodes, {edges:,} edges, prepared in {plan_ms:.0f} ms; copying runs at "
    about = (sizes + "{copy_gb_per_second:.1f} GB/s").format(**report.facts)
    out = chosen.out / name
    out.mkdir(parents=True, exist_ok=True)
    report.save(out / "report.json")
    lines = [header, ["---"] * len(header), *cells]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (out / "table.md").write_text(f"{about}\n\n{text}\n")
    cases = dict.fromkeys(row.label.partition(" ")[0] for row in rows)
    sections = [Section("How many times faster", "", header, cells)]
    for case in cases:
        part = [r for r in report.rows if r.row.label.startswith(f"{case} ")]
        sections.append(Section(case, "", svg=latency(part)))
    write_page(out / "report.html", name, about, sections, footer=machine_line(report))
    print(text)
    for c in found:
        if c["bar"] is not None and c["ratio"] < c["bar"]:
            print(f"below the bar: {c['case']} against {c['peer']}: {c['ratio']:.2f}")


if __name__ == "__main__":
    main()
