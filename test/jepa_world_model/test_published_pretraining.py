"""The presets `vjepa2` and `vjepa2_1` against the published masked objectives, written down plainly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor
from training_data import make_episodes

from jepa_common.config_file import with_config_file
from jepa_world_model.masked_predictor import MaskedPredictor, MaskedPredictorConfig
from jepa_world_model.training.distributed import Part
from jepa_world_model.training.loop import learning_rate_share
from jepa_world_model.training.masks import MaskConfig, TokenMask, draw_mask
from jepa_world_model.training.objectives import ClipConfig, VJepaObjective
from jepa_world_model.training.pretrain import PretrainConfig
from jepa_world_model.training.vjepa import VJepaBatch, VJepaModel
from jepa_world_model.vision_transformer import EncoderConfig, Generation, VisionTransformer

SIZE, FRAMES, COOLDOWN_FROM = 64, 4, 40_000
PRESETS: dict[str, Generation] = {"vjepa2": "2.0", "vjepa2_1": "2.1"}


def preset(name: str) -> PretrainConfig:
    """Options of `jepa pretrain --preset`."""
    return tyro.cli(PretrainConfig, args=with_config_file(["--data=a", "--out=b", "--preset", name]))


def model_of(name: str, **changes: object) -> VJepaModel:
    """A tiny model with the objective of a preset, and weights that say something."""
    torch.manual_seed(0)
    small = {"predictor_dim": 24, "predictor_depth": 2, "predictor_heads": 2, "frames": FRAMES, "cooldown_frames": 0}
    config = replace(preset(name).vjepa, image_size=0, cooldown_image_size=0, **small, **changes)
    shape = EncoderConfig(SIZE, embed_dim=32, depth=4, num_heads=2, num_frames=2, generation=PRESETS[name])
    model = VJepaModel(VisionTransformer(shape), config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return model


def batch_of(model: VJepaModel, step: int) -> VJepaBatch:
    objective = VJepaObjective(model, make_episodes(0, SIZE), ClipConfig(3, 1, 0), COOLDOWN_FROM)
    return objective.batch(step, Part())


def rotated(x: Tensor, places: Tensor, generation: Generation) -> Tensor:
    """Queries or keys [B, heads, N, D] turned by one axis' places [B, N], as published."""
    half = x.shape[-1] // 2
    omega = 1.0 / 10000 ** (torch.arange(half) / half)
    angles = places[:, None, :, None] * omega
    twice = angles.repeat_interleave(2, dim=-1) if generation == "2.1" else angles.repeat(1, 1, 1, 2)
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * twice.cos() + torch.stack((-second, first), dim=-1).flatten(-2) * twice.sin()


