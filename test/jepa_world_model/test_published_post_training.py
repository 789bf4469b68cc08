"""The preset `vjepa2_ac` against the published post-training, written down plainly, and fine-tuning of a predictor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor
from training_data import save_episodes

from jepa_common.config_file import with_config_file
from jepa_world_model import layers
from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.checkpoint import open_world_model, save_world_model
from jepa_world_model.model_card import ModelCard
from jepa_world_model.official_checkpoints import load_encoder, load_predictor
from jepa_world_model.training.fine_tune import FineTuneConfig, choose_trained, merge_changes, training_bytes
from jepa_world_model.training.loop import LoopConfig, make_optimizers, set_learning_rates
from jepa_world_model.training.post_train import LatentClips, PostTrainConfig, post_training_losses
from jepa_world_model.training.predictor_run import predictor_config
from jepa_world_model.training.train import TrainConfig, train
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

SHAPE = ActionPredictorConfig(
    image_size=32, embed_dim=24, predictor_dim=24, depth=3, num_heads=2, normalize_output=True
)
FRAMES, TOKENS = 5, SHAPE.patches


def preset(*options: str) -> TrainConfig:
    """Options of `jepa train --preset vjepa2_ac`."""
    paths = ["--data=a", "--validation=a", "--out=b", "--checkpoint=c.safetensors", "--initial=d.pt"]
    return tyro.cli(TrainConfig, args=with_config_file([*paths, "--preset", "vjepa2_ac", *options]))


def clips() -> LatentClips:
    """Layer-normed latents, states that are not where the actions lead, and actions."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(3, FRAMES, TOKENS, 24, generator=generator)
    states, actions = (torch.randn(3, steps, 7, generator=generator) for steps in (FRAMES, FRAMES - 1))
    return LatentClips(F.layer_norm(latents, (24,)), 0.3 * states, 0.1 * actions)


def predictor(seed: int = 0) -> ActionConditionedPredictor:
    """A tiny predictor; with larger weights than it starts with, so that actions matter."""
    torch.manual_seed(seed)
    network = ActionConditionedPredictor(SHAPE)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network


def published_loss(network: ActionConditionedPredictor, data: LatentClips, auto_steps: int) -> Tensor:
    """The published loss on a network that does not normalise: teacher forcing and rollout, each L1, added."""
    h, actions, states = data.latents.flatten(1, 2), data.actions, data.states

    def step(z: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return F.layer_norm(network(z, a, s), (h.shape[-1],))

    def error(z: Tensor) -> Tensor:
        return (z - h[:, TOKENS : TOKENS + z.shape[1]]).abs().mean()

    forced = step(h[:, :-TOKENS], actions, states[:, :-1])
    rolled = torch.cat([h[:, :TOKENS], forced[:, :TOKENS]], dim=1)
    for n in range(1, auto_steps):
        guess = step(rolled, actions[:, : n + 1], states[:, : n + 1])[:, -TOKENS:]
        rolled = torch.cat([rolled, guess], dim=1)
    return error(forced) + error(rolled[:, TOKENS:])


def gradients(network: ActionConditionedPredictor, loss: Tensor) -> Tensor:
    """All gradients as one vector."""
    weights = [weight for name, weight in network.named_parameters() if "extrinsics" not in name]
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, weights)])


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("recompute", [False, True])
def test_loss_and_gradients_are_the_published_ones(steps: int, recompute: bool) -> None:
    data, ours, plain = clips(), predictor(), ActionConditionedPredictor(replace(SHAPE, normalize_output=False))
    plain.load_state_dict(ours.state_dict())
    ours.recompute_blocks = recompute
    config = replace(preset().post, rollout_steps=steps)
    loss, expected = post_training_losses(ours, data, config)["loss"], published_loss(plain, data, steps)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(gradients(ours, loss), gradients(plain, expected), rtol=1e-4, atol=1e-7)


