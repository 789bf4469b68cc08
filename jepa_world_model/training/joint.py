"""Joint pretraining: an encoder learned together with a small action-conditioned predictor.

This is the recipe that works on a CPU. Every frame is encoded alone; its flattened tokens are projected to one global
latent ``z``; a residual network predicts the next latent from ``z`` and the action, also when fed its own output.
SIGReg keeps ``z`` from collapsing, and two light heads tie it to the robot: the action between two frames (inverse
dynamics) and the end-effector's pose with the gripper's closedness. After training only the encoder is kept, frozen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_world_model.encoders import frame_latents
from jepa_world_model.poses import rotation_matrix
from jepa_world_model.training.distributed import gather_rows
from jepa_world_model.training.sigreg import random_directions, sigreg


@dataclass(frozen=True)
class JointConfig:
    """Shape of the heads and weights of the terms.

    Attributes:
        latent_dim: size of the global latent.
        hidden_dim: width of the heads.
        rollout_steps: how many steps the predictor is fed its own output.
        sigreg_weight, inverse_weight, state_weight: weights of the terms beside the prediction error.
        sigreg_directions: random projections per step.
    """

    latent_dim: int = 128
    hidden_dim: int = 512
    rollout_steps: int = 2
    sigreg_weight: float = 0.05
    inverse_weight: float = 0.5
    state_weight: float = 2.0
    sigreg_directions: int = 256


@dataclass(frozen=True)
class JointBatch:
    """Tensors of one step.

    Attributes:
        frames: ``[B, T, 3, S, S]``, normalised.
        states: end-effector pose and closedness ``[B, T, STATE_FEATURES]`` (see :func:`state_features`), centred and
            divided by their deviation over the data set.
        actions: ``[B, T-1, 7]``, divided by their deviation over the data set.
    """

    frames: Tensor
    states: Tensor
    actions: Tensor


STATE_FEATURES = 10


def state_features(states: Tensor) -> Tensor:
    """States ``[..., 7]`` as numbers that do not wrap ``[..., 10]``: position, the tool's x and y axis, closedness."""
    axes = rotation_matrix(states[..., 3:6])[..., :2].transpose(-1, -2).flatten(-2)
    return torch.cat([states[..., :3], axes, states[..., 6:]], dim=-1)


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )


class JointModel(nn.Module):
    """An encoder with the global latent, its predictor and the two robot heads.

    Args:
        encoder: maps a clip ``[N, 3, 2, S, S]`` to tokens ``[N, tokens, dim]``.
        tokens, dim: shape of the encoder's output.
        config: shape and weights.
    """

    def __init__(self, encoder: nn.Module, tokens: int, dim: int, config: JointConfig) -> None:
        super().__init__()
        self.encoder, self.config = encoder, config
        self.projector = nn.Linear(tokens * dim, config.latent_dim)
        self.transition = _head(config.latent_dim + 7, config.hidden_dim, config.latent_dim)
        self.inverse = _head(2 * config.latent_dim, config.hidden_dim, 7)
        self.state = nn.Linear(config.latent_dim, STATE_FEATURES)

    def latents(self, frames: Tensor) -> Tensor:
        """Global latents ``[B, T, D]`` of frames ``[B, T, 3, S, S]``, each encoded alone as a two-frame clip."""
        tokens = frame_latents(self.encoder, frames.flatten(0, 1))
        return self.projector(tokens.flatten(1)).unflatten(0, frames.shape[:2])

    def predict(self, latent: Tensor, action: Tensor) -> Tensor:
        """Next latent ``[B, D]`` after ``action`` ``[B, 7]``."""
        return latent + self.transition(torch.cat([latent, action], dim=-1))

    def forward(self, batch: JointBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """:meth:`losses`, for a wrapper that shares the work among processes."""
        return self.losses(batch, generator)

    def losses(self, batch: JointBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named terms and their weighted sum ``loss``."""
        config = self.config
        latents = self.latents(batch.frames)
        prediction = self._prediction_error(latents, batch.actions)
        directions = random_directions(config.latent_dim, config.sigreg_directions, generator)
        spread = sigreg(gather_rows(latents.flatten(0, 1)), directions.to(latents))
        pairs = torch.cat([latents[:, :-1], latents[:, 1:]], dim=-1)
        inverse = F.mse_loss(self.inverse(pairs), batch.actions)
        state = F.mse_loss(self.state(latents), batch.states)
        loss = (
            prediction + config.sigreg_weight * spread + config.inverse_weight * inverse + config.state_weight * state
        )
        return {"loss": loss, "prediction": prediction, "sigreg": spread, "inverse": inverse, "state": state}

    def _prediction_error(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Mean squared error of one-step predictions everywhere and of a rollout from the first frame."""
        teacher = self.predict(latents[:, :-1], actions)
        error = F.mse_loss(teacher, latents[:, 1:])
        imagined, steps = latents[:, 0], min(self.config.rollout_steps, actions.shape[1])
        for step in range(steps):
            imagined = self.predict(imagined, actions[:, step])
            error = error + F.mse_loss(imagined, latents[:, step + 1]) / steps
        return error
