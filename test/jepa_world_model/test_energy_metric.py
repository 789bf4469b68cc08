"""The learned metric of energies: it finds what tells the robot's state, and its unit is a metre."""

from __future__ import annotations

import pytest
import torch

from jepa_world_model.energy import latent_distance
from jepa_world_model.training.energy_metric import MetricConfig, fit_energy_metric


def latents_of(states: torch.Tensor, distraction: float) -> torch.Tensor:
    """Latents ``[E, T, 4, 6]`` that mix positions linearly among much larger distractions."""
    generator = torch.Generator().manual_seed(1)
    mixing, noise = torch.randn(3, 24, generator=generator), torch.randn(*states.shape[:2], 12, generator=generator)
    hidden = torch.randn(12, 24, generator=generator)
    return (10.0 * states[..., :3] @ mixing + distraction * noise @ hidden).unflatten(-1, (4, 6))


def random_states(episodes: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    states = torch.zeros(episodes, 10, 7)
    states[..., :3] = 0.3 * torch.rand(episodes, 10, 3, generator=generator)
    return states


def test_the_metric_measures_the_way_of_the_end_effector_in_metres() -> None:
    states = random_states(40)
    latents = latents_of(states, distraction=3.0)
    metric = fit_energy_metric(latents, states, MetricConfig(ridges=(1e-6, 1e-4)))
    energies = latent_distance(latents[0], latents[0, 0], "metric", metric.weights)
    way = (states[0, :, :3] - states[0, 0, :3]).norm(dim=-1)
    torch.testing.assert_close(energies, way, atol=2e-3, rtol=0.0)
    assert metric.median_cm < 0.2


def test_a_distance_without_its_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="checkpoint that holds one"):
        latent_distance(torch.zeros(2, 4, 6), torch.zeros(4, 6), "metric")
    with pytest.raises(ValueError, match="metric"):
        latent_distance(torch.zeros(2, 4, 6), torch.zeros(4, 6), "metric", torch.zeros(3, 25))
