"""The masked objective: masks, targets, the 2.1 terms, progressive resolution, and the collapse monitor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import tiny_card
from torch import Tensor
from training_data import make_episodes, save_episodes

from jepa_world_model.checkpoint import save_world_model
from jepa_world_model.encoders import Encoder
from jepa_world_model.training.augment import CropConfig, crop_clips, random_crops
from jepa_world_model.training.distributed import Part
from jepa_world_model.training.encoder_run import EncoderShape, load_run_encoder
from jepa_world_model.training.loop import LoopConfig, TrainingError
from jepa_world_model.training.masks import LONG_RANGE, SHORT_RANGE, MaskConfig, TokenMask, draw_mask
from jepa_world_model.training.monitor import CollapseMonitor, MonitorConfig, collapse_report, effective_rank
from jepa_world_model.training.objectives import ClipConfig, VJepaObjective
from jepa_world_model.training.pretrain import PretrainConfig, pretrain
from jepa_world_model.training.vicreg import covariance_loss, variance_loss
from jepa_world_model.training.vjepa import VJepaConfig, VJepaModel, hidden_distance
from jepa_world_model.vision_transformer import EncoderConfig, Generation, VisionTransformer

SIZE = 64
GRID = (2, 4, 4)
SMALL = VJepaConfig(frames=4, predictor_dim=16, predictor_depth=1, predictor_heads=2, projection_dim=8)
RECIPE_2_1 = replace(SMALL, context_weight=0.5, deep_supervision=True)


@pytest.mark.parametrize("config", [SHORT_RANGE, LONG_RANGE])
def test_a_mask_splits_the_tokens_and_reaches_through_time(config: MaskConfig) -> None:
    frames, height, width = 3, 8, 8
    mask = draw_mask(config, (frames, height, width), 16, np.random.default_rng(0))
    for context, target in zip(mask.context.tolist(), mask.target.tolist(), strict=True):
        assert context and target and not set(context) & set(target)
        assert len(context) + len(target) <= frames * height * width
        for tokens in (context, target):
            places = [
                {token % (height * width) for token in tokens if token // (height * width) == t} for t in range(3)
            ]
            assert places[0] == places[1] == places[2]


def test_blocks_have_the_share_and_the_aspect_of_their_kind() -> None:
    generator = np.random.default_rng(1)
    one_block = MaskConfig(blocks=1, scale=0.15)
    for _ in range(50):
        mask = draw_mask(one_block, (1, 16, 16), 1, generator)
        rows, columns = mask.target[0] // 16, mask.target[0] % 16
        height, width = int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)
        assert height * width == mask.target.shape[1], "a full rectangle"
        assert 0.65 <= height / width <= 1.75
        assert 0.1 <= mask.target.shape[1] / 256 <= 0.2


def test_something_stays_visible_however_large_the_blocks() -> None:
    mask = draw_mask(MaskConfig(blocks=4, scale=1.0), (2, 2, 2), 8, np.random.default_rng(0))
    assert mask.context.shape[1] >= 2 and mask.target.shape[1] >= 2


def tiny_masked_model(config: VJepaConfig, generation: Generation = "2.0") -> VJepaModel:
    torch.manual_seed(0)
    shape = EncoderConfig(image_size=SIZE, embed_dim=32, depth=4, num_heads=2, num_frames=2, generation=generation)
    return VJepaModel(VisionTransformer(shape), config)


def batch_of(model: VJepaModel, step: int = 0, part: Part = Part(), cooldown_from: int = 100):  # noqa: B008
    objective = VJepaObjective(model, make_episodes(0, SIZE), ClipConfig(4, 1, 0), cooldown_from)
    return objective.batch(step, part)


@pytest.mark.parametrize("generation", ["2.0", "2.1"])
@pytest.mark.parametrize("config", [SMALL, RECIPE_2_1, replace(SMALL, sigreg_weight=0.1, variance_weight=0.1)])
def test_the_error_reaches_all_that_is_trained_and_nothing_of_the_target(
    config: VJepaConfig, generation: Generation
) -> None:
    model = tiny_masked_model(config, generation)
    losses = model(batch_of(model))
    assert torch.isfinite(losses["loss"])
    losses["loss"].backward()
    without = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert without == [], "several processes would wait for these"
    assert all(parameter.grad is None for parameter in model.target_encoder.parameters())


def test_targets_are_layer_normed_tokens_of_the_whole_clip() -> None:
    model = tiny_masked_model(SMALL)
    batch = batch_of(model)
    tokens = model.target_encoder(batch.clips)
    torch.testing.assert_close(model.targets(batch.clips), F.layer_norm(tokens, tokens.shape[-1:]))


def test_hidden_patches_do_not_leak_into_the_prediction() -> None:
    model = tiny_masked_model(SMALL)
    batch = batch_of(model)
    mask = batch.masks[0].rows(slice(0, 1))
    clip = batch.clips[:1]
    changed = clip.clone()
    for patch in {int(token) % 16 for token in mask.target[0]}:
        row, column = 16 * (patch // 4), 16 * (patch % 4)
        changed[..., row : row + 16, column : column + 16] += 1.0
    assert not torch.equal(clip, changed)
    torch.testing.assert_close(model.encoder(clip, mask.context), model.encoder(changed, mask.context))


def test_the_target_follows_the_encoder_slowly() -> None:
    model = tiny_masked_model(replace(SMALL, ema=0.9))
    before = [parameter.clone() for parameter in model.target_encoder.parameters()]
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(1.0)
    model.update_target()
    for old, new in zip(before, model.target_encoder.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)


def test_visible_tokens_count_less_the_farther_they_are_from_hidden_ones() -> None:
    mask = TokenMask(context=torch.tensor([[1, 2, 3]]), target=torch.tensor([[0]]))
    torch.testing.assert_close(hidden_distance(mask, (1, 1, 4)), torch.tensor([[1.0, 2.0, 3.0]]))


def test_processes_together_see_the_clips_and_masks_of_one() -> None:
    model = tiny_masked_model(SMALL)
    whole = batch_of(model, 3)
    halves = [batch_of(model, 3, Part(index, 2)) for index in range(2)]
    torch.testing.assert_close(torch.cat([half.clips for half in halves]), whole.clips)
    for kind in range(2):
        assert torch.equal(torch.cat([half.masks[kind].target for half in halves]), whole.masks[kind].target)


def test_the_cool_down_has_longer_clips_and_larger_images() -> None:
    model = tiny_masked_model(replace(SMALL, image_size=48, cooldown_image_size=64, frames=2, cooldown_frames=4))
    assert batch_of(model, 4, cooldown_from=5).clips.shape == (4, 3, 2, 48, 48)
    later = batch_of(model, 5, cooldown_from=5)
    assert later.clips.shape == (4, 3, 4, 64, 64)
    assert torch.isfinite(model(later)["loss"])


def test_a_crop_of_everything_changes_nothing_and_others_stay_within_the_picture() -> None:
    clips = torch.rand(2, 3, 2, 32, 32)
    generator = np.random.default_rng(0)
    assert torch.equal(crop_clips(clips, random_crops(CropConfig(), 2, generator), 32), clips)
    maps = random_crops(CropConfig(least_area=0.3), 100, generator)
    corners = maps[:, :, 2].abs() + torch.stack([maps[:, 0, 0], maps[:, 1, 1]], dim=1)
    assert float(corners.max()) <= 1.0 + 1e-6
    assert not torch.allclose(crop_clips(clips, maps[:2], 32), clips)


def test_vicreg_tells_spread_from_collapse() -> None:
    spread = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    assert variance_loss(spread) < 0.1 < variance_loss(torch.zeros(512, 8))
    assert covariance_loss(spread) < 0.2 < covariance_loss(spread[:, :1].expand(-1, 8))


def test_effective_rank_counts_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    assert effective_rank(torch.ones(64, 4, 8)) == 0.0
    one = torch.randn(64, 1, generator=generator) @ torch.randn(1, 32, generator=generator)
    assert effective_rank(one) == pytest.approx(1.0, abs=0.01)
    assert effective_rank(torch.randn(64, 32, generator=generator)) > 25


def test_the_report_finds_positions_in_latents_that_carry_them() -> None:
    positions = torch.rand(90, 3, generator=torch.Generator().manual_seed(0))
    report = collapse_report(positions[:, None] @ torch.randn(3, 8), positions, ridge=1e-6)
    assert report.probe_cm < 0.1 < report.constant_cm


class ConstantEncoder(Encoder):
    """A collapsed encoder."""

    config = EncoderConfig(image_size=32)

    def forward(self, clip: Tensor) -> Tensor:
        return torch.arange(8.0).expand(len(clip), 4, 8)


def test_a_collapsed_encoder_ends_the_run_after_some_patience() -> None:
    config = MonitorConfig(every=10, frames=24, patience=2)
    monitor = CollapseMonitor(ConstantEncoder(), make_episodes(0), config, torch.device("cpu"))
    assert not monitor.due(5) and monitor.due(10)
    assert monitor.measure(10)["monitor/feature_std"] == 0.0
    with pytest.raises(TrainingError, match=r"collapsed at step 20.*sigreg"):
        monitor.measure(20)


def masked_run(data: Path, out: Path, **changes: object) -> PretrainConfig:
    loop = LoopConfig(steps=4, warmup_steps=1, cooldown_steps=2, log_every=1, precision="bf16")
    objective = replace(RECIPE_2_1, frames=2, image_size=48, cooldown_image_size=64, sigreg_weight=0.02)
    settings: dict[str, object] = {
        "objective": "vjepa",
        "encoder": EncoderShape(dim=32, depth=4, heads=2),
        "vjepa": objective,
        "loop": loop,
        "monitor": MonitorConfig(every=2, frames=24, least_rank=0.5),
        "batch": 4,
    }
    return PretrainConfig(data, out, **(settings | changes))


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a masked run with all its options, its dataset beside it."""
    folder = tmp_path_factory.mktemp("masked")
    data = save_episodes(folder / "data", size=SIZE)
    pretrain(masked_run(data, folder / "run", validation=data))
    return folder


