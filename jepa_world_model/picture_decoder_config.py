"""The shape of a picture decoder, read without torch: the doctor tells it."""

from __future__ import annotations

import math
from dataclasses import dataclass

PIXELS_PER_TOKEN = 16


@dataclass(frozen=True)
class PictureDecoderConfig:
    """Shape of a picture decoder.

    Attributes:
        tokens, dim: of the latents; the tokens are a square grid.
        width, depth, heads: of the transformer blocks on the grid.
        channels: of the convolutions at four times the grid's resolution; half as many at eight times.
    """

    tokens: int
    dim: int
    width: int = 192
    depth: int = 2
    heads: int = 4
    channels: int = 48

    def __post_init__(self) -> None:
        if self.grid**2 != self.tokens:
            raise ValueError(f"tokens: a decoder needs a square grid, and {self.tokens} is no square")

    @property
    def grid(self) -> int:
        """Tokens along a side of the picture."""
        return math.isqrt(self.tokens)

    @property
    def picture_size(self) -> int:
        """Side of the pictures, pixels."""
        return PIXELS_PER_TOKEN * self.grid
