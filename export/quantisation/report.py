"""What quantising did, told together: accuracy, agreement, bytes and latency, never one alone."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from .evidence import Quality, Share

JSON, MARKDOWN = "quantisation.json", "quantisation.md"

# a file that is not at least so much smaller is not offered for its size
MATERIAL = 0.75


@dataclass(frozen=True)
class Speed:
    """How fast both bundles are on a number of threads, measured in turns.

    Attributes:
        threads: Threads of each call.
        before_seconds: Median latency of the bundle as it was.
        after_seconds: Median latency of the quantised bundle.
        ratio: How many times as fast the quantised one is.
        low: Lower end of the ratio's 95 % interval.
        high: Upper end.
    """

    threads: int
    before_seconds: float
    after_seconds: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class QuantisationReport:
    """Everything that was measured of a quantised bundle.

    Attributes:
        mode: How weights and features were quantised.
        features: How features are stored, "float32" or "int8".
        data: On which data.
        min_agreement: Least agreement that was asked for.
        quality: Accuracy and agreement.
        bytes_before: Sizes of the bundle's files, and of the features of this data.
        bytes_after: The same of the quantised bundle.
        weights: Number of weights by where their rounding comes from: "trained", "rounded".
        speeds: Latency, by number of threads.
        machine: What it was measured on.
    """

    mode: str
    features: str
    data: str
    min_agreement: float
    quality: Quality
    bytes_before: dict[str, int]
    bytes_after: dict[str, int]
    weights: dict[str, int]
    speeds: list[Speed] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether agreement is as high as was asked for."""
        return self.quality.agreement >= self.min_agreement

    @property
    def is_faster(self) -> bool:
        """Whether an interval says that it is faster, and none that it is slower."""
        return any(s.low > 1 for s in self.speeds) and all(s.high >= 1 for s in self.speeds)

    @property
    def is_smaller(self) -> bool:
        """Whether the ONNX file is materially smaller."""
        return self.bytes_after["model"] <= MATERIAL * self.bytes_before["model"]

    def verdict(self) -> str:
        """Say in a sentence whether it pays."""
        smaller = self.bytes_before["model"] / self.bytes_after["model"]
        speeds = ", ".join(
            f"{s.ratio:.2f} [{s.low:.2f}, {s.high:.2f}] on {s.threads} thread{'s'[: s.threads > 1]}"
            for s in self.speeds
        )
        size = f"the model is {smaller:.1f} times smaller"
        if self.is_faster:
            return f"{self.mode} pays here: times as fast {speeds}; {size}"
        if self.is_smaller:
            return f"{self.mode} is not faster here, times as fast {speeds}; {size}"
        return f"{self.mode} does not pay here: times as fast {speeds}; {size}"

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        values = {**asdict(self), "verdict": self.verdict()}
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """Return the report as a page of tables."""
        parts = [f"# {self.mode}, features as {self.features}", f"{self.verdict()}."]
        parts.append(
            f"Agreement with the bundle it was made of: {percent(self.quality.agreement)} of the "
            f"decisions on {self.data}; at least {percent(self.min_agreement)} was asked for."
        )
        for title, header, rows in self.tables():
            lines = [f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows]]
            parts.append(f"## {title}\n\n" + "\n".join(lines))
        if self.machine:
            parts.append(
                f"Measured in turns, a fresh process each time, on {self.machine['processor']}, "
                f"{self.machine['cores']} cores, load {self.machine['load_before']:.1f} before and "
                f"{self.machine['load_after']:.1f} after; intervals are 95 %, over rounds."
            )
        return "\n\n".join(parts) + "\n"

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Return title, header and rows of each table."""
        quality = self.quality
        main = ["", "before", "after", "ratio"]
        rows = [
            [f"accuracy on {name}", percent(value), percent(quality.accuracy["after"][name]), ""]
            for name, value in quality.accuracy.get("before", {}).items()
        ]
        rows += [
            [f"{name}, bytes", f"{old:,}", f"{new:,}", f"{old / max(new, 1):.2f}"]
            for name, old in self.bytes_before.items()
            for new in [self.bytes_after[name]]
        ]
        rows += [
            [
                f"latency, {s.threads} thread{'s'[: s.threads > 1]}, ms",
                f"{1e3 * s.before_seconds:.3g}",
                f"{1e3 * s.after_seconds:.3g}",
                f"{s.ratio:.2f} [{s.low:.2f}, {s.high:.2f}]",
            ]
            for s in self.speeds
        ]
        found = [("Before and after", main, rows)]
        for title, shares in (
            ("Agreement by in-degree", quality.by_in_degree),
            ("Agreement by class", quality.by_class),
        ):
            if shares:
                found.append((title, ["", "nodes", "agreement"], [_cells(s) for s in shares]))
        return found


def percent(value: float) -> str:
    """Return a fraction as a percentage."""
    return f"{100 * value:.2f} %"


def _cells(share: Share) -> list[str]:
    return [share.of, f"{share.nodes:,}", percent(share.agreement)]
