"""Random crops of clips, the same for every frame of a clip, as in V-JEPA's training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class CropConfig:
    """A random crop, scaled back to the full size.

    Attributes:
        least_area: smallest share of the picture that a crop covers; 1 crops nothing.
        least_aspect, largest_aspect: of the crop's width to its height.
    """

    least_area: float = 1.0
    least_aspect: float = 0.75
    largest_aspect: float = 1.35


def random_crops(config: CropConfig, clips: int, generator: np.random.Generator) -> Tensor:
    """Affine maps ``[clips, 2, 3]`` of output to input coordinates, each from -1 to 1 over the picture."""
    area = generator.uniform(config.least_area, 1.0, clips)
    low, high = np.log(config.least_aspect), np.log(config.largest_aspect)
    aspect = np.exp(generator.uniform(low, high, clips)) if config.least_area < 1.0 else np.ones(clips)
    size = np.minimum(1.0, np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=1))
    center = generator.uniform(-1.0, 1.0, (clips, 2)) * (1.0 - size)
    maps = np.zeros((clips, 2, 3), np.float32)
    maps[:, 0, 0], maps[:, 1, 1], maps[:, :, 2] = size[:, 0], size[:, 1], center
    return torch.from_numpy(maps)


def crop_clips(clips: Tensor, maps: Tensor, size: int) -> Tensor:
    """Crop clips ``[B, 3, T, H, W]`` and scale them to ``[B, 3, T, size, size]``, averaging where they shrink."""
    batch, channels, frames, height, width = clips.shape
    flat = clips.transpose(1, 2).reshape(batch, frames * channels, height, width)
    identity = torch.eye(2, 3, device=maps.device).expand_as(maps)
    if not torch.equal(maps, identity):
        grid = F.affine_grid(maps, [batch, frames * channels, height, width], align_corners=False)
        flat = F.grid_sample(flat, grid.to(flat), align_corners=False, padding_mode="border")
    if size != height:
        flat = F.interpolate(flat, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return flat.reshape(batch, frames, channels, size, size).transpose(1, 2)
