"""The operators and layers on a GPU against every peer: one command, within ten minutes.

    python benchmarks/gpu.py --data DATA [--only sum gatv2 …] [--part 4] [--device cuda] [--out DIR]

One process, because a GPU is timed by its own clock: rows of a case take turns in rounds, each
round the median of some calls between two events. All rows of a case are checked against each
other first, and ours against itself for the same bits. What memory can do is measured before that
(`ceilings.py`). A peer that cannot run (cuSPARSE's library or CuPy where they are not there, what
needs too much memory) is named with its reason, and so is a graph whose data are not there. The
most telling cases come first; those for which no time is left are named. `--device cpu --part 400`
tries the script out without a GPU.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

CUSPARSE = ("cuSPARSE 1", "cuSPARSE 2", "cuSPARSE 3")
PYG = ("PyG", "PyG compiled")
SUMS = ("ours", "read", *CUSPARSE, "torch CSR", "CuPy CSR", "embedding_bag", "PyG")
MEANS = ("ours", *CUSPARSE[1:], "torch CSR", "embedding_bag", *PYG)
REDUCED = ("ours", "embedding_bag", *PYG)
LAYERS = ("ours", "ours alone", *PYG)
RELATIONAL = ("ours", *PYG, "PyG fast")
FORWARD_ONLY = ("read", "CuPy CSR")
UNCHECKED = ("read", "ours alone")  # they compute something else
DIRECTIONS = ("forward", "forward+backward")


@dataclass(frozen=True)
class Case:
    """An operator on a graph at a width, and its rows."""

    kind: str
    graph: str
    width: int
    peers: tuple[str, ...]

    def name(self, direction: str) -> str:
        """What the reports call it."""
        return f"{self.kind}/{self.graph}/{self.width}/{direction}"


# what is asked for first comes first
CASES = (
    Case("sum", "products-shaped", 64, (*SUMS, "PyG compiled")),
    Case("sum", "products-shaped", 128, SUMS),
    Case("gatv2", "products-shaped", 64, LAYERS),
    Case("rgcn", "mag-shaped", 64, RELATIONAL),
    Case("mean", "products-shaped", 64, MEANS),
    Case("max", "products-shaped", 64, REDUCED),
    Case("sum", "products-shaped-ordered", 64, SUMS),
    Case("gat", "products-shaped", 64, LAYERS),
    Case("transformer", "products-shaped", 64, LAYERS),
    Case("sum", "arxiv", 64, SUMS),
    Case("gatv2", "arxiv", 64, ("ours", "ours alone", "PyG")),
    Case("rgcn", "am", 16, ("ours", "PyG", "PyG fast")),
    Case("sum", "reddit-shaped", 64, SUMS),
    Case("sum", "ppi", 64, SUMS),
    Case("sum", "computers", 64, SUMS),
)


def rows_of(
    case: Case, direction: str, inputs: Any, chosen: Any
) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Return the rows that can run, all checked against the first, and why the others cannot."""
    from kernel_rows import target

    rows: dict[str, Callable[[], Any]] = {}
    reasons: dict[str, str] = {}
    first = None
    for peer in case.peers:
        if direction != "forward" and peer in FORWARD_ONLY:
            continue
        named = {"kind": case.kind, "width": case.width, "peer": peer, "direction": direction}
        try:
            call = target(inputs, chosen.threads, device=chosen.device, **named)
            answers = [t.detach() for t in call()]
            again = [t.detach() for t in call()] if peer == "ours" else answers
        except (ImportError, RuntimeError, AttributeError) as error:  # out of memory is one
            first_line = (str(error).splitlines() or [""])[0]
            reasons[peer] = f"{type(error).__name__}: {first_line[:120]}"
            continue
        label = f"{case.name(direction)}: {peer}"
        if not all(torch.equal(a, b) for a, b in zip(answers, again, strict=True)):
            raise SystemExit(f"{label} differs from call to call; no speed is reported")
        if peer not in UNCHECKED:
            first = answers if first is None else first
            for mine, wanted in zip(answers, first, strict=True):
                apart = float((mine.double() - wanted).abs().max() / wanted.abs().max())
                if not apart <= 1e-3:
                    raise SystemExit(f"{label} is wrong by {apart:.1e}; no speed is reported")
        rows[peer] = call
    return rows, reasons


