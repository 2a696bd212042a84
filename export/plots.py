"""Plots as SVG text, to be put into pages. Each shows every raw value, not only a summary."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .figures import COLORS as _COLORS, STYLE as _STYLE, short, to_svg as _svg
from .report import Measured


def latency(rows: Sequence[Measured]) -> str:
    """Every sample of every row, the median of each round, and the median of all, in ms."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(len(rows))
        noise = np.random.default_rng(0)
        for y, (row, color) in enumerate(_colored(rows)):
            samples = 1e3 * np.array(row.samples)
            jitter = y + noise.uniform(-0.25, 0.25, len(samples))
            # thousands of dots: as an image inside the plot
            axes.scatter(samples, jitter, s=7, color=color, alpha=0.25, lw=0, rasterized=True)
            axes.scatter(1e3 * np.array(row.medians), [y] * len(row.medians), s=26, color=color)
            median = 1e3 * row.latency_seconds
            axes.annotate(
                f"{short(median)} ms",
                (median, y - 0.36),
                ha="center",
                color=color,
                weight="bold",
            )
        _log_axis(axes, "time of one call in ms (small dots: samples, large: rounds)")
        _name_rows(axes, [row.row.label for row in rows])
        return _svg(figure)


def forest(intervals: Mapping[str, tuple[float, float, float]], label: str) -> str:
    """Return differences with their intervals, one below the other, against zero."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(len(intervals))
        axes.axvline(0, color="#8a94a1", lw=1)
        for y, (mean, low, high) in enumerate(intervals.values()):
            color = _COLORS[0] if low > 0 else _COLORS[1] if high < 0 else _COLORS[3]
            axes.plot([low, high], [y, y], color=color, lw=2)
            axes.scatter([mean], [y], color=color, s=28, zorder=3)
        axes.set_xlabel(label)
        _name_rows(axes, list(intervals))
        return _svg(figure)


def strip(values: Mapping[str, Sequence[float]], label: str) -> str:
    """Return every value of every row as a dot, and the mean of each as a bar."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(len(values))
        for y, found in enumerate(values.values()):
            axes.scatter(found, [y] * len(found), s=22, color=_COLORS[0], alpha=0.45, lw=0)
            mean = sum(found) / len(found)
            axes.plot([mean, mean], [y - 0.3, y + 0.3], color=_COLORS[1], lw=2)
        axes.set_xlabel(label)
        _name_rows(axes, list(values))
        return _svg(figure)


def memory(rows: Sequence[Measured]) -> str:
    """Memory of each process: after loading, and what a call needs on top at its peak, in MB."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(len(rows))
        for y, (row, color) in enumerate(_colored(rows)):
            loaded, extra = row.memory["loaded_bytes"] / 1e6, row.memory["extra_bytes"] / 1e6
            axes.barh(y, loaded, height=0.5, color=color, alpha=0.3)
            axes.barh(y, extra, left=loaded, height=0.5, color=color)
            text, end = f"{loaded:,.0f} + {extra:,.0f} MB", (loaded + extra, y)
            axes.annotate(text, end, (5, 0), textcoords="offset points", va="center")
        axes.set_xlabel("process memory in MB (pale: after loading, dark: extra during calls)")
        axes.margins(x=0.25)
        axes.set_xlim(left=0)
        _name_rows(axes, [row.row.label for row in rows])
        return _svg(figure)


def phases(rows: Sequence[Measured]) -> str:
    """What happens before the steady state: importing, loading, the first call, in ms."""
    names = ("import", "load", "first_call")
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(len(rows) * 1.5)
        for i, name in enumerate(names):
            values = [
                1e3 * float(np.median([r[f"{name}_seconds"] for r in row.rounds])) for row in rows
            ]
            places = np.arange(len(rows)) + (i - 1) * 0.25
            label = name.replace("_", " ")
            bars = axes.barh(places, values, height=0.23, color=_COLORS[i], label=label)
            axes.bar_label(bars, [short(v) for v in values], padding=3, fontsize=8)
        _log_axis(axes, "ms")
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(names))
        _name_rows(axes, [row.row.label for row in rows])
        return _svg(figure)


def dots(values: Mapping[str, Sequence[float]], label: str) -> str:
    """A dot for each seed of each arm, and their mean."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(len(values))
        for y, (points, color) in enumerate(zip(values.values(), _cycle(len(values)), strict=True)):
            axes.scatter(points, [y] * len(points), s=34, color=color, alpha=0.6)
            mean = float(np.mean(points))
            axes.plot([mean, mean], [y - 0.28, y + 0.28], color=color, linewidth=2)
            axes.annotate(f"{mean:.2f}", (mean, y - 0.34), ha="center", color=color, weight="bold")
        axes.set_xlabel(label)
        _name_rows(axes, list(values))
        return _svg(figure)


def curves(series: Mapping[str, Sequence[float]], label: str) -> str:
    """One line for each series over epochs."""
    with matplotlib.rc_context({**_STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(7.5, 3.0))
        axes = figure.subplots()
        for (name, values), color in zip(series.items(), _cycle(len(series)), strict=True):
            axes.plot(values, color=color, label=name, linewidth=1.4)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.legend(frameon=False, loc="lower right")
        return _svg(figure)


def heat_map(values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> str:
    """A matrix of numbers from 0 to 1."""
    with matplotlib.rc_context({**_STYLE, "axes.grid": False}):
        figure = Figure(figsize=(1.6 + 1.1 * len(columns), 1.0 + 0.5 * len(rows)))
        axes = figure.subplots()
        axes.imshow(values, cmap="YlGnBu", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        for (i, j), value in np.ndenumerate(values):
            color = "white" if value > 0.6 else "#1c2430"
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=color)
        return _svg(figure)


def _axes(rows: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 1.0 + 0.62 * rows))
    return figure, figure.subplots()


def _cycle(count: int) -> list[str]:
    return [_COLORS[i % len(_COLORS)] for i in range(count)]


def _colored(rows: Sequence[Measured]) -> list[tuple[Measured, str]]:
    return list(zip(rows, _cycle(len(rows)), strict=True))


def _name_rows(axes: Axes, labels: list[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.65)
    axes.tick_params(axis="y", length=0)


def _log_axis(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.set_xlabel(label)
