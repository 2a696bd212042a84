"""LoadGen around systems whose service time is known: what it issues, counts and says."""

import math
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from graphstill.export.intervals import nearest_rank
from graphstill.export.load import Load, run_load
from graphstill.export.peak import find_peak
from graphstill.export.scenarios import measure_scenario

SAMPLES = 8


class Sleeper:
    """Takes a known time for each request, and longer for one of its calls."""

    count = SAMPLES

    def __init__(self, seconds: float, stall_at: int = -1, stall_seconds: float = 0.0) -> None:
        self.seconds, self.calls = seconds, 0
        self.stall = {stall_at: stall_seconds}
        self.sizes: list[int] = []

    def __call__(self) -> None:
        for request in range(self.count):
            self.answer([request])

    def answer(self, requests: Sequence[int]) -> list[np.ndarray]:
        self.sizes.append(len(requests))
        time.sleep(self.seconds * len(requests) + self.stall.get(self.calls, 0.0))
        self.calls += 1
        return [np.array([request, 10 * request]) for request in requests]


class Rememberer(Sleeper):
    """Answers at once what it was asked last."""

    last = -1

    def answer(self, requests: Sequence[int]) -> list[np.ndarray]:
        if requests[0] == self.last:
            return [np.array([self.last, 10 * self.last])]
        self.last = requests[0]
        return super().answer(requests)


def test_every_sample_is_asked_equally_often_and_answers_are_kept() -> None:
    load = Load("single-stream", 0.01, 64, 1e-3, percentile=90, kept=30)
    found = run_load(Sleeper(0.001).answer, SAMPLES, load)
    assert found.valid, found.why
    counts = Counter(found.samples)
    assert sorted(counts) == list(range(SAMPLES))
    assert len(set(counts.values())) == 1
    assert len(found.latencies) == len(found.samples) >= 64
    assert min(found.latencies) >= 0.001
    assert len(found.answers) >= 20
    assert all(values == [request, 10 * request] for request, values in found.answers)


def test_a_stall_is_seen_by_every_query_that_had_to_wait() -> None:
    # 100 queries a second; one call takes half a second, so about 50 are due meanwhile
    load = Load("server", 2.0, 200, rate=100.0, slo_seconds=0.05, percentile=90)
    found = run_load(Sleeper(0.0, stall_at=30, stall_seconds=0.5).answer, SAMPLES, load)
    late = sorted((v for v in found.latencies if v > 0.1), reverse=True)
    assert late[0] >= 0.5
    # a closed loop would have counted one; due in the first 0.4 s of the stall are 40 ± 6
    assert len(late) >= 20
    assert not found.valid


def test_more_than_it_can_serve_is_not_valid() -> None:
    load = Load("server", 0.3, 64, rate=1000.0, slo_seconds=0.02, percentile=90)
    found = run_load(Sleeper(0.01).answer, SAMPLES, load)
    assert not found.valid
    assert "QPS" in found.why
    assert found.rate < 100.0  # what was answered, not what was asked
    assert max(found.latencies) > 1.0  # the last of 300 waits for the others


def test_too_few_queries_for_the_percentile_are_not_valid() -> None:
    found = run_load(Sleeper(0.0).answer, SAMPLES, Load("single-stream", 0.0, 100, percentile=99))
    assert not found.valid
    assert "662" in found.why


def test_offline_requests_are_answered_in_batches() -> None:
    system = Sleeper(0.001)
    found = run_load(system.answer, SAMPLES, Load("offline", 0.0, 60, 1e-3, batch=7, kept=5))
    assert found.valid, found.why
    assert set(system.sizes[:-1]) == {7}
    assert len(found.samples) == sum(system.sizes) >= 60
    assert found.rate < 1000.0
    assert all(values == [request, 10 * request] for request, values in found.answers)


@pytest.mark.parametrize("scenario", ["single-stream", "server", "offline"])
def test_a_system_that_fails_is_not_measured(scenario: str) -> None:
    def broken(_: Sequence[int]) -> list[np.ndarray]:
        raise ValueError("no such luck")

    with pytest.raises(ValueError, match="no such luck"):
        run_load(broken, SAMPLES, Load(scenario, 0.0, 20, rate=1000.0))


