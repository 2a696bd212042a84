"""Weights of int8: rounded here, or as training left them.

    scale_o = max_k |W_ok| / 127,   q = round(W / scale) in [-127, 127],   Ŵ = scale · q

A network that was trained with int8 simulated has its q and scales beside it (int8.safetensors);
those are taken as they are, so that nothing is rounded a second time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Int8Weight:
    """A weight of int8.

    Attributes:
        q: The integers, [O, K] int8.
        scale: Size of one step of each output, [O] float32.
        trained: Whether training itself rounded it so.
    """

    q: NDArray[np.int8]
    scale: Floats
    trained: bool

    @property
    def value(self) -> Floats:
        """What the integers stand for, [O, K]."""
        return self.q * self.scale[:, None]


def quantise_weight(weight: Floats, trained: Mapping[str, NDArray[np.generic]]) -> Int8Weight:
    """Return a weight in int8.

    Args:
        weight: The weight, [O, K].
        trained: What int8.safetensors holds: "NAME.q" and "NAME.scale". The entry that stands for
            exactly this weight is taken, whatever its name: exports rename and transpose.
    """
    for name in (key.removesuffix(".q") for key in trained if key.endswith(".q")):
        found = _same(weight, trained[f"{name}.q"], trained[f"{name}.scale"])
        if found is not None:
            return found
    largest = np.abs(weight).max(axis=1, initial=0)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    return Int8Weight(np.rint(weight / scale[:, None]).astype(np.int8), scale, trained=False)


def _same(weight: Floats, q: NDArray[np.generic], scale: NDArray[np.generic]) -> Int8Weight | None:
    """Return a trained weight if its values are these, in either orientation."""
    for q_turned, scale_turned in ((q, scale), (q.T, scale.T)):
        if q_turned.shape == weight.shape and scale_turned.shape == (len(weight), 1):
            found = Int8Weight(
                q_turned.astype(np.int8), scale_turned[:, 0].astype(np.float32), trained=True
            )
            if np.array_equal(found.value, weight):
                return found
    return None
