"""Energies: distances of latents, over the whole picture or a part of it."""

from __future__ import annotations

import pytest
import torch

from jepa_world_model.energy import latent_distance, region_weights

DISTANCES = ("l1", "l2", "cosine")


def pictures(grid: int = 4, dim: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, grid * grid, dim, generator=generator), torch.randn(grid * grid, dim, generator=generator)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_weights_change_nothing(distance: str) -> None:
    latents, goal = pictures()
    whole = latent_distance(latents, goal, distance)
    torch.testing.assert_close(latent_distance(latents, goal, distance, weights=torch.full((16,), 3.0)), whole)


@pytest.mark.parametrize("distance", DISTANCES)
def test_what_lies_outside_the_region_does_not_count(distance: str) -> None:
    latents, goal = pictures()
    weights = region_weights(4, (0.0, 0.5, 0.5, 1.0))
    inside = [8, 9, 12, 13]
    assert weights.nonzero().flatten().tolist() == inside
    expected = latent_distance(latents[:, inside], goal[inside], distance)
    torch.testing.assert_close(latent_distance(latents, goal, distance, weights=weights), expected)


def test_tokens_at_the_edge_of_a_region_count_in_part() -> None:
    weights = region_weights(2, (0.25, 0.0, 1.0, 0.5))
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.0, 0.0, 0.0]))


def test_region_and_weights_that_make_no_sense_are_refused() -> None:
    latents, goal = pictures()
    with pytest.raises(ValueError, match="expected a region"):
        region_weights(4, (0.5, 0.0, 0.4, 1.0))
    with pytest.raises(ValueError, match="four numbers"):
        region_weights(4, (0.5, 0.0))
    with pytest.raises(ValueError, match="16 tokens"):
        latent_distance(latents, goal, weights=torch.ones(4))
    with pytest.raises(ValueError, match="whole pictures"):
        latent_distance(latents, goal, "metric", torch.ones(2, goal.numel()), torch.ones(16))
