"""Latents as pictures, for people to look at: a small decoder beside the world model, which no planner uses.

It is trained on latents of the frozen encoder (:mod:`jepa_world_model.training.train_decoder`), so that its picture
of a predicted latent shows what the predictor expects, as far as the latent tells it.
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_world_model.layers import NORM_EPS, Block, BlockShape
from jepa_world_model.picture_decoder_config import PictureDecoderConfig
from jepa_world_model.rope import cached_grid_table

__all__ = ["PictureDecoder", "PictureDecoderConfig", "to_pixels", "weights_digest"]

_FIRST_ENLARGEMENT = 4


class _Refine(nn.Module):
    """Two 3 x 3 convolutions beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``[N, channels, H, W]`` to the same."""
        refined: Tensor = features + self.second(F.gelu(self.first(F.gelu(features))))
        return refined


class PictureDecoder(nn.Module):
    """Transformer blocks on the grid of tokens, then convolutions at 4, 8 and 16 pixels per token."""

    def __init__(self, config: PictureDecoderConfig) -> None:
        super().__init__()
        self.config = config
        width, coarse, fine = config.width, config.channels, config.channels // 2
        self.embed = nn.Linear(config.dim, width)
        self.place = nn.Parameter(torch.zeros(config.tokens, width))
        shape = BlockShape(width, config.heads, 2 * width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.spread = nn.Linear(width, coarse * _FIRST_ENLARGEMENT**2)
        self.refine_coarse = _Refine(coarse)
        self.enlarge = nn.Conv2d(coarse, 4 * fine, 1)
        self.refine_fine = _Refine(fine)
        self.paint = nn.Conv2d(fine, 3 * 4, 3, padding=1)
        self.base = nn.Parameter(torch.zeros(3, config.picture_size, config.picture_size))

    def forward(self, latents: Tensor) -> Tensor:
        """Pictures ``[N, 3, S, S]``, RGB about 0 to 1, of latents ``[N, tokens, dim]`` as the world model encodes."""
        grid, tokens = self.config.grid, self.embed(latents) + self.place
        head_dim = self.config.width // self.config.heads
        rotary = cached_grid_table((1, grid, grid), head_dim, "interleaved", (1.0, 1.0), tokens.device, tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens, rotary)
        features = self.spread(self.norm(tokens)).transpose(1, 2).unflatten(2, (grid, grid))
        features = self.refine_coarse(F.pixel_shuffle(features, _FIRST_ENLARGEMENT))
        features = self.refine_fine(F.pixel_shuffle(self.enlarge(features), 2))
        return self.base + F.pixel_shuffle(self.paint(F.gelu(features)), 2)


def to_pixels(pictures: Tensor) -> Tensor:
    """Uint8 ``[N, S, S, 3]`` of pictures ``[N, 3, S, S]``, RGB 0 to 1; what lies beyond is cut."""
    return (pictures.float().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)


def weights_digest(decoder: PictureDecoder) -> str:
    """SHA-256 of a decoder's weights: what it draws changes with them, and a model's version does not."""
    digest = hashlib.sha256()
    for name, tensor in sorted(decoder.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
