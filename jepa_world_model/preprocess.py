"""From camera frames to what an encoder takes: resize, centre crop, scale, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    # Cards describe preprocessing, and are read where there is no torch.
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize_images(
    images: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> Tensor:
    """Float32 ``[N, 3, H, W]`` with per-channel zero mean and unit variance, from uint8 RGB ``[N, H, W, 3]``."""
    import torch

    scale = images.new_tensor([1.0 / (255.0 * s) for s in std], dtype=torch.float32)
    shift = images.new_tensor([m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32)
    return (images.float() * scale - shift).permute(0, 3, 1, 2).contiguous()


def resize_and_crop(image: NDArray[np.uint8], short_side: int, size: int) -> NDArray[np.uint8]:
    """Scale ``[H, W, 3]`` so that its short side is ``short_side``, averaging areas, and cut the central square."""
    height, width = image.shape[:2]
    factor = short_side / min(height, width)
    shape = (max(size, round(width * factor)), max(size, round(height * factor)))
    # Averaging areas is only defined when shrinking.
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized = image if shape == (width, height) else cv2.resize(image, shape, interpolation=method)
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    return np.asarray(resized[top : top + size, left : left + size])


@dataclass(frozen=True)
class Preprocess:
    """Frames uint8 RGB ``[B, H, W, 3]`` -> float32 ``[B, 3, image_size, image_size]``.

    Attributes:
        image_size: side of the square that the encoder sees, in pixels.
        resize_short_side: the short side is scaled to this before the crop; None is ``image_size`` (no border lost).
            The official evaluation of video encoders uses ``int(256 / 224 * image_size)``.
        mean, std: of the normalisation, per channel.
    """

    image_size: int = 256
    resize_short_side: int | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.short_side < self.image_size:
            raise ValueError(f"resize_short_side {self.short_side} is smaller than image_size {self.image_size}")

    @property
    def short_side(self) -> int:
        """Length of the short side after resizing."""
        return self.image_size if self.resize_short_side is None else self.resize_short_side

    def __call__(self, frames: NDArray[np.uint8]) -> Tensor:
        """Preprocess a batch.

        Raises:
            ValueError: not uint8 ``[B, H, W, 3]``, or empty.
        """
        import torch

        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
            raise ValueError(f"expected uint8 frames [B, H, W, 3], got {frames.dtype} {list(frames.shape)}")
        squares = np.stack([resize_and_crop(frame, self.short_side, self.image_size) for frame in frames])
        return normalize_images(torch.from_numpy(squares), self.mean, self.std)
