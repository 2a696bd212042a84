"""What `gpu.py` reports: a table of every row, and whether each bar is met.

The bound of a row is what it must at least gather, at the speed at which random rows of that size
were read from memory: one row of x for each edge, or as many as `GATHERED` says. Backward is the
difference of two measurements, round by round.
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# rows of x (or of gradients of its width) that an operator gathers for each edge, by direction
GATHERED = {
    "sum": (1, 1),
    "mean": (1, 1),
    "max": (1, 3),  # x; then the extremum and its gradient
    "gat": (1, 1),
    "gatv2": (1, 2),  # x; then gradients, with the signs handed over
    "transformer": (2, 4),
}
ATTENTION = ("gat", "gatv2", "transformer")


def write(report: dict[str, Any], out: Path) -> str:
    """Write report.json and table.md; return the latter."""
    out.mkdir(parents=True, exist_ok=True)
    report["bars"] = list(bars(report))
    text = _facts(report) + "\n\n" + _lines(_bar_cells(report)) + "\n" + _lines(_cells(report))
    for name, content in (("report.json", json.dumps(report) + "\n"), ("table.md", text)):
        partial = out / f"{name}.partial"
        partial.write_text(content)
        partial.rename(out / name)
    return text


def timed(report: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, dict[str, list[float]]]]:
    """Yield each case, its direction and seconds by row; backward after both are there."""
    forward: dict[str, dict[str, list[float]]] = {}
    for case in report["cases"]:
        key = case["case"].rpartition("/")[0]
        yield case, case["direction"], case["seconds"]
        if case["direction"] == "forward":
            forward[key] = case["seconds"]
        elif key in forward:
            both = {
                peer: [b - f for b, f in zip(rounds, forward[key][peer], strict=True)]
                for peer, rounds in case["seconds"].items()
                if peer in forward[key]
            }
            yield case, "backward", both


def fraction(report: dict[str, Any], case: dict[str, Any], direction: str, seconds: float) -> float:
    """Return what part of the bound a row reaches; 0 where no bound is known."""
    if case["kind"] not in GATHERED or seconds <= 0:
        return 0.0
    forward, backward = GATHERED[case["kind"]]
    rows = {"forward": forward, "backward": backward, "forward+backward": forward + backward}
    row_bytes = 4 * case["width"]
    speed = report["ceilings_gb_per_second"]["gather"][row_bytes] * 1e9
    return rows[direction] * report["graphs"][case["graph"]]["edges"] * row_bytes / speed / seconds


def bars(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each bar of issue 3 that was measured: what is asked, found, and whether it is met."""

    def bar(name: str, found: float, wanted: float, *, most: bool = False) -> dict[str, Any]:
        met = found <= wanted if most else found >= wanted
        limit = f"at {'most' if most else 'least'} {wanted:g}"
        return {"bar": name, "asked": limit, "found": found, "met": met}

    for case, direction, seconds in timed(report):
        kind, name = case["kind"], f"{case['case'].rpartition('/')[0]}/{direction}"
        if "ours" not in seconds:
            continue
        middle = {peer: statistics.median(rounds) for peer, rounds in seconds.items()}
        faster = {p: s / middle["ours"] for p, s in middle.items() if not p.startswith("ours")}
        faster.pop("read", None)
        if kind == "sum" and direction == "forward" and "products" in name:
            for peer in sorted(p for p in faster if p.startswith("cuSPARSE")):
                yield bar(f"{name}: as fast as {peer}", faster[peer], 1.0)
            reached = fraction(report, case, direction, middle["ours"])
            yield bar(f"{name}: of random-gather bandwidth", reached, 0.85)
        if kind in ("mean", "max") and direction == "forward":
            for peer in sorted(faster):
                yield bar(f"{name}: times faster than {peer}", faster[peer], 2.0)
        if kind == "gatv2" and direction == "forward" and "ours alone" in middle:
            reached = fraction(report, case, direction, middle["ours alone"])
            yield bar(f"{name}: of its bound", reached, 0.6)
        if kind == "gatv2" and direction == "backward" and faster:
            yield bar(f"{name}: times faster than the best peer", min(faster.values()), 3.0)
        if kind == "rgcn" and direction == "forward+backward" and "PyG" in faster:
            yield bar(f"{name}: times faster than PyG", faster["PyG"], 5.0)
        memory = case["peak_bytes"]
        if kind in ATTENTION and direction in ("forward", "forward+backward") and memory.get("PyG"):
            part = memory["ours"] / memory["PyG"]
            yield bar(f"{name}: peak memory, part of PyG's", part, 0.1, most=True)


def _facts(report: dict[str, Any]) -> str:
    ceilings = report["ceilings_gb_per_second"]
    about = (
        f"{report['gpu']}, torch {report['torch']}, generated graphs 1/{report['part']} of full "
    )
    lines = [about + f"size. A copy runs at {ceilings['copy']:,.0f} GB/s."]
    for name, where in (("gather", "memory"), ("gather_l2", "the L2 cache")):
        rows = ", ".join(f"{speed:,.0f} ({size} bytes)" for size, speed in ceilings[name].items())
        lines.append(f"Rows read at random from {where}, GB/s by size of a row: {rows}.")
    for name, facts in report["graphs"].items():
        lines.append(
            "{}: {nodes:,} nodes, {edges:,} edges, {plan_ms:.1f} ms for the plan.".format(
                name, **facts
            )
        )
    lines += [f"Not run: {name} ({reason})." for name, reason in report["left"].items()]
    return "\n".join(lines)


def _bar_cells(report: dict[str, Any]) -> list[list[str]]:
    return [
        ["bar", "asked", "found", "met"],
        *(
            [b["bar"], b["asked"], f"{b['found']:.3g}", "yes" if b["met"] else "no"]
            for b in report["bars"]
        ),
    ]


def _cells(report: dict[str, Any]) -> list[list[str]]:
    from graphstill.export.intervals import ratio_interval

    header = ["case", "row", "ms", "ours is faster by", "95 % interval", "gather GB/s", "of bound"]
    cells = [[*header, "peak MB"]]
    for case, direction, seconds in timed(report):
        name = f"{case['case'].rpartition('/')[0]}/{direction}"
        edges = report["graphs"][case["graph"]]["edges"]
        for peer, rounds in seconds.items():
            middle = statistics.median(rounds)
            usable = min(*rounds, *seconds.get("ours", [0.0])) > 0
            ratio = ratio_interval(rounds, seconds["ours"]) if usable else (float("nan"),) * 3
            gathered = 4 * edges * case["width"] / middle / 1e9 if middle > 0 else float("nan")
            reached = fraction(report, case, direction, middle)
            peak = "" if direction == "backward" else f"{case['peak_bytes'][peer] / 1e6:,.0f}"
            cells.append(
                [
                    name,
                    peer,
                    f"{1e3 * middle:.3g}",
                    f"{ratio[0]:.2f}",
                    f"{ratio[1]:.2f} – {ratio[2]:.2f}",
                    f"{gathered:,.0f}",
                    f"{reached:.0%}" if reached else "–",
                    peak,
                ]
            )
        if direction != "backward":
            cells += [[name, peer, why, *[""] * 5] for peer, why in case["not_run"].items()]
    return cells


def _lines(cells: list[list[str]]) -> str:
    lines = [cells[0], ["---"] * len(cells[0]), *cells[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
