"""What the encoder and the predictors promise beside agreeing with the official ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.layers import BlockShape
from jepa_world_model.masked_predictor import MaskedPredictor, MaskedPredictorConfig
from jepa_world_model.rope import axis_dim, grid_positions, rotary_table
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

ENCODER = EncoderConfig(image_size=32, embed_dim=24, depth=4, num_heads=2, num_frames=4)
PREDICTOR = ActionPredictorConfig(image_size=32, embed_dim=24, predictor_dim=16, depth=2, num_heads=2)


def encoder(**changes) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(replace(ENCODER, **changes)).eval().requires_grad_(False)


def predictor(**changes) -> ActionConditionedPredictor:
    torch.manual_seed(0)
    network = ActionConditionedPredictor(replace(PREDICTOR, **changes))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval().requires_grad_(False)


def sequence(steps: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((batch, steps * 4, 24), (batch, steps, 7), (batch, steps, 7))
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


@pytest.mark.parametrize("generation", ["2.0", "2.1"])
@pytest.mark.parametrize(("frames", "height", "width"), [(2, 32, 32), (4, 48, 16), (8, 16, 80)])
def test_clips_of_any_size_on_the_patch_grid_are_encoded(generation, frames, height, width):
    tokens = encoder(generation=generation)(torch.randn(1, 3, frames, height, width))
    assert tokens.shape == (1, frames // 2 * (height // 16) * (width // 16), 24)
    assert torch.isfinite(tokens).all()


def test_2_1_takes_a_picture_with_or_without_a_time_axis():
    network, picture = encoder(generation="2.1"), torch.randn(1, 3, 32, 32)
    assert torch.equal(network(picture), network(picture.unsqueeze(2)))


@pytest.mark.parametrize("shape", [(1, 3, 3, 32, 32), (1, 3, 2, 30, 32), (1, 4, 2, 32, 32), (3, 32, 32)])
def test_clips_off_the_patch_grid_are_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        encoder()(torch.randn(shape))


@pytest.mark.parametrize("generation", ["2.0", "2.1"])
def test_the_last_intermediate_layer_is_the_output(generation):
    network, clip = encoder(generation=generation), torch.randn(1, 3, 2, 32, 32)
    levels = network.intermediate(clip)
    assert len(levels) == 4
    assert torch.equal(levels[-1], network(clip))


def test_intermediate_layers_come_in_the_order_asked_for():
    network, clip = encoder(), torch.randn(1, 3, 2, 32, 32)
    first, last = network.intermediate(clip, [0, 3])
    again = network.intermediate(clip, [3, 0])
    assert torch.equal(again[0], last)
    assert torch.equal(again[1], first)


def test_each_level_of_2_1_has_its_own_norm():
    network, clip = encoder(generation="2.1"), torch.randn(1, 3, 2, 32, 32)
    before = network.intermediate(clip, [1])[0]
    network.norms_block[1].weight.mul_(2.0)
    torch.testing.assert_close(network.intermediate(clip, [1])[0], 2.0 * before)


def test_a_layer_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="layers from 0 to 3"):
        encoder().intermediate(torch.randn(1, 3, 2, 32, 32), [4])


def test_a_mask_of_all_tokens_changes_nothing():
    network, clip = encoder(), torch.randn(2, 3, 4, 32, 32)
    torch.testing.assert_close(network(clip, torch.arange(8).expand(2, -1)), network(clip))


def test_encoding_without_gradients_leaves_training_possible():
    network = VisionTransformer(ENCODER)
    clip = torch.randn(1, 3, 2, 32, 32)
    with torch.inference_mode():
        network(clip)
    network(clip).sum().backward()
    assert network.blocks[0].attn.qkv.weight.grad is not None


@pytest.mark.parametrize("conditioning", ["tokens", "adaln"])
def test_a_step_is_predicted_from_itself_and_earlier_ones_only(conditioning):
    network, (latents, actions, states) = predictor(conditioning=conditioning), sequence(3)
    full = network(latents, actions, states)
    first_two = network(latents[:, :8], actions[:, :2], states[:, :2])
    torch.testing.assert_close(full[:, :8], first_two, atol=1e-5, rtol=0)


@pytest.mark.parametrize("conditioning", ["tokens", "adaln"])
@pytest.mark.parametrize("changed", [0, 1, 2])
def test_latents_actions_and_states_of_earlier_steps_matter(conditioning, changed):
    network, inputs = predictor(conditioning=conditioning), sequence(2)
    before = network(*inputs)[:, 4:]
    inputs[changed][:, :1] += 1.0
    assert (network(*inputs)[:, 4:] - before).abs().max() > 1e-3


def test_a_modulated_predictor_starts_without_its_blocks():
    network = ActionConditionedPredictor(replace(PREDICTOR, conditioning="adaln", residual_output=True))
    latents, actions, states = sequence(1)
    embedded = network.predictor_embed(latents)
    expected = latents + network.predictor_proj(network.predictor_norm(embedded))
    torch.testing.assert_close(network(latents, actions, states), expected)


def test_residual_output_adds_the_latent_of_the_step():
    latents, actions, states = sequence(2)
    change = predictor()(latents, actions, states)
    torch.testing.assert_close(predictor(residual_output=True)(latents, actions, states), latents + change)


def test_normalised_output_has_zero_mean_and_unit_variance():
    raw, normed = predictor()(*sequence(2)), predictor(normalize_output=True)(*sequence(2))
    torch.testing.assert_close(normed, F.layer_norm(raw, (24,)))


def test_inputs_that_do_not_belong_together_are_refused():
    latents, actions, states = sequence(2)
    with pytest.raises(ValueError, match="expected latents, actions and states of shapes"):
        predictor()(latents[:, :7], actions, states)
    with pytest.raises(ValueError, match="expected latents"):
        predictor()(latents, actions, states[:, :1])


@pytest.mark.parametrize(("dim", "heads", "words"), [(25, 4, "does not split"), (27, 3, "odd")])
def test_widths_that_do_not_fit_the_heads_are_refused(dim, heads, words):
    with pytest.raises(ValueError, match=words):
        BlockShape(dim, heads, 4 * dim)


def test_masked_predictions_follow_the_order_of_the_targets():
    config = MaskedPredictorConfig(
        image_size=32, num_frames=4, embed_dim=24, predictor_dim=16, depth=2, num_heads=2, num_mask_tokens=2
    )
    network, context = MaskedPredictor(config).eval(), torch.randn(1, 3, 24)
    visible, hidden = torch.tensor([[0, 1, 2]]), torch.tensor([[3, 4, 5]])
    tokens = network(context, visible, hidden)
    torch.testing.assert_close(network(context, visible, hidden.flip(1)), tokens.flip(1), atol=1e-5, rtol=0)
    assert torch.equal(network(context, visible, hidden, mask_index=2), tokens)
    with pytest.raises(ValueError, match="expected context"):
        network(context, visible[:, :2], hidden)


@pytest.mark.parametrize(("head_dim", "size"), [(32, 10), (48, 16), (64, 20), (88, 28)])
def test_each_axis_rotates_the_largest_even_third_of_a_head(head_dim, size):
    assert axis_dim(head_dim) == size
    table = rotary_table(grid_positions(2, 2, 2) + 1, head_dim, "tiled")
    rotated = (table.sin != 0).all(dim=0)
    assert rotated.sum() == 3 * size
    assert not rotated[3 * size :].any()


def test_interleaved_rotation_keeps_lengths_and_depends_on_distance_only():
    table = rotary_table(grid_positions(1, 1, 6), 32, "interleaved")
    query, key = (torch.randn(32).expand(6, -1) for _ in range(2))
    rotated_query, rotated_key = table.rotate(query), table.rotate(key)
    torch.testing.assert_close(rotated_query.norm(dim=-1), query.norm(dim=-1))
    scores = rotated_query @ rotated_key.T
    torch.testing.assert_close(scores.diagonal(1), scores[0, 1].expand(5), atol=1e-4, rtol=0)


def test_tiled_rotation_turns_the_features_of_a_pair_by_different_angles():
    table = rotary_table(grid_positions(2, 1, 1), 32, "tiled")
    cos = table.cos[1, :10]
    assert cos[0] != cos[1]
    assert torch.equal(cos[:5], cos[5:])
