"""From camera frames to what an encoder takes: resize, centre crop, scale, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    # Cards describe preprocessing, and are read where there is no torch.
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Resize = Literal["crop", "squeeze"]
Interpolation = Literal["area", "bilinear"]
SQUEEZED_ASPECT = (0.75, 1.35)
"""Width over height that V-JEPA 2-AC was trained on: 972 x 720 of 1280 x 720, and 640 x 480 whole."""


def normalize_images(
    images: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> Tensor:
    """Float32 ``[N, 3, H, W]`` with per-channel zero mean and unit variance, from RGB ``[N, H, W, 3]``, 0 to 255."""
    import torch

    scale = images.new_tensor([1.0 / (255.0 * s) for s in std], dtype=torch.float32)
    shift = images.new_tensor([m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32)
    return (images.float() * scale - shift).permute(0, 3, 1, 2).contiguous()


def resize_and_crop(
    image: NDArray[np.uint8], short_side: int, size: int, interpolation: Interpolation = "area"
) -> NDArray[np.uint8]:
    """Scale ``[H, W, 3]`` so that its short side is ``short_side``, and cut the central square."""
    if interpolation == "bilinear":
        return _resize_and_crop_as_published(image, short_side, size)
    height, width = image.shape[:2]
    factor = short_side / min(height, width)
    shape = (max(size, round(width * factor)), max(size, round(height * factor)))
    # Averaging areas is only defined when shrinking.
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized = image if shape == (width, height) else cv2.resize(image, shape, interpolation=method)
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    return np.asarray(resized[top : top + size, left : left + size])


def _resize_and_crop_as_published(image: NDArray[np.uint8], short_side: int, size: int) -> NDArray[np.uint8]:
    """The published evaluation's: the long side is rounded down, and the crop's corner to the even pixel."""
    height, width = image.shape[:2]
    shape = (short_side * width // min(height, width), short_side * height // min(height, width))
    resized = image if shape == (width, height) else cv2.resize(image, shape, interpolation=cv2.INTER_LINEAR)
    top, left = (round((length - size) / 2) for length in resized.shape[:2])
    return np.asarray(resized[top : top + size, left : left + size])


def squeeze(
    image: NDArray[np.uint8], size: int, aspect: tuple[float, float], interpolation: Interpolation
) -> NDArray[np.float32]:
    """``[H, W, 3]`` as a square ``[size, size, 3]``, its width and height scaled on their own.

    Of what is wider or higher than the range of aspects (width over height) allows, the middle is taken.
    """
    height, width = image.shape[:2]
    narrowest, widest = aspect
    kept_width = round(height * widest) if width / height > widest else width
    kept_height = round(width / narrowest) if width / height < narrowest else height
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    middle = image[top : top + kept_height, left : left + kept_width].astype(np.float32)
    shrinks = kept_height > size and kept_width > size
    method = cv2.INTER_AREA if interpolation == "area" and shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(middle, (size, size), interpolation=method))


@dataclass(frozen=True)
class Preprocess:
    """Frames uint8 RGB ``[B, H, W, 3]`` -> float32 ``[B, 3, image_size, image_size]``.

    Attributes:
        image_size: side of the square that the encoder sees, in pixels.
        resize_short_side: the short side is scaled to this before the crop; None is ``image_size`` (no border lost).
            The official evaluation of video encoders uses ``int(256 / 224 * image_size)``.
        resize: "crop" keeps the proportions and takes the central square; "squeeze" scales width and height on their
            own, as V-JEPA 2-AC was trained.
        interpolation: "area" averages what a pixel covers; "bilinear" looks at its four neighbours, as the official
            transforms do also where they shrink.
        aspect: range of width over height that "squeeze" takes whole; the published one.
        mean, std: of the normalisation, per channel.
    """

    image_size: int = 256
    resize_short_side: int | None = None
    resize: Resize = "crop"
    interpolation: Interpolation = "area"
    aspect: tuple[float, float] = SQUEEZED_ASPECT
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.short_side < self.image_size:
            raise ValueError(f"resize_short_side {self.short_side} is smaller than image_size {self.image_size}")
        if self.resize not in get_args(Resize) or self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"expected a resize of {', '.join(get_args(Resize))} and an interpolation of "
                f"{', '.join(get_args(Interpolation))}, got {self.resize!r} and {self.interpolation!r}"
            )

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
        squares = np.stack([self._square(frame) for frame in frames])
        return normalize_images(torch.from_numpy(squares), self.mean, self.std)

    def _square(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8] | NDArray[np.float32]:
        if self.resize == "squeeze":
            return squeeze(frame, self.image_size, self.aspect, self.interpolation)
        return resize_and_crop(frame, self.short_side, self.image_size, self.interpolation)
