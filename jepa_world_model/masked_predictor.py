"""The masked-latent predictors of V-JEPA 2.0 and 2.1 pretraining, with the official parameter names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jepa_world_model.layers import NORM_EPS, Block, BlockShape, initialize, rescale_residuals
from jepa_world_model.rope import Generation, RotaryTable, cached_grid_table, rotary_layout, rotary_scale


@dataclass(frozen=True)
class MaskedPredictorConfig:
    """Shape of a masked predictor.

    Attributes:
        image_size, patch_size, num_frames, tubelet_size: of the clips; they give the token grid that masks
            index.
        embed_dim: width of the encoder's tokens.
        predictor_dim, depth, num_heads: width, blocks, attention heads.
        num_mask_tokens: learned tokens, one per kind of mask, or per length of clips.
        generation: "2.1" embeds the tokens by two layers where there are several levels, adds a learned vector for
            videos or images, projects visible places on their own, and lays out positions as the encoders of 2.1 do.
        levels: layers of the encoder whose tokens come in side by side, and are predicted.
        rotary_grid: as in :class:`EncoderConfig` (2.1 only).
    """

    image_size: int = 256
    patch_size: int = 16
    num_frames: int = 64
    tubelet_size: int = 2
    embed_dim: int = 1024
    predictor_dim: int = 384
    depth: int = 12
    num_heads: int = 12
    num_mask_tokens: int = 10
    generation: Generation = "2.0"
    levels: int = 1
    rotary_grid: int = 16

    @property
    def block_shape(self) -> BlockShape:
        """Size of each block."""
        return BlockShape(self.predictor_dim, self.num_heads, 4 * self.predictor_dim)

    @property
    def token_grid(self) -> tuple[int, int, int]:
        """Tokens of a clip along time, height and width."""
        side = self.image_size // self.patch_size
        return self.num_frames // self.tubelet_size, side, side


class MaskedPredictor(nn.Module):
    """Predicts an encoder's tokens at masked places from the visible ones (V-JEPA 2, section 2)."""

    def __init__(self, config: MaskedPredictorConfig) -> None:
        super().__init__()
        self.config = config
        shape = config.block_shape
        self.predictor_embed = _embedding(config)
        tokens = (nn.Parameter(torch.zeros(1, 1, shape.dim)) for _ in range(config.num_mask_tokens))
        self.mask_tokens = nn.ParameterList(tokens)
        self.predictor_blocks = nn.ModuleList(Block(shape) for _ in range(config.depth))
        self.predictor_norm = nn.LayerNorm(shape.dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(shape.dim, config.levels * config.embed_dim)
        if config.generation == "2.1":
            self.predictor_proj_context = nn.Linear(shape.dim, config.levels * config.embed_dim)
            self.video_mod_embed = nn.Parameter(torch.zeros(1, 1, shape.dim))
            self.img_mod_embed = nn.Parameter(torch.zeros(1, 1, shape.dim))
        initialize(self)
        rescale_residuals(self.predictor_blocks)

    def forward(
        self,
        context: Tensor,
        context_mask: Tensor,
        target_mask: Tensor,
        mask_index: int = 0,
        grid: tuple[int, int, int] | None = None,
    ) -> Tensor:
        """Tokens at the masked places.

        Args:
            context: visible tokens ``[B, K, levels * embed_dim]``, as the encoder gives them for ``context_mask``.
            context_mask: their indices ``[B, K]`` in the clip's token grid.
            target_mask: indices ``[B, M]`` to predict.
            mask_index: which learned mask token to use, modulo their number.
            grid: tokens of the clip along time, height and width; None is the configured clip's.

        Returns:
            ``[B, M, levels * embed_dim]``, in the order of ``target_mask``.

        Raises:
            ValueError: context and its mask do not belong together.
        """
        return self.everywhere(context, context_mask, target_mask, mask_index, grid)[:, context.shape[1] :]

    def everywhere(
        self,
        context: Tensor,
        context_mask: Tensor,
        target_mask: Tensor,
        mask_index: int = 0,
        grid: tuple[int, int, int] | None = None,
    ) -> Tensor:
        """Tokens ``[B, K + M, levels * embed_dim]`` at visible places, then at masked ones; see :meth:`forward`."""
        if context.shape[:2] != context_mask.shape or len(context) != len(target_mask):
            raise ValueError(
                f"expected context [B, K, D], masks [B, K] and [B, M], got {list(context.shape)}, "
                f"{list(context_mask.shape)} and {list(target_mask.shape)}"
            )
        mask_token = self.mask_tokens[mask_index % self.config.num_mask_tokens]
        targets = mask_token.expand(*target_mask.shape, -1)
        x = torch.cat([self.predictor_embed(context), targets], dim=1)
        rotary = self._grid_table(context, grid or self.config.token_grid).select(
            torch.cat([context_mask, target_mask], dim=1)
        )
        if self.config.generation == "2.1":
            x = x + self.video_mod_embed
        for block in self.predictor_blocks:
            x = block(x, rotary)
        x = self.predictor_norm(x)
        if self.config.generation == "2.0":
            return self.predictor_proj(x)
        visible, hidden = x.split([context.shape[1], target_mask.shape[1]], dim=1)
        return torch.cat([self.predictor_proj_context(visible), self.predictor_proj(hidden)], dim=1)

    def _grid_table(self, context: Tensor, grid: tuple[int, int, int]) -> RotaryTable:
        config, dtype = self.config, self.predictor_proj.weight.dtype
        layout, scale = rotary_layout(config.generation), rotary_scale(config.generation, config.rotary_grid, grid)
        return cached_grid_table(grid, config.block_shape.head_dim, layout, scale, context.device, dtype)


def _embedding(config: MaskedPredictorConfig) -> nn.Module:
    width = config.levels * config.embed_dim
    if config.generation == "2.0" or config.levels == 1:
        return nn.Linear(width, config.predictor_dim)
    return nn.Sequential(
        nn.Linear(width, config.embed_dim), nn.GELU(), nn.Linear(config.embed_dim, config.predictor_dim)
    )
