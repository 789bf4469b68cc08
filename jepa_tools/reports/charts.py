"""Charts of the reports: matplotlib figures as SVG whose ink is the page's, so that they are light or dark with it."""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GRAY, GREEN = "#3b7fc4", "#d9662b", "#858d99", "#2e9b62"
"""Readable on white and on black."""

_INK = "#0a0b0c"
_GRID = "#0d0e0f"
# Its stubs know every name, and no dictionary of ours.
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "grid.color": _GRID,
}


def style() -> AbstractContextManager[None]:
    """The reports' style, for what matplotlib makes while the block runs."""
    return mpl.rc_context(_STYLE)


def new_figure(width: float = 5.6, height: float = 3.4) -> Figure:
    """An empty figure in the reports' style, inches."""
    with style():
        return Figure(figsize=(width, height), layout="constrained")


def new_axes(figure: Figure, x: str, y: str) -> Axes:
    """The figure's only axes, with labels that say the unit."""
    with style():
        axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return axes


def plain(axes: Axes, from_zero: bool = True) -> None:
    """Only what a reader needs: a light grid, two spines, values from 0 up."""
    if from_zero:
        axes.set_ylim(0, None)
    axes.grid(linewidth=0.8, color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(axes: Axes) -> None:
    """Names of the curves, beside none of them."""
    with style():
        axes.legend(fontsize="small")


def twin(axes: Axes, y: str, color: str) -> Axes:
    """A second scale at the right, in its curve's colour."""
    with style():
        right = axes.twinx()
    right.set_ylabel(y, color=color)
    right.tick_params(axis="y", labelcolor=color)
    right.spines["top"].set_visible(False)
    return right


def svg(figure: Figure, description: str) -> str:
    """The figure as an inline SVG element in the page's ink."""
    stream = io.StringIO()
    first = _saved(figure, stream, "figure")
    # Marks of several charts on one page must not share names; equal charts get equal names, and a page the same text.
    salt = hashlib.sha256(f"{description}{len(first)}{first}".encode()).hexdigest()
    text = _saved(figure, io.StringIO(), salt)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace(_INK, "currentColor").replace(_GRID, "var(--line)")
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1)


def _saved(figure: Figure, stream: io.StringIO, salt: str) -> str:
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def curve_figure(
    x: Sequence[float], curves: Iterable[tuple[str, Sequence[float], str, str]], x_label: str, y_label: str
) -> Figure:
    """Curves (name, values, colour, line style) over common places."""
    figure = new_figure()
    axes = new_axes(figure, x_label, y_label)
    for name, values, color, style in curves:
        axes.plot(x, values, color=color, linestyle=style, marker="o", markersize=4, label=name)
    plain(axes)
    legend(axes)
    return figure
