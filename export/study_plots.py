"""Plots of studies: how soon accuracy comes, where it holds, what attention chose.

Arms are told apart by colour and by marker or place, so that no eye misses any. A band or a whisker
is one sample standard deviation over seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .cost_plots import FAMILIES
from .figures import DISTINCT, INK, SOFT, STYLE, to_svg

_WIDTH = 9.4
_BOTH = {**STYLE, "axes.grid.axis": "both"}
_MARKERS = ("o", "s", "^", "v", "P", "X")


@dataclass(frozen=True, eq=False)
class Soon:
    """An arm's best validation accuracy so far in percent, for each seed.

    Attributes:
        runs: For each seed, one value for each epoch.
        seconds: For each seed, when each epoch ended; empty where that was not recorded.
        to_95: Mean epochs and seconds until 95 % of the best.
    """

    runs: Sequence[np.ndarray]
    seconds: Sequence[np.ndarray]
    to_95: tuple[float | None, float | None]


def convergence(groups: Sequence[Mapping[str, Soon]], reference: str) -> str:
    """Return a row for each group of arms: over epochs, and over wall time where it is known.

    Args:
        groups: Arms by name, at most six a group.
        reference: The arm that is grey in every row.
    """
    timed = any(soon.seconds for group in groups for soon in group.values())
    with matplotlib.rc_context(_BOTH):
        figure = Figure(figsize=(_WIDTH, 0.3 + 2.7 * len(groups)), layout="constrained")
        grid = figure.subplots(len(groups), 1 + timed, squeeze=False, sharey=True)
        for row, group in zip(grid, groups, strict=True):
            styles = _styles(list(group), reference)
            for arm, soon in group.items():
                color, marker, line = styles[arm]
                _over_epochs(row[0], soon, color, marker, line)
                if timed:
                    _over_seconds(row[1], soon, color, marker, line)
            _legend(row[-1], styles)
            row[0].set_ylabel("validation accuracy in %")
        for axes, label in zip(grid[-1], ("epochs", "seconds of training"), strict=False):
            axes.set_xlabel(label)
        for axes in grid.flatten():
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        return to_svg(figure)


def attention_maps(maps: Mapping[str, np.ndarray]) -> str:
    """Return the maps of arms, one below the other: the mean over seeds, and the first seed.

    Args:
        maps: By arm, [seeds, teacher layers, student layers], 0-1.
    """
    highest = max(float(found.mean(axis=0).max()) for found in maps.values())
    highest = max(highest, *(float(found[0].max()) for found in maps.values()))
    layers = max(found.shape[2] for found in maps.values())
    height = 0.75 + (0.7 + 0.22 * max(layers, 3)) * len(maps)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        grid = figure.subplots(len(maps), 2, squeeze=False)
        image = None
        for row, (arm, found) in zip(grid, maps.items(), strict=True):
            shown = ((f"mean of {len(found)} seeds", found.mean(axis=0)), ("one seed", found[0]))
            for axes, (name, values) in zip(row, shown, strict=True):
                image = axes.imshow(values.T, cmap="YlGnBu", vmin=0, vmax=highest, aspect="auto")
                spread = f"{name}: {values.min():.2f} to {values.max():.2f}"
                axes.set_title(spread, loc="left", fontsize=9)
                _layer_ticks(axes, values, highest)
            row[0].set_title(f"{arm}\n{row[0].get_title('left')}", loc="left", fontsize=9)
            row[0].set_ylabel("student layer")
        for axes in grid[-1]:
            axes.set_xlabel("teacher layer")
        assert image is not None
        bar = figure.colorbar(image, ax=grid, location="right", fraction=0.025, pad=0.015)
        bar.outline.set_visible(False)
        bar.set_label("attention")
        return to_svg(figure)


def degrees(
    groups: Sequence[Mapping[str, np.ndarray]], buckets: Sequence[str], reference: str
) -> str:
    """Return a row for each group of arms: accuracy by the degree of a node.

    Args:
        groups: By arm, accuracy in percent, [seeds, buckets], NaN where no node has that degree.
        buckets: What each bucket holds.
        reference: The arm that is grey in every row; the teacher is black.
    """
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "y"}):
        figure = Figure(figsize=(_WIDTH, 0.5 + 2.5 * len(groups)), layout="constrained")
        grid = figure.subplots(len(groups), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for axes, group in zip(grid, groups, strict=True):
            styles = _styles(list(group), reference)
            steps = np.linspace(-0.28, 0.28, len(group)) if len(group) > 1 else [0.0]
            for step, (arm, found) in zip(steps, group.items(), strict=True):
                color, marker, line = styles[arm]
                mean, spread = _mean_and_spread(found)
                places = np.arange(len(buckets)) + step
                known = np.isfinite(mean)
                axes.vlines(places, mean - spread, mean + spread, color=color, lw=1, alpha=0.6)
                axes.plot(places[known], mean[known], color=color, ls=line, lw=0.8, alpha=0.5)
                axes.scatter(places, mean, color=color, marker=marker, s=22, zorder=3)
            _legend(axes, styles)
            axes.set_ylabel("test accuracy in %")
            axes.set_xticks(range(len(buckets)), buckets)
            axes.set_xlim(-0.5, len(buckets) - 0.5)
            axes.tick_params(axis="x", length=0)
        grid[-1].set_xlabel("degree of a node, and how many test nodes have it")
        return to_svg(figure)


def reliability(arms: Mapping[str, tuple[np.ndarray, str, float]]) -> str:
    """Return a small reliability diagram for each arm.

    Args:
        arms: By arm, bins as [nodes, confidence, accuracy], its family, and its ECE, 0-1.
    """
    columns = min(5, len(arms))
    rows = -(-len(arms) // columns)
    size = (_WIDTH * columns / 5, 0.4 + 2.05 * rows)
    with matplotlib.rc_context({**_BOTH, "font.size": 8}):
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, (arm, (bins, family, ece)) in zip(grid.flatten(), arms.items(), strict=False):
            nodes, confidence, accuracy = bins[:, bins[0] > 0]
            color = FAMILIES[family][0]
            axes.plot([0, 1], [0, 1], color=SOFT, lw=1, ls="--")
            axes.vlines(confidence, confidence, accuracy, color=color, lw=1.2, alpha=0.5)
            axes.plot(confidence, accuracy, color=color, lw=1)
            sizes = 4 + 90 * nodes / nodes.sum()
            axes.scatter(confidence, accuracy, s=sizes, color=color, lw=0, zorder=3, clip_on=False)
            axes.set_title(_wrapped(arm, 24), fontsize=8, loc="left")
            axes.text(0.97, 0.05, f"ECE {100 * ece:.1f} %", ha="right", color=INK)
            axes.set_aspect("equal")
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
            axes.set_xticks([0, 0.5, 1], ["0", "50", "100"])
            axes.set_yticks([0, 0.5, 1], ["0", "50", "100"])
        for axes in grid.flatten()[max(0, len(arms) - columns) :]:
            axes.tick_params(labelbottom=True)
        for axes in grid.flatten()[len(arms) :]:
            axes.set_axis_off()
        figure.supxlabel("confidence in %", fontsize=9)
        figure.supylabel("test accuracy in %", fontsize=9)
        return to_svg(figure)


def _over_epochs(axes: Axes, soon: Soon, color: str, marker: str, line: str) -> None:
    longest = max(len(run) for run in soon.runs)
    shown = np.unique(np.geomspace(1, longest, 160).round().astype(int))
    # a run that has stopped keeps the best it found
    values = np.array([run[np.minimum(shown, len(run)) - 1] for run in soon.runs])
    _band(axes, shown, values, color, line)
    _mark(axes, soon.to_95[0], shown, values, color, marker)


def _over_seconds(axes: Axes, soon: Soon, color: str, marker: str, line: str) -> None:
    if not soon.seconds:
        return
    first = max(ends[0] for ends in soon.seconds)
    last = max(ends[-1] for ends in soon.seconds)
    shown = np.geomspace(first, max(last, first * 1.01), 160)
    values = np.array(
        [
            run[ends.searchsorted(shown, side="right") - 1]
            for run, ends in zip(soon.runs, soon.seconds, strict=True)
        ]
    )
    _band(axes, shown, values, color, line)
    _mark(axes, soon.to_95[1], shown, values, color, marker)


def _band(axes: Axes, x: np.ndarray, values: np.ndarray, color: str, line: str) -> None:
    mean, spread = _mean_and_spread(values)
    high = np.minimum(mean + spread, 100)
    axes.fill_between(x, mean - spread, high, color=color, alpha=0.1, lw=0)
    axes.plot(x, mean, color=color, ls=line, lw=1.5)


def _mark(
    axes: Axes, at: float | None, x: np.ndarray, values: np.ndarray, color: str, marker: str
) -> None:
    if at is not None:
        y = np.interp(at, x, values.mean(axis=0))
        axes.scatter([at], [y], s=44, color=color, marker=marker, ec="white", lw=0.8, zorder=4)


def _mean_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and sample standard deviation over the first axis, NaN where nothing is known."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    squares = np.where(known, (values - mean) ** 2, 0).sum(axis=0)
    return mean, np.sqrt(squares / np.maximum(count - 1, 1))


def _styles(arms: Sequence[str], reference: str) -> dict[str, tuple[str, str, str]]:
    """Return colour, marker and line of each arm of a group."""
    fixed = {"teacher": (INK, "D", ":"), reference: (SOFT, "o", "--")}
    others = [arm for arm in arms if arm not in fixed]
    cycle = zip(DISTINCT, _MARKERS, strict=True)
    free = {arm: (*style, "-") for arm, style in zip(others, cycle, strict=False)}
    return {arm: fixed.get(arm) or free[arm] for arm in arms}


def _legend(axes: Axes, styles: Mapping[str, tuple[str, str, str]]) -> None:
    handles = [
        Line2D([], [], color=color, marker=marker, ls=line, label=_wrapped(arm, 28), ms=5)
        for arm, (color, marker, line) in styles.items()
    ]
    place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    axes.legend(handles=handles, frameon=False, fontsize=8, **place)


def _layer_ticks(axes: Axes, values: np.ndarray, highest: float) -> None:
    teachers, students = values.shape
    for axis, count in ((axes.xaxis, teachers), (axes.yaxis, students)):
        axis.set_major_locator(MaxNLocator(min(count, 9), integer=True))
        axis.set_major_formatter(FuncFormatter(lambda index, _: f"{index + 1:.0f}"))
    axes.tick_params(length=0)
    if teachers > 8:
        return
    for (i, j), value in np.ndenumerate(values):
        color = "white" if value > 0.6 * highest else INK
        axes.text(i, j, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)


def _wrapped(text: str, width: int) -> str:
    """Break a name into lines of a width, at spaces."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
