"""Going on elsewhere: what was kept of a study on one machine, taken into a folder on another.

Beside <study>.jsonl, the lines of results, <study>.knobs.json holds what each search found and a
hash of all that the search depended on:

    {"cora: logit KD": {"knobs": {"lr": 0.02}, "search": "0f…"}, …}

Knobs are taken over where that hash is the one of this study, and a line where its `config_hash`,
with these knobs, and its split are. Everything else is run. Teachers are not kept, so those of
seeds that are not finished are trained again; on another processor they may differ in last bits.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .arms import Place, load_data, mark_of
from .settings import StudySettings, digest

Found = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class TakenOver:
    """What was taken over, and why the rest was not.

    Attributes:
        knobs: Knobs by "data: arm".
        lines: Lines of results.
        refused: How many lines were not taken over, by reason.
    """

    knobs: Found = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """Say it in a sentence."""
        said = f"took over {len(self.lines)} runs and the knobs of {len(self.knobs)} searches"
        left = [f"{count} runs not, for {reason}" for reason, count in self.refused.items()]
        return "; ".join([said, *left])


def kept_files(folder: Path, study: StudySettings) -> tuple[Path, Path]:
    """Return where a study's lines and knobs are kept in a folder."""
    return folder / f"{study.name}.jsonl", folder / f"{study.name}.knobs.json"


def search_mark(study: StudySettings, data: str, arm: str, scratch: dict[str, Any]) -> str:
    """Return a hash of all that the search for an arm's knobs depends on."""
    settings = study.all_arms[arm]
    networks = study.network("student", data), study.network("teacher", data), study.mlp
    training = study.training("student", data), study.training("teacher", data)
    search = settings.knobs(study.space), study.trials, study.tuning_seeds
    learnt_from = scratch if settings.learn == "self" else {}
    split = study.split.model_dump()
    return digest(settings, *networks, *training, *search, learnt_from, split)


def knobs_to_keep(study: StudySettings, found: Found) -> dict[str, dict[str, Any]]:
    """Return what <study>.knobs.json holds, of knobs by "data: arm"."""
    return {
        key: {"knobs": knobs, "search": search_mark(study, data, arm, _scratch(found, data))}
        for key, knobs in sorted(found.items())
        for data, _, arm in [key.partition(": ")]
        if data in study.data and arm in study.all_arms
    }


def take_over(
    study: StudySettings, place: Place, folder: Path, found: Found, done: list[dict[str, Any]]
) -> TakenOver:
    """Return what a folder of kept results holds of this study that is not here yet.

    Args:
        study: The study.
        place: Where its files are; of the data, splits are compared.
        folder: The folder with <study>.jsonl.
        found: Knobs there are here; they stay.
        done: Lines there are here; they stay.
    """
    lines_file, knobs_file = kept_files(folder, study)
    if not lines_file.is_file():
        return TakenOver()
    kept = json.loads(knobs_file.read_text()) if knobs_file.is_file() else {}
    knobs = {**_fitting(study, kept, found), **found}
    known = {(line["data"], line["arm"], line["seed"]) for line in done}
    taken, refused = [], Counter[str]()
    for line in map(json.loads, lines_file.read_text().splitlines()):
        if (line["data"], line["arm"], line["seed"]) in known:
            continue
        reason = _reason(study, place, line, knobs)
        refused.update([reason] if reason else [])
        taken += [] if reason else [line]
    fresh = {key: value for key, value in knobs.items() if key not in found}
    return TakenOver(fresh, taken, dict(refused))


def _fitting(study: StudySettings, kept: dict[str, dict[str, Any]], found: Found) -> Found:
    """Return the kept knobs whose search is this study's; scratch first, self-KD rests on it."""
    fitting: Found = {}
    for key in sorted(kept, key=lambda key: not key.endswith(": scratch")):
        data, _, arm = key.partition(": ")
        if data in study.data and arm in study.all_arms:
            scratch = _scratch({**fitting, **found}, data)
            if kept[key]["search"] == search_mark(study, data, arm, scratch):
                fitting[key] = kept[key]["knobs"]
    return fitting


def _reason(study: StudySettings, place: Place, line: dict[str, Any], knobs: Found) -> str | None:
    """Return why a line is not one of this study's, or None if it is."""
    data, name, seed = line["data"], line["arm"], line["seed"]
    arms = ("teacher", *study.all_arms)
    if data not in study.data or name not in arms or seed >= study.number_of_seeds(data):
        return "data, arm or seed are not in the study"
    if name != "teacher" and f"{data}: {_searched(study, name)}" not in knobs:
        return "their knobs were not kept, or searched otherwise"
    own = {} if name == "teacher" else knobs[f"{data}: {_searched(study, name)}"]
    if line["config_hash"] != mark_of(study, data, name, own, _scratch(knobs, data)):
        return "their settings are others"
    if line["split"] != load_data(study, place, data, seed).split_name:
        return "their split is another"
    return None


def _searched(study: StudySettings, name: str) -> str:
    return study.all_arms[name].like or name


def _scratch(knobs: Found, data: str) -> dict[str, Any]:
    return knobs.get(f"{data}: scratch", {})
