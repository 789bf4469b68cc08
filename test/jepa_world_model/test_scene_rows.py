"""Rows of the metric that follow small things: they move with them, and large surfaces do not count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import tiny_card

from jepa_world_model.energy import latent_distance
from jepa_world_model.model_card import ModelCard
from jepa_world_model.training.energy_metric import MetricConfig, fit_energy_metric
from jepa_world_model.training.scene_rows import SceneConfig, scene_targets
from jepa_world_model.world_model import WorldModel

CONFIG = SceneConfig(weight_m=1.0, colors=3)


def scenes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of 64 pixels with a red dot, and a grey arm that covers a third, and the dot's places in widths."""
    generator = np.random.default_rng(0)
    images = np.full((count, 64, 64, 3), 200, np.uint8)
    places = generator.integers(0, 60, (count, 2))
    for image, (row, column) in zip(images, places, strict=True):
        left = generator.integers(0, 44)
        image[:, left : left + 20] = 90
        image[row : row + 4, column : column + 4] = (220, 30, 30)
    return images, (places + 2.0) / 64.0


def test_targets_follow_the_dot_and_not_the_arm() -> None:
    images, places = scenes(400)
    targets = scene_targets(images, CONFIG, patch_size=16)
    assert targets.shape == (400, 2), "one small colour, two axes"
    truth = torch.from_numpy(places - places.mean(0)).float()
    assert (targets - truth).norm(dim=-1).median() < 0.02


def test_the_metric_finds_robot_and_scene_and_tells_them_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(40, 10, 4, 6, generator=generator)
    states = torch.zeros(40, 10, 7)
    states[..., :3] = 0.1 * latents.flatten(2)[..., :3]
    scene = 0.2 * latents.flatten(2)[..., 3:5]
    metric = fit_energy_metric(latents, states, MetricConfig(ridges=(1e-6, 1e-4)), scene=scene)
    assert (metric.scene_rows, metric.robot.shape, metric.weights.shape) == (2, (10, 24), (12, 24))
    moved = latents[0, 0].clone()
    moved.view(-1)[3] += 1.0
    assert latent_distance(moved, latents[0, 0], "metric", metric.robot) < 0.01
    assert float(latent_distance(moved, latents[0, 0], "scene", metric.weights)) == pytest.approx(0.2, abs=0.01)


def test_a_checkpoint_without_such_rows_refuses_the_distance() -> None:
    card: ModelCard = tiny_card()
    model = WorldModel(card, None, None, metric=torch.ones(10, card.tokens * card.dim))
    assert model.metric_of("scene") is None
    with pytest.raises(ValueError, match="follows no things"):
        model.measured_by("scene")
    rows = replace(model, card=replace(card, scene_rows=4)).metric_of("scene")
    assert rows is not None and rows.shape == (10, card.tokens * card.dim)
