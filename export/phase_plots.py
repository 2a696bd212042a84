"""Plots of requests by size, popularity and phase, as SVG text; a panel for each row."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from .figures import COLORS, DISTINCT, STYLE, log_ticks, short, to_svg
from .intervals import percentile
from .phases import PHASES

# by row, then by popularity, then by nodes asked for: all seconds
BySize = Mapping[str, Mapping[str, Mapping[int, np.ndarray]]]
# by row, then by popularity: edges seen, and seconds
Clouds = Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]

_LINES = {50: "-", 90: "--", 99: ":"}
_BOTH: Any = {**STYLE, "axes.grid.axis": "both"}


def by_nodes(values: BySize) -> str:
    """Every latency against the nodes that a request asks for, and those percentiles known."""

    def draw(axes: Axes, label: str) -> None:
        for (kind, sizes), color in zip(values[label].items(), DISTINCT, strict=False):
            for nodes, seconds in sizes.items():
                style = {"s": 5, "color": color, "alpha": 0.15, "lw": 0, "rasterized": True}
                axes.scatter([nodes] * len(seconds), 1e3 * seconds, **style)
            for percent, line in _LINES.items():
                found = {n: percentile(seconds.tolist(), percent) for n, seconds in sizes.items()}
                known = [(nodes, 1e3 * p) for nodes, p in found.items() if p is not None]
                axes.plot(*np.array(known).reshape(-1, 2).T, line, color=color, marker="o", ms=4)
            axes.plot([], [], color=color, label=kind)
        for percent, line in _LINES.items():
            axes.plot([], [], line, color=COLORS[3], label=f"p{percent}")
        asked = sorted({n for sizes in values[label].values() for n in sizes})
        axes.set_xticks(asked, [str(n) for n in asked])

    return _panels(list(values), draw, "nodes that a request asks for")


def by_edges(clouds: Clouds) -> str:
    """The median latency of every request against the edges of its neighbourhood."""

    def draw(axes: Axes, label: str) -> None:
        for (kind, (edges, seconds)), color in zip(clouds[label].items(), DISTINCT, strict=False):
            places = np.maximum(edges, 1)
            axes.scatter(places, 1e3 * seconds, s=12, color=color, alpha=0.45, lw=0, label=kind)

    return _panels(list(clouds), draw, "edges of the neighbourhood (a dot is a request)")


def split(values: Mapping[str, Mapping[str, float]]) -> str:
    """Seconds of each phase, one bar for each label."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.2 + 0.5 * len(values)))
        axes = figure.subplots()
        left = np.zeros(len(values))
        for phase, color in zip(PHASES, DISTINCT, strict=False):
            widths = np.array([1e3 * of_row[phase] for of_row in values.values()])
            axes.barh(range(len(values)), widths, left=left, height=0.55, color=color, label=phase)
            left += widths
        for y, total in enumerate(left):
            axes.annotate(
                f"{total:.3g} ms", (total, y), (5, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(range(len(values)), list(values))
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.15)
        axes.set_xlabel("ms of a request, means of each phase")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(PHASES))
        return to_svg(figure)


def _panels(labels: Sequence[str], draw: Callable[[Axes, str], None], x_label: str) -> str:
    with matplotlib.rc_context(_BOTH):
        columns = min(2, len(labels))
        rows = -(-len(labels) // columns)
        figure = Figure(figsize=(9.6, 3.1 * rows + 0.4), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, label in zip(grid, labels, strict=False):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            log_ticks(axes.yaxis)
            draw(axes, label)
            axes.set_title(label, fontsize=10, loc="left")
            axes.set_xlabel(x_label)
        for axes in grid[len(labels) :]:
            axes.remove()
        for axes in grid[::columns]:
            axes.set_ylabel("ms")
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(handles, names, frameon=False, loc="outside upper left", ncols=6)
        return to_svg(figure)
