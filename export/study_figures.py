"""Figures of a study from its run directories, as sections of its report.

What a figure needs is in metrics.jsonl, seconds.jsonl and diagnostics.json of the runs. Lines whose
run directories are elsewhere, as after taking a study over from another machine, have no part in
them; each section says how many runs it shows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ..distill.study import (
    Place,
    StudySettings,
    Summary,
    read_curves,
    read_diagnostics,
    reference_of,
    summarise,
)
from . import cost_plots, study_plots as plots
from .page import Section

_GROUP = 6
_Value = TypeVar("_Value")
Lines = Sequence[dict[str, Any]]


def family(study: StudySettings, name: str) -> str:
    """Return what kind of arm an arm is, one of `cost_plots.FAMILIES`."""
    if name == "teacher":
        return "teacher"
    arm = study.all_arms[name]
    if arm.learn in ("labels", "peers"):
        return "labels alone" if arm.learn == "labels" else "peers"
    if arm.like is not None or arm.method.control is not None:
        return "controls"
    return "layers" if arm.method.terms else "logits"


def cost_section(study: StudySettings, summary: Summary) -> Section:
    """Return accuracy against parameters, all arms on all data sets."""
    panels: dict[str, list[cost_plots.Cost]] = {}
    for arm in summary.arms:
        cost = cost_plots.Cost(arm.arm, family(study, arm.arm), arm.params, arm.tests)
        panels.setdefault(arm.data, []).append(cost)
    text = (
        "Every seed is a small dot, an arm's median a large one. Arms of one size stand side by "
        "side, in the order of the table. Triangles on the axis stand for seeds far below."
    )
    svg = cost_plots.accuracy_against_parameters(panels)
    return Section("Accuracy against parameters", text, svg=svg)


def figure_sections(
    study: StudySettings, place: Place, data: str, summary: Summary, lines: Lines
) -> list[Section]:
    """Return the sections of a data set for which there are run directories."""
    here = [line for line in lines if line["data"] == data]
    known = _by_arm(here, lambda line: read_diagnostics(_folder(place, line)))
    found = [
        _convergence(study, place, data, summary, here),
        _attention(data, known),
        _degrees(study, data, known),
        _reliability(study, data, known),
    ]
    return [section for section in found if section is not None]


def plots_to_keep(study: StudySettings, place: Place, lines: Lines) -> dict[str, str]:
    """Return plots of convergence, as SVG by name, of data sets of which every run is here."""
    summary, found = summarise(lines, study.against), dict[str, str]()
    for data in dict.fromkeys(line["data"] for line in lines):
        here = [line for line in lines if line["data"] == data]
        if all(read_curves(_folder(place, line)) is not None for line in here):
            section = _convergence(study, place, data, summary, here)
            found |= {} if section is None else {f"{data}.convergence": section.svg}
    return found


def _convergence(
    study: StudySettings, place: Place, data: str, summary: Summary, lines: Lines
) -> Section | None:
    students = [line for line in lines if line["arm"] != "teacher"]
    curves = _by_arm(students, lambda line: read_curves(_folder(place, line)))
    if not curves:
        return None
    arms = {arm.arm: arm for arm in summary.arms if arm.data == data}
    soon = {
        name: plots.Soon(
            [100 * run.best for run in runs],
            [run.seconds for run in runs if run.seconds is not None]
            if all(run.seconds is not None for run in runs)
            else [],
            (arms[name].epochs_to_95, arms[name].seconds_to_95),
        )
        for name, runs in curves.items()
    }
    text = (
        "Best validation accuracy so far: mean and one standard deviation over seeds; of peers, "
        "the mean of all. Large markers: 95 % of the best, on average. Seconds are of training and "
        "validation, of all students of a group together, beside whatever else ran."
    )
    svg = plots.convergence(_groups(study, soon), reference_of(study.against) or "")
    return Section(f"{data}: convergence", f"{text} {_count(curves)}", svg=svg)


def _attention(data: str, known: Mapping[str, list[dict[str, Any]]]) -> Section | None:
    maps = {
        f"{arm}" if len(found[0]["attention"]) == 1 else f"{arm}: {term}": np.array(
            [run["attention"][term] for run in found]
        )
        for arm, found in known.items()
        for term in found[0].get("attention", {})
    }
    if not maps:
        return None
    text = (
        "How much each pair of layers counts, as learnt by the end of training: each teacher layer "
        "spreads 1 over the student's (or, with the axis turned, each student layer over the "
        "teacher's)."
    )
    return Section(f"{data}: attention over layers", text, svg=plots.attention_maps(maps))


def _degrees(
    study: StudySettings, data: str, known: Mapping[str, list[dict[str, Any]]]
) -> Section | None:
    if not known:
        return None
    tables = {arm: [_of_students(run, "degree") for run in found] for arm, found in known.items()}
    width = max(len(nodes) for runs in tables.values() for nodes, _ in runs)
    accuracy = {
        arm: np.array([_padded(100 * values, width) for _, values in runs])
        for arm, runs in tables.items()
    }
    nodes = next(iter(tables.values()))
    counts = np.mean([np.nan_to_num(_padded(n, width)) for n, _ in nodes], axis=0)
    labels = [f"{name}\n{n:,.0f}" for name, n in zip(_degree_names(width), counts, strict=True)]
    lowest = int((counts > 0).argmax())
    accuracy = {arm: values[:, lowest:] for arm, values in accuracy.items()}
    text = (
        "Test accuracy by a node's number of incoming edges; mean and one standard deviation over "
        "seeds. The teacher is black."
    )
    reference = reference_of(study.against) or ""
    svg = plots.degrees(_groups(study, accuracy, teacher=True), labels[lowest:], reference)
    return Section(f"{data}: accuracy by degree", f"{text} {_count(known)}", svg=svg)


def _reliability(
    study: StudySettings, data: str, known: Mapping[str, list[dict[str, Any]]]
) -> Section | None:
    if not known:
        return None
    shown = {arm: (_pooled(found), family(study, arm), _ece(found)) for arm, found in known.items()}
    text = (
        "How often answers of a confidence are right; on the dashed line a network knows what it "
        "knows, below it is too sure of itself. Dots are as large as their share of test nodes; "
        "all seeds are pooled, the expected calibration error is the mean over seeds (15 bins)."
    )
    svg = plots.reliability(shown)
    return Section(f"{data}: reliability", f"{text} {_count(known)}", svg=svg)


def _folder(place: Place, line: dict[str, Any]) -> Any:
    return place.of(line["data"], line["arm"], line["seed"])


def _by_arm(
    lines: Lines, read: Callable[[dict[str, Any]], _Value | None]
) -> dict[str, list[_Value]]:
    """Return what is read of each line that has it, by arm, seeds in order."""
    found: dict[str, list[_Value]] = {}
    for line in sorted(lines, key=lambda line: line["seed"]):
        value = read(line)
        if value is not None:
            found.setdefault(line["arm"], []).append(value)
    order = list(dict.fromkeys(line["arm"] for line in lines))
    return {arm: found[arm] for arm in order if arm in found}


def _groups(
    study: StudySettings, values: Mapping[str, _Value], *, teacher: bool = False
) -> list[dict[str, _Value]]:
    """Return arms in groups, kinds together, each with what all are to be seen beside."""
    fixed = [*(["teacher"] if teacher else []), reference_of(study.against)]
    beside = {arm: values[arm] for arm in fixed if arm is not None and arm in values}
    kinds: dict[str, list[str]] = {}
    for arm in values:
        if arm not in ("teacher", *fixed):
            kind = family(study, arm)
            kinds.setdefault("logits" if kind == "labels alone" else kind, []).append(arm)
    chunks: list[list[str]] = [[]]
    for arms in kinds.values():
        # small kinds share a group, large ones are cut
        if len(chunks[-1]) + len(arms) > _GROUP and chunks[-1]:
            chunks.append([])
        for arm in arms:
            if len(chunks[-1]) == _GROUP:
                chunks.append([])
            chunks[-1].append(arm)
    return [{**beside, **{arm: values[arm] for arm in chunk}} for chunk in chunks]


def _of_students(run: dict[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and accuracy of each group of nodes, the mean over a run's students."""
    tables = [student[name] for student in run["students"]]
    accuracy = np.array([table["accuracy"] for table in tables], dtype=float)
    return np.array(tables[0]["nodes"], dtype=float), accuracy.mean(axis=0)


def _padded(values: np.ndarray, width: int) -> np.ndarray:
    return np.concatenate([values, np.full(width - len(values), np.nan)])


def _degree_names(count: int) -> list[str]:
    wide = [f"{2**i}–{2 ** (i + 1) - 1}" for i in range(1, count)]
    return ["0", "1", *wide][:count]


def _pooled(found: Sequence[dict[str, Any]]) -> np.ndarray:
    """Return [nodes, confidence, accuracy] of each bin over all seeds and students."""
    bins = [student["calibration"] for run in found for student in run["students"]]
    nodes = np.array([b["nodes"] for b in bins], dtype=float)
    total = nodes.sum(axis=0)
    means = [
        (nodes * np.nan_to_num(np.array([b[name] for b in bins], dtype=float))).sum(axis=0)
        / np.maximum(total, 1)
        for name in ("confidence", "accuracy")
    ]
    return np.array([total, *means])


def _ece(found: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([student["ece"] for run in found for student in run["students"]]))


def _count(known: Mapping[str, Sequence[object]]) -> str:
    return f"{sum(map(len, known.values()))} runs are shown."
