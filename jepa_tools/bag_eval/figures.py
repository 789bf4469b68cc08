"""Charts of the report."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from jepa_tools.bag_eval.results import BagResult, EpisodeResult, Number, PredictionResult
from jepa_tools.reports.charts import BLUE, GRAY, ORANGE, curve_figure, legend, new_axes, new_figure, plain, twin


def prediction_figure(result: PredictionResult, distance: str) -> Figure:
    """Prediction error by horizon, by the distance named, beside copying the last frame and other moments' actions."""
    curves = (
        ("last picture repeated", _gaps(result.copy_error), GRAY, "--"),
        ("wrong actions", _gaps(result.shuffled_error), ORANGE, "-"),
        ("recorded actions", _gaps(result.error), BLUE, "-"),
    )
    return curve_figure(range(1, len(result.error) + 1), curves, "steps ahead", f"prediction error ({distance})")


def energy_figure(episode: EpisodeResult) -> Figure:
    """Energy to the episode's end and the tool's distance to where it was then, over time."""
    figure = new_figure(5.6, 2.8)
    left = new_axes(figure, "time, s", "energy to the last picture")
    right = twin(left, "distance of the tool to its end, cm", ORANGE)
    left.plot(_gaps(episode.time), _gaps(episode.energy), color=BLUE)
    right.plot(_gaps(episode.time), _gaps(episode.distance_cm), color=ORANGE)
    left.yaxis.label.set_color(BLUE)
    plain(left)
    right.set_ylim(0, None)
    return figure


def rank_figure(bag: BagResult) -> Figure:
    """Energy over distance, a dot per frame, a shade per episode."""
    figure = new_figure()
    axes = new_axes(figure, "distance of the tool to where it ends, cm", "energy to the last picture")
    for number, episode in enumerate(bag.episodes):
        shade = 0.35 + 0.65 * (number + 1) / len(bag.episodes)
        axes.plot(_gaps(episode.distance_cm), _gaps(episode.energy), ".", color=BLUE, alpha=shade, markersize=5)
    plain(axes)
    return figure


def surprise_figure(bag: BagResult) -> Figure:
    """Surprise over time, a line per episode, and the card's threshold."""
    figure = new_figure()
    axes = new_axes(figure, "time, s, one episode after the other", "surprise (energy)")
    start = 0.0
    for episode in bag.episodes:
        times = [start + time for time in _gaps(episode.time)]
        axes.plot(times, _gaps(episode.surprise), color=BLUE, linewidth=1)
        start = times[-1] + 1.0 / (bag.rate_hz or 1.0)
    threshold = bag.novelty.threshold if bag.novelty else None
    if threshold is not None:
        axes.axhline(threshold, color=ORANGE, linestyle="--", linewidth=1, label="above: unexpected")
        legend(axes)
    plain(axes)
    return figure


def _gaps(values: Sequence[Number]) -> list[float]:
    """What was not measured leaves a gap in the curve."""
    return [float("nan") if value is None else value for value in values]
