"""Where each colour lies in each patch: targets without labels in which a small object weighs as much as a large one.

A few colours are found in the data by k-means. A patch then says of each colour how much of the patch it covers and to
which side it lies (its first moments). Each is divided by its own deviation over the data: a cup of 40 pixels that
moves counts like an arm of 1500. The pixels of a patch, counted alike, would be mostly arm and table.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LEVELS = 32
"""Per colour channel, of the table that maps a colour to its clusters: 5 bits each."""

_SOFTNESS = 0.004
"""Squared colour distance (of 0..1 per channel) at which a pixel belongs half as much to a cluster's neighbour."""

_ROUNDS = 12
_CANDIDATES = 8
_LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class ColorMoments:
    """Maps pictures to standardised colour moments of their patches.

    Attributes:
        centers: the colours ``[K, 3]``, RGB in 0..1.
        scale: deviation of each moment over data and patches ``[3 * K]``.
        patch_size: side of a patch, pixels.
    """

    centers: Tensor
    scale: Tensor
    patch_size: int

    @classmethod
    def fit(cls, images: NDArray[np.uint8], colors: int, patch_size: int, seed: int = 0) -> ColorMoments:
        """Find ``colors`` colours, fewer where there are not so many, in pictures ``[N, S, S, 3]``."""
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.from_numpy(images.reshape(-1, 3))
        chosen = torch.randint(len(pixels), (40_000,), generator=generator)
        centers = _k_means(pixels[chosen].float() / 255.0, colors, generator)
        plain = cls(centers, torch.ones(3 * len(centers)), patch_size)
        moments = torch.cat([plain(part) for part in np.array_split(images, max(1, len(images) // 256))])
        # Each patch has its own mean: what never changes there is no deviation.
        return cls(centers, moments.std(dim=0).square().mean(dim=0).sqrt().clamp(min=_LEAST_DEVIATION), patch_size)

    @property
    def features(self) -> int:
        """Numbers per patch: share, vertical and horizontal moment of each colour."""
        return int(self.scale.numel())

    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        """Moments ``[N, patches, 3 * K]`` of pictures ``[N, S, S, 3]``, in units of their deviation."""
        size, grid = self.patch_size, images.shape[1] // self.patch_size
        bits = torch.from_numpy((images >> 3).astype(np.int64))
        colors = (bits[..., 0] * _LEVELS + bits[..., 1]) * _LEVELS + bits[..., 2]
        shares = self._table[colors].unflatten(1, (grid, size)).unflatten(3, (grid, size))
        across = torch.linspace(-1.0, 1.0, size) / size**2
        rows = shares.sum(4)
        moments = (
            rows.sum(2) / size**2,
            torch.einsum("ngphk,p->nghk", rows, across),
            torch.einsum("nghqk,q->nghk", shares.sum(2), across),
        )
        return torch.cat(moments, dim=-1).flatten(1, 2) / self.scale

    @functools.cached_property
    def _table(self) -> Tensor:
        """Shares ``[32768, K]`` of the clusters in each colour."""
        steps = (torch.arange(_LEVELS) + 0.5) / _LEVELS
        colors = torch.cartesian_prod(steps, steps, steps)
        return (-torch.cdist(colors, self.centers).square() / _SOFTNESS).softmax(dim=-1)


def _k_means(values: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most ``count`` centres ``[K, 3]`` of ``values`` ``[N, 3]``; starts lie far apart: rare colours count, too."""
    centers = values[:1]
    for _ in range(count - 1):
        away = torch.cdist(values, centers).min(dim=1).values.square()
        if float(away.max()) == 0.0:
            break
        candidates = torch.multinomial(away, _CANDIDATES, generator=generator)
        centers = torch.cat([centers, values[candidates[away[candidates].argmax()]][None]])
    for _ in range(_ROUNDS):
        nearest = torch.cdist(values, centers).argmin(dim=1)
        members = [values[nearest == index] for index in range(len(centers))]
        centers = torch.stack([own.mean(dim=0) if len(own) else centers[index] for index, own in enumerate(members)])
    return centers
