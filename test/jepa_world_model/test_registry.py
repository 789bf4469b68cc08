"""Every released model has its published size and exactly its official parameter names."""

from __future__ import annotations

import pytest
import torch

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.masked_predictor import MaskedPredictor
from jepa_world_model.registry import OFFICIAL_MODELS, official_model
from jepa_world_model.vision_transformer import VisionTransformer

MILLIONS = {
    "vitl": 304,
    "vith": 632,
    "vitg": 1012,
    "vitg-384": 1012,
    "vjepa2-ac-vitg": 1012,
    "vjepa2_1_vitb_dist_vitG_384": 86.8,
    "vjepa2_1_vitl_dist_vitG_384": 304,
    "vjepa2_1_vitg_384": 1012,
    "vjepa2_1_vitG_384": 1845,
}
"""Published sizes. The second generation counts its image path and extra norms, up to 0.3 %."""


def affine(*names: str) -> set[str]:
    return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}


def block_keys(prefix: str, depth: int) -> set[str]:
    layers = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    return affine(*(f"{prefix}.{block}.{layer}" for block in range(depth) for layer in layers))


def encoder_keys(generation: str, depth: int) -> set[str]:
    common = affine("patch_embed.proj") | block_keys("blocks", depth)
    if generation == "2.0":
        return common | affine("norm")
    norms = affine(*(f"norms_block.{level}" for level in range(4)))
    return common | norms | affine("patch_embed_img.proj") | {"img_mod_embed", "video_mod_embed"}


def millions(module: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize("name", OFFICIAL_MODELS)
def test_encoder_has_the_published_size_and_the_official_keys(name):
    config = official_model(name).encoder
    with torch.device("meta"):
        encoder = VisionTransformer(config)
    assert millions(encoder) == pytest.approx(MILLIONS[name], rel=3e-3)
    assert set(encoder.state_dict()) == encoder_keys(config.generation, config.depth)


@pytest.mark.parametrize("name", [name for name, model in OFFICIAL_MODELS.items() if model.masked_predictor])
def test_masked_predictor_has_the_published_size_and_the_official_keys(name):
    config = official_model(name).masked_predictor
    with torch.device("meta"):
        predictor = MaskedPredictor(config)
    ends = affine("predictor_embed", "predictor_norm", "predictor_proj")
    tokens = {f"mask_tokens.{index}" for index in range(10)}
    assert millions(predictor) == pytest.approx(22, rel=0.03)
    assert set(predictor.state_dict()) == block_keys("predictor_blocks", 12) | ends | tokens


def test_action_conditioned_predictor_has_the_published_size_and_the_official_keys():
    with torch.device("meta"):
        predictor = ActionConditionedPredictor(official_model("vjepa2-ac-vitg.pt").action_predictor)
    ends = affine("predictor_embed", "predictor_norm", "predictor_proj")
    conditions = affine("action_encoder", "state_encoder", "extrinsics_encoder")
    assert millions(predictor) == pytest.approx(305, rel=3e-3)
    assert set(predictor.state_dict()) == block_keys("predictor_blocks", 24) | ends | conditions


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"vitx.*expected one of vitl, vith"):
        official_model("vitx")
