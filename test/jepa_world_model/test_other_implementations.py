"""Independent implementations of V-JEPA 2 compute the same from the same random weights."""

from __future__ import annotations

import pytest
import torch

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.masked_predictor import MaskedPredictor, MaskedPredictorConfig
from jepa_world_model.official_checkpoints import load_encoder
from jepa_world_model.registry import VIT_L
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

SEEDS = (0, 1, 2)
TOLERANCE = 1e-4


def randomize(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights at a scale at which attention is far from uniform, and norms and biases matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            base = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(base + 0.06 * torch.randn(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)


def assert_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_encoder_of_transformers_agrees_at_the_large_shape(tmp_path, seed):
    transformers = pytest.importorskip("transformers")
    settings = transformers.VJEPA2Config(
        hidden_size=VIT_L.embed_dim,
        num_attention_heads=VIT_L.num_heads,
        num_hidden_layers=2,
        mlp_ratio=4,
        crop_size=64,
        frames_per_clip=4,
        pred_hidden_size=48,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        attn_implementation="sdpa",
    )
    theirs = randomize(transformers.VJEPA2Model(settings), seed)
    theirs.save_pretrained(tmp_path)
    clip = torch.randn(1, 3, 4, 64, 64, generator=torch.Generator().manual_seed(seed))
    expected = theirs(pixel_values_videos=clip.transpose(1, 2), skip_predictor=True).last_hidden_state
    assert_close(load_encoder(tmp_path)(clip), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_encoder_of_the_fork_agrees(seed):
    fork = pytest.importorskip("vjepa2.models.vision_transformer")
    theirs = fork.VisionTransformer(
        img_size=64,
        patch_size=16,
        num_frames=8,
        tubelet_size=2,
        embed_dim=96,
        depth=3,
        num_heads=2,
        use_rope=True,
        use_sdpa=True,
        norm_layer=lambda dim: torch.nn.LayerNorm(dim, eps=1e-6),
    )
    config = EncoderConfig(image_size=64, num_frames=8, embed_dim=96, depth=3, num_heads=2)
    ours = randomize(VisionTransformer(config), seed)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    generator = torch.Generator().manual_seed(seed)
    for frames, size in ((8, 64), (2, 64), (4, 96)):
        clip = torch.randn(2, 3, frames, size, size, generator=generator)
        assert_close(ours(clip), theirs.eval()(clip))
    clip = torch.randn(2, 3, 8, 64, 64, generator=generator)
    mask = torch.stack([torch.randperm(64, generator=generator)[:20].sort().values for _ in range(2)])
    assert_close(ours(clip, mask), theirs(clip, mask))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_masked_predictor_of_the_fork_agrees(seed):
    fork = pytest.importorskip("vjepa2.models.predictor")
    theirs = fork.VisionTransformerPredictor(
        img_size=64,
        patch_size=16,
        num_frames=4,
        tubelet_size=2,
        embed_dim=32,
        predictor_embed_dim=48,
        depth=2,
        num_heads=2,
        use_mask_tokens=True,
        num_mask_tokens=3,
        use_rope=True,
        norm_layer=lambda dim: torch.nn.LayerNorm(dim, eps=1e-6),
    )
    config = MaskedPredictorConfig(
        image_size=64, num_frames=4, embed_dim=32, predictor_dim=48, depth=2, num_heads=2, num_mask_tokens=3
    )
    ours = randomize(MaskedPredictor(config), seed)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    generator = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(32, generator=generator) for _ in range(2)])
    visible, hidden = order[:, :12].sort().values, order[:, 12:].sort().values
    context = torch.randn(2, 12, 32, generator=generator)
    assert_close(ours(context, visible, hidden, 2), theirs.eval()(context, visible, hidden, mask_index=2))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_action_conditioned_predictor_of_the_fork_agrees(seed):
    fork = pytest.importorskip("vjepa2.models.ac_predictor")
    theirs = fork.VisionTransformerPredictorAC(
        img_size=(64, 64),
        patch_size=16,
        num_frames=8,
        tubelet_size=2,
        embed_dim=32,
        predictor_embed_dim=96,
        depth=3,
        num_heads=3,
        norm_layer=lambda dim: torch.nn.LayerNorm(dim, eps=1e-6),
    )
    config = ActionPredictorConfig(image_size=64, embed_dim=32, predictor_dim=96, depth=3, num_heads=3)
    ours = randomize(ActionConditionedPredictor(config), seed)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    generator = torch.Generator().manual_seed(seed)
    for steps in (1, 2, 4):
        latents = torch.randn(2, steps * 16, 32, generator=generator)
        actions, states = (torch.randn(2, steps, 7, generator=generator) for _ in range(2))
        assert_close(ours(latents, actions, states), theirs.eval()(latents, actions, states))
