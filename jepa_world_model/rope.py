"""Three-dimensional rotary position embedding, as the V-JEPA 2 weights expect it.

Each attention head of size ``head_dim`` is split into one part for time, one for height, one for width, and a rest
that is not rotated. A part of size D rotates the pairs (2i, 2i+1). The angle of feature j at position p is::

    tiled:       p * 10000^(-(j mod D/2) / (D/2))     V-JEPA 2.0 and its action-conditioned predictor
    interleaved: p * 10000^(-floor(j / 2) / (D/2))    V-JEPA 2.1, the usual rotary embedding

With ``tiled`` the two features of a pair turn by different angles, so it is not a rotation. The released weights
were trained with it and need it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

RotaryLayout = Literal["tiled", "interleaved"]

_BASE = 10000.0


@dataclass(frozen=True)
class RotaryTable:
    """Factors for every token and feature of a head.

    Attributes:
        cos: ``[tokens, head_dim]`` or ``[batch, 1, tokens, head_dim]``; 1 where nothing rotates.
        sin: the same shape, with the sign of the pair's partner folded in; 0 where nothing rotates.
    """

    cos: Tensor
    sin: Tensor

    def select(self, indices: Tensor) -> RotaryTable:
        """Factors of chosen tokens, one choice per sample: ``[batch, kept]`` -> ``[batch, 1, kept, head_dim]``."""
        return RotaryTable(self.cos[indices].unsqueeze(1), self.sin[indices].unsqueeze(1))

    def slice(self, start: int, stop: int) -> RotaryTable:
        """Factors of the tokens from ``start`` up to ``stop``."""
        return RotaryTable(self.cos[..., start:stop, :], self.sin[..., start:stop, :])

    def rotate(self, x: Tensor) -> Tensor:
        """Rotate queries or keys ``[..., tokens, head_dim]``."""
        partner = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        return torch.addcmul(x * self.cos, partner, self.sin)


def axis_dim(head_dim: int) -> int:
    """Features of a head that each of time, height and width rotates: the largest even third."""
    return 2 * (head_dim // 3 // 2)


def rotary_table(
    positions: Tensor, head_dim: int, layout: RotaryLayout, dtype: torch.dtype = torch.float32
) -> RotaryTable:
    """Factors for tokens at ``positions`` ``[tokens, 3]`` (time, height, width; fractions allowed).

    Angles are computed in float32 and cast to ``dtype`` at the end.
    """
    size = axis_dim(head_dim)
    features = torch.arange(size, device=positions.device)
    exponent = features % (size // 2) if layout == "tiled" else features // 2
    frequency = _BASE ** -(exponent.float() / (size / 2))
    angle = (positions.float()[:, :, None] * frequency).flatten(1)
    sign = torch.where(features % 2 == 0, -1.0, 1.0).repeat(3)
    rest = (positions.shape[0], head_dim - 3 * size)
    cos = torch.cat([angle.cos(), angle.new_ones(rest)], dim=1)
    sin = torch.cat([angle.sin() * sign, angle.new_zeros(rest)], dim=1)
    return RotaryTable(cos.to(dtype), sin.to(dtype))


def grid_positions(frames: int, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Positions ``[frames * height * width, 3]`` of a patch grid in token order (width fastest), float32."""
    axes = [torch.arange(size, dtype=torch.float32, device=device) for size in (frames, height, width)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)


@functools.lru_cache(maxsize=64)
def cached_grid_table(
    grid: tuple[int, int, int],
    head_dim: int,
    layout: RotaryLayout,
    spatial_scale: tuple[float, float],
    device: torch.device,
    dtype: torch.dtype,
) -> RotaryTable:
    """Factors of a patch grid (frames, height, width), its height and width indices multiplied by ``spatial_scale``."""
    # A tensor made under inference mode could not be used in training later, and this one is kept.
    with torch.inference_mode(False):
        scale = torch.tensor([1.0, *spatial_scale], device=device)
        return rotary_table(grid_positions(*grid, device=device) * scale, head_dim, layout, dtype)
