"""Latents of a frozen encoder, computed once, and the statistics that standardise them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from jepa_world_model.preprocess import normalize_images

_SMALLEST_STD = 1e-3


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation per token and channel over a data set, each float32 ``[tokens, dim]``."""

    mean: Tensor
    std: Tensor

    def standardize(self, latents: Tensor) -> Tensor:
        """Latents ``[..., tokens, dim]`` with zero mean and unit variance over the data set."""
        return (latents - self.mean.to(latents)) / self.std.to(latents)


@torch.inference_mode()
def encode_frames(encoder: nn.Module, images: NDArray[np.uint8], device: torch.device, batch: int = 256) -> Tensor:
    """Layer-normed tokens, float16 ``[N, tokens, dim]`` on the CPU, of uint8 images ``[N, S, S, 3]``.

    Each image is encoded alone, as a clip of two equal frames (V-JEPA 2, section 3).
    """
    encoder.eval()
    parts = []
    for start in tqdm(range(0, len(images), batch), desc="encode", mininterval=2.0):
        frames = normalize_images(torch.from_numpy(images[start : start + batch])).to(device)
        tokens = encoder(frames.unsqueeze(2).expand(-1, -1, 2, -1, -1))
        parts.append(F.layer_norm(tokens, tokens.shape[-1:]).half().cpu())
    return torch.cat(parts)


def latent_statistics(latents: Tensor) -> LatentStatistics:
    """Statistics of latents ``[N, tokens, dim]``; a constant channel gets a standard deviation that keeps it small."""
    values = latents.float()
    std = values.std(dim=0)
    # A channel that hardly moves carries noise; dividing by its tiny deviation would let that noise into the energy.
    return LatentStatistics(values.mean(dim=0), std.clamp(min=max(_SMALLEST_STD, 0.1 * float(std.median()))))
