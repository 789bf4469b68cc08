"""The billion-parameter model on a CPU. Takes minutes and 8 GB: ``pytest -m long test/jepa_world_model``."""

from __future__ import annotations

import resource

import numpy as np
import pytest
import torch

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.model_card import ModelCard
from jepa_world_model.registry import official_model
from jepa_world_model.vision_transformer import VisionTransformer
from jepa_world_model.world_model import WorldModel

MEMORY_LIMIT_GIB = 20


def with_random_weights(module: torch.nn.Module) -> torch.nn.Module:
    """A module from the meta device, its bfloat16 weights drawn one after another."""
    module = module.to(torch.bfloat16).to_empty(device="cpu")
    for name, parameter in module.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name and name.endswith("weight")), std=0.02)
    return module.eval().requires_grad_(False)


@pytest.mark.long
def test_the_giant_model_encodes_and_imagines_within_the_memory_of_a_workstation():
    model = official_model("vjepa2-ac-vitg")
    with torch.device("meta"):
        encoder, predictor = VisionTransformer(model.encoder), ActionConditionedPredictor(model.action_predictor)
    world_model = WorldModel(
        ModelCard("vjepa2-ac-vitg"),
        with_random_weights(encoder),
        with_random_weights(predictor),
        dtype=torch.bfloat16,
    )
    latents = world_model.encode(np.zeros((1, 256, 256, 3), np.uint8))
    actions = 0.05 * torch.randn(8, 2, 7, generator=torch.Generator().manual_seed(0))
    futures = world_model.rollout(latents, torch.zeros(1, 7), actions)
    assert futures.shape == (8, 2, 256, 1408)
    assert torch.isfinite(futures).all()
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert peak_gib < MEMORY_LIMIT_GIB
