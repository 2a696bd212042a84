"""Numbers that change from epoch to epoch: rising weights, terms that end, temperatures."""

from dataclasses import dataclass

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Schedule:
    """A number by epoch: straight lines between points, constant before and after them.

        Schedule(((0, 0.0), (50, 0.9)))             rises over 50 epochs
        Schedule(((0, 1.0), (30, 1.0), (31, 0.0)))  ends after 30

    Attributes:
        points: Epoch and value, by epoch.

    Raises:
        ValueError: If there is no point, or epochs do not rise.
    """

    points: Points

    def __post_init__(self) -> None:
        epochs = [epoch for epoch, _ in self.points]
        if not epochs or epochs != sorted(set(epochs)) or epochs[0] < 0:
            raise ValueError(f"a schedule needs points at rising epochs from 0 on, got {epochs}")

    def at(self, epoch: int) -> float:
        """Return the number in an epoch."""
        before = [point for point in self.points if point[0] <= epoch]
        after = [point for point in self.points if point[0] > epoch]
        if not before or not after:
            return (after[0] if after else before[-1])[1]
        (start, low), (end, high) = before[-1], after[0]
        return low + (high - low) * (epoch - start) / (end - start)


def at(value: float | Schedule, epoch: int) -> float:
    """Return a number, or what a schedule says in an epoch."""
    return value.at(epoch) if isinstance(value, Schedule) else value


def scheduled(value: float | Points) -> float | Schedule:
    """Return what settings say as a number or a schedule."""
    return Schedule(value) if isinstance(value, tuple) else value
