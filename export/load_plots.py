"""Plots of requests under load, as SVG text."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .figures import COLORS, DISTINCT, STYLE, log_ticks, to_svg
from .intervals import SAMPLES_FOR
from .report import Measured

_BOTH: Any = {**STYLE, "axes.grid.axis": "both"}
_SHOWN = (0, 50, 90, 99, 99.9)
_LIMIT = COLORS[4]


def tails(rows: Sequence[Measured], slo_seconds: float | None = None) -> str:
    """Latency by percentile of each row; see `tails_of`."""
    rounds = {row.row.label: [r["samples"] for r in row.rounds] for row in rows}
    return tails_of({row.row.label: row.samples for row in rows}, slo_seconds, rounds)


def tails_of(
    samples: Mapping[str, Sequence[float]],
    slo_seconds: float | None = None,
    rounds: Mapping[str, Sequence[Sequence[float]]] | None = None,
) -> str:
    """Latency by percentile, the tail drawn out; solid as far as there are samples enough."""
    with matplotlib.rc_context(_BOTH):
        figure = Figure(figsize=(9.6, 3.8))
        axes = figure.subplots()
        for (label, values), color in zip(samples.items(), _colors(len(samples)), strict=True):
            for of_round in (rounds or {}).get(label, ()):
                _tail(axes, of_round, color=color, lw=0.6, alpha=0.4)
            _tail(axes, values, color=color, lw=2, carried=True, label=label)
        _limit(axes, slo_seconds)
        _milliseconds(axes)
        axes.set_xticks([_stretched(p) for p in _SHOWN], [f"p{p:g}" for p in _SHOWN])
        axes.set_xlim(0, _stretched(99.95))
        thin = "thin: rounds, thick: all, " if rounds else ""
        axes.set_xlabel(f"percentile of requests ({thin}dotted: too few samples)")
        _legend(axes)
        return to_svg(figure)


def searches(rows: Sequence[Measured], percentile: int, slo_seconds: float) -> str:
    """Every probe of the search for the largest rate: what held is filled, what did not is not."""
    with matplotlib.rc_context(_BOTH):
        figure = Figure(figsize=(9.6, 3.8))
        axes = figure.subplots()
        for row, color in zip(rows, _colors(len(rows)), strict=True):
            for of_round in row.rounds:
                _search(axes, of_round, color)
            axes.plot([], [], "o", color=color, label=row.row.label)
        _limit(axes, slo_seconds)
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
        axes.set_xlabel("requests a second that arrive (line: the largest rate that holds)")
        _milliseconds(axes, f"p{percentile} of the latency in ms")
        _legend(axes)
        return to_svg(figure)


def _search(axes: Axes, of_round: dict[str, Any], color: str) -> None:
    probes = sorted(of_round["probes"], key=lambda probe: probe["rate"])
    rates = [probe["rate"] for probe in probes]
    latencies = [1e3 * probe["latency_seconds"] for probe in probes]
    axes.plot(rates, latencies, color=color, lw=0.8, alpha=0.5)
    faces = [color if probe["valid"] else "none" for probe in probes]
    axes.scatter(rates, latencies, s=26, facecolors=faces, edgecolors=color, zorder=3)
    if of_round["peak_rate"] is not None:
        axes.axvline(of_round["peak_rate"], color=color, lw=1, alpha=0.6)


def _tail(axes: Axes, samples: Sequence[float], *, carried: bool = False, **style: Any) -> None:
    values = 1e3 * np.sort(samples)
    shares = 100 * (np.arange(len(values)) + 0.5) / len(values)
    places = _stretched(shares)
    if not carried:
        axes.plot(places, values, **style)
        return
    known = [p for p, fewest in SAMPLES_FOR.items() if len(values) >= fewest]
    enough = shares <= max(known, default=0)
    axes.plot(places[enough], values[enough], **style)
    axes.plot(places[~enough], values[~enough], **{**style, "label": None}, ls=":")


def _stretched(percent: Any) -> Any:
    return -np.log10(1 - np.asarray(percent) / 100)


def _limit(axes: Axes, slo_seconds: float | None) -> None:
    if slo_seconds is not None:
        axes.axhline(1e3 * slo_seconds, color=_LIMIT, lw=1.2, ls="--")
        axes.annotate(
            f"limit {1e3 * slo_seconds:g} ms",
            (0.005, 1e3 * slo_seconds),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            color=_LIMIT,
            fontsize=9,
        )


def _milliseconds(axes: Axes, label: str = "latency in ms") -> None:
    axes.set_ylabel(label)
    axes.set_yscale("log")
    log_ticks(axes.yaxis)


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)


def _colors(count: int) -> list[str]:
    return [DISTINCT[i % len(DISTINCT)] for i in range(count)]
