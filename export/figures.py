"""What plots look like, and how they become SVG text for a page."""

import io
from typing import Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

COLORS = ("#0b6e75", "#c2571a", "#5b5ea6", "#7a7f87", "#9b2335", "#3f7d20")
# Okabe and Ito's, which the colour-blind can tell apart, without the yellow that paper swallows
DISTINCT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, SOFT, FAINT = "#1c2430", "#8a94a1", "#e6eaee"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": FAINT,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "graphstill",
}


def log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2 and 5 of every decade, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())


def short(value: float) -> str:
    """Return a number in three digits, larger ones whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG text, the same bytes for the same figure."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(
        file, format="svg", bbox_inches="tight", metadata=nothing, dpi=200, transparent=True
    )
    text = file.getvalue()
    return text[text.index("<svg") :]
