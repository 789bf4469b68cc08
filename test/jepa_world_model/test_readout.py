"""Read-outs: they find what latents carry, say so in centimetres, and cannot find what is not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from training_data import make_episodes

from jepa_world_model.training.readout import (
    AttentiveConfig,
    fit_attentive,
    fit_linear,
    readout_errors,
    readout_targets,
)

SHORT = AttentiveConfig(queries=4, width=32, steps=400, batch=64)


def blob_latents(positions: Tensor) -> Tensor:
    """Latents ``[N, 16, 8]`` of a 4 x 4 grid in which a blob shines at ``positions`` ``[N, 2]`` in 0..1."""
    centers = torch.cartesian_prod(torch.linspace(0, 1, 4), torch.linspace(0, 1, 4))
    shine = (-(positions[:, None] - centers).square().sum(dim=-1) / 0.05).exp()
    mixing = torch.randn(8, generator=torch.Generator().manual_seed(1))
    return shine[..., None] * mixing


@pytest.fixture(scope="module")
def blobs() -> tuple[Tensor, Tensor]:
    positions = torch.rand(1200, 2, generator=torch.Generator().manual_seed(0))
    targets = torch.cat([0.4 * positions, torch.zeros(1200, 1)], dim=1)
    return blob_latents(positions), targets


def test_targets_are_tool_objects_and_closedness_by_name() -> None:
    episodes = make_episodes(0)
    objects = np.random.default_rng(0).normal(size=(*episodes.states.shape[:2], 2, 3)).astype(np.float32)
    targets, quantities = readout_targets(replace(episodes, objects=objects))
    assert [quantity.name for quantity in quantities] == ["tool", "object 1", "object 2", "closedness"]
    assert targets.shape[-1] == 10
    np.testing.assert_array_equal(targets[..., quantities[2].columns], objects[:, :, 1])
    assert [quantity.name for quantity in readout_targets(episodes)[1]] == ["tool", "closedness"]


@pytest.mark.parametrize("attentive", [False, True])
def test_a_readout_finds_what_the_latents_carry(blobs: tuple[Tensor, Tensor], attentive: bool) -> None:
    latents, targets = blobs
    episodes = make_episodes(0)
    _, (tool, closedness) = readout_targets(episodes)
    truth = torch.cat([targets, torch.full((len(targets), 1), 0.5)], dim=1)
    fit = fit_attentive(latents[:1000], truth[:1000], SHORT) if attentive else fit_linear(latents[:1000], truth[:1000])
    place, gripper = readout_errors(fit, latents[1000:], truth[1000:], (tool, closedness))
    assert place.median < 1.5, "cm, of places that lie 20 cm apart"
    assert gripper.median < 0.01
    lost = readout_errors(fit, latents[1000:].flip(0), truth[1000:], (tool, closedness))[0]
    assert lost.median > 5.0, "another frame's latents tell nothing of this one"