def test_the_default_loss_is_another_one() -> None:
    data, ours = clips(), predictor()
    losses = [
        post_training_losses(ours, data, post)["loss"] for post in (preset().post, PostTrainConfig(metric_weight=0))
    ]
    first, second = (gradients(ours, loss) for loss in losses)
    assert F.cosine_similarity(first, second, dim=0) < 0.999


def published_rate(step: int, warmup: int, anneal: int, total: int) -> float:
    """Warm-up, hold and decay of the published schedule after ``step`` of its steps, counted from 1."""
    start, peak, final = 7.5e-5, 4.25e-4, 0.0
    if step < warmup:
        return start + step / warmup * (peak - start)
    if step < total - anneal:
        return peak
    return peak + (step - (total - anneal)) / anneal * (final - peak)


def test_the_optimiser_is_the_published_one() -> None:
    loop = replace(preset().loop, steps=60, warmup_steps=10, cooldown_steps=20)
    optimizers = make_optimizers(predictor(), loop)
    (adamw,) = optimizers
    assert adamw.defaults["betas"] == (0.9, 0.999) and loop.clip_norm == 0 and loop.precision == "bf16"
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.04, 0.0]
    assert all(weight.ndim < 2 for weight in adamw.param_groups[1]["params"])
    for step in range(60):
        set_learning_rates(optimizers, loop, step)
        expected = published_rate(step + 1, 10, 20, 60)
        assert [group["lr"] for group in adamw.param_groups] == pytest.approx([expected] * 2, abs=1e-12)


def test_the_preset_has_the_published_sizes_and_options_beside_it_win() -> None:
    config = preset("--loop.steps", "9000", "--post.batch", "8")
    assert (config.loop.steps, config.post.batch, config.post.clip_frames) == (9000, 8, 8)
    shape = predictor_config(config.predictor, EncoderConfig(embed_dim=1408))
    assert shape == ActionPredictorConfig(normalize_output=True)
    assert (config.latents, config.distance, preset().loop.steps) == ("plain", "l1", 94500)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_episodes(tmp_path_factory.mktemp("episodes"))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as `jepa convert` makes one of 2-AC, in a tiny shape."""
    encoder = VisionTransformer(EncoderConfig(image_size=32, num_frames=2, embed_dim=24, depth=1, num_heads=2))
    card = ModelCard("tiny-ac", image_size=32, tokens=TOKENS, dim=24, solver_preset="vjepa2_ac_paper")
    path = tmp_path_factory.mktemp("released") / "tiny-ac.safetensors"
    save_world_model(path, encoder, predictor(), card, {})
    return path


@pytest.mark.parametrize("tune", [
    FineTuneConfig("all", recompute=True), FineTuneConfig("layers", layers=1), FineTuneConfig("lora", rank=2),
])  # fmt: skip
def test_a_given_predictor_is_fine_tuned(tune: FineTuneConfig, data: Path, released: Path, tmp_path: Path) -> None:
    base = preset()
    loop = LoopConfig(steps=3, warmup_steps=1, learning_rate=1e-2, matrix_rate=0.0, log_every=1, save_every=2)
    config = replace(
        base, data=data, validation=data, out=tmp_path / "run", checkpoint=tmp_path / "tuned.safetensors",
        initial=released, tune=tune, loop=loop, post=replace(base.post, batch=4, clip_frames=3),
    )  # fmt: skip
    card = open_world_model(train(config)).card
    assert (card.solver_preset, card.distance, card.max_step_m) == ("vjepa2_ac_paper", "l1", 0.075)
    before, after = (load_predictor(path).state_dict() for path in (released, config.checkpoint))
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    read_out, matrices = ("predictor_blocks.2", "predictor_norm", "predictor_proj"), ("qkv", "proj", "fc1", "fc2")
    in_blocks = [name for name in before if name.startswith("predictor_blocks")]
    expected = {
        "all": {name for name in before if "extrinsics" not in name},
        "layers": {name for name in before if name.startswith(read_out)},
        "lora": {name for name in in_blocks if name.endswith(tuple(f"{layer}.weight" for layer in matrices))},
    }[tune.parts]
    embeddings = {name for name in before if name.startswith(("action_encoder", "state_encoder"))}
    assert changed == expected | embeddings
    for name, weight in load_encoder(released).state_dict().items():
        assert torch.equal(load_encoder(config.checkpoint).state_dict()[name], weight)


def test_a_low_rank_change_begins_at_nothing_and_ends_in_the_weights() -> None:
    data, network = clips(), predictor()
    inputs = data.latents[:, :2].flatten(1, 2), data.actions[:, :2], data.states[:, :2]
    before = network(*inputs)
    changed = choose_trained(network, FineTuneConfig("lora", rank=2))
    torch.testing.assert_close(changed(*inputs), before)
    with torch.no_grad():
        for name, weight in changed.named_parameters():
            if name.endswith(".up"):
                weight.add_(0.1)
    tuned = changed(*inputs)
    torch.testing.assert_close(merge_changes(changed)(*inputs), tuned)
    assert set(changed.state_dict()) == set(predictor().state_dict())


def kept_bytes(network: ActionConditionedPredictor, data: LatentClips) -> int:
    """What a step of the published loss keeps for its gradient in bfloat16, beside the weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        post_training_losses(network, data, preset().post)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("depth", [2, 3])