def measure(case: Case, direction: str, inputs: Any, clock: Any, chosen: Any) -> dict[str, Any]:
    """Check and time a case's rows; return seconds of each round and peak memory, by row."""
    rows, reasons = rows_of(case, direction, inputs, chosen)
    seconds: dict[str, list[float]] = {peer: [] for peer in rows}
    for _ in range(chosen.rounds):
        for peer, call in rows.items():
            seconds[peer].append(clock.median(call))
    memory = {peer: clock.peak_bytes(call) for peer, call in rows.items()}
    found = {"case": case.name(direction), "kind": case.kind, "graph": case.graph}
    found |= {"width": case.width, "direction": direction, "seconds": seconds}
    return found | {"peak_bytes": memory, "not_run": reasons}


def graphs_of(chosen: Any) -> dict[str, Callable[[], dict[str, np.ndarray]]]:
    """Return what makes each graph: real ones from the data, others as a part of full size."""
    import graphs

    def part(make: Any, times: int, **more: bool) -> Callable[[], dict[str, np.ndarray]]:
        return functools.partial(make, chosen.data, part=times * chosen.part, **more)

    return {
        "products-shaped": part(graphs.products_shaped, 1),
        "products-shaped-ordered": part(graphs.products_shaped, 1, shuffled=False),
        "reddit-shaped": part(graphs.reddit_shaped, 1),
        "mag-shaped": part(graphs.mag_shaped, 2),
        **{
            name: functools.partial(graphs.GRAPHS[name], chosen.data)
            for name in ("arxiv", "am", "ppi", "computers")
        },
    }


def prepared(made: dict[str, np.ndarray], clock: Any, device: str) -> tuple[Any, dict[str, Any]]:
    """Return a graph on the device, and its sizes and how long a plan of it takes."""
    from graphstill.kernels import CSRGraph

    inputs: dict[str, Any] = {
        name: value if name == "num_nodes" else torch.as_tensor(value).to(device)
        for name, value in made.items()
    }
    edge_index, num_nodes = inputs["edge_index"], int(made["num_nodes"])

    def plan() -> None:
        _ = CSRGraph.from_edge_index(edge_index, num_nodes).transposed

    plan()
    facts = {"nodes": num_nodes, "edges": edge_index.shape[1], "plan_ms": 1e3 * clock.median(plan)}
    return inputs, facts


def main() -> None:
    """Measure, and write report.json and table.md as far as time allows."""
    parser = argparse.ArgumentParser(description="Operators on a GPU against their peers")
    parser.add_argument("--data", type=Path, default=Path("."), help="folder of the real graphs")
    kinds = list(dict.fromkeys(case.kind for case in CASES))
    parser.add_argument("--only", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--part", type=int, default=4, help="graphs are this part of full size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--limit", type=float, default=540, help="seconds; later cases are left")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu")
    chosen = parser.parse_args()

    from ceilings import Clock, ceilings
    from gpu_table import write

    start, clock = time.monotonic(), Clock(chosen.device)
    gpu = torch.cuda.get_device_name() if clock.cuda else "none: " + chosen.device
    report: dict[str, Any] = {"gpu": gpu, "torch": torch.__version__, "part": chosen.part}
    report |= {"ceilings_gb_per_second": ceilings(clock, chosen.device)}
    report |= {"graphs": {}, "cases": [], "left": {}}
    print(report)
    makers, inputs = graphs_of(chosen), {}
    for case in CASES:
        for direction in DIRECTIONS if case.kind in chosen.only else ():
            if time.monotonic() - start > chosen.limit:
                report["left"][case.name(direction)] = f"{chosen.limit:.0f} s were over"
                continue
            try:
                if case.graph not in inputs:
                    ready = prepared(makers[case.graph](), clock, chosen.device)
                    inputs[case.graph], report["graphs"][case.graph] = ready
            except FileNotFoundError as error:
                report["left"][case.name(direction)] = f"no data: {error}"
                continue
            report["cases"].append(measure(case, direction, inputs[case.graph], clock, chosen))
            passed = time.monotonic() - start
            print(f"{case.name(direction)}: done after {passed:.0f} s", flush=True)
            write(report, chosen.out)
    print(write(report, chosen.out))


if __name__ == "__main__":
    main()
