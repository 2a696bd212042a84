"""What is better: the front, the best within limits, and the nearest to them.

A student is described by its accuracy on the validation nodes (more is better), latency and size
(less is better). One dominates another if it is better in one and worse in none; the front is what
nothing dominates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .settings import Candidate, Limits


@dataclass(frozen=True)
class Facts:
    """What is known of a candidate; None is what was not found out, for a limit was passed before.

    Attributes:
        candidate: The candidate.
        parameters: Number of parameters.
        bytes: Size of its model.onnx.
        latency_seconds: Time of a call.
        latency_interval: The same with its 95 % interval, where it was measured in the comparison.
        val_accuracy: Accuracy on the validation nodes, 0-1.
        problem: Why training failed.
    """

    candidate: Candidate
    parameters: int
    bytes: int | None = None
    latency_seconds: float | None = None
    latency_interval: tuple[float, float] | None = None
    val_accuracy: float | None = None
    problem: str = ""

    @property
    def cost(self) -> tuple[float, int]:
        """Latency in seconds and size in bytes of a candidate that was measured."""
        assert self.latency_seconds is not None
        assert self.bytes is not None
        return self.latency_seconds, self.bytes


def excess(facts: Facts, limits: Limits) -> dict[str, float]:
    """Return each limit's share that is used, by name; up to 1 is within it.

    A latency with an interval counts with its upper end: within the limit means surely within it.
    """
    latency = facts.latency_interval[1] if facts.latency_interval else facts.latency_seconds
    used = {
        "parameters": (facts.parameters, limits.parameters),
        "bytes": (facts.bytes, limits.bytes),
        "latency_ms": (None if latency is None else 1e3 * latency, limits.latency_ms),
    }
    return {
        name: value / limit
        for name, (value, limit) in used.items()
        if value is not None and limit is not None
    }


def is_within(facts: Facts, limits: Limits) -> bool:
    """Return whether no limit is passed, as far as is known."""
    return all(share <= 1 for share in excess(facts, limits).values())


def dominates(a: Facts, b: Facts, slack: float = 1.0) -> bool:
    """Return whether a trained candidate is better than another in one thing and worse in none.

    Args:
        a: The one.
        b: The other.
        slack: Factor by which its latency must be lower to count as lower, for latencies that were
            not measured side by side.
    """
    assert a.val_accuracy is not None
    assert b.val_accuracy is not None
    (a_seconds, a_bytes), (b_seconds, b_bytes) = a.cost, b.cost
    no_worse = a.val_accuracy >= b.val_accuracy and a_bytes <= b_bytes
    no_slower = slack * a_seconds <= b_seconds
    better = a.val_accuracy > b.val_accuracy or a_bytes < b_bytes or a_seconds < b_seconds
    return no_worse and no_slower and better


def front(trained: Sequence[Facts], slack: float = 1.0) -> list[Facts]:
    """Return the trained candidates that no other dominates, the fastest first."""
    kept = [f for f in trained if not any(dominates(other, f, slack) for other in trained)]
    return sorted(kept, key=lambda facts: facts.cost)


def best(measured: Iterable[Facts], limits: Limits) -> Facts | None:
    """Return the most accurate within the limits; of equals the fastest, then the smallest."""
    within = [facts for facts in measured if is_within(facts, limits)]
    if not within:
        return None
    return max(within, key=lambda facts: (facts.val_accuracy, *(-cost for cost in facts.cost)))


def nearest(known: Iterable[Facts], limits: Limits) -> Facts | None:
    """Return the candidate that came nearest to the limits.

    That is one of those of which most is known, for a candidate is given up at the first limit it
    passes; among them the one that passes a limit by least.
    """
    rated = [(facts, excess(facts, limits)) for facts in known if not facts.problem]
    if not rated:
        return None
    return min(rated, key=lambda pair: (-len(pair[1]), max(pair[1].values(), default=0.0)))[0]
