"""Lines of results made into a summary: each arm, and what its differences can carry."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .statistics import Difference, dead, holm, interval, paired, ratio

# lines by data and arm, and by seed
_ByArm = dict[tuple[str, str], dict[int, dict[str, Any]]]


@dataclass(frozen=True)
class ArmSummary:
    """One arm on one data set; accuracies in percent.

    Attributes:
        data: The data set.
        arm: The arm.
        runs: Number of seeds.
        params: Number of parameters, those of embedding tables included.
        params_embedding: Those of embedding tables.
        mean: Mean test accuracy.
        std: Its sample standard deviation.
        median: Median test accuracy.
        worst: The worst seed's: failures are rare and large.
        dead: How many seeds failed to learn; see `statistics.dead`.
        tests: Every seed's.
        val: Mean validation accuracy.
        ece: Mean expected calibration error on the test nodes, 0-1, where it is known.
        agreement: Mean share of test nodes for which the teacher names the same class, 0-1.
        epochs_to_95: Mean epochs until 95 % of the best validation accuracy.
        seconds_to_95: Mean seconds until then, all students of a group counted.
        seconds: Mean seconds of a run.
        against: The paired difference to each arm compared with.
        corrected: Its p-value, corrected by Holm over all arms and data sets of the study, for each
            arm compared with.
        sooner: How many times sooner than the first arm compared with it came to 95 %, in "epochs"
            and in "seconds".
    """

    data: str
    arm: str
    runs: int
    params: int
    params_embedding: int
    mean: float
    std: float
    median: float
    worst: float
    dead: int
    tests: tuple[float, ...]
    val: float
    ece: float | None
    agreement: float | None
    epochs_to_95: float | None
    seconds_to_95: float | None
    seconds: float | None
    against: dict[str, Difference]
    corrected: dict[str, float]
    sooner: dict[str, Difference]


@dataclass(frozen=True)
class Summary:
    """All arms of a study on all of its data sets, in the order of the lines."""

    study: str
    arms: list[ArmSummary]


def summarise(lines: Sequence[dict[str, Any]], against: Sequence[str]) -> Summary:
    """Summarise a study's lines.

    Args:
        lines: Lines of results; old ones may lack what lines did not always have.
        against: Arms that all others are compared with.
    """
    tests: _ByArm = {}
    for line in lines:
        tests.setdefault((line["data"], line["arm"]), {})[line["seed"]] = line
    differences = {
        (data, arm, other): _difference(tests, data, arm, other)
        for data, arm in tests
        for other in against
        if other != arm
    }
    known = {key: value for key, value in differences.items() if value is not None}
    corrected: dict[tuple[str, str, str], float] = {}
    best = {data: _best_median(tests, data) for data, _ in tests}
    for other in against:
        keys = [key for key in known if key[2] == other]
        corrected |= dict(zip(keys, holm([known[key].p for key in keys]), strict=True))
    arms = [
        _arm(
            data,
            arm,
            list(by_seed.values()),
            {o: known[data, arm, o] for o in against if (data, arm, o) in known},
            {o: corrected[data, arm, o] for o in against if (data, arm, o) in known},
            _sooner(tests, data, arm, against),
            best[data],
        )
        for (data, arm), by_seed in tests.items()
    ]
    return Summary(str(lines[0]["study"]) if lines else "", arms)


def seconds_to_95(line: dict[str, Any]) -> float | None:
    """Return a line's seconds to 95 %; in proportion to epochs where they were not recorded."""
    if line.get("seconds_to_95") is not None:
        return line["seconds_to_95"]
    seconds, first, epochs = (line.get(name) for name in ("seconds", "epochs_to_95", "epochs"))
    if seconds is None or first is None or epochs is None:
        return None
    return seconds * first / epochs


def _best_median(tests: _ByArm, data: str) -> float:
    return max(
        statistics.median(100 * line["test"] for line in by_seed.values())
        for (of, _), by_seed in tests.items()
        if of == data
    )


def _sooner(tests: _ByArm, data: str, arm: str, against: Sequence[str]) -> dict[str, Difference]:
    """Return how many times sooner an arm is than the first one compared with."""
    if not against or arm in ("teacher", against[0]):
        return {}
    found = {}
    for unit, value in (("epochs", _epochs_to_95), ("seconds", seconds_to_95)):
        sides = [
            {seed: v for seed, line in tests.get((data, name), {}).items() if (v := value(line))}
            for name in (arm, against[0])
        ]
        if len(sides[0].keys() & sides[1].keys()) > 1:
            found[unit] = ratio(*sides)
    return found


def _epochs_to_95(line: dict[str, Any]) -> float | None:
    return line["epochs_to_95"]


def _difference(tests: _ByArm, data: str, arm: str, other: str) -> Difference | None:
    values, reference = (
        {seed: 100 * line["test"] for seed, line in tests.get((data, name), {}).items()}
        for name in (arm, other)
    )
    return paired(values, reference) if len(values.keys() & reference.keys()) > 1 else None


def _arm(
    data: str,
    arm: str,
    lines: list[dict[str, Any]],
    against: dict[str, Difference],
    corrected: dict[str, float],
    sooner: dict[str, Difference],
    best: float,
) -> ArmSummary:
    tests = [100 * line["test"] for line in lines]
    mean, std = interval(tests)
    return ArmSummary(
        data=data,
        arm=arm,
        runs=len(lines),
        params=lines[0]["params"],
        params_embedding=lines[0]["params_embedding"],
        mean=mean,
        std=std,
        median=statistics.median(tests),
        worst=min(tests),
        dead=dead(tests, best),
        tests=tuple(tests),
        val=100 * interval([line["val"] for line in lines])[0],
        ece=_mean([line.get("ece") for line in lines]),
        agreement=_mean([line.get("agreement") for line in lines]),
        epochs_to_95=_mean([line["epochs_to_95"] for line in lines]),
        seconds_to_95=_mean([seconds_to_95(line) for line in lines]),
        seconds=_mean([line["seconds"] for line in lines]),
        against=against,
        corrected=corrected,
        sooner=sooner,
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
