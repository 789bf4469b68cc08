"""The action-conditioned predictor of V-JEPA 2-AC, with the official parameter names, also in small shapes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_world_model.layers import (
    NORM_EPS,
    Block,
    BlockShape,
    ModulatedBlock,
    initialize,
    rescale_residuals,
)
from jepa_world_model.rope import RotaryTable, grid_positions, rotary_table

Conditioning = Literal["tokens", "adaln"]


@dataclass(frozen=True)
class ActionPredictorConfig:
    """Shape of an action-conditioned predictor.

    Attributes:
        image_size, patch_size: of the frames that the encoder saw, in pixels; they give the patch grid.
        embed_dim: width of the latents.
        predictor_dim, depth, num_heads: width, blocks, attention heads.
        mlp_dim: hidden width of the MLPs; None is four times the width.
        action_dim, state_dim: sizes of an action and of a proprioceptive state.
        conditioning: "tokens" puts an action and a state token before the patches of each step (official); "adaln"
            modulates every norm by the step's action and state.
        residual_output: the network predicts the change from the step's latent.
        normalize_output: apply a LayerNorm without parameters to the prediction. Official use normalises every
            prediction.
    """

    image_size: int = 256
    patch_size: int = 16
    embed_dim: int = 1408
    predictor_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp_dim: int | None = None
    action_dim: int = 7
    state_dim: int = 7
    conditioning: Conditioning = "tokens"
    residual_output: bool = False
    normalize_output: bool = False

    @property
    def block_shape(self) -> BlockShape:
        """Size of each block."""
        return BlockShape(self.predictor_dim, self.num_heads, self.mlp_dim or 4 * self.predictor_dim)

    @property
    def grid_size(self) -> int:
        """Patches along one side of a frame."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Latent tokens per frame."""
        return self.grid_size**2

    @property
    def condition_tokens(self) -> int:
        """Tokens before the patches of each step."""
        return 2 if self.conditioning == "tokens" else 0

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one step in the predictor."""
        return self.patches + self.condition_tokens


class ActionConditionedPredictor(nn.Module):
    """Predicts each next frame's latent from the latents, actions and states so far (V-JEPA 2, section 3)."""

    def __init__(self, config: ActionPredictorConfig) -> None:
        super().__init__()
        self.config = config
        shape = config.block_shape
        self.predictor_embed = nn.Linear(config.embed_dim, shape.dim)
        self.action_encoder = nn.Linear(config.action_dim, shape.dim)
        self.state_encoder = nn.Linear(config.state_dim, shape.dim)
        if config.conditioning == "tokens":
            # Stored in the official files and never used by the released model.
            self.extrinsics_encoder = nn.Linear(config.action_dim - 1, shape.dim)
        block_type = Block if config.conditioning == "tokens" else ModulatedBlock
        self.predictor_blocks = nn.ModuleList(block_type(shape) for _ in range(config.depth))
        self.predictor_norm = nn.LayerNorm(shape.dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(shape.dim, config.embed_dim)
        initialize(self)
        rescale_residuals(self.predictor_blocks)

    def forward(self, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Next-frame latents for every step, each from the steps up to and including its own.

        Args:
            latents: ``[B, T * patches, embed_dim]``, frame after frame.
            actions: ``[B, T, action_dim]``; action t leads from frame t to frame t + 1.
            states: ``[B, T, state_dim]``.

        Returns:
            ``[B, T * patches, embed_dim]``; slot t predicts frame t + 1.

        Raises:
            ValueError: shapes that do not belong together.
        """
        steps = self._check(latents, actions, states)
        rotary = self.rotary(steps, latents.device)
        mask = block_causal_mask(steps, self.config.tokens_per_step, latents.device) if steps > 1 else None
        frames = latents.unflatten(1, (steps, -1))
        if self.config.conditioning == "tokens":
            x = self._run_tokens(frames, actions, states, rotary, mask)
        else:
            x = self._run_modulated(frames, actions, states, rotary, mask)
        return self.read_out(x.unflatten(1, (steps, -1)), frames).flatten(1, 2)

    def rotary(self, steps: int, device: torch.device) -> RotaryTable:
        """Rotary factors of ``steps`` steps of tokens."""
        config = self.config
        head_dim, dtype = config.block_shape.head_dim, self.predictor_embed.weight.dtype
        return _step_table(steps, config.grid_size, config.condition_tokens, head_dim, device, dtype)

    def embed_step(self, frames: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Tokens ``[B, T, tokens_per_step, predictor_dim]`` of latents ``[B, T, patches, D]`` ("tokens" only)."""
        condition = torch.stack([self.action_encoder(actions), self.state_encoder(states)], dim=2)
        return torch.cat([condition, self.predictor_embed(frames)], dim=2)

    def condition(self, actions: Tensor, states: Tensor) -> Tensor:
        """Condition ``[B, T, predictor_dim]`` of each step ("adaln" only)."""
        return self.action_encoder(actions) + self.state_encoder(states)

    def read_out(self, x: Tensor, frames: Tensor) -> Tensor:
        """Predicted latents ``[B, T, patches, D]`` from processed tokens ``[B, T, tokens_per_step, predictor_dim]``."""
        patches = x[:, :, self.config.condition_tokens :]
        predicted = self.predictor_proj(self.predictor_norm(patches))
        if self.config.residual_output:
            predicted = frames + predicted
        if self.config.normalize_output:
            predicted = F.layer_norm(predicted, predicted.shape[-1:])
        return predicted

    def _run_tokens(
        self, frames: Tensor, actions: Tensor, states: Tensor, rotary: RotaryTable, mask: Tensor | None
    ) -> Tensor:
        x = self.embed_step(frames, actions, states).flatten(1, 2)
        for block in self.predictor_blocks:
            x = block(x, rotary, mask)
        return x

    def _run_modulated(
        self, frames: Tensor, actions: Tensor, states: Tensor, rotary: RotaryTable, mask: Tensor | None
    ) -> Tensor:
        x = self.predictor_embed(frames).flatten(1, 2)
        condition = self.condition(actions, states)
        for block in self.predictor_blocks:
            x = block(x, rotary, mask, condition)
        return x

    def _check(self, latents: Tensor, actions: Tensor, states: Tensor) -> int:
        config = self.config
        steps = actions.shape[1]
        expected = (
            (actions.shape[0], steps * config.patches, config.embed_dim),
            (actions.shape[0], steps, config.action_dim),
            (actions.shape[0], steps, config.state_dim),
        )
        got = tuple(tuple(tensor.shape) for tensor in (latents, actions, states))
        if got != expected:
            raise ValueError(f"expected latents, actions and states of shapes {expected}, got {got}")
        return steps


@functools.lru_cache(maxsize=64)
def block_causal_mask(steps: int, tokens_per_step: int, device: torch.device) -> Tensor:
    """``[N, N]``, true where a token may look: at its own step and at all earlier ones."""
    # Kept between calls, so it must be a normal tensor even when first asked for under inference mode.
    with torch.inference_mode(False):
        step = torch.arange(steps, device=device).repeat_interleave(tokens_per_step)
        return step[:, None] >= step[None, :]


@functools.lru_cache(maxsize=64)
def _step_table(
    steps: int, grid_size: int, condition_tokens: int, head_dim: int, device: torch.device, dtype: torch.dtype
) -> RotaryTable:
    """Condition tokens sit at their step and at row 0, column 0, where height and width do not rotate."""
    with torch.inference_mode(False):
        patches = grid_positions(steps, grid_size, grid_size, device).unflatten(0, (steps, -1))
        positions = F.pad(patches, (0, 0, condition_tokens, 0))
        positions[:, :condition_tokens, 0] = torch.arange(steps, device=device)[:, None]
        return rotary_table(positions.flatten(0, 1), head_dim, "tiled", dtype)
