"""What samples can carry: percentiles backed by their number, ratios with intervals."""

import math
import statistics
from collections.abc import Sequence

# fewest samples for which one slower one among them leaves 99 % confidence; MLPerf's rule
SAMPLES_FOR = {50: 11, 90: 64, 95: 130, 99: 662}


def percentile(samples: Sequence[float], percent: int) -> float | None:
    """Return a percentile, or None where there are too few samples to know it."""
    if len(samples) < SAMPLES_FOR[percent]:
        return None
    return nearest_rank(samples, percent)


def nearest_rank(samples: Sequence[float], percent: int) -> float:
    """Return the smallest sample that a share of all samples does not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]


def spread(samples: Sequence[float]) -> float:
    """Return the interquartile range as a fraction of the median."""
    if len(samples) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(samples, n=4)
    return (high - low) / middle


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float]
) -> tuple[float, float, float]:
    """Return the ratio of paired measurements and its 95 % interval.

    The pairs are rounds of one interleaved run; the interval is Student's on their log-ratios. One
    pair alone has no interval: it reaches from 0 to infinity.
    """
    if not all(map(math.isfinite, (*numerators, *denominators))):
        return _ratio_of_infinite(numerators, denominators)
    logs = [math.log(a / b) for a, b in zip(numerators, denominators, strict=True)]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), 0.0, math.inf
    half = _t_quantile(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def unpaired_ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float]
) -> tuple[float, float, float]:
    """Return the ratio of measurements of two separate runs and its 95 % interval.

    Welch's interval on the difference of mean logarithms: the runs may spread differently and have
    different numbers of rounds. With one round on either side it reaches from 0 to infinity.

    References:
        Welch, "The generalization of 'Student's' problem when several different population
        variances are involved", Biometrika 1947
    """
    if not all(map(math.isfinite, (*numerators, *denominators))):
        return _ratio_of_infinite(numerators, denominators)
    logs = [[math.log(value) for value in side] for side in (numerators, denominators)]
    difference = statistics.fmean(logs[0]) - statistics.fmean(logs[1])
    if min(map(len, logs)) < 2:
        return math.exp(difference), 0.0, math.inf
    parts = [statistics.variance(side) / len(side) for side in logs]
    variance = sum(parts)
    if variance == 0:
        ratio = math.exp(difference)
        return ratio, ratio, ratio
    spread_of_parts = sum(part**2 / (len(side) - 1) for part, side in zip(parts, logs, strict=True))
    half = _t_quantile(int(variance**2 / spread_of_parts)) * math.sqrt(variance)
    return math.exp(difference), math.exp(difference - half), math.exp(difference + half)


def _ratio_of_infinite(
    numerators: Sequence[float], denominators: Sequence[float]
) -> tuple[float, float, float]:
    """Return what is known where something never ended: certain only if one side always did."""
    if all(map(math.isfinite, denominators)) and not any(map(math.isfinite, numerators)):
        return math.inf, math.inf, math.inf
    if all(map(math.isfinite, numerators)) and not any(map(math.isfinite, denominators)):
        return 0.0, 0.0, 0.0
    return 1.0, 0.0, math.inf


def _t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy import stats  # measured processes read this file, and need none of it

    return float(stats.t.ppf(0.975, freedom))
