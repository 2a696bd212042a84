"""bench: bundles side by side, speed never without accuracy and agreement beside it."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..serve import Bundle
from . import plots
from .answers import answers_of
from .awkward import random_graph
from .blocks.checks import whole_inputs
from .markdown_report import write_markdown
from .page import Section, write_page
from .report import Measured, Report, Row
from .targets import SEEDS


def bundle_rows(paths: Sequence[Path], *, native: bool = True, prepared: bool = False) -> list[Row]:
    """Return a row for each bundle."""
    rows = []
    for path, label in zip(paths, labels_of(paths), strict=True):
        rows.append(_row(path, label, native=native, prepared=prepared))
    return rows


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path: its last part, or more of it where that is not enough."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _row(path: Path, label: str, *, native: bool, prepared: bool) -> Row:
    arguments = {"path": str(path), "prepared": prepared}
    if Bundle.load(path).manifest.target is not None:
        return Row(label, "graphstill.export.targets:package", arguments)
    return Row(label, "graphstill.export.targets:bundle", {**arguments, "native": native})


def random_inputs(
    bundle: Bundle, num_nodes: int, num_edges: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return random features and a random graph, of each type, that fit a bundle."""
    if bundle.manifest.graph == "blocks":
        rng = np.random.default_rng(seed)
        edges = rng.integers(0, num_nodes, (2, num_edges))
        return whole_inputs(bundle, rng, num_nodes, edges)
    return random_graph(bundle, np.random.default_rng(seed), num_nodes, num_edges)


