"""SIGReg: a penalty that keeps latents from collapsing by pulling them toward an isotropic Gaussian (LeJEPA)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_POINTS = 17
_LIMIT = 5.0


def sigreg(latents: Tensor, directions: Tensor) -> Tensor:
    """Mean Epps-Pulley statistic of the latents projected on random directions (LeJEPA, section 4).

    A batch that is standard normal along every direction scores about 1 whatever its size; a collapsed one scores
    in proportion to the batch.

    Args:
        latents: ``[N, D]``.
        directions: ``[D, M]`` with unit columns, see :func:`random_directions`.

    Returns:
        A scalar, differentiable in ``latents``.
    """
    points = torch.linspace(0.0, _LIMIT, _POINTS, device=latents.device, dtype=latents.dtype)
    phases = (latents @ directions)[..., None] * points
    target = torch.exp(-0.5 * points**2)
    # The imaginary part of a standard normal's characteristic function is zero, the real part is the Gaussian.
    gap = (phases.cos().mean(0) - target) ** 2 + phases.sin().mean(0) ** 2
    statistic = 2.0 * torch.trapezoid(gap * target, points, dim=-1)
    return latents.shape[0] * statistic.mean() / math.sqrt(2.0 * math.pi)


def random_directions(dim: int, count: int, generator: torch.Generator) -> Tensor:
    """``[dim, count]`` unit columns drawn uniformly from the sphere."""
    directions = torch.randn(dim, count, generator=generator)
    return directions / directions.norm(dim=0, keepdim=True)
