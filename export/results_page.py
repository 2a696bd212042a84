"""docs/results.md: what every study came to, made of the lines and study files that are kept.

A folder of results holds for each study <study>.yaml, its file, <study>.jsonl, a line for each run,
<study>.knobs.json, what its searches found, and plots, <study>.<plot>.svg. plan.yaml, where it is
there, says what was to be run, by tier, so that what was not run is listed too:

    "Tier 1": [{what: GCNII on Cora, study: gcnii-cora}, {what: GAT on Physics}]
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..distill.checkpoint import write_in_one_step
from ..distill.errors import StudyError
from ..distill.study import ArmSummary, StudySettings, kept_files, read_study, summarise
from .study_page import beside_table, ordered, sentence, table_of

PLAN = "plan.yaml"
_HEAD = """# Results of studies

Written by `graphstill results docs/results` from the files in `results/`; do not edit.

Test accuracy in percent: mean ± sample standard deviation over seeds, median, and the worst seed. A
seed is **dead** where its accuracy is below half the best arm's median on that data, or more than
three interquartile ranges and five points below its own arm's median; dead seeds stay in every mean
and difference. Differences are to other arms on the same seeds, with their 95 % interval (Student's
t); one is **bold** where it remains, at 5 %, after Holm's correction over all arms and data sets
that are compared with that arm. Rows are in the order of the study's file. The highest of several
means is not a finding: only a difference with its interval is one. Epochs and knobs are chosen by
validation; every arm had the same number of trials, on seeds of its own.
"""


def write_results(
    study: StudySettings,
    file: Path,
    lines: Sequence[dict[str, Any]],
    knobs: dict[str, dict[str, Any]],
    folder: Path,
    plots: Mapping[str, str] | None = None,
) -> None:
    """Keep a study's file, lines and knobs in a folder, and write results.md of all that are there.

    Args:
        study: The study.
        file: Its file.
        lines: Its lines.
        knobs: What its searches found, as `StudyRunner.knobs_to_keep` returns it.
        folder: The folder.
        plots: Plots to show beside its tables, SVG by name; those of other names stay.

    Raises:
        StudyError: If the folder holds lines that would be lost.
    """
    lines_file, knobs_file = kept_files(folder, study)
    _check_nothing_is_lost(lines_file, lines)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{study.name}.yaml"
    if kept.resolve() != file.resolve():
        kept.write_text(file.read_text())
    text = "".join(json.dumps(line) + "\n" for line in ordered(study, lines))
    write_in_one_step(lines_file, text.encode())
    text = json.dumps(knobs, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_in_one_step(knobs_file, text.encode())
    for name, svg in (plots or {}).items():
        write_in_one_step(folder / f"{study.name}.{name}.svg", svg.encode())
    write_all_results(folder)


def write_all_results(folder: Path) -> Path:
    """Write results.md beside a folder of results, of all studies in it, and return its path."""
    files = [file for file in sorted(folder.glob("*.yaml")) if file.name != PLAN]
    studies = [(file, read_study(file)) for file in files]
    parts = [_HEAD, *_plan(folder, [study for _, study in studies])]
    parts += [_study_part(file, study, folder) for file, study in studies]
    page = folder.parent / "results.md"
    write_in_one_step(page, "\n".join(parts).encode())
    return page


def kept_lines(folder: Path, study: StudySettings) -> list[dict[str, Any]]:
    """Return the lines of a study that are kept in a folder."""
    file, _ = kept_files(folder, study)
    return list(map(json.loads, file.read_text().splitlines())) if file.is_file() else []


def _study_part(file: Path, study: StudySettings, folder: Path) -> str:
    command = f"graphstill study docs/results/{file.name} --root DATA --out studies/{study.name}"
    lines = ordered(study, kept_lines(folder, study))
    parts = [f"## {study.name}", study.question.strip()]
    parts += [f"`{command} --results docs/results`", _state(study, lines)]
    if lines:
        summary = summarise(lines, study.against)
        for data in dict.fromkeys(arm.data for arm in summary.arms):
            arms = [arm for arm in summary.arms if arm.data == data]
            said = f"{sentence(arms, study.against)}{_dead(arms)}"
            parts += [f"What remains after correction, {data}. {said}"] if said else []
        parts += [table_of(summary, study.against).rstrip(), "Beside accuracy:"]
        parts.append(beside_table(summary, study.against).rstrip())
    for plot in sorted(folder.glob(f"{study.name}.*.svg")):
        title = plot.stem.removeprefix(f"{study.name}.").replace(".", ": ")
        parts.append(f"![{title}]({folder.name}/{plot.name})")
    return "\n\n".join(parts) + "\n"


def _dead(arms: Sequence[ArmSummary]) -> str:
    dead = [f"{arm.dead} of {arm.runs} of {arm.arm}" for arm in arms if arm.dead]
    return f" Dead seeds: {', '.join(dead)}." if dead else ""


def _state(study: StudySettings, lines: Sequence[dict[str, Any]]) -> str:
    """Return how much of a study was run, and which arms were not."""
    wanted = _wanted(study)
    done = {(line["data"], line["arm"], line["seed"]) for line in lines}
    if not done:
        return "Not run yet."
    if done >= wanted:
        return f"All {len(wanted)} runs were done."
    left = sorted({f"{arm} on {data}" for data, arm, _ in wanted - done})
    return f"{len(done & wanted)} of {len(wanted)} runs were done. Not all of: {'; '.join(left)}."


def _wanted(study: StudySettings) -> set[tuple[str, str, int]]:
    return {
        (data, arm, seed)
        for data in study.data
        for arm in ("teacher", *study.all_arms)
        for seed in range(study.number_of_seeds(data))
    }


def _plan(folder: Path, studies: Sequence[StudySettings]) -> list[str]:
    """Return the list of what was to be run, and what became of it."""
    import yaml

    if not (folder / PLAN).is_file():
        return []
    tiers = yaml.safe_load((folder / PLAN).read_text())
    by_name = {study.name: study for study in studies}
    rows = ["## What was to be run", "", "| tier | what | study | state |", "|---|---|---|---|"]
    for tier, entries in tiers.items():
        for entry in entries:
            study = by_name.get(entry.get("study"))
            state = "not run" if study is None else _short_state(study, folder)
            rows.append(f"| {tier} | {entry['what']} | {entry.get('study', '–')} | {state} |")
    return ["\n".join(rows) + "\n"]


def _short_state(study: StudySettings, folder: Path) -> str:
    wanted = _wanted(study)
    lines = kept_lines(folder, study)
    done = wanted & {(line["data"], line["arm"], line["seed"]) for line in lines}
    if not done:
        return "not run"
    return "done" if done == wanted else f"{len(done)} of {len(wanted)} runs"


def _check_nothing_is_lost(file: Path, lines: Sequence[dict[str, Any]]) -> None:
    if not file.is_file():
        return
    new = {(line["data"], line["arm"], line["seed"]) for line in lines}
    old = [json.loads(line) for line in file.read_text().splitlines()]
    lost = [line for line in old if (line["data"], line["arm"], line["seed"]) not in new]
    if lost:
        first = lost[0]
        raise StudyError(
            f"{file} holds {len(lost)} runs that are not in this study's folder, the first of them "
            f"{first['arm']} on {first['data']}, seed {first['seed']}; they would be lost. Run the "
            "study without --report-only to take over those that are its own, or remove the file"
        )
