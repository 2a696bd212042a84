"""The shape of the trees that all rows of a model of blocks have."""

from dataclasses import dataclass
from itertools import accumulate
from math import prod

# inputs that are counted from the graph, beside those that the module takes
COUNTS, DEGREES, LOOPS = "edge_count", "in_degree", "loop_weight"
COUNTED = (COUNTS, DEGREES, LOOPS)


@dataclass(frozen=True)
class Trees:
    """The shape of all trees.

    Attributes:
        fanouts: Slots below each slot, from the seed outwards.
        batch: Number of trees, None where that may differ from call to call.
    """

    fanouts: tuple[int, ...]
    batch: int | None = None

    @property
    def sizes(self) -> list[int]:
        """Number of slots of each level."""
        return [prod(self.fanouts[:level]) for level in range(len(self.fanouts) + 1)]

    @property
    def slots(self) -> int:
        """Number of slots of a tree."""
        return sum(self.sizes)

    def bounds(self, level: int) -> tuple[int, int]:
        """Return where a level begins and ends."""
        ends = list(accumulate(self.sizes, initial=0))
        return ends[level], ends[level + 1]
