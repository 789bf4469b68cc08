"""A tiny world model with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.checkpoint import save_world_model
from jepa_world_model.model_card import ModelCard
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

SIZE, DIM = 32, 24
CARD = ModelCard(name="untrained", image_size=SIZE, tokens=4, dim=DIM)


def save_untrained(folder: Path, **card: object) -> Path:
    """Saves it in ``folder`` with such fields of its card, and returns the file."""
    torch.manual_seed(0)
    encoder = VisionTransformer(EncoderConfig(image_size=SIZE, embed_dim=DIM, depth=1, num_heads=2, num_frames=2))
    predictor = ActionConditionedPredictor(
        ActionPredictorConfig(
            image_size=SIZE, embed_dim=DIM, predictor_dim=DIM, depth=1, num_heads=2, normalize_output=False
        )
    )
    path = folder / "untrained.safetensors"
    save_world_model(path, encoder, predictor, replace(CARD, **card), {"objective": "none"})
    return path
