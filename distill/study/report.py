"""Lines of results made into a summary: each arm, and what its differences can carry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .statistics import Difference, holm, interval, paired


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
        worst: The worst seed's: failures are rare and large.
        tests: Every seed's.
        val: Mean validation accuracy.
        epochs_to_95: Mean epochs until 95 % of the best validation accuracy.
        seconds: Mean seconds of a run.
        against: The paired difference to each arm compared with.
        corrected: Its p-value, corrected by Holm over all arms and data sets of the study.
    """

    data: str
    arm: str
    runs: int
    params: int
    params_embedding: int
    mean: float
    std: float
    worst: float
    tests: tuple[float, ...]
    val: float
    epochs_to_95: float | None
    seconds: float | None
    against: dict[str, Difference]
    corrected: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """All arms of a study on all of its data sets, in the order of the lines."""

    study: str
    arms: list[ArmSummary]


def summarise(lines: Sequence[dict[str, Any]], against: Sequence[str]) -> Summary:
    """Summarise a study's lines.

    Args:
        lines: Lines of results.
        against: Arms that all others are compared with.
    """
    tests: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
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
        )
        for (data, arm), by_seed in tests.items()
    ]
    return Summary(str(lines[0]["study"]) if lines else "", arms)


def _difference(
    tests: dict[tuple[str, str], dict[int, dict[str, Any]]], data: str, arm: str, other: str
) -> Difference | None:
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
        worst=min(tests),
        tests=tuple(tests),
        val=100 * interval([line["val"] for line in lines])[0],
        epochs_to_95=_mean([line["epochs_to_95"] for line in lines]),
        seconds=_mean([line["seconds"] for line in lines]),
        against=against,
        corrected=corrected,
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
