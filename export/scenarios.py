"""Scenarios: requests under load, each scenario made of whole LoadGen tests.

Every scenario begins with queries one after the other. They say about how long a request takes,
and are one half of the audit: the other half repeats one request only. A system that answers from
memory what it was asked before is much faster there. So is one that profits from the processor's
caches, a little, which is why both figures are reported and not a verdict.

Reference: MLPerf Inference compliance tests TEST01 (answers of the timed run) and TEST04 (one
sample over and over), https://github.com/mlcommons/inference/tree/master/compliance
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from .intervals import SAMPLES_FOR, nearest_rank
from .load import Load, LoadResult, run_load
from .peak import find_peak

_AUDITED = 90  # percentile whose sample count is enough for the medians of the audit
# a shorter test would not see a queue that grows
_LIMITS_PER_TEST = 20
# LoadGen prepares its queries beforehand: if requests get faster, it must not run out of them
_SPARE = 0.7


class System(Protocol):
    """What answers requests: `targets` has functions that load one."""

    count: int

    def __call__(self) -> None:
        """Answer every request once."""

    def answer(self, requests: Sequence[int]) -> Sequence[np.ndarray]:
        """Return the answer of each request, given by number."""
        ...


def measure_scenario(
    system: System, scenario: Mapping[str, Any], min_samples: int, min_seconds: float, seed: int
) -> dict[str, Any]:
    """Measure a system in a scenario, and audit it.

    Args:
        system: What answers.
        scenario: The fields of `report.Scenario`.
        min_samples: Fewest queries of a test; there are never fewer than the percentile needs.
        min_seconds: Shortest duration of a test.
        seed: Seed of arrivals and orders; another one for each round.

    Returns:
        What the round reports: samples in seconds with the request of each, cost_seconds (what a
        request costs), rate, validity, the audit, and of the server scenario every probe.
    """
    percentile = scenario["percentile"]
    queries = max(min_samples, SAMPLES_FOR[percentile])
    plain = Load(
        "single-stream",
        min_seconds,
        queries,
        expected_seconds=_SPARE * _seconds_per_request(system),
        percentile=percentile,
        seed=seed,
        kept=scenario["kept"],
    )
    alone = run_load(system.answer, system.count, plain)
    audit = _audit(system, plain, alone)
    plain = replace(plain, expected_seconds=statistics.median(alone.latencies), seed=seed + 1)
    kind = scenario["kind"]
    if kind == "single-stream":
        return _round(alone, statistics.median(alone.latencies), audit)
    if kind == "offline":
        load = replace(plain, scenario="offline", batch=scenario["batch"])
        found = run_load(system.answer, system.count, load)
        return _round(found, 1 / found.rate, audit)
    return _server(system, plain, alone, scenario["slo_seconds"], audit)


def _seconds_per_request(system: System) -> float:
    passes = []
    for _ in range(2):
        start = time.perf_counter()
        system()
        passes.append(time.perf_counter() - start)
    return min(passes) / system.count


def _server(
    system: System,
    plain: Load,
    alone: LoadResult,
    slo_seconds: float,
    audit: Mapping[str, Any],
) -> dict[str, Any]:
    """Search the largest rate whose percentile meets the limit."""
    probes = list[dict[str, Any]]()
    shown = alone

    def holds(rate: float) -> bool:
        nonlocal shown
        seconds = max(plain.seconds, _LIMITS_PER_TEST * slo_seconds)
        load = replace(
            plain, scenario="server", seconds=seconds, rate=rate, slo_seconds=slo_seconds
        )
        found = run_load(system.answer, system.count, load)
        probes.append(_probe(rate, found, plain.percentile))
        if found.valid:  # rates that hold come in rising order
            shown = found
        return found.valid

    # what one request alone does not meet, no rate does
    can = nearest_rank(alone.latencies, plain.percentile) <= slo_seconds
    peak = find_peak(holds, 0.5 / plain.expected_seconds) if can else None
    found = _round(shown, None if peak is None else 1 / peak, audit)
    if peak is None:
        why = "no rate met the limit" if can else "one request alone does not meet the limit"
        found |= {"valid": False, "why": why}
    return {**found, "peak_rate": peak, "probes": probes}


def _probe(rate: float, found: LoadResult, percentile: int) -> dict[str, Any]:
    return {
        "rate": rate,
        "answered_rate": found.rate,
        "latency_seconds": nearest_rank(found.latencies, percentile),
        "queries": len(found.latencies),
        "valid": found.valid,
        "why": found.why,
    }


def _audit(system: System, plain: Load, alone: LoadResult) -> dict[str, Any]:
    """Repeat the request of middling latency, and set it against itself among the others."""
    by_request = defaultdict[int, list[float]](list)
    for request, seconds in zip(alone.samples, alone.latencies, strict=True):
        by_request[request].append(seconds)
    medians = {request: statistics.median(values) for request, values in by_request.items()}
    chosen = sorted(medians, key=lambda request: (medians[request], request))[len(medians) // 2]
    queries = SAMPLES_FOR[_AUDITED]
    load = replace(
        plain, seconds=0.0, min_queries=queries, percentile=_AUDITED, repeated=chosen, kept=0
    )
    repeated = statistics.median(run_load(system.answer, system.count, load).latencies)
    return {
        "request": chosen,
        "among_others_seconds": medians[chosen],
        "repeated_seconds": repeated,
        "ratio": medians[chosen] / repeated,
    }


def _round(
    found: LoadResult, cost_seconds: float | None, audit: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "samples": found.latencies,
        "requests": found.samples,
        "cost_seconds": cost_seconds,
        "rate": found.rate,
        "valid": found.valid,
        "why": found.why,
        "audit": dict(audit),
        "answers": found.answers,
    }