def test_a_step_keeps_no_more_than_computed(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a graphics card, where no table of scores is kept.
    monkeypatch.setattr(layers, "plain_attention", F.scaled_dot_product_attention)
    shape = ActionPredictorConfig(64, embed_dim=176, predictor_dim=128, depth=depth, num_heads=2, normalize_output=True)
    network = ActionConditionedPredictor(shape)
    data = LatentClips(torch.randn(4, 4, 16, 176), torch.randn(4, 4, 7), torch.randn(4, 3, 7))
    copies = 2 * sum(weight.numel() for weight in network.parameters())
    whole = kept_bytes(network, data)
    computed = training_bytes(network, 4, 4, 2) - training_bytes(network, 0, 4, 2)
    assert computed / 3 < whole - copies < computed
    network.recompute_blocks = True
    computed = training_bytes(network, 4, 4, 2) - training_bytes(network, 0, 4, 2)
    assert kept_bytes(network, data) < min(computed, 0.4 * whole)


def test_fine_tuning_the_released_predictor_fits_24_gigabytes() -> None:
    with torch.device("meta"):
        network = ActionConditionedPredictor(ActionPredictorConfig(normalize_output=True))
    everything = choose_trained(network, FineTuneConfig("all", recompute=True))
    assert training_bytes(everything, batch=8, clip_frames=8, rollout_steps=2) < 20e9
    everything.recompute_blocks = False
    assert training_bytes(everything, batch=8, clip_frames=8, rollout_steps=2) > 24e9


@pytest.mark.parametrize("changes", [{"layers": 9, "parts": "layers"}, {"rank": 0}])
def test_senseless_fine_tuning_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"blocks, got 9|at least 1"):
        choose_trained(predictor(), FineTuneConfig(**changes))


def test_a_predictor_of_other_latents_is_refused(data: Path, released: Path, tmp_path: Path) -> None:
    encoder = VisionTransformer(EncoderConfig(image_size=32, num_frames=2, embed_dim=12, depth=1, num_heads=2))
    other = tmp_path / "other.safetensors"
    save_world_model(other, encoder, None, ModelCard("other", image_size=32, tokens=4, dim=12), {})
    config = replace(preset(), data=data, validation=data, out=tmp_path, encoder_run=other, initial=released)
    with pytest.raises(ValueError, match=r"expects latents \[4, 24\] and the encoder gives \[4, 12\]"):
        train(config)
