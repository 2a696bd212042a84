"""What a scenario's report says: table, verdicts, Markdown, and the page."""

import math
import statistics
from pathlib import Path
from typing import Any

from . import load_plots, plots
from .bench import machine_line
from .intervals import ratio_interval
from .markdown_report import Table, write_markdown
from .page import Section, write_page
from .report import Measured, Report, Scenario

_WHAT = {
    "single-stream": "Requests one after the other",
    "server": "Requests at random times (Poisson), latency from when a request was due",
    "offline": "All requests at once",
}


def scenario_of(report: Report) -> Scenario:
    """Return the scenario of a report that has one."""
    scenario = report.settings.scenario
    if scenario is None:
        raise ValueError("this report is not of a scenario")
    return scenario


def load_table(report: Report) -> Table:
    """Return header and rows: rate and latency, and beside them whether the answers are right."""
    header = [
        "",
        "requests/s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "valid",
        "answers",
        "error",
        "accuracy",
    ]
    return header, [[row.row.label, *_cells(row, report)] for row in report.rows]


def audit_table(report: Report) -> Table:
    """Return one request among the others and the same one over and over, by row."""
    header = ["", "among others ms", "repeated ms", "times faster repeated", "95 % interval"]
    rows = []
    for row in report.rows:
        audits = [r["audit"] for r in row.rounds]
        mixed, repeated = (
            [audit[name] for audit in audits]
            for name in ("among_others_seconds", "repeated_seconds")
        )
        ratio, low, high = ratio_interval(mixed, repeated)
        cells = [_ms(statistics.median(mixed)), _ms(statistics.median(repeated)), f"{ratio:.2f}"]
        rows.append([row.row.label, *cells, f"{low:.2f} – {high:.2f}"])
    return header, rows


def load_verdict(report: Report, a: str, b: str) -> str:
    """Say which of two rows answers more requests, if the interval says so."""
    ratio, low, high = report.ratio(a, b)
    if math.isinf(ratio):
        return f"{b} holds a rate within the limit, {a} none"
    if ratio == 0:
        return f"{a} holds a rate within the limit, {b} none"
    if low > 1:
        return f"{b} answers {ratio:.2f} times as many as {a} [{low:.2f}, {high:.2f}]"
    if high < 1:
        return f"{a} answers {1 / ratio:.2f} times as many as {b} [{1 / high:.2f}, {1 / low:.2f}]"
    return (
        f"neither {a} nor {b} answers more for certain: ratio {ratio:.2f} [{low:.2f}, {high:.2f}]"
    )


def verdicts(report: Report) -> list[str]:
    """Return the verdict of every row against the first, and why tests were not valid."""
    first, *others = [row.row.label for row in report.rows]
    compared = [load_verdict(report, first, other) for other in others]
    said = [(row.row.label, r.get("why")) for row in report.rows for r in row.rounds]
    return compared + [f"{label}: {why}" for label, why in dict.fromkeys(said) if why]


def write_load_report(report: Report, folder: Path) -> None:
    """Write report.json, report.md and report.html."""
    report.save(folder / "report.json")
    title = f"Under load: {scenario_of(report).kind}"
    tables = {"": load_table(report), "The same request over and over": audit_table(report)}
    write_markdown(
        folder / "report.md", title, _lead(report), tables, verdicts(report), machine_line(report)
    )
    write_page(
        folder / "report.html",
        title,
        _lead(report),
        _sections(report),
        figures=_figures(report),
        footer=machine_line(report),
    )


def _lead(report: Report) -> str:
    asked = report.facts["requests"][0]
    scenario, settings = scenario_of(report), report.settings
    drawn = asked["num_neighbors"]
    neighbours = "whole neighbourhoods" if drawn is None else f"{drawn} neighbours a hop"
    limit = (
        f", p{scenario.percentile} within {1e3 * scenario.slo_seconds:g} ms"
        if scenario.slo_seconds is not None
        else ""
    )
    nodes = "one node" if asked["nodes"] == 1 else f"{asked['nodes']} nodes"
    return (
        f"{_WHAT[scenario.kind]}{limit}. {asked['count']} different requests for "
        f"{nodes}, {asked['popularity']} popularity, {neighbours} of "
        f"{report.facts['data']}; a request is sampled, its features are fetched and the model is "
        f"run inside the clock. MLPerf LoadGen, {settings.rounds} rounds in turns, a fresh process "
        f"each, {settings.threads} {'thread' if settings.threads == 1 else 'threads'}."
    )


def _sections(report: Report) -> list[Section]:
    scenario, rows = scenario_of(report), report.rows
    sections = [Section("Requests", ". ".join(verdicts(report)), *load_table(report))]
    if scenario.slo_seconds is not None:
        text = "Each dot is a LoadGen test of its own; filled where it was valid and met the limit."
        svg = load_plots.searches(rows, scenario.percentile, scenario.slo_seconds)
        sections.append(Section("The search for the largest rate", text, svg=svg))
    if scenario.kind != "offline":  # there, all wait from the start
        text = "At the largest rate that holds." if scenario.kind == "server" else ""
        svg = load_plots.tails(rows, scenario.slo_seconds)
        sections.append(Section("Latency", text, svg=svg))
    audit = (
        "One request among the others, and the same one over and over. Much faster repeated means "
        "that answers are remembered; a little is what a processor's caches do."
    )
    return [
        *sections,
        Section("The same request over and over", audit, *audit_table(report)),
        Section(
            "Memory",
            "In a pass of its own, over all requests; sampling runs in torch, which is part of it.",
            svg=plots.memory(rows),
        ),
        Section("Cold start", "In a fresh process.", svg=plots.phases(rows)),
    ]


def _figures(report: Report) -> list[tuple[str, str]]:
    found = [(_rate(row), f"requests a second, {row.row.label}") for row in report.rows]
    answers = [entry["answers"] for entry in report.facts["answers"].values()]
    return [*found, (f"{sum(answers):,}", "timed answers checked again")]


def _rate(row: Measured) -> str:
    rate = 1 / row.cost_seconds  # 0 where no rate held
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}" if rate else "none"


def _cells(row: Measured, report: Report) -> list[str]:
    found = report.facts["answers"][row.row.label]
    valid = sum(r["valid"] for r in row.rounds)
    latencies = [row.percentile_seconds(percent) for percent in (50, 90, 99)]
    if scenario_of(report).kind == "offline":
        latencies = [None] * 3
    return [
        _rate(row),
        *(_ms(value) for value in latencies),
        f"{valid} of {len(row.rounds)}",
        f"{found['answers']} {'right' if found['ok'] else 'WRONG'}",
        f"{found['relative_error']:.0e}" if found["relative_error"] else "0",
        f"{100 * found['accuracy']:.2f} %" if "accuracy" in found else "–",
    ]


def _ms(seconds: Any) -> str:
    return "–" if seconds is None else f"{1e3 * seconds:.3g}"
