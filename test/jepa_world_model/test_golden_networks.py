"""The networks agree with the official implementation on its own inputs and outputs, read from its own files."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from jepa_world_model.official_checkpoints import NetworkShapes, load_encoder, load_predictor, open_official
from jepa_world_model.poses import difference, integrate_batch
from jepa_world_model.world_model import WorldModel

TOLERANCE = 1e-4
ENERGY_TOLERANCE = 1e-5
BFLOAT16_TOLERANCE = 0.08
"""Largest error of a feature of unit variance in bfloat16; 0.047 is reached (mean 0.008), 2.1 with 12 blocks."""
BFLOAT16_ENERGY_TOLERANCE = 2e-3
"""Largest error of an energy near 1.1 in bfloat16; 0.0004 is reached."""

FIRST_GENERATION = ["vjepa2_hd32", "vjepa2_hd64"]
SECOND_GENERATION = ["vjepa2_1_ema_encoder", "vjepa2_1_target_encoder"]


def planning_shapes(shapes: NetworkShapes) -> NetworkShapes:
    return replace(shapes, action_predictor=replace(shapes.action_predictor, normalize_output=True))


def assert_close(got: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(got.float(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", FIRST_GENERATION)
def test_2_0_encodes_videos_and_image_clips_like_the_original(load_golden, name):
    golden = load_golden(name)
    encoder = load_encoder(golden.checkpoint, shapes=golden.shapes)
    for given, expected in (("video", "video_tokens"), ("image_clip", "image_tokens")):
        assert_close(encoder(golden.arrays[given]), golden.arrays[expected])


@pytest.mark.parametrize("name", FIRST_GENERATION)
def test_2_0_encodes_only_the_masked_tokens_like_the_original(load_golden, name):
    golden = load_golden(name)
    encoder = load_encoder(golden.checkpoint, shapes=golden.shapes)
    tokens = encoder(golden.arrays["video"], golden.arrays["context_mask"])
    assert_close(tokens, golden.arrays["context_tokens"])


def test_several_masks_give_their_rows_one_after_the_other(load_golden):
    golden = load_golden("vjepa2_hd32")
    encoder = load_encoder(golden.checkpoint, shapes=golden.shapes)
    mask = golden.arrays["context_mask"]
    tokens = encoder(golden.arrays["video"], [mask, mask])
    assert_close(tokens, golden.arrays["context_tokens"].repeat(2, 1, 1))


@pytest.mark.parametrize("name", FIRST_GENERATION)
def test_masked_predictor_predicts_like_the_original(load_golden, name):
    golden = load_golden(name)
    predictor = open_official(golden.checkpoint, shapes=golden.shapes).load("masked_predictor")
    arrays = golden.arrays
    tokens = predictor(
        arrays["context_tokens"], arrays["context_mask"], arrays["target_mask"], golden.settings["mask_index"]
    )
    assert_close(tokens, arrays["predicted_tokens"])


@pytest.mark.parametrize("name", SECOND_GENERATION)
@pytest.mark.parametrize("given", ["video", "image", "large_video"])
def test_2_1_encodes_like_the_original(load_golden, name, given):
    golden = load_golden(name)
    encoder = load_encoder(golden.checkpoint, shapes=golden.shapes)
    assert_close(encoder(golden.arrays[given]), golden.arrays[f"{given}_tokens"])


@pytest.mark.parametrize("name", [*FIRST_GENERATION, *SECOND_GENERATION])
def test_encoders_in_bfloat16_stay_within_the_stated_bound(load_golden, name):
    golden = load_golden(name)
    encoder = load_encoder(golden.checkpoint, dtype=torch.bfloat16, shapes=golden.shapes)
    tokens = encoder(golden.arrays["video"].bfloat16())
    assert_close(tokens, golden.arrays["video_tokens"], BFLOAT16_TOLERANCE)


def test_frames_are_encoded_alone_as_two_frame_clips(load_golden):
    golden = load_golden("vjepa2_ac")
    encoder = load_encoder(golden.checkpoint, shapes=golden.shapes)
    tokens = encoder(golden.arrays["frames"].unsqueeze(2).expand(-1, -1, 2, -1, -1))
    latents = F.layer_norm(tokens, tokens.shape[-1:]).flatten(0, 1)
    assert_close(latents, golden.arrays["frame_latents"][0])


def test_action_conditioned_predictor_is_teacher_forced_like_the_original(load_golden):
    golden = load_golden("vjepa2_ac")
    predictor = load_predictor(golden.checkpoint, shapes=golden.shapes)
    latents = golden.arrays["frame_latents"].expand(4, -1, -1)
    predicted = predictor(latents, golden.arrays["actions"], golden.arrays["states"])
    assert_close(predicted, golden.arrays["teacher_forced"])


def test_action_conditioned_predictor_in_bfloat16_stays_within_the_stated_bound(load_golden):
    golden = load_golden("vjepa2_ac")
    predictor = load_predictor(golden.checkpoint, dtype=torch.bfloat16, shapes=golden.shapes)
    latents = golden.arrays["frame_latents"].expand(4, -1, -1).bfloat16()
    predicted = predictor(latents, golden.arrays["actions"].bfloat16(), golden.arrays["states"].bfloat16())
    assert_close(predicted, golden.arrays["teacher_forced"], BFLOAT16_TOLERANCE)


def test_rollouts_and_their_energies_are_those_of_the_original(load_golden):
    golden = load_golden("vjepa2_ac")
    arrays = golden.arrays
    predictor = load_predictor(golden.checkpoint, shapes=planning_shapes(golden.shapes))
    latents = arrays["frame_latents"][:, :16].expand(4, -1, -1)
    poses = arrays["states"][:, :1]
    for step in range(3):
        actions = arrays["actions"][:, : step + 1]
        latents = torch.cat([latents, predictor(latents, actions, poses)[:, -16:]], dim=1)
        poses = torch.cat([poses, integrate_batch(poses[:, -1], actions[:, -1])[:, None]], dim=1)
    futures = latents.unflatten(1, (4, 16))[:, 1:]
    assert_close(futures, arrays["rollout"])
    energies = (futures - arrays["goal_latent"]).abs().mean(dim=(-2, -1))
    assert_close(energies, arrays["energies_l1"], ENERGY_TOLERANCE)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, ENERGY_TOLERANCE), (torch.bfloat16, BFLOAT16_ENERGY_TOLERANCE)]
)
@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_energies_of_the_world_model_are_those_of_the_original(load_golden, dtype, tolerance, horizon):
    golden = load_golden("vjepa2_ac")
    arrays = golden.arrays
    shapes = planning_shapes(golden.shapes)
    model = WorldModel.load(golden.checkpoint, dtype=dtype, parts=("predictor",), shapes=shapes)
    first_frame, goal = arrays["frame_latents"][:, :16], arrays["goal_latent"][0]
    # The golden sequences start from one picture and different states.
    energies = [
        model.energy(first_frame, states[:1], actions[None, :horizon], goal)
        for states, actions in zip(arrays["states"], arrays["actions"], strict=True)
    ]
    assert_close(torch.cat(energies), arrays["energies_l1"][:, horizon - 1], tolerance)


def test_poses_integrate_and_differ_like_the_original(load_golden):
    arrays = load_golden("vjepa2_ac").arrays
    poses = [arrays["states"][:, 0]]
    for step in range(3):
        poses.append(integrate_batch(poses[-1], arrays["actions"][:, step]))
    assert_close(torch.stack(poses, dim=1), arrays["rollout_poses"], 1e-6)
    differences = difference(arrays["rollout_poses"][:, 0].numpy(), arrays["rollout_poses"][:, -1].numpy())
    torch.testing.assert_close(torch.from_numpy(differences), arrays["pose_differences"], atol=1e-6, rtol=0)
