"""How good pictures are that a decoder draws of frames' latents: PSNR, SSIM, and the frozen encoder's own opinion."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW, _SIGMA = 11, 1.5
_LUMA = (0.299, 0.587, 0.114)
_STABLE = (0.01**2, 0.03**2)
_LEAST_ERROR = 1e-10


@dataclass(frozen=True)
class PictureQuality:
    """Means over frames.

    Attributes:
        psnr_db: peak signal-to-noise ratio.
        ssim: structural similarity of the luminance (Wang et al. 2004), 1 for equal pictures.
        feature_error: distance (L1) that the frozen encoder sees between the drawn picture and the frame, as a share
            of that between two random frames: 0 is no difference, 1 is any other frame. As LPIPS, in this model's
            own features.
    """

    psnr_db: float
    ssim: float
    feature_error: float

    def as_dict(self) -> dict[str, Any]:
        """JSON values with a few digits."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def picture_quality(drawn: Tensor, frames: Tensor, drawn_latents: Tensor, latents: Tensor) -> PictureQuality:
    """Measure drawn pictures against frames, both ``[N, 3, S, S]`` in 0 to 1, and their latents ``[N, tokens, dim]``.

    Raises:
        ValueError: fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f"expected at least 2 held-out frames, got {len(frames)}")
    between = (latents - latents.roll(len(latents) // 2, dims=0)).abs().mean()
    feature_error = (drawn_latents - latents).abs().mean() / between.clamp(min=_LEAST_ERROR)
    return PictureQuality(float(psnr(drawn, frames).mean()), float(ssim(drawn, frames).mean()), float(feature_error))


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Decibels ``[N]`` of pictures ``[N, 3, H, W]`` in 0 to 1."""
    return -10.0 * (first - second).square().mean(dim=(1, 2, 3)).clamp(min=_LEAST_ERROR).log10()


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity ``[N]`` of pictures ``[N, 3, H, W]`` in 0 to 1, by a Gaussian window of 11 pixels."""
    x, y = _luminance(first), _luminance(second)
    mean_x, mean_y = _blur(x), _blur(y)
    variances = _blur(x * x) - mean_x**2 + _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + _STABLE[0]) / (mean_x**2 + mean_y**2 + _STABLE[0])
    structure = (2 * covariance + _STABLE[1]) / (variances + _STABLE[1])
    return (light * structure).mean(dim=(1, 2, 3))


def _luminance(pictures: Tensor) -> Tensor:
    return (pictures * pictures.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def _blur(values: Tensor) -> Tensor:
    offsets = torch.arange(_WINDOW, device=values.device) - _WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    window = window / window.sum()
    return F.conv2d(F.conv2d(values, window[None, None, :, None]), window[None, None, None, :])
