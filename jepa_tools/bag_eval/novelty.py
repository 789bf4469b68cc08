"""Surprise: how much each frame differs from what was predicted for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jepa_tools.bag_eval.encoding import EncodedEpisode
from jepa_tools.bag_eval.prediction import EpisodeErrors
from jepa_tools.bag_eval.results import Moment, NoveltyResult, mean, number


def episode_moments(index: int, episode: EncodedEpisode, errors: EpisodeErrors) -> list[Moment]:
    """The frames of an episode, but the first, with their surprise."""
    return [
        Moment(index, frame, round(float(episode.times[frame]), 3), float(f"{errors.surprise[frame - 1]:.6g}"))
        for frame in range(1, episode.frames)
    ]


def most_surprising(moments: Sequence[Moment], count: int) -> tuple[Moment, ...]:
    """The `count` most surprising moments; of equal ones the earlier."""
    return tuple(sorted(moments, key=lambda moment: (-moment.surprise, moment.episode, moment.frame))[:count])


def summarize_novelty(
    surprises: Sequence[float] | np.ndarray, worst: Sequence[Moment], threshold: float | None
) -> NoveltyResult:
    """Statistics over a bag's frames."""
    values = np.asarray(surprises, dtype=np.float64)
    return NoveltyResult(
        number(mean(values)),
        number(float(np.percentile(values, 95)) if values.size else np.nan),
        number(float(values.max()) if values.size else np.nan),
        threshold,
        None if threshold is None else int((values > threshold).sum()),
        tuple(worst),
        len(values),
    )
