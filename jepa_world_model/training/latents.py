"""The statistics that standardise latents."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

_SMALLEST_STD = 1e-3


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation per token and channel over a data set, each float32 ``[tokens, dim]``."""

    mean: Tensor
    std: Tensor

    def standardize(self, latents: Tensor) -> Tensor:
        """Latents ``[..., tokens, dim]`` with zero mean and unit variance over the data set."""
        return (latents - self.mean.to(latents)) / self.std.to(latents)


def latent_statistics(latents: Tensor) -> LatentStatistics:
    """Statistics of latents ``[N, tokens, dim]``; a constant channel gets a standard deviation that keeps it small."""
    values = latents.float()
    std = values.std(dim=0)
    # A channel that hardly moves carries noise; dividing by its tiny deviation would let that noise into the energy.
    return LatentStatistics(values.mean(dim=0), std.clamp(min=max(_SMALLEST_STD, 0.1 * float(std.median()))))
