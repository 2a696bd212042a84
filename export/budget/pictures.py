"""Plots of a search: the front over latency and size, and what every candidate is worth.

Accuracies are drawn over the logarithm of the error, so that the top, where students differ by
little, has the room.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..plots import _COLORS, _STYLE, _log_axis, _svg
from .front import Facts, excess
from .settings import Candidate, Limits, Space

_INK, _SOFT, _BEYOND = "#1c2430", "#8a94a1", "#9b2335"
_TEXT: Any = {"textcoords": "offset points", "ha": "center", "fontsize": 8.5}
_ACCURACIES = (0, 20, 40, 60, 70, 80, 85, 90, 93, 95, 96, 97, 98, 99, 99.5, 99.9)


def front_plot(
    known: Sequence[Facts],
    front: Sequence[Facts],
    chosen: Facts | None,
    limits: Limits,
    teacher: tuple[float, float, float],
    smallest_error: float,
) -> str:
    """Draw accuracy over latency and over size.

    Args:
        known: All candidates that were looked at.
        front: Those on the front.
        chosen: The one that was chosen.
        limits: The limits.
        teacher: The teacher's latency in seconds, size in bytes and accuracy.
        smallest_error: What an accuracy of 1 is drawn as.
    """
    panels: tuple[tuple[str, Callable[[Facts], float | None], float | None, float], ...] = (
        ("one call for the whole graph, ms", _milliseconds, limits.latency_ms, 1e3 * teacher[0]),
        ("model.onnx, kB", _kilobytes, (limits.bytes or 0) / 1e3 or None, teacher[1] / 1e3),
    )
    kinds = list(dict.fromkeys(facts.candidate.kind for facts in known))
    with matplotlib.rc_context({**_STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(10.2, 4.8))
        for axes, (label, cost, limit, of_teacher) in zip(
            figure.subplots(1, 2, sharey=True), panels, strict=True
        ):
            _points(axes, known, kinds, cost, smallest_error)
            _stairs(axes, front, cost, smallest_error)
            height = _height(teacher[2], smallest_error)
            axes.scatter([of_teacher], [height], marker="*", s=150, color=_INK, zorder=5)
            axes.annotate("teacher", (of_teacher, height), (0, -15), **_TEXT, color=_INK)
            if chosen is not None:
                _ring(axes, chosen, cost, smallest_error)
            _log_axis(axes, label)
            _limit(axes, limit)
        _accuracy_axis(figure.axes[0])
        _legend(figure, kinds)
        figure.tight_layout()
        return _svg(figure)


def candidates_plot(known: Sequence[Facts], space: Space, limits: Limits, floor: float) -> str:
    """Draw what every candidate is worth: a field for each kind, depths down, widths across."""
    facts = {one.candidate: one for one in known}
    rows = len(space.kinds) * len(space.depths)
    with matplotlib.rc_context({**_STYLE, "axes.grid": False}):
        size = (1.6 + 0.82 * len(space.widths), 0.7 * len(space.kinds) + 0.42 * rows)
        figure = Figure(figsize=size)
        fields = figure.subplots(len(space.kinds), 1, sharex=True, squeeze=False)[:, 0]
        low, high = _range(known, floor)
        for kind, axes in zip(space.kinds, fields, strict=True):
            found = [
                [facts.get(Candidate(kind, depth, width)) for width in space.widths]
                for depth in space.depths
            ]
            heights = [[_cell_height(one, floor) for one in row] for row in found]
            axes.imshow(heights, cmap="YlGnBu", vmin=low, vmax=high, aspect="auto")
            for (i, j), height in np.ndenumerate(heights):
                dark = (height - low) / max(high - low, 1e-9) > 0.6
                color = "white" if dark else _INK if math.isfinite(height) else _SOFT
                text = _cell(found[i][j], limits)
                axes.text(j, i, text, ha="center", va="center", color=color, fontsize=8.5)
            axes.set_title(
                kind, loc="left", fontsize=10, weight="bold", color=_color(kind, space.kinds)
            )
            axes.set_yticks(range(len(space.depths)), [f"{d} layers" for d in space.depths])
            axes.set_facecolor("#f1f3f5")
            axes.set_xticks([j + 0.5 for j in range(len(space.widths) - 1)], minor=True)
            axes.set_yticks([i + 0.5 for i in range(len(space.depths) - 1)], minor=True)
            axes.grid(which="minor", axis="both", color="white", lw=2)
            axes.tick_params(which="both", length=0)
            axes.spines[:].set_visible(False)
        fields[-1].set_xticks(range(len(space.widths)), space.widths)
        fields[-1].set_xlabel("width")
        figure.tight_layout()
        return _svg(figure)


def _points(
    axes: Axes,
    known: Sequence[Facts],
    kinds: Sequence[str],
    cost: Callable[[Facts], float | None],
    floor: float,
) -> None:
    """Draw what is trained, with the interval of its latency, and what was put aside as a mark."""
    for facts in known:
        place, color = cost(facts), _color(facts.candidate.kind, kinds)
        if place is None:
            continue
        if facts.val_accuracy is None:
            axes.plot([place], [0.02], "|", ms=9, color=color, transform=axes.get_xaxis_transform())
            continue
        height, compared = _height(facts.val_accuracy, floor), facts.latency_interval is not None
        if compared and cost is _milliseconds:
            low, high = (1e3 * end for end in facts.latency_interval or ())
            axes.plot([low, high], [height] * 2, color=color, lw=1.6, alpha=0.55, zorder=2)
        face = color if compared else "white"
        axes.scatter([place], [height], s=42, color=face, edgecolor=color, lw=1.2, zorder=3)


def _stairs(
    axes: Axes, front: Sequence[Facts], cost: Callable[[Facts], float | None], floor: float
) -> None:
    """Draw the best accuracy that so much latency, or size, buys, and name who buys it."""
    steps: list[tuple[float, float]] = []
    for facts in sorted(front, key=lambda one: cost(one) or 0.0):
        place, height = cost(facts) or 0.0, _height(facts.val_accuracy or 0.0, floor)
        if not steps or height > steps[-1][1]:
            steps.append((place, height))
            text = f"{facts.candidate.depth}×{facts.candidate.width}"
            axes.annotate(text, (place, height), (-9, 6), **_TEXT, color=_INK)
    if steps:
        xs, ys = zip(*steps, strict=True)
        axes.step(xs, ys, where="post", color=_SOFT, lw=1.3, zorder=1)


def _ring(axes: Axes, chosen: Facts, cost: Callable[[Facts], float | None], floor: float) -> None:
    place = cost(chosen) or 0.0, _height(chosen.val_accuracy or 0.0, floor)
    axes.scatter(*place, s=190, facecolor="none", edgecolor=_INK, lw=1.6, zorder=4)


def _limit(axes: Axes, limit: float | None) -> None:
    """Shade what lies beyond a limit."""
    if limit is None:
        return
    left, right = axes.get_xlim()
    right = max(right, 1.15 * limit)
    axes.axvspan(limit, right, color=_BEYOND, alpha=0.07, lw=0)
    axes.axvline(limit, color=_BEYOND, lw=1.2, ls=(0, (4, 3)))
    axes.annotate(
        f"limit {limit:g}",
        (limit, 1),
        (3, -10),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color=_BEYOND,
        fontsize=8.5,
    )
    axes.set_xlim(min(left, limit / 1.15), right)


def _accuracy_axis(axes: Axes) -> None:
    axes.margins(y=0.12)
    low, high = axes.get_ylim()
    ticks = [value for value in _ACCURACIES if low <= _height(value / 100, 1e-9) <= high]
    axes.yaxis.set_major_locator(FixedLocator([_height(value / 100, 1e-9) for value in ticks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * (1 - 10**-y):.3g}"))
    axes.set_ylabel("validation accuracy in %")


def _legend(figure: Figure, kinds: Sequence[str]) -> None:
    def dot(face: str, edge: str, label: str) -> Line2D:
        style: Any = {"marker": "o", "ls": "", "markerfacecolor": face, "markeredgecolor": edge}
        return Line2D([], [], label=label, **style)

    entries = [dot(_color(kind, kinds), _color(kind, kinds), kind) for kind in kinds]
    entries.append(dot("white", _SOFT, "worse, not compared"))
    entries.append(Line2D([], [], marker="|", ls="", color=_SOFT, label="put aside untrained"))
    entries.append(Line2D([], [], color=_SOFT, lw=1.3, label="front"))
    figure.legend(
        handles=entries, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=6
    )


def _milliseconds(facts: Facts) -> float | None:
    return None if facts.latency_seconds is None else 1e3 * facts.latency_seconds


def _kilobytes(facts: Facts) -> float | None:
    return None if facts.bytes is None else facts.bytes / 1e3


def _color(kind: str, kinds: Sequence[str]) -> str:
    return _COLORS[list(kinds).index(kind) % len(_COLORS)]


def _height(accuracy: float, floor: float) -> float:
    return -math.log10(max(1 - accuracy, floor))


def _cell_height(facts: Facts | None, floor: float) -> float:
    if facts is None or facts.val_accuracy is None:
        return math.nan
    return _height(facts.val_accuracy, floor)


def _range(known: Sequence[Facts], floor: float) -> tuple[float, float]:
    heights = [_cell_height(facts, floor) for facts in known if facts.val_accuracy is not None]
    return min(heights), max(heights)


def _cell(facts: Facts | None, limits: Limits) -> str:
    """Return an accuracy, or why there is none."""
    if facts is None:
        return ""
    if facts.val_accuracy is not None:
        return f"{100 * facts.val_accuracy:.1f}"
    if facts.problem:
        return "diverged"
    passed = [name for name, share in excess(facts, limits).items() if share > 1]
    return {"parameters": "too big", "bytes": "too big", "latency_ms": "too slow"}.get(
        passed[0] if passed else "", ""
    )
