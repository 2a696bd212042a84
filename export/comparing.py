"""compare: did anything become slower between two reports of the same machine?

Rounds are what is compared: the median call of each, or what a scenario measures in each. Two
reports are separate runs, so their rounds are not paired, and the interval is Welch's. Nothing is
said of a row whose interval holds both answers.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .intervals import unpaired_ratio_interval
from .report import FORMAT, cost_of_round

# the product's own version is what one wants to compare
_FREE_VERSIONS = {"graphstill"}
# what may differ of how a row is loaded: where its file is
_FREE_ARGUMENTS = {"path"}
# what may differ of how long was measured
_FREE_SETTINGS = {"rounds", "min_samples", "min_seconds", "timeout_seconds"}
# of the facts, what was given to the rows
_FACTS = ("data", "native_operators", "requests")

Json = Mapping[str, Any]


class ComparisonError(ValueError):
    """Two reports cannot be compared."""


@dataclass(frozen=True)
class Change:
    """A row in two reports.

    Attributes:
        label: The row.
        old_seconds: What a request cost then.
        new_seconds: What it costs now.
        ratio: new over old, above 1 where it became slower.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
    """

    label: str
    old_seconds: float
    new_seconds: float
    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What the interval says: "slower", "faster" or "no difference for certain"."""
        if self.low > 1:
            return "slower"
        return "faster" if self.high < 1 else "no difference for certain"

    def is_regression(self, tolerance: float) -> bool:
        """Return whether it is for certain slower by more than a share."""
        return self.low > 1 + tolerance


def read_report(path: Path) -> dict[str, Any]:
    """Read a report.json.

    Raises:
        ComparisonError: If it is no report, or of another format.
    """
    try:
        report = json.loads(path.read_text())
    except ValueError as error:
        raise ComparisonError(f"{path} is not JSON: {error}") from error
    found = report.get("format") if isinstance(report, dict) else None
    if found != FORMAT or not {"machine", "settings", "facts", "rows"} <= report.keys():
        raise ComparisonError(
            f"{path} is no report of format {FORMAT} but of {found!r}; measure again with this "
            "graphstill bench, or compare with the graphstill that wrote it"
        )
    return report


def compare(old: Json, new: Json) -> list[Change]:
    """Compare the rows that two reports both have, in the order of the new one.

    Raises:
        ComparisonError: If the reports are of different machines, versions, settings or inputs,
            with the fields that differ; or if they have no row in common.
    """
    rows = {row["label"]: row for row in old["rows"]}
    pairs = [(rows[row["label"]], row) for row in new["rows"] if row["label"] in rows]
    if not pairs:
        raise ComparisonError("the reports have no row in common")
    if different := _differences(old, new, pairs):
        raise ComparisonError(
            "the reports are of different machines or measure different things, so no figure of "
            "one can be held against the other: " + "; ".join(different)
        )
    return [_change(*pair) for pair in pairs]


def only_in_one(old: Json, new: Json) -> list[str]:
    """Return the labels of rows that only one of two reports has."""
    labels = [[row["label"] for row in report["rows"]] for report in (old, new)]
    return sorted(set(labels[0]) ^ set(labels[1]))


def _change(old: Json, new: Json) -> Change:
    before, after = ([cost_of_round(r) for r in row["rounds"]] for row in (old, new))
    ratio, low, high = unpaired_ratio_interval(after, before)
    return Change(
        new["label"], statistics.median(before), statistics.median(after), ratio, low, high
    )


def _differences(old: Json, new: Json, pairs: Sequence[tuple[Json, Json]]) -> list[str]:
    """Return every field that must be equal and is not, as "field: old, new"."""
    sides = [_conditions(report) for report in (old, new)]
    for was, now in pairs:
        for side, row in zip(sides, (was, now), strict=True):
            side |= _how_loaded(row)
    fields = [*dict.fromkeys([*sides[0], *sides[1]])]
    return [
        f"{field}: {sides[0].get(field)!r} in the old, {sides[1].get(field)!r} in the new"
        for field in fields
        if sides[0].get(field) != sides[1].get(field)
    ]


def _conditions(report: Json) -> dict[str, Any]:
    machine, facts = report["machine"], report["facts"]
    versions = {k: v for k, v in machine["versions"].items() if k not in _FREE_VERSIONS}
    settings = {k: v for k, v in report["settings"].items() if k not in _FREE_SETTINGS}
    return {
        **{name: machine[name] for name in ("processor", "cores", "python")},
        **_flat("version of ", versions),
        **_flat("", settings),
        **_flat("", {name: facts[name] for name in _FACTS if name in facts}),
    }


def _how_loaded(row: Json) -> dict[str, Any]:
    arguments = {k: v for k, v in row["arguments"].items() if k not in _FREE_ARGUMENTS}
    of_row = {"target": row["target"], **arguments}
    return _flat(f"{row['label']}: ", of_row)


def _flat(prefix: str, values: Json) -> dict[str, Any]:
    """Return nested values under one name each."""
    found = dict[str, Any]()
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(f"{prefix}{name} ", value)
        else:
            found[f"{prefix}{name}"] = value
    return found
