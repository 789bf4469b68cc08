"""V-JEPA 2 and 2.1 encoders: one vision transformer over space-time patches, with the official parameter names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from jepa_world_model.encoders import Encoder
from jepa_world_model.layers import NORM_EPS, Block, BlockShape, initialize, rescale_residuals
from jepa_world_model.preprocess import Preprocess
from jepa_world_model.rope import RotaryLayout, RotaryTable, cached_grid_table

Generation = Literal["2.0", "2.1"]


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of an encoder.

    Attributes:
        image_size: side of the square training images in pixels. Other sizes can be encoded too.
        patch_size, tubelet_size: pixels and frames per token.
        num_frames: frames per training clip.
        embed_dim, depth, num_heads: width, blocks, attention heads.
        mlp_dim: hidden width of the MLPs; None is four times the width.
        generation: "2.0" or "2.1"; they differ in the rotary layout, the image path and the last norms.
        rotary_grid: side, in patches, of the grid that 2.1 stretches height and width positions to (256 pixels there,
            whatever the image size). 2.0 uses plain patch indices.
        output_layers: the four blocks whose output has a norm of its own (2.1 only); None is each quarter's last.
    """

    kind: ClassVar[str] = "vjepa"
    image_size: int = 256
    patch_size: int = 16
    tubelet_size: int = 2
    num_frames: int = 64
    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp_dim: int | None = None
    generation: Generation = "2.0"
    rotary_grid: int = 16
    output_layers: tuple[int, ...] | None = None

    @property
    def block_shape(self) -> BlockShape:
        """Size of each block."""
        return BlockShape(self.embed_dim, self.num_heads, self.mlp_dim or 4 * self.embed_dim)

    @property
    def grid_size(self) -> int:
        """Patches along one side of a training image."""
        return self.image_size // self.patch_size

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one tubelet of a training image."""
        return self.grid_size**2

    @property
    def preprocess(self) -> Preprocess:
        """The whole height or width at the size of the training images."""
        return Preprocess(self.image_size)

    @property
    def rotary_layout(self) -> RotaryLayout:
        """How angles are laid out over features; see :mod:`jepa_world_model.rope`."""
        return "tiled" if self.generation == "2.0" else "interleaved"

    @property
    def normed_layers(self) -> tuple[int, ...]:
        """Blocks with an output norm of their own, lowest first (2.1)."""
        return self.output_layers or tuple(max(0, self.depth * quarter // 4 - 1) for quarter in (1, 2, 3, 4))


class PatchEmbedding(nn.Module):
    """Non-overlapping space-time patches, each mapped linearly to a token."""

    def __init__(self, tubelet_size: int, patch_size: int, dim: int) -> None:
        super().__init__()
        kernel = (tubelet_size, patch_size, patch_size)
        self.proj = nn.Conv3d(3, dim, kernel_size=kernel, stride=kernel)

    def forward(self, clip: Tensor, kept: Tensor | None = None) -> Tensor:
        """Tokens ``[B, N, D]`` of a clip ``[B, 3, T, H, W]``, in the order time, height, width.

        kept: indices ``[B, K]`` of the patches that are asked for; gives ``[B, K, D]``. These alone are multiplied, and
            the gradient of a matrix product is a fraction of that of a convolution.
        """
        if kept is None:
            return self.proj(clip).flatten(2).transpose(1, 2)
        patches = self._patches(clip)
        chosen = patches.gather(1, kept.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
        return F.linear(chosen, self.proj.weight.flatten(1), self.proj.bias)

    def _patches(self, clip: Tensor) -> Tensor:
        """Values ``[B, N, 3 * tubelet * patch * patch]`` of each patch, in the order of the convolution's weights."""
        tubelet, height, width = self.proj.kernel_size
        parts = "b c (t tubelet) (h height) (w width) -> b (t h w) (c tubelet height width)"
        return rearrange(clip, parts, tubelet=tubelet, height=height, width=width)


