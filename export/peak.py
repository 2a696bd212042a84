"""find_peak: the largest rate of queries at which a system still meets its limit.

Rates are doubled until one fails, or halved until one holds, and what lies between is bisected. A
probe decides whether a rate holds; it is a whole test of its own.
"""

from collections.abc import Callable

PRECISION = 0.05
_HALVINGS, _DOUBLINGS = 4, 16


def find_peak(
    holds: Callable[[float], bool], start: float, *, precision: float = PRECISION
) -> float | None:
    """Return the largest rate that was seen to hold, in queries a second.

    Args:
        holds: Whether the system meets its limit at a rate.
        start: The first rate to try.
        precision: Stop when the smallest rate that fails is larger by no more than this share.

    Returns:
        The rate; None if not even a 16th of the first one holds.

    Raises:
        ValueError: If start or precision is not positive.
        RuntimeError: If every rate holds, up to 65536 times the first one.
    """
    if start <= 0 or precision <= 0:
        raise ValueError(f"start and precision must be positive, got {start} and {precision}")
    low, high = _bracket(holds, start)
    if low is None:
        return None
    while high > low * (1 + precision):
        middle = (low * high) ** 0.5
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _bracket(holds: Callable[[float], bool], start: float) -> tuple[float | None, float]:
    """Return a rate that holds and a larger one that does not."""
    if holds(start):
        for doubling in range(1, _DOUBLINGS + 1):
            if not holds(start * 2**doubling):
                return start * 2 ** (doubling - 1), start * 2**doubling
        raise RuntimeError(f"every rate holds, up to {start * 2**_DOUBLINGS:,.0f} a second")
    for halving in range(1, _HALVINGS + 1):
        if holds(start / 2**halving):
            return start / 2**halving, start / 2 ** (halving - 1)
    return None, start
