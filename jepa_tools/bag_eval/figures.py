"""Plots of the report, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepa_tools.bag_eval.results import BagResult, EpisodeResult, Number, PredictionResult

BLUE, ORANGE, GRAY, GREEN = "#2563a8", "#d9662b", "#6b7280", "#2e8b57"
DOTS_PER_INCH = 100


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    return stream.getvalue()


def prediction_figure(result: PredictionResult, distance: str) -> Figure:
    """Prediction error by horizon, by the distance named, beside copying the last frame and other moments' actions."""
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axis = figure.subplots()
    steps = range(1, len(result.error) + 1)
    curves = (
        (result.copy_error, "the last frame again", GRAY, "--"),
        (result.shuffled_error, "other moments' actions", ORANGE, "-"),
        (result.error, "recorded actions", BLUE, ":"),
    )
    for values, label, color, style in curves:
        axis.plot(steps, _gaps(values), color=color, linestyle=style, marker="o", markersize=4, label=label)
    axis.set_xlabel("steps ahead")
    axis.set_ylabel(distance)
    _plain(axis)
    axis.legend(frameon=False)
    return figure


def energy_figure(episode: EpisodeResult) -> Figure:
    """Energy to the episode's end and the tool's distance to where it was then, over time."""
    figure = Figure(figsize=(5.6, 2.6), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    left.plot(_gaps(episode.time), _gaps(episode.energy), color=BLUE)
    right.plot(_gaps(episode.time), _gaps(episode.distance_cm), color=ORANGE)
    left.set_xlabel("s")
    left.set_ylabel("energy to the end", color=BLUE)
    right.set_ylabel("distance to the end, cm", color=ORANGE)
    _plain(left)
    right.set_ylim(0, None)
    right.spines["top"].set_visible(False)
    return figure


def rank_figure(bag: BagResult) -> Figure:
    """Energy over distance, a dot per frame, a shade per episode."""
    figure = Figure(figsize=(4.4, 3.4), layout="constrained")
    axis = figure.subplots()
    for number, episode in enumerate(bag.episodes):
        shade = 0.35 + 0.65 * (number + 1) / len(bag.episodes)
        axis.plot(_gaps(episode.distance_cm), _gaps(episode.energy), ".", color=BLUE, alpha=shade, markersize=5)
    axis.set_xlabel("distance of the tool to the end, cm")
    axis.set_ylabel("energy to the end")
    _plain(axis)
    return figure


def surprise_figure(bag: BagResult) -> Figure:
    """Surprise over time, a line per episode, and the card's threshold."""
    figure = Figure(figsize=(5.6, 2.8), layout="constrained")
    axis = figure.subplots()
    start = 0.0
    for episode in bag.episodes:
        times = [start + time for time in _gaps(episode.time)]
        axis.plot(times, _gaps(episode.surprise), color=BLUE, linewidth=1)
        start = times[-1] + 1.0 / (bag.rate_hz or 1.0)
    threshold = bag.novelty.threshold if bag.novelty else None
    if threshold is not None:
        axis.axhline(threshold, color=ORANGE, linestyle="--", linewidth=1, label="unexpected above")
        axis.legend(frameon=False)
    axis.set_xlabel("s, one episode after the other")
    axis.set_ylabel("surprise")
    _plain(axis)
    return figure


def _gaps(values: Sequence[Number]) -> list[float]:
    """What was not measured leaves a gap in the curve."""
    return [float("nan") if value is None else value for value in values]


def _plain(axis: Axes) -> None:
    axis.set_ylim(0, None)
    axis.grid(color="#e5e7eb", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
