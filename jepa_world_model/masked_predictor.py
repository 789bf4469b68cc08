"""The masked-latent predictor of V-JEPA 2.0 pretraining, with the official parameter names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jepa_world_model.layers import NORM_EPS, Block, BlockShape, initialize, rescale_residuals
from jepa_world_model.rope import RotaryTable, cached_grid_table


@dataclass(frozen=True)
class MaskedPredictorConfig:
    """Shape of a masked predictor.

    Attributes:
        image_size, patch_size, num_frames, tubelet_size: of the clips; they give the token grid that masks
            index.
        embed_dim: width of the encoder's tokens.
        predictor_dim, depth, num_heads: width, blocks, attention heads.
        num_mask_tokens: learned tokens, one per kind of mask.
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
        self.predictor_embed = nn.Linear(config.embed_dim, shape.dim)
        tokens = (nn.Parameter(torch.zeros(1, 1, shape.dim)) for _ in range(config.num_mask_tokens))
        self.mask_tokens = nn.ParameterList(tokens)
        self.predictor_blocks = nn.ModuleList(Block(shape) for _ in range(config.depth))
        self.predictor_norm = nn.LayerNorm(shape.dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(shape.dim, config.embed_dim)
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
            context: visible tokens ``[B, K, embed_dim]``, as the encoder gives them for ``context_mask``.
            context_mask: their indices ``[B, K]`` in the clip's token grid.
            target_mask: indices ``[B, M]`` to predict.
            mask_index: which learned mask token to use, modulo their number.
            grid: tokens of the clip along time, height and width; None is the configured clip's.

        Returns:
            ``[B, M, embed_dim]``, in the order of ``target_mask``.

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
        """Tokens ``[B, K + M, embed_dim]`` at the visible places, then at the masked ones; see :meth:`forward`."""
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
        for block in self.predictor_blocks:
            x = block(x, rotary)
        return self.predictor_proj(self.predictor_norm(x))

    def _grid_table(self, context: Tensor, grid: tuple[int, int, int]) -> RotaryTable:
        head_dim, dtype = self.config.block_shape.head_dim, self.predictor_embed.weight.dtype
        return cached_grid_table(grid, head_dim, "tiled", (1.0, 1.0), context.device, dtype)
