"""What paired runs can tell: means, intervals of paired differences, Holm's correction."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Difference:
    """A paired difference of two arms.

    Attributes:
        mean: Its mean.
        low: Lower end of its 95 % interval, Student's t.
        high: Upper end.
        p: Two-sided p-value of a paired t test.
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
    if float(differences.std()) == 0:
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0, len(seeds))
    error = float(differences.std(ddof=1)) / len(seeds) ** 0.5
    half = float(stats.t.ppf(0.975, len(seeds) - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, len(seeds) - 1))
    return Difference(mean, mean - half, mean + half, p, len(seeds))


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
