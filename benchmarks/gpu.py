"""The operators and layers on a GPU against every peer: one command, within ten minutes.

    python benchmarks/gpu.py --data DATA [--device cuda] [--part 4] [--out DIR]

One process, because a GPU is timed by its own clock: rows of a case take turns in rounds, each
round the median of some calls between two events. All rows of a case are checked against each
other first. What memory can do is measured first too: a copy, rows gathered at random from a table
that does not fit the L2 cache, and from one that does. A peer that cannot run (CuPy where it is not
installed, what needs too much memory) is named with its reason. `--device cpu --part 400` tries the
script out without a GPU.
"""

import argparse
import functools
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

SUMS = ("ours", "read", "torch CSR", "CuPy CSR", "embedding_bag", "PyG", "PyG compiled")
REDUCED = ("ours", "PyG", "PyG compiled")
LAYERS = ("ours", "PyG", "PyG compiled")
RELATIONAL = ("ours", "PyG", "PyG fast")
FORWARD_ONLY = ("read", "CuPy CSR")

# operator: graphs, widths, rows; what the operator is asked for first comes first
CASES: dict[str, tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]] = {
    "sum": (("products-shaped", "products-shaped-ordered"), (64, 128), SUMS),
    "gatv2": (("products-shaped",), (64,), LAYERS),
    "rgcn": (("mag-shaped",), (64,), RELATIONAL),
    "max": (("products-shaped",), (64,), REDUCED),
    "mean": (("products-shaped",), (64,), REDUCED),
    "gat": (("products-shaped",), (64,), LAYERS),
    "transformer": (("products-shaped",), (64,), LAYERS),
}


def cases() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each case's name, its graph and its rows."""
    for kind, (graphs, widths, peers) in CASES.items():
        for graph, width in itertools.product(graphs, widths):
            yield f"{kind}/{graph}/{width}/forward", graph, peers
            both = tuple(peer for peer in peers if peer not in FORWARD_ONLY)
            yield f"{kind}/{graph}/{width}/forward+backward", graph, both


