"""Random networks small enough for any test."""

from __future__ import annotations

import torch

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.model_card import ModelCard
from jepa_world_model.rollout import RolloutInputs
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer
from jepa_world_model.world_model import WorldModel

IMAGE_SIZE, TOKENS, DIM = 64, 16, 48


def tiny_encoder() -> VisionTransformer:
    """An encoder of 16 tokens of 48 features."""
    torch.manual_seed(0)
    return VisionTransformer(EncoderConfig(image_size=IMAGE_SIZE, embed_dim=DIM, depth=2, num_heads=2)).eval()


def tiny_predictor(seed: int = 0, **changes) -> ActionConditionedPredictor:
    """A predictor with weights large enough that every part of it matters."""
    torch.manual_seed(seed)
    settings = {"image_size": IMAGE_SIZE, "embed_dim": DIM, "predictor_dim": 64, "depth": 3, "num_heads": 2} | changes
    predictor = ActionConditionedPredictor(ActionPredictorConfig(**settings))
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return predictor.eval().requires_grad_(False)


def tiny_card(**changes) -> ModelCard:
    """The card of these networks."""
    return ModelCard(**({"name": "tiny", "image_size": IMAGE_SIZE, "tokens": TOKENS, "dim": DIM} | changes))


def tiny_world_model(seed: int = 0, **changes) -> WorldModel:
    """A world model in memory."""
    return WorldModel(tiny_card(), tiny_encoder(), tiny_predictor(seed, **changes))


def rollout_inputs(samples: int, horizon: int, frames: int = 1, tokens: int = TOKENS, seed: int = 0) -> RolloutInputs:
    """Random context, states and actions."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * scale

    return RolloutInputs(
        draw(frames, tokens, DIM, scale=1.0), draw(frames, 7, scale=0.3), draw(samples, horizon, 7, scale=0.1)
    )
