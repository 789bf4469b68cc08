"""What a predictor says of a clip, and how wrong it is beside how much the latents change."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.poses import integrate_batch


@dataclass(frozen=True)
class Prediction:
    """Latents ``[B, K, N, D]`` predicted for the clip's frames from ``first`` on, each ``ahead`` steps before."""

    latents: Tensor
    first: int
    ahead: int

    def later(self, clip: Tensor) -> Tensor:
        """The frames ``[B, K, ...]`` of ``clip`` ``[B, T, ...]`` that were predicted."""
        return clip[:, self.first : self.first + self.latents.shape[1]]

    def before(self, clip: Tensor) -> Tensor:
        """The frames from which they were predicted, so many steps earlier."""
        return clip[:, self.first - self.ahead : self.first - self.ahead + self.latents.shape[1]]


def predict_clip(
    predictor: ActionConditionedPredictor, latents: Tensor, actions: Tensor, states: Tensor, rollout_steps: int
) -> list[Prediction]:
    """One step ahead from every frame (teacher forcing), then 2 to ``rollout_steps`` steps from the first frame alone.

    Args:
        predictor: what predicts.
        latents: ``[B, T, N, D]``.
        actions: ``[B, T-1, 7]``.
        states: ``[B, T, 7]``; beyond the first frame a rollout integrates the actions instead.
        rollout_steps: at most ``T - 1``; with less than 2 there is no rollout.
    """
    teacher = _predict(predictor, latents[:, :-1], actions, states[:, :-1])
    predictions = [Prediction(teacher, 1, 1)]
    # The first rolled-out latent is the teacher-forced one: both see the first frame alone.
    known, integrated = torch.cat([latents[:, :1], teacher[:, :1]], dim=1), states[:, :1]
    for step in range(1, min(rollout_steps, actions.shape[1])):
        following = integrate_batch(integrated[:, -1], actions[:, step - 1])
        integrated = torch.cat([integrated, following[:, None]], dim=1)
        guess = _predict(predictor, known, actions[:, : step + 1], integrated)[:, -1:]
        predictions.append(Prediction(guess, step + 1, step + 1))
        known = torch.cat([known, guess], dim=1)
    return predictions


def shares_of_change(predictions: list[Prediction], latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared and mean absolute error of predictions, as shares of the change over as many steps; averages."""
    squared, absolute = [], []
    for prediction in predictions:
        later = prediction.later(latents)
        error, change = prediction.latents - later, later - prediction.before(latents)
        squared.append(error.square().mean() / change.square().mean())
        absolute.append(error.abs().mean() / change.abs().mean())
    return torch.stack(squared).mean(), torch.stack(absolute).mean()


def _predict(predictor: ActionConditionedPredictor, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
    """One-step predictions ``[B, T, N, D]``, float32, for every one of T context frames."""
    frames = latents.shape[1]
    return predictor(latents.flatten(1, 2), actions, states).float().unflatten(1, (frames, -1))