@pytest.mark.parametrize("start", [0.3, 9.0, 150.0])
def test_the_largest_rate_is_found_from_anywhere(start: float) -> None:
    tried: list[float] = []

    def holds(rate: float) -> bool:
        tried.append(rate)
        return rate <= 10.0

    found = find_peak(holds, start, precision=0.02)
    assert found is not None
    assert 10.0 / 1.02 <= found <= 10.0
    assert len(tried) < 20


def test_no_rate_may_hold() -> None:
    assert find_peak(lambda _: False, 10.0) is None
    with pytest.raises(RuntimeError, match="every rate holds"):
        find_peak(lambda _: True, 10.0)
    with pytest.raises(ValueError, match="positive"):
        find_peak(lambda _: True, 0.0)


def test_the_peak_of_a_queue_is_the_one_of_theory() -> None:
    # M/M/1: the time in the system is exponential with rate μ - λ, so p99 meets a limit L as long
    # as λ ≤ μ - ln(100) / L
    service_rate, limit, count = 1000.0, 0.02, 200_000
    rng = np.random.default_rng(0)
    services = rng.exponential(1 / service_rate, count)

    def holds(rate: float) -> bool:
        steps = services[:-1] - rng.exponential(1 / rate, count - 1)
        walk = np.concatenate([[0.0], steps.cumsum()])
        waits = walk - np.minimum.accumulate(walk)  # Lindley's recursion
        return nearest_rank(list(waits + services), 99) <= limit

    found = find_peak(holds, 100.0, precision=0.01)
    assert found == pytest.approx(service_rate - math.log(100) / limit, rel=0.04)


def test_a_server_scenario_ends_at_a_rate_that_can_be_served() -> None:
    scenario = {"kind": "server", "slo_seconds": 0.03, "percentile": 90, "batch": 1, "kept": 10}
    found = measure_scenario(Sleeper(0.005), scenario, 1, 0.05, seed=0)
    probes = found["probes"]
    # nothing serves 200 a second in 5 ms each; a short test may pass a little above
    assert all(not probe["valid"] for probe in probes if probe["rate"] > 400)
    valid = [probe["rate"] for probe in probes if probe["valid"]]
    assert found["peak_rate"] == (max(valid) if valid else None)
    if valid:
        assert found["cost_seconds"] == pytest.approx(1 / max(valid))
        assert found["valid"]
        assert nearest_rank(found["samples"], 90) <= 0.03
    assert all(probe["queries"] >= 64 for probe in probes)


def test_a_limit_below_the_service_time_is_met_at_no_rate() -> None:
    scenario = {"kind": "server", "slo_seconds": 0.001, "percentile": 90, "batch": 1, "kept": 10}
    found = measure_scenario(Sleeper(0.003), scenario, 1, 0.01, seed=0)
    assert found["peak_rate"] is None
    assert found["cost_seconds"] is None
    assert found["probes"] == []
    assert not found["valid"]
    assert found["why"] == "one request alone does not meet the limit"


@pytest.mark.parametrize("kind", ["single-stream", "offline"])
def test_what_a_request_costs_is_what_it_takes(kind: str) -> None:
    scenario = {"kind": kind, "slo_seconds": None, "percentile": 90, "batch": 1, "kept": 10}
    found = measure_scenario(Sleeper(0.002), scenario, 1, 0.01, seed=0)
    assert found["cost_seconds"] >= 0.002
    assert found["rate"] <= 500.0
    assert set(found["requests"]) == set(range(SAMPLES))
    assert len(found["requests"]) == len(found["samples"])


def test_the_audit_sees_answers_from_memory() -> None:
    scenario = {
        "kind": "single-stream",
        "slo_seconds": None,
        "percentile": 90,
        "batch": 1,
        "kept": 0,
    }
    audit = measure_scenario(Rememberer(0.004), scenario, 1, 0.01, seed=0)["audit"]
    assert audit["among_others_seconds"] >= 0.004
    assert audit["ratio"] > 2
    honest = measure_scenario(Sleeper(0.004), scenario, 1, 0.01, seed=0)["audit"]
    assert honest["repeated_seconds"] >= 0.004
    assert honest["ratio"] == honest["among_others_seconds"] / honest["repeated_seconds"]
