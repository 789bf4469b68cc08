"""Predicted latents against those that came, with the recorded actions and with other ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jepa_tools.bag_eval.config import PredictionConfig
from jepa_tools.bag_eval.encoding import EncodedEpisode
from jepa_tools.bag_eval.results import PredictionResult, mean, numbers
from jepa_world_model.world_model import WorldModel

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EpisodeErrors:
    """Latent L1 distances of one episode by start and horizon, [T - 1, H]; NaN beyond its end.

    Attributes:
        predicted: with the recorded actions.
        copied: of the last frame seen.
        shuffled: with other moments' actions, mean over the shuffles; NaN without another moment.
        surprise: distance of each frame, but the first, to what was predicted for it one step before, by the model's
            own distance; [T - 1].
    """

    predicted: Array
    copied: Array
    shuffled: Array
    surprise: Array


def predict_episode(
    model: WorldModel, episode: EncodedEpisode, config: PredictionConfig, generator: np.random.Generator
) -> EpisodeErrors:
    """Predicts from every frame but the last, up to the horizon or the episode's end."""
    starts = episode.frames - 1
    predicted, copied, shuffled = (np.full((starts, config.horizon), np.nan) for _ in range(3))
    surprise = np.full(starts, np.nan)
    for start in range(starts):
        steps = min(config.horizon, starts - start)
        candidates = _candidates(episode.actions, start, steps, config.shuffles, generator)
        imagined = imagine(model, episode, start, candidates)
        came = episode.latents[start + 1 : start + 1 + steps]
        errors = _l1(imagined, came)
        predicted[start, :steps] = errors[0]
        copied[start, :steps] = _l1(episode.latents[start], came)
        if len(errors) > 1:
            shuffled[start, :steps] = errors[1:].mean(0)
        surprise[start] = float(model.distance(imagined[0, 0], came[0]))
    return EpisodeErrors(predicted, copied, shuffled, surprise)


def imagine(model: WorldModel, episode: EncodedEpisode, start: int, actions: Array) -> Tensor:
    """Latents [S, H, tokens, dim] that actions [S, H, 7] lead to from the frame `start`."""
    first = max(0, start + 1 - model.card.context_frames)
    context = slice(first, start + 1)
    return model.rollout(episode.latents[context], episode.states[context].astype(np.float32), actions)


def _candidates(actions: Array, start: int, steps: int, shuffles: int, generator: np.random.Generator) -> Array:
    """The recorded actions and, if the episode has another moment, shuffled ones: [1 + shuffles, steps, 7]."""
    count = len(actions)
    true = np.arange(start, start + steps)
    if count < 2:
        return actions[None, true]
    # A shift by 1 to count - 1 never gives the action itself.
    other = (true + generator.integers(1, count, size=(shuffles, steps))) % count
    return actions[np.concatenate([true[None], other])]


def _l1(first: Tensor, second: Tensor) -> Array:
    return (first - second).abs().mean(dim=(-2, -1)).double().cpu().numpy()


def summarize_prediction(errors: Sequence[EpisodeErrors]) -> PredictionResult:
    """Means over all predictions of a bag."""
    predicted, copied, shuffled = (
        np.concatenate([getattr(item, name) for item in errors]) for name in ("predicted", "copied", "shuffled")
    )
    by_horizon = [mean(column) for column in shuffled.T]
    error = [mean(column) for column in predicted.T]
    worse = np.where(np.isfinite(shuffled), shuffled > predicted, np.nan)
    return PredictionResult(
        numbers(error),
        numbers([mean(column) for column in copied.T]),
        numbers(by_horizon),
        numbers([other / true if true > 0 else np.nan for other, true in zip(by_horizon, error, strict=True)]),
        numbers([mean(column) for column in worse.T]),
        tuple(int(count) for count in np.isfinite(predicted).sum(0)),
    )
