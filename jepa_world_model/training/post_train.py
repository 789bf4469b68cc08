"""Action-conditioned post-training on a frozen encoder (V-JEPA 2, section 3.1): teacher forcing plus rollout, L1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.data.episodes import ClipSampler, EpisodeArrays
from jepa_world_model.poses import difference, integrate_batch


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
        metric_weight: of the error in the energy's metric, whose unit is about a metre.
        state_noise_m: standard deviation of the noise on the positions that the predictor is told, in metres.
        seed: of the clips and the noise.
    """

    clip_frames: int = 3
    batch: int = 64
    max_stride: int = 5
    rollout_steps: int = 2
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
    rollout_steps: int,
    metric: Tensor | None = None,
    metric_weight: float = 0.0,
) -> dict[str, Tensor]:
    """``loss`` = teacher forcing L1 + rollout L1, with both parts (V-JEPA 2, equations 2 to 4).

    With a ``metric`` ``[K, N * D]`` the mean norm of the errors that it maps is added, as ``metric``.
    """
    context, targets = clips.latents[:, :-1], clips.latents[:, 1:]
    predicted = _predict(predictor, context, clips.actions, clips.states[:, :-1])
    teacher = F.l1_loss(predicted, targets)
    losses = {"loss": teacher, "teacher": teacher}
    errors = [predicted - targets]
    steps = min(rollout_steps, targets.shape[1])
    if steps > 1:
        # The first rolled-out latent is the teacher-forced one: both see the first frame alone.
        errors.append(_rollout(predictor, predicted[:, :1], clips, steps) - targets[:, 1:steps])
        rollout = errors[-1].abs().mean()
        losses |= {"rollout": rollout, "loss": teacher + rollout}
    if metric is not None:
        mapped = torch.stack([F.linear(error.flatten(-2), metric).norm(dim=-1).mean() for error in errors]).sum()
        losses |= {"metric": mapped, "loss": losses["loss"] + metric_weight * mapped}
    return losses


def _rollout(predictor: ActionConditionedPredictor, first: Tensor, clips: LatentClips, steps: int) -> Tensor:
    """Latents predicted for frames ``2 .. steps`` from frame 0 and ``first``, the one predicted for frame 1."""
    latents = torch.cat([clips.latents[:, :1], first], dim=1)
    states = clips.states[:, :1]
    for step in range(1, steps):
        following = integrate_batch(states[:, -1], clips.actions[:, step - 1])
        states = torch.cat([states, following[:, None]], dim=1)
        following_latents = _predict(predictor, latents, clips.actions[:, : step + 1], states)[:, -1:]
        latents = torch.cat([latents, following_latents], dim=1)
    return latents[:, 2:]


def _predict(predictor: ActionConditionedPredictor, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
    """One-step predictions ``[B, T, N, D]`` for every one of T context frames."""
    frames = latents.shape[1]
    return predictor(latents.flatten(1, 2), actions, states).unflatten(1, (frames, -1))
