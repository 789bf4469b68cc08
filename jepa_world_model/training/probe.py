"""A linear probe: how much of the end-effector's position can be read off frozen latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ProbeResult:
    """Held-out error of the probe, in centimetres."""

    median_cm: float
    p90_cm: float


def linear_probe(
    train_latents: Tensor, train_positions: Tensor, test_latents: Tensor, test_positions: Tensor, ridge: float = 1.0
) -> ProbeResult:
    """Ridge regression from flattened latents ``[N, tokens, dim]`` to positions ``[N, 3]`` in metres.

    It is solved in the space of samples when there are fewer of them than features.
    """
    inputs, held_out = train_latents.flatten(1).float(), test_latents.flatten(1).float()
    mean, center = inputs.mean(0), train_positions.mean(0)
    inputs, held_out, targets = inputs - mean, held_out - mean, train_positions - center
    gram = inputs @ inputs.T
    # The ridge is relative to the mean feature energy, so the same number serves any latent scale.
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    coefficients = inputs.T @ torch.linalg.solve(gram, targets)
    errors = 100.0 * (held_out @ coefficients + center - test_positions).norm(dim=-1)
    return ProbeResult(float(errors.median()), float(errors.quantile(0.9)))
