"""Multi-block masks of masked latent prediction (V-JEPA, section 3.2; V-JEPA 2, section 2.1).

A mask is a union of rectangles in space that reach through all frames of a clip. What they cover is predicted from
the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Grid = tuple[int, int, int]
"""Tokens of a clip along time, height and width."""


@dataclass(frozen=True)
class MaskConfig:
    """One kind of mask.

    Attributes:
        blocks: rectangles whose union is predicted.
        scale: area of each, as a share of the picture.
        least_aspect, largest_aspect: of height to width, drawn log-uniformly.
        least_visible: tokens per frame that stay visible at least; later rectangles are left out until they do.
    """

    blocks: int
    scale: float
    least_aspect: float = 0.75
    largest_aspect: float = 1.5
    least_visible: int = 1


SHORT_RANGE = MaskConfig(blocks=8, scale=0.15)
LONG_RANGE = MaskConfig(blocks=2, scale=0.7)


@dataclass(frozen=True)
class TokenMask:
    """Token indices of a batch: visible ``context`` ``[B, K]`` and hidden ``target`` ``[B, M]``, disjoint, sorted."""

    context: Tensor
    target: Tensor

    def rows(self, chosen: slice) -> TokenMask:
        """The mask of some of the batch's clips."""
        return TokenMask(self.context[chosen], self.target[chosen])

    def to(self, device: torch.device) -> TokenMask:
        """The same indices on another device."""
        return TokenMask(self.context.to(device), self.target.to(device))


def draw_mask(config: MaskConfig, grid: Grid, batch: int, generator: np.random.Generator) -> TokenMask:
    """A mask per clip; all keep as many tokens as the one that keeps fewest, the rest neither seen nor predicted.

    Raises:
        ValueError: a picture of a single patch.
    """
    frames, height, width = grid
    if height * width < 2:
        raise ValueError(f"expected a picture of at least two patches, got {height} x {width}; take larger images")
    hidden = [_hidden_patches(config, height, width, generator) for _ in range(batch)]
    contexts = [_through_time(~patches, frames, generator) for patches in hidden]
    targets = [_through_time(patches, frames, generator) for patches in hidden]
    return TokenMask(_stack(contexts, frames), _stack(targets, frames))


def _hidden_patches(config: MaskConfig, height: int, width: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    hidden = np.zeros((height, width), dtype=bool)
    for _ in range(config.blocks):
        grown = hidden.copy()
        grown[_rectangle(config, height, width, generator)] = True
        if height * width - int(grown.sum()) >= config.least_visible:
            hidden = grown
    if not hidden.any():
        # A picture of few patches, or rectangles as large as it: one patch is hidden, so that there is a target.
        hidden[int(generator.integers(height)), int(generator.integers(width))] = True
    return hidden


def _rectangle(config: MaskConfig, height: int, width: int, generator: np.random.Generator) -> tuple[slice, slice]:
    area = config.scale * height * width
    aspect = math.exp(generator.uniform(math.log(config.least_aspect), math.log(config.largest_aspect)))
    rows = min(height, max(1, round(math.sqrt(area * aspect))))
    columns = min(width, max(1, round(math.sqrt(area / aspect))))
    top, left = int(generator.integers(height - rows + 1)), int(generator.integers(width - columns + 1))
    return slice(top, top + rows), slice(left, left + columns)


def _through_time(chosen: NDArray[np.bool_], frames: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Token indices ``[frames, patches]`` of patches in every frame, the patches in random order."""
    patches = generator.permutation(np.flatnonzero(chosen))
    return np.arange(frames)[:, None] * chosen.size + patches


def _stack(rows: list[NDArray[np.int64]], frames: int) -> Tensor:
    """As many patches of each clip as the poorest has: ``[B, frames * patches]``, sorted."""
    kept = min(row.shape[1] for row in rows)
    stacked = np.stack([row[:, :kept].reshape(frames * kept) for row in rows])
    return torch.from_numpy(np.sort(stacked, axis=1))