class VisionTransformer(Encoder):
    """V-JEPA encoder: clip ``[B, 3, T, H, W]`` (normalised RGB) -> tokens ``[B, N, D]``."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config: EncoderConfig = config
        shape = config.block_shape
        self.patch_embed = PatchEmbedding(config.tubelet_size, config.patch_size, shape.dim)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(config.depth))
        if config.generation == "2.0":
            self.norm = nn.LayerNorm(shape.dim, eps=NORM_EPS)
        else:
            self.patch_embed_img = PatchEmbedding(1, config.patch_size, shape.dim)
            self.img_mod_embed = nn.Parameter(torch.zeros(1, 1, shape.dim))
            self.video_mod_embed = nn.Parameter(torch.zeros(1, 1, shape.dim))
            norms = (nn.LayerNorm(shape.dim, eps=NORM_EPS) for _ in config.normed_layers)
            self.norms_block = nn.ModuleList(norms)
        initialize(self)
        rescale_residuals(self.blocks)

    @property
    def compiled_parts(self) -> Iterable[nn.Module]:
        """The blocks."""
        return self.blocks

    def expect_images(self, size: int) -> None:
        """Positions are relative, so images of any size can be encoded as they are."""
        self.config = replace(self.config, image_size=size)

    def forward(self, clip: Tensor, masks: Tensor | Sequence[Tensor] | None = None) -> Tensor:
        """Encode clips, or only some of their tokens.

        Args:
            clip: ``[B, 3, T, H, W]``; H and W multiples of the patch, T of the tubelet. One frame (T = 1, or
                ``[B, 3, H, W]``) takes the image path in 2.1.
            masks: token indices to keep, ``[B, K]``, or several such masks; each gives B rows of the result.

        Returns:
            Tokens ``[B, N, D]``, or ``[masks * B, K, D]``.

        Raises:
            ValueError: the clip's shape does not fit.
        """
        x, rotary = self._embed(clip, masks)
        for block in self.blocks:
            x = block(x, rotary)
        return self._last_norm(x)

    def intermediate(
        self, clip: Tensor, layers: Sequence[int] | None = None, masks: Tensor | Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Normed tokens after each of ``layers`` (block indices, counted from 0), each ``[B, N, D]``.

        ``masks`` as in :meth:`forward`.

        2.1 norms each of its output layers with that layer's norm. Every other block, and all of 2.0, gets the
        last norm. None means :attr:`EncoderConfig.normed_layers`.
        """
        wanted = self.config.normed_layers if layers is None else tuple(layers)
        if any(not 0 <= layer < self.config.depth for layer in wanted):
            raise ValueError(f"expected layers from 0 to {self.config.depth - 1}, got {list(wanted)}")
        x, rotary = self._embed(clip, masks)
        outputs: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            x = block(x, rotary)
            if index in wanted:
                outputs[index] = self._norm_after(index)(x)
        return [outputs[layer] for layer in wanted]

    def _embed(self, clip: Tensor, masks: Tensor | Sequence[Tensor] | None) -> tuple[Tensor, RotaryTable]:
        clip = clip.unsqueeze(2) if clip.ndim == 4 else clip
        grid = self._token_grid(clip)
        rotary = self._rotary(grid, clip)
        if masks is None:
            return self._tokens(clip), rotary
        masks = [masks] if isinstance(masks, Tensor) else list(masks)
        return torch.cat([self._tokens(clip, mask) for mask in masks]), rotary.select(torch.cat(masks))

    def _tokens(self, clip: Tensor, kept: Tensor | None = None) -> Tensor:
        if self.config.generation == "2.0":
            return self.patch_embed(clip, kept)
        if clip.shape[2] == 1:
            return self.patch_embed_img(clip, kept) + self.img_mod_embed
        return self.patch_embed(clip, kept) + self.video_mod_embed

    def _token_grid(self, clip: Tensor) -> tuple[int, int, int]:
        config = self.config
        if clip.ndim != 5 or clip.shape[1] != 3:
            raise ValueError(f"expected a clip [B, 3, T, H, W], got shape {list(clip.shape)}")
        frames, height, width = clip.shape[2:]
        tubelet = 1 if config.generation == "2.1" and frames == 1 else config.tubelet_size
        if frames % tubelet or height % config.patch_size or width % config.patch_size:
            raise ValueError(
                f"expected T a multiple of {tubelet} and H, W multiples of {config.patch_size}, got {frames} frames "
                f"of {height}x{width}; resize the images, or repeat a single frame {config.tubelet_size} times"
            )
        return frames // tubelet, height // config.patch_size, width // config.patch_size

    def _rotary(self, grid: tuple[int, int, int], clip: Tensor) -> RotaryTable:
        scale = (1.0, 1.0)
        if self.config.generation == "2.1":
            span = self.config.rotary_grid - 1
            scale = (span / max(1, grid[1] - 1), span / max(1, grid[2] - 1))
        dtype = self.patch_embed.proj.weight.dtype
        head_dim = self.config.block_shape.head_dim
        return cached_grid_table(grid, head_dim, self.config.rotary_layout, scale, clip.device, dtype)

    def _last_norm(self, x: Tensor) -> Tensor:
        return self.norm(x) if self.config.generation == "2.0" else self.norms_block[-1](x)

    def _norm_after(self, layer: int) -> nn.Module:
        if self.config.generation == "2.0":
            return self.norm
        layers = self.config.normed_layers
        return self.norms_block[layers.index(layer) if layer in layers else -1]