def quality(
    paths: Sequence[Path],
    inputs: Mapping[str, np.ndarray],
    labels: np.ndarray | None = None,
    nodes: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """Return what each bundle's answers are worth on the very inputs that are timed.

    Args:
        paths: The bundles; agreement is with the first.
        inputs: Inputs of a call.
        labels: Class of each node.
        nodes: Nodes to count; all if None.

    Returns:
        Agreement and, with labels, accuracy, 0-1, by the bundle's label.
    """
    answers, first = {}, None
    for path, label in zip(paths, labels_of(paths), strict=True):
        found, _ = answers_of(Bundle.load(path), inputs)
        classes = next(iter(found.values()))
        chosen = classes.argmax(axis=-1)
        first = chosen if first is None else first
        where = slice(None) if nodes is None else nodes
        answers[label] = {"agreement": float((chosen == first).mean())}
        if labels is not None:
            answers[label]["accuracy"] = float((chosen == labels)[where].mean())
    return answers


def differences(
    rows: Sequence[Row], inputs: Mapping[str, np.ndarray], threads: int
) -> Iterator[tuple[str, float | str]]:
    """Compare what rows answer with the first one's answer, before anything is timed.

    Yields:
        Label, and the largest difference relative to the largest value of the first row; or in
        words why a row gives no answer of that shape.
    """
    wanted: np.ndarray | None = None
    for row in rows:
        module, _, function = row.target.partition(":")
        load = getattr(importlib.import_module(module), function)
        try:
            answer = load(inputs, threads, **row.arguments)()
            answer = np.asarray(next(iter(answer.values())) if isinstance(answer, dict) else answer)
        except Exception as error:
            if wanted is None:
                raise
            yield row.label, " ".join(str(error).split())[:300]
            continue
        wanted = answer if wanted is None else wanted
        if answer.shape != wanted.shape:
            yield row.label, f"answers {list(answer.shape)}, not {list(wanted.shape)}"
        else:
            scale = float(np.abs(wanted).max()) or 1.0
            yield row.label, float(np.abs(answer - wanted).max()) / scale


def verdict(report: Report, a: str, b: str) -> str:
    """Say which of two rows is faster, if the interval says so."""
    ratio, low, high = report.ratio(a, b)
    if low > 1:
        return f"{b} is {ratio:.2f} times as fast as {a} [{low:.2f}, {high:.2f}]"
    if high < 1:
        return f"{a} is {1 / ratio:.2f} times as fast as {b} [{1 / high:.2f}, {1 / low:.2f}]"
    return f"neither {a} nor {b} is faster for certain: ratio {ratio:.2f} [{low:.2f}, {high:.2f}]"


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the report's table."""
    known = report.facts.get("quality", {})
    header = ["", "latency ms", "p90 ms", "extra MB", "peak MB", "accuracy", "agreement"]
    rows = [[row.row.label, *_cells(row, known)] for row in report.rows]
    energy = [row.joules_per_call for row in report.rows]
    if any(joules is not None for joules in energy):
        header.append("mJ a call")
        for row, joules in zip(rows, energy, strict=True):
            row.append("–" if joules is None else f"{1e3 * joules:.3g}")
    return header, rows


def verdicts(report: Report) -> list[str]:
    """Return the verdict of every row against the first, and why some are left out."""
    first, *others = [row.row.label for row in report.rows]
    left_out = report.facts.get("left_out", {})
    return [
        *(verdict(report, first, other) for other in others),
        *(f"left out: {label}: {why}" for label, why in left_out.items()),
    ]


def write_report(report: Report, folder: Path, title: str) -> None:
    """Write report.json, report.md and report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    report.save(folder / "report.json")
    tables = {"": table(report)}
    line = machine_line(report)
    write_markdown(folder / "report.md", title, _lead(report), tables, verdicts(report), line)
    write_report_page(report, folder / "report.html", title)


def write_report_page(report: Report, path: Path, title: str) -> None:
    """Write report.html."""
    header, rows = table(report)
    sections = [
        Section("Side by side", "; ".join(verdicts(report)), header, rows),
        *measurement_sections(report),
    ]
    write_page(path, title, _lead(report), sections, footer=machine_line(report))


def _lead(report: Report) -> str:
    threads = "1 thread" if report.settings.threads == 1 else f"{report.settings.threads} threads"
    return (
        f"{report.settings.rounds} interleaved rounds, a fresh process for each row and round, "
        f"{threads}. Intervals are 95 %, over rounds."
    )


def measurement_sections(report: Report) -> list[Section]:
    """Return the plots of a report."""
    text = "Each call answers for the whole graph."
    if report.facts.get("blocks"):
        text = f"Each call answers for the whole graph, one of blocks for {SEEDS} nodes."
    return [
        Section("Latency", text, svg=plots.latency(report.rows)),
        Section("Memory", "Measured in a pass of its own.", svg=plots.memory(report.rows)),
        Section("Cold start", "In a fresh process.", svg=plots.phases(report.rows)),
    ]


def machine_line(report: Report) -> str:
    """Return the machine and versions of a report in one line."""
    machine = report.machine
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    native = "C++ operators" if report.facts.get("native_operators") else "portable operators"
    # requests of different sizes spread anyway
    rows = report.rows if report.settings.scenario is None else []
    noisy = [row.row.label for row in rows if row.is_noisy]
    warning = f" Noisy samples: {', '.join(noisy)}." if noisy else ""
    energy = f" Energy: {machine['energy']}." if "energy" in machine else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}, "
        f"Python {machine['python']}; {versions}; {native}; {machine['time']}; load "
        f"{machine['load_before']:.1f} before, {machine['load_after']:.1f} after.{warning}{energy}"
    )


def _cells(row: Measured, known: Mapping[str, Mapping[str, float]]) -> list[str]:
    p90: Any = row.percentile_seconds(90)
    label = row.row.label
    found = known.get(label) or known.get(label.rpartition(", ")[0], {})
    return [
        f"{1e3 * row.latency_seconds:.3g}",
        "–" if p90 is None else f"{1e3 * p90:.3g}",
        f"{row.memory['extra_bytes'] / 1e6:,.1f}",
        f"{row.memory['peak_bytes'] / 1e6:,.0f}",
        f"{100 * found['accuracy']:.2f} %" if "accuracy" in found else "–",
        f"{100 * found['agreement']:.2f} %" if "agreement" in found else "–",
    ]
