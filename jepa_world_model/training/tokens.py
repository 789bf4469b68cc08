"""Pretraining by token-level joint-embedding prediction: encoder and patch predictor learn together, end to end.

Every frame is encoded alone to layer-normed tokens. An action-conditioned predictor, of the class that plans later,
predicts the next frame's tokens, also from its own output. The error is divided by how much the tokens change, with
gradients through both: an encoder lowers it only by tokens that are predictable *and* move. Divided by their variance
instead, tokens become slow, and copying the last frame wins.

Three light terms keep the tokens from collapsing and say what they must not forget: a linear read-out of the colour
moments of each patch (:mod:`jepa_world_model.training.color_moments`), from encoded and from predicted tokens; the
action between two frames; the robot's own pose and closedness. None of them needs a label.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.encoders import frame_latents
from jepa_world_model.training.joint import STATE_FEATURES
from jepa_world_model.training.predictions import predict_clip, shares_of_change
from jepa_world_model.training.ridge import Moments
from jepa_world_model.vision_transformer import VisionTransformer

_FIT_BATCH = 64
_FIT_RIDGE = 1e-3


@dataclass(frozen=True)
class TokenConfig:
    """Shape of the heads and weights of the terms.

    Attributes:
        colors: clusters of the colour moments.
        latent_dim, hidden_dim: of the head that recovers actions.
        squared_weight, absolute_weight: of the prediction errors, each a share of the tokens' change: mean squared and
            mean absolute.
        moments_weight: of the colour moments read from encoded tokens.
        predicted_moments_weight: of the next frame's colour moments, read from predicted tokens.
        moving_moments_weight: of the same error, each colour's as a share of its own change from frame to frame: what
            seldom moves, an object that is touched now and then, counts as much as the arm that always does.
        inverse_weight, state_weight: of the action and the robot's state.
    """

    colors: int = 12
    latent_dim: int = 128
    hidden_dim: int = 256
    squared_weight: float = 0.5
    absolute_weight: float = 0.5
    moments_weight: float = 1.0
    predicted_moments_weight: float = 0.5
    moving_moments_weight: float = 0.0
    inverse_weight: float = 0.25
    state_weight: float = 0.5


@dataclass(frozen=True)
class TokenBatch:
    """Tensors of one step.

    Attributes:
        frames: ``[B, T, 3, S, S]``, normalised.
        moments: colour moments ``[B, T, patches, F]``, in units of their deviation.
        moments_change: mean squared change of each from one frame to the next ``[F]``, over the data set.
        states: ``[B, T, 7]``.
        features: the states as centred and scaled numbers ``[B, T, STATE_FEATURES]``.
        actions: ``[B, T-1, 7]``.
        scaled_actions: the same, divided by their deviation over the data set.
    """

    frames: Tensor
    moments: Tensor
    moments_change: Tensor
    states: Tensor
    features: Tensor
    actions: Tensor
    scaled_actions: Tensor

    def to(self, device: torch.device) -> TokenBatch:
        """The same on ``device``."""
        return TokenBatch(*(value.to(device) for value in vars(self).values()))


class TokenModel(nn.Module):
    """Encoder, predictor and the read-outs.

    Args:
        encoder: maps a clip ``[N, 3, 2, S, S]`` to tokens ``[N, tokens, dim]``.
        predictor: of the encoder's tokens.
        moments: numbers per patch that the moments' read-out gives.
        config: shape and weights.
    """

    def __init__(
        self, encoder: VisionTransformer, predictor: ActionConditionedPredictor, moments: int, config: TokenConfig
    ) -> None:
        super().__init__()
        self.encoder, self.predictor, self.config = encoder, predictor, config
        dim, tokens = encoder.config.embed_dim, encoder.config.tokens_per_frame
        self.moments = nn.Linear(dim, moments)
        self.state = nn.Linear(tokens * dim, STATE_FEATURES)
        self.projector = nn.Linear(tokens * dim, config.latent_dim)
        action = nn.Linear(config.hidden_dim, 7)
        self.inverse = nn.Sequential(nn.Linear(2 * config.latent_dim, config.hidden_dim), nn.GELU(), action)
        # What starts at the mean of its targets does not pull an encoder away that is good already.
        for layer in (self.state, action):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def fit_moments(self, frames: Tensor, moments: Tensor) -> None:
        """Start the moments' read-out at the least squares of frames ``[N, 3, S, S]``, moments ``[N, patches, F]``."""
        parts = [frame_latents(self.encoder, part) for part in frames.split(_FIT_BATCH)]
        # Each patch is a row: one read-out for all of them.
        rows = torch.cat(parts).flatten(0, 1)[:, None]
        fitted = Moments.of(rows, moments.flatten(0, 1)).solve(_FIT_RIDGE)
        self.moments.weight.copy_(fitted.weights.T)
        self.moments.bias.copy_(fitted.bias)

    def tokens(self, frames: Tensor) -> Tensor:
        """Layer-normed tokens ``[B, T, N, D]`` of frames ``[B, T, 3, S, S]``, each a clip of two equal frames."""
        return frame_latents(self.encoder, frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def forward(self, batch: TokenBatch) -> dict[str, Tensor]:
        """Named terms and their weighted sum ``loss``."""
        config = self.config
        tokens = self.tokens(batch.frames)
        steps = batch.actions.shape[1]
        predictions = predict_clip(self.predictor, tokens, batch.actions, batch.states, steps)
        squared, absolute = shares_of_change(predictions, tokens)
        # An update moves a read-out of thousands of inputs by their sum: scaled, it learns no faster than the rest.
        flat = tokens.flatten(2) / (tokens.shape[-1] * tokens.shape[-2]) ** 0.5
        latents = self.projector(flat)
        pairs = torch.cat([latents[:, :-1], latents[:, 1:]], dim=-1)
        read = torch.cat([self.moments(prediction.latents) for prediction in predictions], dim=1)
        truth = torch.cat([prediction.later(batch.moments) for prediction in predictions], dim=1)
        missed = (read.float() - truth).square().mean(dim=(0, 1, 2))
        terms = {
            "squared": squared,
            "absolute": absolute,
            "moments": F.mse_loss(self.moments(tokens).float(), batch.moments),
            "predicted_moments": missed.mean(),
            "moving_moments": (missed / batch.moments_change).mean(),
            "inverse": F.mse_loss(self.inverse(pairs).float(), batch.scaled_actions),
            "state": F.mse_loss(self.state(flat).float(), batch.features),
        }
        weighted = [getattr(config, f"{name}_weight") * value for name, value in terms.items()]
        return {"loss": torch.stack(weighted).sum(), **terms, "token_std": tokens.detach().std(dim=(0, 1)).mean()}