def test_a_masked_run_keeps_the_averaged_encoder_and_logs_its_health(masked: Path) -> None:
    state = torch.load(masked / "run" / "state.pt", weights_only=True)["module"]
    encoder = load_run_encoder(masked / "run", EncoderShape(), 1).state_dict()
    for name, value in encoder.items():
        assert torch.equal(value, state[f"target_encoder.{name}"])
    lines = [json.loads(line) for line in (masked / "run" / "log.jsonl").read_text().splitlines()]
    looks = [line for line in lines if "monitor/probe_cm" in line]
    assert [line["step"] for line in looks] == [2, 4]
    assert list((masked / "run" / "tensorboard").glob("events.*"))


def test_a_run_starts_from_another_one_or_from_a_checkpoint(masked: Path, tmp_path: Path) -> None:
    encoder = load_run_encoder(masked / "run", EncoderShape(), 1)
    save_world_model(tmp_path / "encoder.safetensors", encoder, None, tiny_card(image_size=SIZE, dim=32), {})
    still = LoopConfig(steps=1, learning_rate=0.0, matrix_rate=0.0, weight_decay=0.0)
    for initial in (masked / "run", tmp_path / "encoder.safetensors"):
        out = tmp_path / initial.stem
        pretrain(masked_run(masked / "data", out, initial=initial, loop=still))
        for name, value in load_run_encoder(out, EncoderShape(), 1).state_dict().items():
            torch.testing.assert_close(value, encoder.state_dict()[name])


def test_a_dead_run_stops(masked: Path, tmp_path: Path) -> None:
    impossible = MonitorConfig(every=1, frames=24, least_std=2.0, patience=2)
    with pytest.raises(TrainingError, match="collapsed at step 2"):
        pretrain(masked_run(masked / "data", tmp_path / "run", monitor=impossible))
