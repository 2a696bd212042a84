"""How to quantise."""

import os
from dataclasses import dataclass

from .static import CALIBRATIONS

MODES = ("dynamic", "static", "weights", "fp16")
FEATURES = ("float32", "int8")


@dataclass(frozen=True)
class QuantiseSettings:
    """How to quantise, and what must come out.

    Attributes:
        mode: "dynamic": int8 weights, features rounded row by row in the call; "static": int8
            weights, one scale for all rows, calibrated on the data; "weights": int8 weights that
            are floats again once loaded; "fp16": weights of half the bytes, the same.
        features: How the bundle takes x: "float32", or "int8" with the input x_scale.
        calibration: How "static" finds its scales: "minmax", "entropy" or "percentile".
        min_agreement: Least share of decisions that must stay, 0–1.
        force: Whether to write the bundle even so.
        threads: Numbers of threads to measure latency on; none that the machine does not have.
        rounds: Rounds in which the two bundles take turns.
        min_seconds: Shortest time of sampling a bundle in a round.
    """

    mode: str = "dynamic"
    features: str = "float32"
    calibration: str = "minmax"
    min_agreement: float = 0.99
    force: bool = False
    threads: tuple[int, ...] = (1, 2)
    rounds: int = 5
    min_seconds: float = 0.2

    def __post_init__(self) -> None:
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("features", self.features, FEATURES),
            ("calibration", self.calibration, tuple(CALIBRATIONS)),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if self.features == "int8" and self.mode != "dynamic":
            raise ValueError(
                f"int8 features belong to mode dynamic, whose products read them as they are; "
                f"mode {self.mode} would make floats of them again"
            )
        if not 0 <= self.min_agreement <= 1:
            raise ValueError(f"min_agreement must be from 0 to 1, got {self.min_agreement}")

    @property
    def usable_threads(self) -> tuple[int, ...]:
        """The numbers of threads that this machine has."""
        return tuple(n for n in self.threads if n <= len(os.sched_getaffinity(0)))
