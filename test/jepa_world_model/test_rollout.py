"""Cached rollouts predict what recomputing everything predicts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_models import DIM, TOKENS, rollout_inputs, tiny_predictor

from jepa_world_model.inference_blocks import Workspace, attend
from jepa_world_model.poses import difference
from jepa_world_model.rollout import (
    CachedRollout,
    bytes_per_candidate,
    context_actions,
    in_parts,
    uncached_rollout,
)

TOLERANCE = 1e-5
"""On latents of unit variance, float32."""


@pytest.mark.parametrize("conditioning", ["tokens", "adaln"])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("outputs", [{"residual_output": True}, {"normalize_output": True}])
def test_cached_rollouts_equal_uncached_ones(conditioning, frames, horizon, outputs):
    predictor = tiny_predictor(conditioning=conditioning, **outputs)
    inputs = rollout_inputs(5, horizon, frames)
    rollout = CachedRollout(predictor)
    expected = uncached_rollout(predictor, inputs)
    for _ in range(2):  # buffers and tables of the first call are used again
        torch.testing.assert_close(rollout.latents(inputs), expected, atol=TOLERANCE, rtol=0)


def test_many_tokens_take_the_fused_attention_and_agree_too():
    predictor = tiny_predictor(image_size=144, normalize_output=True)
    inputs = rollout_inputs(3, 2, tokens=81)
    expected = uncached_rollout(predictor, inputs)
    torch.testing.assert_close(CachedRollout(predictor).latents(inputs), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_attention_over_few_tokens_is_that_of_pytorch_however_large_the_scores(scale):
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (torch.randn(3, 2, 9, 8, generator=generator) for _ in range(3))
    expected = F.scaled_dot_product_attention(scale * query, scale * keys, values, scale=1.0)
    got = attend(scale * query, scale * keys, values, Workspace())
    torch.testing.assert_close(got, expected.transpose(1, 2).flatten(2), atol=TOLERANCE, rtol=0)


def test_a_single_candidate_is_rolled_out_like_any_other():
    predictor, inputs = tiny_predictor(), rollout_inputs(4, 2)
    rollout = CachedRollout(predictor)
    alone = rollout.latents(replace(inputs, actions=inputs.actions[2:3]))
    torch.testing.assert_close(alone[0], rollout.latents(inputs)[2], atol=TOLERANCE, rtol=0)


def test_bfloat16_rollouts_stay_near_the_float32_ones():
    predictor, inputs = tiny_predictor(normalize_output=True), rollout_inputs(6, 2)
    expected = uncached_rollout(predictor, inputs)
    low = replace(inputs, context=inputs.context.bfloat16())
    got = CachedRollout(tiny_predictor(normalize_output=True).bfloat16()).latents(low).float()
    assert (got - expected).abs().max() < 0.1
    assert (got - expected).abs().mean() < 0.01


@pytest.mark.parametrize("samples", [1, 2, 3, 64])
def test_parts_give_the_same_as_the_whole(samples):
    predictor, inputs = tiny_predictor(), rollout_inputs(5, 2)
    rollout = CachedRollout(predictor)
    whole = rollout.latents(inputs)
    torch.testing.assert_close(in_parts(rollout.latents, inputs, samples), whole, atol=TOLERANCE, rtol=0)


def test_too_little_memory_makes_parts_smaller_until_they_fit():
    inputs, sizes = rollout_inputs(8, 1), []

    def scarce(part):
        sizes.append(part.actions.shape[0])
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("no memory left")
        return part.actions[:, 0, 0]

    torch.testing.assert_close(in_parts(scarce, inputs, 8), inputs.actions[:, 0, 0])
    assert sizes == [8, 4, 2, 2, 2, 2]


def test_memory_that_fits_not_even_one_candidate_is_reported():
    def none(_):
        raise torch.OutOfMemoryError("no memory left")

    with pytest.raises(torch.OutOfMemoryError):
        in_parts(none, rollout_inputs(4, 1), 4)


def test_longer_rollouts_and_contexts_are_counted_as_needing_more_memory():
    config = tiny_predictor().config
    one = bytes_per_candidate(config, 1, 1, 4)
    assert one >= TOKENS * DIM * 4
    assert one < bytes_per_candidate(config, 2, 1, 4) < bytes_per_candidate(config, 2, 3, 4)
    assert bytes_per_candidate(config, 1, 1, 2) < one


def test_context_actions_lead_from_state_to_state():
    states = rollout_inputs(1, 1, frames=3).states
    expected = difference(states[:-1].numpy(), states[1:].numpy())
    torch.testing.assert_close(context_actions(states).double(), torch.from_numpy(expected), atol=1e-6, rtol=0)
    assert context_actions(states[:1]).shape == (0, 7)
