"""Variance and covariance terms that keep latents from collapsing (VICReg, sections 4.1 and 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-4


def variance_loss(latents: Tensor, least_std: float = 1.0) -> Tensor:
    """Mean shortfall of each feature's deviation over the batch from ``least_std``; latents ``[N, D]``."""
    std = torch.sqrt(latents.var(dim=0) + _EPSILON)
    return torch.relu(least_std - std).mean()


def covariance_loss(latents: Tensor) -> Tensor:
    """Mean square of the off-diagonal covariances, summed over a row; latents ``[N, D]``."""
    centered = latents - latents.mean(dim=0)
    covariance = centered.T @ centered / max(1, len(latents) - 1)
    return (covariance**2).sum().sub((covariance.diagonal() ** 2).sum()) / latents.shape[1]