def published_predictor(network: MaskedPredictor, z: Tensor, mask: TokenMask, token: int, side: int) -> list[Tensor]:
    """Predictions at masked places, and at visible ones: tokens sorted by place, one axis after the other rotated."""
    generation, visible = network.config.generation, mask.context.shape[1]
    hidden = network.mask_tokens[token].repeat(len(z), mask.target.shape[1], 1)
    x, places = torch.cat([network.predictor_embed(z), hidden], dim=1), torch.cat([mask.context, mask.target], dim=1)
    order = places.argsort(dim=1)
    x, places = x.gather(1, order[..., None].expand_as(x)), places.gather(1, order)
    if generation == "2.1":
        x = x + network.video_mod_embed
    scale = 15 / (side - 1) if generation == "2.1" else 1.0
    axes = [1.0 * (places // side**2), scale * (places % side**2 // side), scale * (places % side)]
    for block in network.predictor_blocks:
        heads = block.attn.num_heads
        qkv = block.attn.qkv(block.norm1(x)).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        part = 2 * (qkv.shape[-1] // 3 // 2)
        query, key = (
            torch.cat(
                [*(rotated(y[..., k * part : (k + 1) * part], axis, generation) for k, axis in enumerate(axes)),
                 y[..., 3 * part :]], dim=-1)
            for y in qkv[:2]
        )  # fmt: skip
        scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        x = x + block.attn.proj((scores @ qkv[2]).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    x = network.predictor_norm(x).gather(1, order.argsort(dim=1)[..., None].expand_as(x))
    at_visible = network.predictor_proj_context if generation == "2.1" else network.predictor_proj
    return [network.predictor_proj(x[:, visible:]), at_visible(x[:, :visible])]


def encoded(encoder: VisionTransformer, clips: Tensor, mask: Tensor | None, levels: int) -> Tensor:
    """Tokens of the last layer, or of four side by side."""
    return torch.cat(encoder.intermediate(clips, masks=mask), dim=-1) if levels == 4 else encoder(clips, mask)


def published_loss(model: VJepaModel, batch: VJepaBatch, weight: float, weighted: bool) -> Tensor:
    """Mean over kinds of masks: L1 at masked places, and ``weight`` times that at visible ones, by their distance."""
    levels, side = (4 if model.config.deep_supervision else 1), batch.grid[1]
    with torch.no_grad():
        h = encoded(model.target_encoder, batch.clips, None, levels).unflatten(-1, (levels, -1))
        h = F.layer_norm(h, h.shape[-1:]).flatten(-2)
    masked, context = [], []
    for mask in batch.masks:
        z = encoded(model.encoder, batch.clips, mask.context, levels)
        hidden, visible = published_predictor(model.predictor, z, mask, 0, side)
        errors = [
            (guess - h.gather(1, places[..., None].expand(-1, -1, h.shape[-1]))).abs()
            for guess, places in ((hidden, mask.target), (visible, mask.context))
        ]
        masked.append(errors[0].mean())
        visible_at, hidden_at = (
            torch.stack([p // side**2, p % side**2 // side, p % side], -1).float() for p in (mask.context, mask.target)
        )
        distance = torch.cdist(visible_at, hidden_at).amin(-1) ** 0.5
        context.append((errors[1] / distance[..., None]).mean() if weighted else errors[1].mean())
    return torch.stack(masked).mean() + weight * torch.stack(context).mean()


def gradients(model: VJepaModel, loss: Tensor) -> Tensor:
    """Gradients of all that is trained, as one vector."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, trained)])


@pytest.mark.parametrize(("name", "step", "weight", "weighted"), [
    ("vjepa2", 0, 0.0, True),
    ("vjepa2", COOLDOWN_FROM, 0.0, True),
    ("vjepa2_1", 15_000, 0.0, True),
    ("vjepa2_1", 22_500, 0.25, True),
    ("vjepa2_1", 30_000, 0.5, True),
    ("vjepa2_1", COOLDOWN_FROM, 0.5, False),
])  # fmt: skip
def test_loss_and_gradients_are_the_published_ones(name: str, step: int, weight: float, weighted: bool) -> None:
    model = model_of(name)
    batch = batch_of(model, step)
    loss, expected = model(batch)["loss"], published_loss(model, batch, weight, weighted)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(gradients(model, loss), gradients(model, expected), rtol=1e-3, atol=1e-7)


def test_without_the_presets_the_gradients_are_others() -> None:
    model = model_of("vjepa2_1", shared_mask_token=False, predictor_generation="2.0")
    assert len(model.predictor.mask_tokens) == 2 and len(model_of("vjepa2_1").predictor.mask_tokens) == 1


def test_the_predictor_of_2_1_has_the_published_names_and_sizes() -> None:
    config = MaskedPredictorConfig(embed_dim=40, predictor_dim=24, depth=2, num_heads=2, generation="2.1", levels=4)
    sizes = {name: tuple(weight.shape) for name, weight in MaskedPredictor(config).state_dict().items()}
    assert sizes["predictor_embed.0.weight"] == (40, 160) and sizes["predictor_embed.2.weight"] == (24, 40)
    assert sizes["predictor_proj.weight"] == sizes["predictor_proj_context.weight"] == (160, 24)
    assert sizes["video_mod_embed"] == sizes["img_mod_embed"] == sizes["mask_tokens.0"] == (1, 1, 24)
    one_level = MaskedPredictor(replace(config, levels=1)).state_dict()
    assert one_level["predictor_embed.weight"].shape == (24, 40)


def test_the_distance_of_larger_pictures_is_measured_as_of_the_first() -> None:
    model = model_of("vjepa2_1", context_offset=True)
    mask = TokenMask(torch.tensor([[0]]), torch.tensor([[8]]))
    assert model._distance(mask, (1, 32, 32)).item() == pytest.approx(4.0)
    assert model._distance(mask, (1, 16, 16)).item() == pytest.approx(8.0)


def sizes_in(config: MaskConfig, seed: int, batch: int = 6) -> set[tuple[int, int]]:
    """Heights and widths of the single blocks of a batch."""
    mask = draw_mask(replace(config, blocks=1), (1, 16, 16), batch, np.random.default_rng(seed))
    rows, columns = mask.target // 16, mask.target % 16
    spans = [(part.amax(1) - part.amin(1) + 1).tolist() for part in (rows, columns)]
    return set(zip(*spans, strict=True))


def test_blocks_have_one_size_per_batch_and_a_linear_aspect() -> None:
    short = preset("vjepa2").vjepa.masks[0]
    drawn = [sizes_in(short, seed) for seed in range(40)]
    assert all(len(sizes) == 1 for sizes in drawn) and len(set.union(*drawn)) > 2
    for ((height, width),) in drawn:
        assert abs(height * width - 38) <= 6 and 0.7 <= height / width <= 1.6
    assert any(len(sizes_in(replace(short, published=False), seed)) > 1 for seed in range(10))


@pytest.mark.parametrize("kind", [0, 1])
def test_of_clips_that_keep_more_tokens_the_last_ones_in_time_are_left_out(kind: int) -> None:
    frames = 4
    mask = draw_mask(preset("vjepa2").vjepa.masks[kind], (frames, 16, 16), 8, np.random.default_rng(3))
    for tokens, others in ((mask.context, mask.target), (mask.target, mask.context)):
        for row, other in zip(tokens.tolist(), others.tolist(), strict=True):
            assert row == sorted(row) and not set(row) & set(other)
            patches = [{token % 256 for token in row if token // 256 == frame} for frame in range(frames)]
            end = row[-1] // 256
            # Frames are whole up to the one in which the tokens end.
            assert all(earlier == patches[0] for earlier in patches[1:end]) and patches[end] <= patches[0]
    ends = {row[-1] // 256 for row in mask.target.tolist()} | {row[-1] // 256 for row in mask.context.tolist()}
    assert frames - 1 in ends


def test_blocks_that_hide_everything_are_refused() -> None:
    with pytest.raises(ValueError, match="hide pictures of 2 x 2 patches whole"):
        draw_mask(MaskConfig(2, 1.0, 1.0, 1.0, published=True), (2, 2, 2), 2, np.random.default_rng(0))


def test_the_schedule_is_the_published_one() -> None:
    loop = preset("vjepa2").loop
    assert (loop.betas, loop.clip_norm, loop.weight_decay, loop.matrix_rate) == ((0.9, 0.999), 0.0, 0.04, 0.0)
    published = {0: 1e-4 + 4.25e-4 / 12000, 6000: 1e-4 + 4.25e-4 * 6001 / 12000, 12000: 5.25e-4, 239_999: 5.25e-4}
    for step, rate in (published | {251_999: 1e-6}).items():
        assert learning_rate_share(loop, step) * loop.learning_rate == pytest.approx(rate, rel=1e-6)
