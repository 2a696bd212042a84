"""What is left of a search: budget.json, table.md and report.html."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...distill.checkpoint import write_in_one_step
from .. import plots
from ..bench import machine_line
from ..manifests import count_parameters
from ..page import Section, write_page
from .front import Facts, excess, is_within
from .pictures import candidates_plot, front_plot
from .run import CANDIDATES, TEACHER, Found
from .settings import Limits
from .workbench import kept_facts

FORMAT = 1
_LIMIT = {"parameters": "parameters", "bytes": "size", "latency_ms": "latency"}
HEADER = ["student", "validation", "ms a call [95 %]", "kB", "parameters", ""]


def write_all(found: Found, folder: Path) -> None:
    """Write budget.json, table.md and report.html, each in one step."""
    text = json.dumps(to_dict(found, folder), indent=1) + "\n"
    write_in_one_step(folder / "budget.json", text.encode())
    write_in_one_step(folder / "table.md", markdown(found).encode())
    write_report_page(found, folder / "report.html")


def summary(found: Found) -> dict[str, Any]:
    """Return what matters most as plain values."""
    limits = found.settings.limits
    student = found.student
    return {
        "limits": limits.model_dump(),
        "chosen": None if found.chosen is None else plain(found.chosen, limits),
        "accuracy": None if student is None else student.accuracy,
        "nearest": None if found.nearest is None else plain(found.nearest, limits),
        "front": [plain(facts, limits) for facts in found.front],
        "speedup": speedup(found),
        "trained": sum(facts.val_accuracy is not None for facts in found.candidates),
    }


def to_dict(found: Found, folder: Path) -> dict[str, Any]:
    """Return everything as plain values, raw samples included."""
    limits = found.settings.limits
    parity = found.parity
    return {
        "format": FORMAT,
        **summary(found),
        "data": found.data.name,
        "split": found.data.split_name,
        "settings": found.settings.model_dump(mode="json"),
        "teacher": {
            "architecture": found.teacher.architecture.model_dump(),
            "parameters": count_parameters(found.teacher.module),
            "accuracy": found.teacher.accuracy,
        },
        "parity": None
        if parity is None
        else {"ok": parity.ok, "max_abs_error": parity.max_abs_error},
        "candidates": [
            {**plain(facts, limits), "kept": kept_facts(folder / CANDIDATES, facts.candidate)}
            for facts in found.candidates
        ],
        "comparison": None if found.report is None else found.report.to_dict(),
    }


def plain(facts: Facts, limits: Limits) -> dict[str, Any]:
    """Return a candidate as plain values, with the share of each limit that it uses."""
    values = asdict(facts)
    return {
        "name": str(facts.candidate),
        **values.pop("candidate"),
        **values,
        "share_of_limit": excess(facts, limits),
        "within": is_within(facts, limits),
    }


def speedup(found: Found) -> tuple[float, float, float] | None:
    """Return how many times faster the chosen student is than its teacher, with the interval."""
    if found.report is None or found.chosen is None:
        return None
    return found.report.ratio(TEACHER, str(found.chosen.candidate))


def table(found: Found) -> list[list[str]]:
    """Return the front's rows, and the teacher's."""
    shown = {
        facts.candidate: facts
        for facts in (*found.front, *([found.chosen] if found.chosen else []))
    }
    rows = [_row(facts, found) for facts in sorted(shown.values(), key=lambda one: one.cost)]
    if found.report is not None:
        row = found.report.row(TEACHER)
        rows.append(
            [
                f"teacher, {found.teacher.architecture.name}",
                _percent(found.teacher.accuracy["val"]),
                f"{1e3 * row.latency_seconds:.3g}",
                f"{found.report.facts['teacher_bytes'] / 1e3:,.1f}",
                f"{count_parameters(found.teacher.module):,}",
                "",
            ]
        )
    return rows


def sentence(found: Found) -> str:
    """Return in a sentence or two what came out."""
    limits = found.settings.limits
    if found.chosen is not None and found.student is not None:
        test, of_teacher = (run.accuracy["test"] for run in (found.student, found.teacher))
        return (
            f"{found.chosen.candidate} is the most accurate within {limits}: "
            f"{_percent(test)} on the test nodes, its teacher {_percent(of_teacher)}."
        )
    if found.nearest is None:
        return f"No candidate could be trained within {limits}."
    passed = {n: s for n, s in excess(found.nearest, limits).items() if s > 1}
    said = ", ".join(f"{share:.3g} × the limit of {_LIMIT[name]}" for name, share in passed.items())
    return f"Nothing is within {limits}. Nearest came {describe(found.nearest)}: {said}."


def describe(facts: Facts) -> str:
    """Return a candidate and what is known of it in a line."""
    parts = [f"{facts.parameters:,} parameters"]
    if facts.bytes is not None:
        parts.append(f"{facts.bytes:,} bytes")
    if facts.latency_seconds is not None:
        parts.append(f"{1e3 * facts.latency_seconds:.3g} ms{_interval(facts, ' [{}, {}]')}")
    if facts.val_accuracy is not None:
        parts.append(f"validation {_percent(facts.val_accuracy)}")
    return f"{facts.candidate}: {', '.join(parts)}"


def markdown(found: Found) -> str:
    """Return the front as a table in Markdown, and the sentence."""
    lines = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *table(found)]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{sentence(found)}\n\n{rows}\n\n{_how(found)}\n"


def write_report_page(found: Found, path: Path) -> None:
    """Write report.html."""
    sections = [Section("The front", _how(found), HEADER, table(found))]
    if found.report is not None:
        sections.insert(0, Section("Accuracy, and what it costs", svg=_front_plot(found)))
        svg = candidates_plot(
            found.candidates, found.settings.space, found.settings.limits, _floor(found)
        )
        text = "Validation accuracy in %. Empty fields were not tried."
        sections.append(Section("Every candidate", text, svg=svg))
        text = "Raw samples of the comparison, and the median of each round."
        sections.append(Section("Latency", text, svg=plots.latency(found.report.rows)))
    footer = "" if found.report is None else machine_line(found.report)
    title = f"The best student of {found.data.name} within {found.settings.limits}"
    write_page(path, title, sentence(found), sections, figures=_figures(found), footer=footer)


def _front_plot(found: Found) -> str:
    assert found.report is not None
    seconds = found.report.row(TEACHER).latency_seconds
    size = found.report.facts["teacher_bytes"]
    return front_plot(
        found.candidates,
        found.front,
        found.chosen,
        found.settings.limits,
        (seconds, size, found.teacher.accuracy["val"]),
        _floor(found),
    )


def _figures(found: Found) -> list[tuple[str, str]]:
    """Return the figures that matter most, as value and label."""
    faster = speedup(found)
    if found.chosen is None or found.student is None or faster is None:
        return []
    fewer = count_parameters(found.teacher.module) / found.chosen.parameters
    test, of_teacher = (run.accuracy["test"] for run in (found.student, found.teacher))
    seconds, size = found.chosen.cost
    return [
        (str(found.chosen.candidate), "layers × width"),
        (_percent(test), f"on the test nodes; teacher {_percent(of_teacher)}"),
        (f"{1e3 * seconds:.3g} ms", f"a call{_interval(found.chosen, ', 95 % in {}–{}')}"),
        (f"{faster[0]:.1f} ×", f"faster than the teacher [{faster[1]:.1f}, {faster[2]:.1f}]"),
        (f"{size / 1e3:,.1f} kB", "model.onnx"),
        (f"{fewer:.1f} ×", "fewer parameters"),
    ]


def _how(found: Found) -> str:
    """Return what the table's numbers are, and how far they can be trusted."""
    nodes = len(found.data.split.val)
    accuracy = max((f.val_accuracy or 0.0 for f in found.front), default=0.5)
    error = 100 * (accuracy * (1 - accuracy) / nodes) ** 0.5
    measuring = found.settings.measuring
    prepared = "sorted beforehand" if measuring.prepared else "sorted in the call"
    threads = "thread" if measuring.threads == 1 else "threads"
    trained = sum(facts.val_accuracy is not None for facts in found.candidates)
    return (
        f"{trained} students were trained, one seed each, and chosen by {nodes} validation nodes "
        f"(standard error {error:.1f} points; the best of many looks better than it is). The test "
        "nodes were read for the chosen one alone. Latencies are of one call for the whole graph, "
        f"{prepared}, on {measuring.threads} {threads}, in {measuring.rounds} interleaved rounds "
        "of fresh processes; within the limit is whose interval is."
    )


def _floor(found: Found) -> float:
    """Return what an accuracy of 1 is drawn as: half a validation node wrong."""
    return 0.5 / len(found.data.split.val)


def _row(facts: Facts, found: Found) -> list[str]:
    latency = "–" if facts.latency_seconds is None else f"{1e3 * facts.latency_seconds:.3g}"
    within = is_within(facts, found.settings.limits)
    mark = "chosen" if facts is found.chosen else "" if within else "beyond the limits"
    return [
        str(facts.candidate),
        _percent(facts.val_accuracy or 0.0),
        latency + _interval(facts, " [{}, {}]"),
        f"{(facts.bytes or 0) / 1e3:,.1f}",
        f"{facts.parameters:,}",
        mark,
    ]


def _interval(facts: Facts, form: str) -> str:
    if facts.latency_interval is None:
        return ""
    return form.format(*(f"{1e3 * end:.3g}" for end in facts.latency_interval))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"
