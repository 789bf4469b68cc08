"""Predicted latents against those that came, with the recorded actions and with other ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_tools.bag_eval.config import PredictionConfig
from jepa_tools.bag_eval.encoding import EncodedEpisode
from jepa_tools.bag_eval.results import PredictionResult, mean, numbers
from jepa_world_model.world_model import WorldModel

Array = NDArray[np.float64]
Measure = Callable[[Tensor, Tensor], Array]
"""Errors [S, H] of imagined latents [S, H, tokens, dim] against those that came [H, tokens, dim]."""


@dataclass(frozen=True, eq=False)
class HorizonErrors:
    """Latent distances of one episode by start and horizon, [T - 1, H]; NaN beyond its end.

    Attributes:
        predicted: with the recorded actions.
        copied: of the last frame seen.
        shuffled: with other moments' actions, mean over the shuffles; NaN without another moment.
    """

    predicted: Array
    copied: Array
    shuffled: Array

    @classmethod
    def unknown(cls, starts: int, horizon: int) -> HorizonErrors:
        """All NaN."""
        return cls(*(np.full((starts, horizon), np.nan) for _ in range(3)))

    def note(self, start: int, measure: Measure, imagined: Tensor, last: Tensor, came: Tensor) -> None:
        """Takes down what was imagined [S, H, tokens, dim], first with the recorded actions, against what came."""
        steps, errors = len(came), measure(imagined, came)
        self.predicted[start, :steps] = errors[0]
        self.copied[start, :steps] = measure(last.expand(1, *came.shape), came)[0]
        if len(errors) > 1:
            self.shuffled[start, :steps] = errors[1:].mean(0)


@dataclass(frozen=True, eq=False)
class EpisodeErrors:
    """One episode's prediction errors.

    Attributes:
        l1: by the mean absolute difference of latents, which can be compared between models.
        own: by the model's own distance; None where that is L1.
        surprise: distance of each frame, but the first, to what was predicted for it one step before, by the model's
            own distance; [T - 1].
    """

    l1: HorizonErrors
    own: HorizonErrors | None
    surprise: Array


def predict_episode(
    model: WorldModel, episode: EncodedEpisode, config: PredictionConfig, generator: np.random.Generator
) -> EpisodeErrors:
    """Predicts from every frame but the last, up to the horizon or the episode's end."""
    starts = episode.frames - 1
    errors = EpisodeErrors(
        HorizonErrors.unknown(starts, config.horizon),
        HorizonErrors.unknown(starts, config.horizon) if model.card.distance != "l1" else None,
        np.full(starts, np.nan),
    )

    def own(imagined: Tensor, came: Tensor) -> Array:
        columns = [model.distance(imagined[:, step], came[step]) for step in range(len(came))]
        return torch.stack(columns, dim=1).double().cpu().numpy()

    for start in range(starts):
        steps = min(config.horizon, starts - start)
        candidates = _candidates(episode.actions, start, steps, config.shuffles, generator)
        imagined = imagine(model, episode, start, candidates)
        came = episode.latents[start + 1 : start + 1 + steps]
        errors.l1.note(start, _l1, imagined, episode.latents[start], came)
        if errors.own is not None:
            errors.own.note(start, own, imagined, episode.latents[start], came)
        errors.surprise[start] = float(model.distance(imagined[0, 0], came[0]))
    return errors


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


def summarize_prediction(errors: Sequence[HorizonErrors]) -> PredictionResult:
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
