"""World models to time: a checkpoint, or random weights in a shape of interest."""

from __future__ import annotations

from typing import Literal

import torch

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.model_card import ModelCard
from jepa_world_model.registry import AC_PREDICTOR, VIT_G
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer
from jepa_world_model.world_model import WorldModel

ModelShape = Literal["small", "middle", "vitg-ac"]

SHAPES: dict[ModelShape, tuple[EncoderConfig, ActionPredictorConfig]] = {
    "small": (
        EncoderConfig(image_size=96, embed_dim=192, depth=4, num_heads=6),
        ActionPredictorConfig(
            image_size=96, embed_dim=192, predictor_dim=128, depth=4, num_heads=4, residual_output=True
        ),
    ),
    "middle": (
        EncoderConfig(embed_dim=384, depth=12, num_heads=6),
        ActionPredictorConfig(embed_dim=384, predictor_dim=384, depth=6, num_heads=6, normalize_output=True),
    ),
    "vitg-ac": (VIT_G, AC_PREDICTOR),
}
"""small: what this package ships. middle: 384 wide, six blocks, 256 tokens. vitg-ac: V-JEPA 2-AC."""


def random_world_model(
    shape: ModelShape, device: torch.device, dtype: torch.dtype, seed: int, with_encoder: bool = True
) -> WorldModel:
    """A world model with random weights, drawn on ``device``."""
    torch.manual_seed(seed)
    encoder_config, predictor_config = SHAPES[shape]
    card = ModelCard(
        name=f"random-{shape}",
        image_size=encoder_config.image_size,
        tokens=encoder_config.tokens_per_frame,
        dim=encoder_config.embed_dim,
    )
    with device:
        encoder = VisionTransformer(encoder_config).to(dtype) if with_encoder else None
        predictor = ActionConditionedPredictor(predictor_config).to(dtype)
    for network in (encoder, predictor):
        if network is not None:
            network.eval().requires_grad_(False)
    return WorldModel(card, encoder, predictor, device=device, dtype=dtype)
