"""Rows of the energy's metric that follow small things in the picture, whatever they are: nothing is labelled.

Colours that cover little of the picture are found in the data (:mod:`jepa_world_model.training.color_moments`). The
place of each, the first moment of what it covers, is linear in the colour moments of the patches; so a linear map of
latents that tell those moments finds it. A colour that is hidden counts as being at its mean place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_world_model.training.color_moments import ColorMoments

_FIT_IMAGES = 2000
_AT_ONCE = 256


@dataclass(frozen=True)
class SceneConfig:
    """What the rows follow and how much it counts.

    Attributes:
        weight_m: metres that a colour's way across the whole picture counts; 0 leaves the rows out.
        colors: clusters that are looked for.
        least_share, most_share: of the picture that a small thing's colour covers in the mean.
    """

    weight_m: float = 0.0
    colors: int = 12
    least_share: float = 0.0003
    most_share: float = 0.03


def scene_targets(images: NDArray[np.uint8], config: SceneConfig, patch_size: int, seed: int = 0) -> Tensor:
    """Weighted places ``[N, 2 * small colours]``, m, of small colours in pictures ``[N, S, S, 3]`` of such patches."""
    chosen = np.random.default_rng(seed).integers(len(images), size=_FIT_IMAGES)
    moments = ColorMoments.fit(images[np.sort(chosen)], config.colors, patch_size, seed)
    parts = [_shares_and_places(moments, images[at : at + _AT_ONCE]) for at in range(0, len(images), _AT_ONCE)]
    shares, firsts = (torch.cat(part) for part in zip(*parts, strict=True))
    usual = shares.mean(dim=0)
    small = (usual > config.least_share) & (usual < config.most_share)
    usual, shares, firsts = usual[small], shares[:, small], firsts[:, small]
    mean_place = firsts.sum(dim=0) / shares.sum(dim=0)[:, None]
    moved = (firsts - shares[..., None] * mean_place) / usual[:, None]
    return config.weight_m * moved.flatten(1)


def _shares_and_places(moments: ColorMoments, images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Share ``[N, K]`` of the picture that each colour covers, and its first moment ``[N, K, 2]`` in picture widths."""
    values = (moments(images) * moments.scale).unflatten(-1, (3, -1))
    patches = values.shape[1]
    grid = round(patches**0.5)
    edges = (torch.arange(grid) + 0.5) / grid
    rows, columns = (axis.flatten() for axis in torch.meshgrid(edges, edges, indexing="ij"))
    shares = values[:, :, 0] / patches
    within = values[:, :, 1:] / patches / (2 * grid)
    vertical = (shares * rows[:, None]).sum(1) + within[:, :, 0].sum(1)
    horizontal = (shares * columns[:, None]).sum(1) + within[:, :, 1].sum(1)
    return shares.sum(1), torch.stack([vertical, horizontal], dim=-1)
