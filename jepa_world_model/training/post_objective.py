"""Post-training as an objective of the engine: batches of cached latents with noise and proprioception dropout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.training.distributed import Part
from jepa_world_model.training.post_train import LatentClips, LatentClipSampler, PostTrainConfig, post_training_losses


@dataclass(frozen=True)
class PostObjectiveConfig:
    """What the predictor is told of actions and states in training.

    Attributes:
        state_dropout: share of the clips whose states are replaced by the data's mean, so that the predictor also
            works from pictures alone.
        action_noise_m: standard deviation of the noise on the translations of actions, m.
        action_noise_gripper: the same for the change of closedness.
    """

    state_dropout: float = 0.0
    action_noise_m: float = 0.0
    action_noise_gripper: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.state_dropout <= 1.0:
            raise ValueError(f"state_dropout: expected a share from 0 to 1, got {self.state_dropout}")
        if min(self.action_noise_m, self.action_noise_gripper) < 0.0:
            raise ValueError("action noise: expected standard deviations from 0 up")


class PostTrainModel(nn.Module):
    """The predictor with its loss, as one call that several processes can share."""

    def __init__(self, predictor: ActionConditionedPredictor, config: PostTrainConfig, metric: Tensor | None) -> None:
        super().__init__()
        self.predictor, self.config = predictor, config
        self.metric: Tensor | None
        self.register_buffer("metric", metric, persistent=False)

    def forward(self, clips: LatentClips) -> dict[str, Tensor]:
        """Named terms and their sum ``loss``."""
        return post_training_losses(self.predictor, clips, self.config, self.metric)


class PostTrainObjective:
    """Teacher forcing and rollout on latents of a frozen encoder."""

    def __init__(
        self,
        predictor: ActionConditionedPredictor,
        sampler: LatentClipSampler,
        post: PostTrainConfig,
        config: PostObjectiveConfig,
        mean_state: Tensor,
        metric: Tensor | None = None,
    ) -> None:
        """Takes a predictor whose parts without influence on the loss are frozen.

        Args:
            predictor: what is trained and kept.
            sampler: clips by step.
            post: terms of the loss; their seed is that of the noise, too.
            config: what the predictor is told.
            mean_state: of the data ``[7]``.
            metric: of the energy ``[K, tokens * dim]``.
        """
        self._predictor, self._sampler, self._post, self._config = predictor, sampler, post, config
        self._mean_state = mean_state
        self._model = PostTrainModel(predictor, post, metric)

    @property
    def module(self) -> nn.Module:
        """The predictor with its loss."""
        return self._model

    @property
    def kept(self) -> nn.Module:
        """The predictor."""
        return self._predictor

    def batch(self, step: int, part: Part) -> LatentClips:
        """This process's clips, with what the predictor is told of them."""
        rows, batch = part.rows(self._post.batch), self._post.batch
        clips = self._sampler.clips(step, rows)
        generator = np.random.default_rng((self._post.seed, step, 2))
        # Drawn for the whole batch, so that several processes together see what one sees.
        noise = generator.normal(size=(batch, *clips.actions.shape[1:]))[rows]
        dropped = (generator.random(batch) < self._config.state_dropout)[rows]
        return disturbed(clips, self._config, self._mean_state, noise, dropped)

    def losses(self, module: nn.Module, batch: LatentClips, device: torch.device) -> dict[str, Tensor]:
        """Teacher forcing, rollout and metric errors."""
        losses: dict[str, Tensor] = module(batch.to(device))
        return losses

    def after_update(self) -> None:
        """Nothing moves besides the weights."""


def disturbed(
    clips: LatentClips,
    config: PostObjectiveConfig,
    mean_state: Tensor,
    noise: NDArray[np.float64],
    dropped: NDArray[np.bool_],
) -> LatentClips:
    """Clips with noise of unit variance ``[B, T-1, 7]`` on their actions, scaled, and ``dropped`` ``[B]`` states."""
    deviation = np.array([config.action_noise_m] * 3 + [0.0] * 3 + [config.action_noise_gripper])
    states = torch.where(torch.from_numpy(dropped)[:, None, None], mean_state, clips.states)
    return LatentClips(clips.latents, states, clips.actions + torch.from_numpy(noise * deviation).float())
