"""The objective ``tokens``: colour moments, errors beside the change, and the way to a checkpoint that loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from training_data import make_episodes, save_episodes

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.layers import plain_attention
from jepa_world_model.training.color_moments import ColorMoments
from jepa_world_model.training.encoder_run import EncoderShape
from jepa_world_model.training.joint import STATE_FEATURES
from jepa_world_model.training.loop import LoopConfig
from jepa_world_model.training.post_train import PostTrainConfig
from jepa_world_model.training.predictions import Prediction, predict_clip, shares_of_change
from jepa_world_model.training.predictor_run import PredictorShape, load_run_predictor
from jepa_world_model.training.pretrain import PretrainConfig, pretrain
from jepa_world_model.training.run_folder import RunFolderError
from jepa_world_model.training.scene_rows import SceneConfig
from jepa_world_model.training.tokens import TokenBatch, TokenConfig, TokenModel
from jepa_world_model.training.train import TrainConfig, train
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer
from jepa_world_model.world_model import WorldModel

RED = np.array([220, 30, 30], np.uint8)
PATCH = 16


def scene(row: int, column: int) -> np.ndarray:
    """A grey picture of 32 pixels with a red dot of 3 x 3."""
    image = np.full((32, 32, 3), 120, np.uint8)
    image[row : row + 3, column : column + 3] = RED
    return image


@pytest.fixture(scope="module")
def moments() -> ColorMoments:
    generator = np.random.default_rng(0)
    images = np.stack([scene(*generator.integers(0, 29, 2)) for _ in range(300)])
    return ColorMoments.fit(images, colors=2, patch_size=PATCH)


def test_a_rare_colour_gets_a_cluster(moments: ColorMoments) -> None:
    nearest = (moments.centers - torch.from_numpy(RED) / 255.0).norm(dim=1).min()
    assert nearest < 0.1


def test_moments_say_in_which_patch_a_dot_lies_and_on_which_side(moments: ColorMoments) -> None:
    red = int((moments.centers - torch.from_numpy(RED) / 255.0).norm(dim=1).argmin())
    share, vertical, horizontal = (red + offset * len(moments.centers) for offset in range(3))
    values = moments(np.stack([scene(1, 18), scene(12, 28)]))
    assert values.shape == (2, 4, moments.features)
    assert values[:, :, share].argmax(dim=1).tolist() == [1, 1], "the upper right patch"
    assert values[0, 1, vertical] < 0 < values[1, 1, vertical]
    assert values[0, 1, horizontal] < 0 < values[1, 1, horizontal]


def test_a_small_moving_dot_weighs_as_much_as_what_it_covers(moments: ColorMoments) -> None:
    generator = np.random.default_rng(1)
    values = moments(np.stack([scene(*generator.integers(0, 29, 2)) for _ in range(300)]))
    deviation = values.std(dim=0).square().mean(dim=0).sqrt()
    torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=0.15, atol=0.0)


class Copying(torch.nn.Module):
    """A predictor by which nothing ever changes."""

    def forward(self, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        return latents


def test_copying_the_last_frame_costs_exactly_one() -> None:
    latents = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    predictions = predict_clip(Copying(), latents, torch.zeros(3, 3, 7), torch.zeros(3, 4, 7), rollout_steps=3)  # type: ignore[arg-type]
    assert [(part.first, part.ahead) for part in predictions] == [(1, 1), (2, 2), (3, 3)]
    for share in shares_of_change(predictions, latents):
        assert float(share) == pytest.approx(1.0)


def test_a_share_of_the_change_does_not_depend_on_the_scale_of_the_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    latents, guess = torch.randn(2, 3, 4, 5, generator=generator), torch.randn(2, 2, 4, 5, generator=generator)
    shares = shares_of_change([Prediction(guess, 1, 1)], latents)
    scaled = shares_of_change([Prediction(7.0 * guess, 1, 1)], 7.0 * latents)
    torch.testing.assert_close(shares, scaled)


def test_a_rollout_sees_no_frame_beyond_the_first() -> None:
    torch.manual_seed(0)
    predictor = ActionConditionedPredictor(
        ActionPredictorConfig(image_size=32, embed_dim=12, predictor_dim=16, depth=1, num_heads=2)
    )
    latents, actions, states = torch.randn(2, 4, 4, 12), torch.randn(2, 3, 7), torch.randn(2, 4, 7)
    before = predict_clip(predictor, latents, actions, states, 3)
    changed = latents.clone()
    changed[:, 1:] += 1.0
    after = predict_clip(predictor, changed, actions, states, 3)
    assert not torch.allclose(before[0].latents, after[0].latents), "teacher forcing does"
    for first, second in zip(before[1:], after[1:], strict=True):
        torch.testing.assert_close(first.latents, second.latents)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_for_training_is_that_of_the_fused_kernel(masked: bool) -> None:
    query, key, value = torch.randn(3, 2, 4, 6, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    mask = torch.ones(6, 6, dtype=torch.bool).tril() if masked else None
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(plain_attention(query, key, value, mask), expected)


def small_run(data: Path, out: Path) -> PretrainConfig:
    return PretrainConfig(
        data,
        out,
        objective="tokens",
        encoder=EncoderShape(dim=32, depth=1, heads=2),
        predictor=PredictorShape(dim=32, depth=1, heads=2, conditioning="adaln"),
        loop=LoopConfig(steps=4, warmup_steps=1, log_every=1, save_every=2),
        batch=4,
        max_stride=2,
    )


def test_encoder_and_predictor_learn_together_and_go_on_to_a_checkpoint(tmp_path: Path) -> None:
    data = save_episodes(tmp_path / "episodes")
    pretrain(small_run(data, tmp_path / "run"))
    first = load_run_predictor(tmp_path / "run")
    config = TrainConfig(
        data=data,
        validation=data,
        encoder_run=tmp_path / "run",
        first_predictor=tmp_path / "run",
        out=tmp_path / "predictor",
        checkpoint=tmp_path / "tiny.safetensors",
        latents="plain",
        post=PostTrainConfig(batch=4, max_stride=2, error="change"),
        scene=SceneConfig(weight_m=0.5, colors=6, most_share=1.0),
        loop=LoopConfig(steps=2, warmup_steps=1, learning_rate=1e-9, matrix_rate=1e-9),
    )
    model = WorldModel.load(train(config))
    assert model.predictor is not None
    for name, value in first.state_dict().items():
        torch.testing.assert_close(model.predictor.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    latents = model.encode(make_episodes(3).images[0])
    assert model.energy(latents[:1], np.zeros((1, 7)), np.zeros((5, 2, 7)), latents[1]).shape == (5,)
    robot, scene = model.metric_of("metric"), model.metric_of("scene")
    assert robot is not None and scene is not None
    assert len(robot) == 10, "the robot's rows, whatever else is followed"
    assert len(scene) == 10 + model.card.scene_rows > 10


def test_a_run_goes_on_with_the_predictor_of_an_earlier_one(tmp_path: Path) -> None:
    data = save_episodes(tmp_path / "episodes")
    pretrain(small_run(data, tmp_path / "first"))
    still = LoopConfig(steps=1, warmup_steps=1, learning_rate=1e-9, matrix_rate=1e-9)
    pretrain(replace(small_run(data, tmp_path / "second"), initial=tmp_path / "first", seed=1, loop=still))
    first, second = (load_run_predictor(tmp_path / name).state_dict() for name in ("first", "second"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-6)


def test_another_predictor_is_another_start(tmp_path: Path) -> None:
    data = save_episodes(tmp_path / "episodes")
    pretrain(small_run(data, tmp_path / "first"))
    config = replace(small_run(data, tmp_path / "second"), initial=tmp_path / "first")
    pretrain(config)
    weights = tmp_path / "first" / "predictor.pt"
    torch.save({name: 2 * value for name, value in load_run_predictor(weights.parent).state_dict().items()}, weights)
    with pytest.raises(RunFolderError, match="initial"):
        pretrain(config)


def token_model() -> TokenModel:
    torch.manual_seed(0)
    shape = EncoderConfig(image_size=32, patch_size=PATCH, embed_dim=24, depth=1, num_heads=2)
    predictor = ActionPredictorConfig(
        image_size=32, patch_size=PATCH, embed_dim=24, predictor_dim=16, depth=1, num_heads=2
    )
    return TokenModel(VisionTransformer(shape), ActionConditionedPredictor(predictor), 6, TokenConfig())


def token_batch(change: Tensor) -> TokenBatch:
    generator = torch.Generator().manual_seed(1)
    frames, moments = torch.randn(2, 3, 3, 32, 32, generator=generator), torch.randn(2, 3, 4, 6, generator=generator)
    states, actions = torch.zeros(2, 3, 7), torch.zeros(2, 2, 7)
    features = torch.randn(2, 3, STATE_FEATURES, generator=generator)
    return TokenBatch(frames, moments, change, states, features, actions, torch.ones(2, 2, 7))


@torch.no_grad()
def test_read_outs_start_where_they_are_no_worse_than_the_mean() -> None:
    model, batch = token_model(), token_batch(torch.ones(6))
    before = float(model(batch)["moments"])
    model.fit_moments(batch.frames.flatten(0, 1), batch.moments.flatten(0, 1))
    terms = model(batch)
    centred = batch.moments - batch.moments.mean(dim=(0, 1, 2))
    assert float(terms["moments"]) <= float(centred.square().mean()) < before
    assert float(terms["state"]) == pytest.approx(float(batch.features.square().mean()))
    assert float(terms["inverse"]) == pytest.approx(1.0)


@torch.no_grad()
def test_what_seldom_moves_weighs_as_its_own_change_says() -> None:
    model = token_model()
    change = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.1])
    equal, seldom = model(token_batch(torch.ones(6))), model(token_batch(change))
    assert float(equal["moving_moments"]) == pytest.approx(float(equal["predicted_moments"]))
    assert float(seldom["predicted_moments"]) == pytest.approx(float(equal["predicted_moments"]))
    assert float(seldom["moving_moments"]) > float(equal["moving_moments"])


def test_labels_are_never_read_in_training(tmp_path: Path) -> None:
    data, lying = save_episodes(tmp_path / "episodes"), tmp_path / "lying"
    lying.mkdir()
    for path in sorted(data.glob("*.npz")):
        arrays = dict(np.load(path))
        count, frames = arrays["states"].shape[:2]
        np.savez(lying / path.name, **arrays, objects=np.random.default_rng(0).normal(size=(count, frames, 2, 3)))
    plain = torch.load(pretrain(small_run(data, tmp_path / "plain")), weights_only=True)
    config = replace(small_run(lying, tmp_path / "told"), data=lying)
    told = torch.load(pretrain(config), weights_only=True)
    for name, value in plain.items():
        torch.testing.assert_close(told[name], value, rtol=0.0, atol=0.0)
