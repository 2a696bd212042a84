"""The report of a study: tables and plots; no winner without an interval."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..distill.study import (
    ArmSummary,
    Difference,
    Place,
    StudySettings,
    Summary,
    reference_of,
    summarise,
)
from .page import Section, write_page
from .plots import forest, strip
from .study_figures import cost_section, figure_sections


def write_report(study: StudySettings, lines: Sequence[dict[str, Any]], folder: Path) -> str:
    """Write report.html and table.md, and return the tables.

    Args:
        study: The study.
        lines: Its lines of results.
        folder: The study's folder, with the run directories that figures are made of.
    """
    lines = ordered(study, lines)
    summary = summarise(lines, study.against)
    sections = [cost_section(study, summary)] if lines else []
    for data in dict.fromkeys(arm.data for arm in summary.arms):
        arms = [arm for arm in summary.arms if arm.data == data]
        sections += _data_sections(study, data, arms)
        sections += figure_sections(study, Place(folder, None), data, summary, lines)
    write_page(folder / "report.html", f"Study {study.name}", study.question, sections)
    table = f"{table_of(summary, study.against)}\n{beside_table(summary, study.against)}"
    (folder / "table.md").write_text(table)
    return table


def ordered(study: StudySettings, lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return lines in the order of the study's data sets, arms and seeds, the teacher first."""
    data, arms = list(study.data), ["teacher", *study.all_arms]
    known = [line for line in lines if line["data"] in data and line["arm"] in arms]
    return sorted(
        known,
        key=lambda line: (data.index(line["data"]), arms.index(line["arm"]), line["seed"]),
    )


def table_of(summary: Summary, against: Sequence[str]) -> str:
    """Return a Markdown table of all arms on all data sets: accuracies and differences."""
    rows = [[arm.data, *_row(arm, against)] for arm in summary.arms]
    return _markdown(["data", *_header(summary.arms, against)], rows)


def beside_table(summary: Summary, against: Sequence[str]) -> str:
    """Return a Markdown table of what there is beside accuracy: calibration, agreement, time."""
    more = _more(summary.arms)
    rows = [[arm.data, *_beside(arm, more)] for arm in summary.arms]
    return _markdown(["data", *_beside_header(against, more)], rows)


def sentence(arms: Sequence[ArmSummary], against: Sequence[str]) -> str:
    """Return which students differ from whom after correction, each with its interval."""
    parts = []
    for other in against:
        clear = [
            arm
            for arm in arms
            if arm.corrected.get(other, 1.0) < 0.05 and arm.arm not in ("teacher", other)
        ]
        if not any(other in arm.against for arm in arms):
            continue
        said = [
            f"{where} {', '.join(_named(arm, other) for arm in some)}"
            for where, some in (
                ("above are", [arm for arm in clear if arm.against[other].mean > 0]),
                ("below are", [arm for arm in clear if arm.against[other].mean < 0]),
            )
            if some
        ]
        found = "; ".join(said) or "no student differs for certain"
        parts.append(f"Against {other}: {found}.")
    return " ".join(parts)


def _named(arm: ArmSummary, other: str) -> str:
    found = arm.against[other]
    low, high = sorted((abs(found.low), abs(found.high)))
    return f"{arm.arm} by {abs(found.mean):.2f} [{low:.2f}, {high:.2f}]"


def _data_sections(study: StudySettings, data: str, arms: list[ArmSummary]) -> list[Section]:
    against, more = study.against, _more(arms)
    rows = [_row(arm, against) for arm in arms]
    beside = [_beside(arm, more) for arm in arms]
    metric = _metric(arms)
    remains = sentence(arms, against)
    said = f"What remains after correction. {remains}" if remains else ""
    dots = {f"{arm.arm}, {arm.params:,} parameters": arm.tests for arm in arms}
    svg = strip(dots, f"test {metric} in %: every seed, and the mean")
    sections = [
        Section(data, said, _header(arms, against), rows),
        Section(f"{data}: beside {metric}", _BESIDE, _beside_header(against, more), beside),
        Section(f"{data}: {metric}", svg=svg),
    ]
    for other in against:
        intervals = {
            arm.arm: (arm.against[other].mean, arm.against[other].low, arm.against[other].high)
            for arm in arms
            if other in arm.against and arm.arm != "teacher"
        }
        if intervals:
            svg = forest(intervals, f"difference in points of test {metric}, 95 % interval")
            sections.append(Section(f"{data}: against {other}", svg=svg))
    return sections


_BESIDE = (
    "Expected calibration error and agreement with the teacher are of the test nodes; 95 % is of "
    "a run's best validation accuracy. Intervals of ratios are of each by itself, not corrected."
)


def _metric(arms: Sequence[ArmSummary]) -> str:
    return " or ".join(dict.fromkeys(arm.metric for arm in arms)) or "accuracy"


def _more(arms: Sequence[ArmSummary]) -> list[str]:
    """Return the names of what some arm reports of parts of the test nodes."""
    return list(dict.fromkeys(name for arm in arms for name in arm.more))


def _header(arms: Sequence[ArmSummary], against: Sequence[str]) -> list[str]:
    columns = ["arm", "seeds", "parameters", f"test {_metric(arms)}", "median", "worst", "dead"]
    return [*columns, *(f"to {other}" for other in against)]


def _row(arm: ArmSummary, against: Sequence[str]) -> list[str]:
    tables = f" ({arm.params - arm.params_embedding:,} without tables)"
    return [
        arm.arm,
        str(arm.runs),
        f"{arm.params:,}" + (tables if arm.params_embedding else ""),
        f"{arm.mean:.2f} ± {arm.std:.2f}",
        f"{arm.median:.2f}",
        f"{arm.worst:.1f}",
        f"{arm.dead} of {arm.runs}" if arm.dead else "–",
        *(_difference(arm.against.get(other), arm.corrected.get(other)) for other in against),
    ]


def _beside_header(against: Sequence[str], more: Sequence[str]) -> list[str]:
    columns = ["ECE", "agreement", "epochs to 95 %", "s to 95 %", "s in all"]
    reference = reference_of(against)
    than = "" if reference is None else f" than {reference}"
    parts = [name.replace("_", ", ") for name in more]
    return ["arm", *parts, *columns, f"times sooner{than}, epochs", "seconds"]


def _beside(arm: ArmSummary, more: Sequence[str]) -> list[str]:
    return [
        arm.arm,
        *(_cell(arm.more.get(name), 1, ".2f") for name in more),
        _cell(arm.ece, 100, ".1f", " %"),
        _cell(arm.agreement, 100, ".1f", " %"),
        _cell(arm.epochs_to_95, 1, ".0f"),
        _cell(arm.seconds_to_95, 1, ".2f"),
        _cell(arm.seconds, 1, ".1f"),
        *(_ratio(arm.sooner.get(unit)) for unit in ("epochs", "seconds")),
    ]


def _cell(value: float | None, factor: float, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{factor * value:{form}}{unit}"


def _ratio(found: Difference | None) -> str:
    return "–" if found is None else f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _difference(found: Difference | None, corrected: float | None) -> str:
    if found is None or corrected is None:
        return "–"
    text = f"{found.mean:+.2f} [{found.low:.2f}, {found.high:.2f}]"
    return f"**{text}**" if corrected < 0.05 else text


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
