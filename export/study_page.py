"""The report of a study: a table, plots, and results.md; no winner without an interval."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..distill.study import Difference, StudySettings, Summary, summarise
from ..distill.study.report import ArmSummary
from .page import Section, write_page
from .plots import forest, strip


def write_report(study: StudySettings, lines: Sequence[dict[str, Any]], folder: Path) -> str:
    """Write report.html and table.md, and return the table."""
    summary = summarise(lines, study.against)
    header = _header(study.against)
    sections = []
    for data in dict.fromkeys(arm.data for arm in summary.arms):
        arms = [arm for arm in summary.arms if arm.data == data]
        rows = [_row(arm, study.against) for arm in arms]
        sections.append(Section(data, _sentence(arms), header, rows))
        dots = {f"{arm.arm}, {arm.params:,} parameters": arm.tests for arm in arms}
        svg = strip(dots, "test accuracy in %: every seed, and the mean")
        sections.append(Section(f"{data}: accuracy", svg=svg))
        for other in study.against:
            intervals = {
                arm.arm: (arm.against[other].mean, arm.against[other].low, arm.against[other].high)
                for arm in arms
                if other in arm.against and arm.arm != "teacher"
            }
            if intervals:
                svg = forest(intervals, "difference in points of test accuracy, 95 % interval")
                sections.append(Section(f"{data}: against {other}", svg=svg))
    write_page(folder / "report.html", f"Study {study.name}", study.question, sections)
    table = table_of(summary, study.against)
    (folder / "table.md").write_text(table)
    return table


def write_results(
    study: StudySettings, file: Path, lines: Sequence[dict[str, Any]], folder: Path
) -> None:
    """Keep a study's file and lines in a folder, and write results.md of all that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{study.name}.yaml"
    if kept.resolve() != file.resolve():
        kept.write_text(file.read_text())
    ordered = sorted(lines, key=lambda line: (line["data"], line["arm"], line["seed"]))
    text = "".join(json.dumps(line) + "\n" for line in ordered)
    (folder / f"{study.name}.jsonl").write_text(text)
    write_all_results(folder, folder.parent / "results.md")


def write_all_results(folder: Path, page: Path) -> None:
    """Write one page with the table of every study in a folder, and the command beside each."""
    from ..distill.study import read_study

    parts = [
        "# Results of studies\n",
        "Test accuracy in percent, mean ± sample standard deviation over seeds, and the difference "
        "to other arms on the same seeds with its 95 % interval (Student's t). A difference is "
        "**bold** where it remains after Holm's correction over all arms and data sets of the "
        "study, at 5 %. Epochs and knobs are chosen by validation; every arm had the same number "
        "of trials, on seeds of its own. One line for each run is in `results/<study>.jsonl`.\n",
    ]
    for file in sorted(folder.glob("*.yaml")):
        study, found = read_study(file), file.with_suffix(".jsonl")
        command = (
            f"graphstill study docs/results/{file.name} --root DATA --out studies/{study.name}"
        )
        parts.append(f"\n## {study.name}\n\n{study.question}\n\n")
        parts.append(f"`{command} --results docs/results`\n\n")
        if not found.is_file():
            parts.append("Not run yet.\n")
            continue
        lines = [json.loads(line) for line in found.read_text().splitlines()]
        parts.append(table_of(summarise(lines, study.against), study.against))
    page.write_text("".join(parts))


def table_of(summary: Summary, against: Sequence[str]) -> str:
    """Return a Markdown table of all arms on all data sets."""
    header = ["data", *_header(against)]
    rows = [[arm.data, *_row(arm, against)] for arm in summary.arms]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _header(against: Sequence[str]) -> list[str]:
    columns = ["arm", "seeds", "parameters", "test accuracy", "worst", "epochs to 95 %", "s"]
    return [*columns, *(f"to {other}" for other in against)]


def _row(arm: ArmSummary, against: Sequence[str]) -> list[str]:
    tables = f" ({arm.params - arm.params_embedding:,} without tables)"
    return [
        arm.arm,
        str(arm.runs),
        f"{arm.params:,}" + (tables if arm.params_embedding else ""),
        f"{arm.mean:.2f} ± {arm.std:.2f}",
        f"{arm.worst:.1f}",
        "–" if arm.epochs_to_95 is None else f"{arm.epochs_to_95:.0f}",
        "–" if arm.seconds is None else f"{arm.seconds:.1f}",
        *(_difference(arm.against.get(other), arm.corrected.get(other)) for other in against),
    ]


def _difference(found: Difference | None, corrected: float | None) -> str:
    if found is None or corrected is None:
        return "–"
    text = f"{found.mean:+.2f} [{found.low:.2f}, {found.high:.2f}]"
    return f"**{text}**" if corrected < 0.05 else text


def _sentence(arms: Sequence[ArmSummary]) -> str:
    """Return what can be said: who differs from whom, after correction, or that nobody does."""
    clear = [
        f"{arm.arm} is {'above' if arm.against[other].mean > 0 else 'below'} {other} by "
        f"{abs(arm.against[other].mean):.2f} [{arm.against[other].low:.2f}, "
        f"{arm.against[other].high:.2f}]"
        for arm in arms
        for other, p in arm.corrected.items()
        if p < 0.05 and arm.arm != "teacher"
    ]
    if not clear:
        return "No difference between students remains after correction for their number."
    return "What remains after correction: " + "; ".join(clear) + "."
