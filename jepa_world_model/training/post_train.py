"""Action-conditioned post-training on a frozen encoder (V-JEPA 2, section 3.1): teacher forcing plus rollout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.data.episodes import ClipSampler, EpisodeArrays
from jepa_world_model.poses import difference
from jepa_world_model.training.predictions import Prediction, predict_clip, shares_of_change

PredictionError = Literal["l1", "change"]


@dataclass(frozen=True)
class PostTrainConfig:
    """Clips and terms of the post-training loss.

    Attributes:
        clip_frames: frames per clip; teacher forcing covers ``clip_frames - 1`` steps.
        batch: clips per step.
        max_stride: frames of a clip lie 1 to this many control periods apart. The longer actions teach the predictor
            displacements that the arm needs several periods for, so that a planner sees past flat stretches of the
            energy; an executed action is still cut to one period.
        rollout_steps: the predictor is fed its own output this many times; 0 or 1 leaves the rollout term out.
        error: "l1", the published mean absolute error; "change", mean squared and mean absolute error as shares of how
            much the latents change over as many steps, as the objective ``tokens`` has it.
        metric_weight: of the error in the energy's metric, whose unit is about a metre.
        state_noise_m: standard deviation of the noise on the positions that the predictor is told, in metres.
        seed: of the clips and the noise.
    """

    clip_frames: int = 3
    batch: int = 64
    max_stride: int = 5
    rollout_steps: int = 2
    error: PredictionError = "l1"
    metric_weight: float = 5.0
    state_noise_m: float = 0.003
    seed: int = 0


@dataclass(frozen=True)
class LatentClips:
    """latents ``[B, T, N, D]``, states ``[B, T, 7]``, actions ``[B, T-1, 7]``."""

    latents: Tensor
    states: Tensor
    actions: Tensor

    def to(self, device: torch.device) -> LatentClips:
        """The same on ``device``."""
        return LatentClips(self.latents.to(device), self.states.to(device), self.actions.to(device))


class IndexedLatents(Protocol):
    """A tensor ``[E, T, tokens, dim]``, or what is indexed like one."""

    def __getitem__(self, index: tuple[Tensor, Tensor], /) -> Tensor:
        """Tokens ``[..., tokens, dim]`` of episode and frame indices that broadcast to ``[...]``."""


class LatentClipSampler:
    """Clips of latents; a function of the step alone, like :class:`ClipSampler`."""

    def __init__(self, latents: IndexedLatents, episodes: EpisodeArrays, config: PostTrainConfig) -> None:
        self._sampler = ClipSampler(episodes, config.clip_frames, config.batch, config.seed, config.max_stride)
        self._latents, self._episodes, self._config = latents, episodes, config

    def clips(self, step: int, chosen: slice = slice(None)) -> LatentClips:
        """The batch at ``step``, or ``chosen`` ones, with noise on the positions that the predictor is told."""
        episode, frame = self._sampler.indices(step)
        noise = np.random.default_rng((self._config.seed, step, 1)).normal(size=(*frame.shape, 3))[chosen]
        episode, frame = episode[chosen], frame[chosen]
        rows = torch.from_numpy(episode)[:, None]
        states = self._episodes.states[episode[:, None], frame]
        actions = difference(states[:, :-1], states[:, 1:]).astype(np.float32)
        states[..., :3] += self._config.state_noise_m * noise
        return LatentClips(
            latents=self._latents[rows, torch.from_numpy(frame)].float(),
            states=torch.from_numpy(states),
            actions=torch.from_numpy(actions),
        )


def post_training_losses(
    predictor: ActionConditionedPredictor,
    clips: LatentClips,
    config: PostTrainConfig,
    metric: Tensor | None = None,
) -> dict[str, Tensor]:
    """``loss`` = error of teacher forcing + error of the rollout (V-JEPA 2, equations 2 to 4).

    The error is the mean absolute one, or with ``error`` "change" the mean of both shares of the latents' change. With
    a ``metric`` ``[K, N * D]`` the mean norm of the errors that it maps is added, as ``metric``.
    """
    teacher, *rolled_out = predict_clip(predictor, clips.latents, clips.actions, clips.states, config.rollout_steps)
    losses = {"teacher": _error([teacher], clips.latents, config.error)}
    if rolled_out:
        losses["rollout"] = _error(rolled_out, clips.latents, config.error)
    loss = torch.stack(list(losses.values())).sum()
    if metric is not None:
        losses["metric"] = _mapped_error([teacher], clips.latents, metric)
        if rolled_out:
            losses["metric"] = losses["metric"] + _mapped_error(rolled_out, clips.latents, metric)
        loss = loss + config.metric_weight * losses["metric"]
    return {"loss": loss, **losses}


def _error(predictions: list[Prediction], latents: Tensor, error: PredictionError) -> Tensor:
    if error == "change":
        return torch.stack(shares_of_change(predictions, latents)).mean()
    return torch.cat([(part.latents - part.later(latents)).abs().flatten(2) for part in predictions], dim=1).mean()


def _mapped_error(predictions: list[Prediction], latents: Tensor, metric: Tensor) -> Tensor:
    errors = torch.cat([part.latents - part.later(latents) for part in predictions], dim=1)
    return F.linear(errors.flatten(2), metric).norm(dim=-1).mean()
