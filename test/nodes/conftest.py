"""A world model small enough for tests, and messages for the nodes that use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


@dataclass(frozen=True)
class TinyModel:
    """A checkpoint with random weights: latents [4, 12] of 32-pixel images, actions of 7 numbers."""

    path: Path
    model_id: str
    tokens: int = 4
    dim: int = 12


def _save(path: Path, seed: int) -> TinyModel:
    import torch

    from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
    from jepa_world_model.checkpoint import save_world_model
    from jepa_world_model.model_card import ModelCard
    from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

    torch.manual_seed(seed)
    size = {"image_size": 32, "embed_dim": 12, "depth": 1, "num_heads": 1}
    encoder = VisionTransformer(EncoderConfig(**size, num_frames=2))
    predictor = ActionConditionedPredictor(ActionPredictorConfig(**size, predictor_dim=12))
    # Fresh weights are so small that actions would hardly matter.
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.normal_(std=0.3)
    card = ModelCard(name=path.stem, image_size=32, tokens=4, dim=12)
    return TinyModel(path, save_world_model(path, encoder, predictor, card, {"seed": seed}).model_id)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> TinyModel:
    """The model of the tests."""
    return _save(tmp_path_factory.mktemp("models") / "tiny.safetensors", seed=0)


@pytest.fixture
def picture() -> np.ndarray:
    """A camera frame, uint8 [48, 64, 3]."""
    return np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