class Clock:
    """Times calls on a device, and how much memory they need at their peak."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")

    def seconds(self, call: Callable[[], Any]) -> float:
        """Return the seconds of one call."""
        if not self.cuda:
            start = time.perf_counter()
            call()
            return time.perf_counter() - start
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        call()
        after.record()
        torch.cuda.synchronize()
        return before.elapsed_time(after) / 1e3

    def median(self, call: Callable[[], Any], calls: int = 7) -> float:
        """Return the median seconds of some calls."""
        return statistics.median(self.seconds(call) for _ in range(calls))

    def peak_bytes(self, call: Callable[[], Any]) -> int:
        """Return what a call needs beyond what is held already; 0 where nobody counts."""
        if not self.cuda:
            return 0
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - held


def ceilings(clock: Clock, device: str) -> dict[str, float]:
    """Return GB/s of a copy, of rows gathered at random, and of rows gathered from the L2 cache."""
    count = 1 << (28 if clock.cuda else 22)
    big = torch.ones(count, device=device)
    other = torch.empty_like(big)
    copy = clock.median(lambda: other.copy_(big))
    found = {"copy": 2 * big.nbytes / copy / 1e9}
    for name, rows in (("gather", count // 64), ("gather_l2", 1 << 15)):
        table, ids = big.view(-1, 64)[:rows], torch.randint(0, rows, (count // 64,), device=device)
        bags = torch.arange(0, ids.numel(), 2048, device=device)
        bag = functools.partial(torch.nn.functional.embedding_bag, ids, table, bags, mode="sum")
        found[name] = 4 * 64 * ids.numel() / clock.median(bag) / 1e9
    return found


def measure(
    case: str, peers: tuple[str, ...], inputs: Any, chosen: Any, clock: Clock
) -> dict[str, Any]:
    """Check and time the rows of a case; return seconds of each round and peak memory, by row."""
    from kernel_rows import target

    kind, _, width, direction = case.split("/")
    rows: dict[str, Callable[[], Any]] = {}
    reasons: dict[str, str] = {}
    first = None
    for peer in peers:
        arguments = {"kind": kind, "width": int(width), "peer": peer, "direction": direction}
        try:
            call = target(inputs, chosen.threads, device=chosen.device, **arguments)
            answers = [t.detach().cpu().double() for t in call()]
        except (ImportError, RuntimeError, torch.cuda.OutOfMemoryError) as error:
            reasons[peer] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            continue
        if peer != "read":
            first = answers if first is None else first
            for mine, wanted in zip(answers, first, strict=True):
                apart = float((mine - wanted).abs().max() / wanted.abs().max())
                if not apart <= 1e-3:
                    raise SystemExit(
                        f"{case}: {peer} is wrong by {apart:.1e}; no speed is reported"
                    )
        rows[peer] = call
    seconds: dict[str, list[float]] = {peer: [] for peer in rows}
    for _ in range(chosen.rounds):
        for peer, call in rows.items():
            seconds[peer].append(clock.median(call))
    memory = {peer: clock.peak_bytes(call) for peer, call in rows.items()}
    return {"case": case, "seconds": seconds, "peak_bytes": memory, "not_run": reasons}


def table_of(found: list[dict[str, Any]], edges: dict[str, int]) -> list[list[str]]:
    """Return header and cells."""
    from graphstill.export.intervals import ratio_interval

    header = ["case", "row", "ms", "ours is faster by", "95 % interval", "gather GB/s", "peak MB"]
    cells = [header, ["---"] * len(header)]
    for result in found:
        _, graph, width, _ = result["case"].split("/")
        for peer, seconds in result["seconds"].items():
            ratio = ratio_interval(seconds, result["seconds"]["ours"])
            middle = statistics.median(seconds)
            cells.append(
                [
                    result["case"],
                    peer,
                    f"{1e3 * middle:.3g}",
                    f"{ratio[0]:.2f}",
                    f"{ratio[1]:.2f} – {ratio[2]:.2f}",
                    f"{4 * edges[graph] * int(width) / middle / 1e9:,.0f}",
                    f"{result['peak_bytes'][peer] / 1e6:,.0f}",
                ]
            )
        cells += [[result["case"], p, why, "", "", "", ""] for p, why in result["not_run"].items()]
    return cells


def main() -> None:
    """Measure, and write report.json and table.md as far as time allows."""
    parser = argparse.ArgumentParser(description="Operators on a GPU against their peers")
    parser.add_argument("--data", type=Path, default=Path("."), help="not read: graphs are made")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--part", type=int, default=4, help="graphs are this part of full size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--limit", type=float, default=540, help="seconds; later cases are left")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu")
    chosen = parser.parse_args()

    from graphs import mag_shaped, products_shaped

    start, clock = time.monotonic(), Clock(chosen.device)
    graphs: dict[str, Callable[[], dict[str, np.ndarray]]] = {
        "products-shaped": functools.partial(products_shaped, chosen.data, part=chosen.part),
        "products-shaped-ordered": functools.partial(
            products_shaped, chosen.data, part=chosen.part, shuffled=False
        ),
        "mag-shaped": functools.partial(mag_shaped, chosen.data, part=2 * chosen.part),
    }
    made = functools.cache(lambda name: graphs[name]())
    gpu = torch.cuda.get_device_name() if clock.cuda else "none: " + chosen.device
    report: dict[str, Any] = {"gpu": gpu, "torch": torch.__version__, "part": chosen.part}
    report |= {"ceilings_gb_per_second": ceilings(clock, chosen.device), "cases": []}
    print(report)
    chosen.out.mkdir(parents=True, exist_ok=True)
    edges: dict[str, int] = {}
    for case, graph, peers in cases():
        if time.monotonic() - start > chosen.limit:
            print(f"{case}: not run, {chosen.limit:.0f} s are over")
            continue
        edges[graph] = made(graph)["edge_index"].shape[1]
        report["cases"].append(measure(case, peers, made(graph), chosen, clock))
        table = table_of(report["cases"], edges)
        text = "\n".join(f"| {' | '.join(line)} |" for line in table) + "\n"
        (chosen.out / "report.json").write_text(json.dumps(report) + "\n")
        (chosen.out / "table.md").write_text(text)
        print(f"{case}: done after {time.monotonic() - start:.0f} s", flush=True)
    print((chosen.out / "table.md").read_text())


if __name__ == "__main__":
    main()
