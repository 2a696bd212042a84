"""What samples can carry: percentiles backed by their number, ratios with intervals."""

import math
import statistics
from collections.abc import Sequence

# 97.5 % quantiles of Student's t by degrees of freedom
_T = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160)
_T_LARGE = 1.96

# fewest samples for which one slower one among them leaves 99 % confidence; MLPerf's rule
_SAMPLES_FOR = {50: 11, 90: 64, 95: 130, 99: 662}


def percentile(samples: Sequence[float], percent: int) -> float | None:
    """Return a percentile, or None where there are too few samples to know it."""
    if len(samples) < _SAMPLES_FOR[percent]:
        return None
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)]


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
    logs = [math.log(a / b) for a, b in zip(numerators, denominators, strict=True)]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), 0.0, math.inf
    quantile = _T[len(logs) - 2] if len(logs) - 2 < len(_T) else _T_LARGE
    half = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)
