"""What paired runs can tell: differences and ratios, Holm's correction, dead seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Difference:
    """A paired difference, or ratio, of two arms.

    Attributes:
        mean: Its mean.
        low: Lower end of its 95 % interval, Student's t.
        high: Upper end.
        p: Two-sided p-value of a paired t test. Where all pairs differ alike there is no spread to
            measure by: 1 if they do not differ at all, else the sign test's, 2^(1 - pairs).
        pairs: Number of pairs.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation (n - 1)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def paired(values: Mapping[int, float], against: Mapping[int, float]) -> Difference:
    """Compare two arms by the seeds that both have.

    Args:
        values: Value by seed.
        against: The other arm's.

    Raises:
        ValueError: If they share fewer than two seeds: one difference has no interval.
    """
    seeds = sorted(values.keys() & against.keys())
    if len(seeds) < 2:
        raise ValueError(f"a paired comparison needs two seeds at least, got {len(seeds)}")
    differences = np.array([values[seed] - against[seed] for seed in seeds])
    mean = float(differences.mean())
    # what is left of equal differences is rounding, which is no spread
    if float(differences.std()) <= 1e-9 * max(map(abs, [*values.values(), *against.values()])):
        alike = bool(abs(mean) <= 1e-9)
        return Difference(mean, mean, mean, 1.0 if alike else 2.0 ** (1 - len(seeds)), len(seeds))
    error = float(differences.std(ddof=1)) / len(seeds) ** 0.5
    half = float(stats.t.ppf(0.975, len(seeds) - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, len(seeds) - 1))
    return Difference(mean, mean - half, mean + half, p, len(seeds))


def ratio(values: Mapping[int, float], against: Mapping[int, float]) -> Difference:
    """Compare two arms by how many times the other's value is one's own, seed by seed.

    The geometric mean and its interval: a paired difference of logarithms.

    Args:
        values: Value by seed, positive.
        against: The other arm's, which is divided by them.
    """
    logs = ({seed: math.log(value) for seed, value in side.items()} for side in (against, values))
    found = paired(*logs)
    ends = (math.exp(part) for part in (found.mean, found.low, found.high))
    return Difference(*ends, p=found.p, pairs=found.pairs)


def dead(values: Sequence[float], best: float) -> int:
    """Return how many of an arm's seeds failed to learn.

    A seed is dead where its accuracy is below half the best arm's median, or below its own arm's
    median by more than three interquartile ranges and five points. Failures are rare and large
    (24 % where 74 % is possible): a mean hides them, and an arm is not better for having none by
    luck. The five points keep arms whose seeds all but agree from having outliers.

    Args:
        values: Accuracy in percent by seed.
        best: The highest median of an arm on the same data, in percent.
    """
    low, middle, high = np.percentile(values, [25, 50, 75])
    outlying = middle - max(3 * (high - low), 5.0)
    return sum(value < max(best / 2, outlying) for value in values)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number.

    References:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
        Statistics 6, 1979
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
