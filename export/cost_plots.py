"""The plot of what accuracy costs: every arm of a study over its number of parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .figures import DISTINCT, FAINT, INK, SOFT, STYLE, to_svg

_WIDTH = 9.4
# colour and marker of each kind of arm
FAMILIES = {
    "teacher": (INK, "D"),
    "labels alone": (SOFT, "o"),
    "logits": (DISTINCT[0], "s"),
    "layers": (DISTINCT[1], "^"),
    "controls": (DISTINCT[4], "v"),
    "peers": (DISTINCT[2], "P"),
}


@dataclass(frozen=True)
class Cost:
    """An arm's number of parameters, and its seeds' test accuracies in percent."""

    arm: str
    family: str
    params: int
    tests: Sequence[float]


def accuracy_against_parameters(panels: Mapping[str, Sequence[Cost]]) -> str:
    """Return a panel for each data set: every seed, and the median, of every arm.

    Arms of one size stand side by side over the number of parameters they share. The axis begins
    where it shows all medians; a triangle on it stands for seeds that are below.
    """
    rows = -(-len(panels) // 2)
    columns = min(2, len(panels))
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "y"}):
        figure = Figure(figsize=(_WIDTH, 0.6 + 3.4 * rows), layout="constrained")
        grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).flatten()
        for axes, (data, arms) in zip(grid, panels.items(), strict=False):
            _costs(axes, arms, wide=columns == 1)
            axes.set_title(data, loc="left", weight="bold", fontsize=10)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        present = {arm.family for arms in panels.values() for arm in arms}
        handles = [
            Line2D([], [], color=color, marker=marker, ls="", label=family)
            for family, (color, marker) in FAMILIES.items()
            if family in present
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
        return to_svg(figure)


def _costs(axes: Axes, arms: Sequence[Cost], *, wide: bool) -> None:
    axes.set_xscale("log")
    sizes = sorted({arm.params for arm in arms})
    reach = 3.0 if len(sizes) == 1 else (sizes[-1] / sizes[0]) ** 0.25
    step = reach ** (0.11 if wide else 0.15)
    lowest = _lowest([arm.tests for arm in arms])
    for params in sizes:
        alike = [arm for arm in arms if arm.params == params]
        span = step ** ((len(alike) + 1) / 2)
        axes.axvspan(params / span, params * span, color=FAINT, alpha=0.55, lw=0)
        for place, arm in enumerate(alike):
            x = params * step ** (place - (len(alike) - 1) / 2)
            color, marker = FAMILIES[arm.family]
            axes.scatter([x] * len(arm.tests), arm.tests, s=9, color=color, alpha=0.4, lw=0)
            axes.scatter([x], [np.median(arm.tests)], s=36, color=color, marker=marker, zorder=3)
            below = [value for value in arm.tests if value < lowest]
            if below:
                axes.scatter([x], [lowest], s=26, color=color, marker=11, zorder=3, clip_on=False)
    axes.set_ylim(bottom=lowest)
    axes.set_xticks(sizes, [_short(params) for params in sizes])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("parameters")
    axes.set_ylabel("test accuracy in %")


def _lowest(seeds: Sequence[Sequence[float]]) -> float:
    """Return where an axis begins that shows all medians, and most seeds, but no dead ones."""
    quarters = [np.percentile(values, [25, 50, 75]) for values in seeds]
    return float(min(median - max(2.5 * (high - low), 3.0) for low, median, high in quarters))


def _short(number: int) -> str:
    for unit, name in ((10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return str(number)
