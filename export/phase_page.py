"""What a report of phases says: by size, by popularity, by phase; as tables and as a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import load_plots, phase_plots, plots
from .bench import machine_line
from .intervals import percentile
from .load_page import verdicts
from .markdown_report import Table, write_markdown
from .page import Section, write_page
from .phases import PHASES
from .report import Measured, Report

_SHOWN = (50, 90, 99)


@dataclass(frozen=True)
class Group:
    """The timed requests of one size and popularity of one row.

    Attributes:
        row: Label of the row.
        nodes: Nodes that a request asks for.
        popularity: How they were drawn.
        seconds: How long requests took, [samples].
        phases: The same by phase, [phases, samples].
        requests: Number of each sample's request.
        sizes: Nodes and edges that each request sees, [requests, 2].
    """

    row: str
    nodes: int
    popularity: str
    seconds: np.ndarray
    phases: np.ndarray
    requests: np.ndarray
    sizes: np.ndarray


def groups_of(report: Report) -> list[Group]:
    """Return the groups of every row, in the order in which they were asked for."""
    return [group for row in report.rows for group in _groups(row, report.facts["requests"])]


def _groups(row: Measured, asked: Sequence[dict[str, Any]]) -> list[Group]:
    requests = np.concatenate([r["requests"] for r in row.rounds])
    seconds = np.array(row.samples)
    phases = np.array([np.concatenate([r["phases"][p] for r in row.rounds]) for p in PHASES])
    sizes, first, found = np.array(row.rounds[0]["sizes"]), 0, []
    for group in asked:
        last = first + group["count"]
        mine = (first <= requests) & (requests < last)
        found.append(
            Group(
                row.row.label,
                group["nodes"],
                group["popularity"],
                seconds[mine],
                phases[:, mine],
                requests[mine] - first,
                sizes[first:last],
            )
        )
        first = last
    return found


def size_table(report: Report) -> Table:
    """Return latency by row, popularity and size."""
    header = ["", "popularity", "asked for", "median edges", "most edges"]
    header += [f"p{p} ms" for p in _SHOWN] + ["slowest ms"]
    rows = []
    for group in groups_of(report):
        edges = group.sizes[:, 1]
        known = [percentile(group.seconds.tolist(), p) for p in _SHOWN]
        cells = [group.row, group.popularity, str(group.nodes)]
        cells += [f"{np.median(edges):,.0f}", f"{edges.max():,}"]
        rows.append([*cells, *map(_ms, [*known, float(group.seconds.max())])])
    return header, rows


def phase_table(report: Report) -> Table:
    """Return the mean of each phase of the smallest requests, and its share."""
    header = ["", "popularity", *(f"{phase} ms" for phase in PHASES), "total ms"]
    rows = []
    for group in _smallest(report):
        means = group.phases.mean(axis=1)
        shares = [f"{_ms(m)} ({100 * m / means.sum():.0f} %)" for m in means]
        rows.append([group.row, group.popularity, *shares, _ms(means.sum())])
    return header, rows


def write_phase_report(report: Report, folder: Path) -> None:
    """Write report.json, report.md and report.html."""
    report.save(folder / "report.json")
    title, lead = "A request, phase by phase", _lead(report)
    tables = {"By size and popularity": size_table(report), "By phase": phase_table(report)}
    line = machine_line(report)
    write_markdown(folder / "report.md", title, lead, tables, verdicts(report), line)
    write_page(folder / "report.html", title, lead, _sections(report), footer=line)


def _lead(report: Report) -> str:
    settings, groups = report.settings, report.facts["requests"]
    count = sum(group["count"] for group in groups)
    answers = sum(found["answers"] for found in report.facts["answers"].values())
    right = all(found["ok"] for found in report.facts["answers"].values())
    return (
        f"{count:,} requests for nodes of {report.facts['data']}, one after the other, in turns: "
        "the neighbourhood is sampled, its features are fetched, the model is run, and the answer "
        "becomes JSON as in the Open Inference Protocol, without a network. "
        f"{settings.rounds} rounds, a fresh process each, {settings.threads} "
        f"{'thread' if settings.threads == 1 else 'threads'}. {answers:,} of the timed answers "
        f"were checked afterwards and {'are right' if right else 'SOME ARE WRONG'}."
    )


def _sections(report: Report) -> list[Section]:
    groups = groups_of(report)
    by_size: dict[str, dict[str, dict[int, np.ndarray]]] = {}
    for group in groups:
        of_row = by_size.setdefault(group.row, {})
        of_row.setdefault(group.popularity, {})[group.nodes] = group.seconds
    bars = {f"{g.row}, {g.popularity}": _means(g) for g in _smallest(report)}
    smallest = {f"{g.row}, {g.popularity}": g.seconds.tolist() for g in _smallest(report)}
    nodes = min(group.nodes for group in groups)
    return [
        Section("Where the time goes", ". ".join(verdicts(report)), *phase_table(report)),
        Section(f"Phases, {_nodes(nodes)}", svg=phase_plots.split(bars)),
        Section("By size and popularity", "", *size_table(report)),
        Section("By nodes asked for", svg=phase_plots.by_nodes(by_size)),
        Section("By size of the neighbourhood", svg=phase_plots.by_edges(_clouds(groups))),
        Section(
            f"By popularity, {_nodes(nodes)}",
            "Uniform draws hide the tail: popular nodes see more.",
            svg=load_plots.tails_of(smallest),
        ),
        Section(
            "Memory",
            "In a pass of its own, over all requests; sampling runs in torch, which is part of it.",
            svg=plots.memory(report.rows),
        ),
    ]


def _means(group: Group) -> dict[str, float]:
    return {phase: float(mean) for phase, mean in zip(PHASES, group.phases.mean(1), strict=True)}


def _clouds(groups: Sequence[Group]) -> phase_plots.Clouds:
    """Return edges and median seconds of every request, of all sizes together."""
    parts: dict[str, dict[str, list[tuple[np.ndarray, np.ndarray]]]] = {}
    for group in groups:
        of_row = parts.setdefault(group.row, {}).setdefault(group.popularity, [])
        of_row.append((group.sizes[:, 1], _medians(group)))
    return {
        row: {
            kind: (np.concatenate([e for e, _ in found]), np.concatenate([s for _, s in found]))
            for kind, found in kinds.items()
        }
        for row, kinds in parts.items()
    }


def _medians(group: Group) -> np.ndarray:
    """Return the median seconds of each request."""
    return np.array(
        [np.median(group.seconds[group.requests == i]) for i in range(len(group.sizes))]
    )


def _smallest(report: Report) -> list[Group]:
    groups = groups_of(report)
    nodes = min(group.nodes for group in groups)
    return [group for group in groups if group.nodes == nodes]


def _nodes(count: int) -> str:
    return "one node a request" if count == 1 else f"{count} nodes a request"


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e3 * seconds:.3g}"
