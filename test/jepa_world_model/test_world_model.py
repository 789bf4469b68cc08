"""The verbs of a world model: encode, rollout, energy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import rollout_inputs, tiny_card, tiny_encoder, tiny_predictor, tiny_world_model

from jepa_world_model.checkpoint import CheckpointError
from jepa_world_model.energy import latent_distance
from jepa_world_model.rollout import uncached_rollout
from jepa_world_model.world_model import WorldModel

ENERGY_TOLERANCE = 1e-5


def _frames(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 80, 100, 3), dtype=np.uint8)


def test_encoding_repeats_a_frame_and_normalises_its_tokens():
    model = tiny_world_model()
    images = model.card.preprocess(_frames())
    tokens = model.encoder(images.unsqueeze(2).repeat(1, 1, 2, 1, 1))
    latents = model.encode(_frames())
    torch.testing.assert_close(latents, F.layer_norm(tokens, tokens.shape[-1:]), atol=1e-5, rtol=0)
    torch.testing.assert_close(latents.mean(-1), torch.zeros(2, 16), atol=1e-5, rtol=0)


def test_encoding_one_frame_is_encoding_it_among_others():
    model, frames = tiny_world_model(), _frames(3)
    torch.testing.assert_close(model.encode(frames[1:2])[0], model.encode(frames)[1], atol=1e-5, rtol=0)


def test_stored_statistics_standardise_latents():
    plain = tiny_world_model()
    mean, std = torch.randn(16, 48), torch.rand(16, 48) + 0.5
    standardised = replace(plain, statistics=(mean, std)).encode(_frames())
    torch.testing.assert_close(standardised, (plain.encode(_frames()) - mean) / std, atol=1e-5, rtol=0)


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
@pytest.mark.parametrize("total", [False, True])
def test_energies_are_distances_of_the_rolled_out_latents(distance, total):
    model, inputs = tiny_world_model(), rollout_inputs(6, 3)
    goal = rollout_inputs(1, 1, seed=9).context[0]
    energies = model.energy(inputs.context, inputs.states, inputs.actions, goal, distance, sum_over_horizon=total)
    latents = uncached_rollout(model.predictor, inputs)
    per_step = torch.stack([latent_distance(latents[:, step], goal, distance) for step in range(3)], dim=1)
    expected = per_step.sum(1) if total else per_step[:, -1]
    torch.testing.assert_close(energies, expected, atol=ENERGY_TOLERANCE, rtol=0)


def test_little_memory_changes_no_energy():
    model, inputs = tiny_world_model(), rollout_inputs(7, 2)
    arguments = (inputs.context, inputs.states, inputs.actions, inputs.context[0])
    starved = replace(model, memory_bytes=1)
    torch.testing.assert_close(starved.energy(*arguments), model.energy(*arguments), atol=ENERGY_TOLERANCE, rtol=0)
    torch.testing.assert_close(starved.rollout(*arguments[:3]), model.rollout(*arguments[:3]), atol=1e-5, rtol=0)


def test_arrays_serve_as_well_as_tensors():
    model, inputs = tiny_world_model(), rollout_inputs(3, 1)
    tensors = (inputs.context, inputs.states, inputs.actions, inputs.context[0])
    arrays = [tensor.numpy().astype(np.float64) for tensor in tensors]
    torch.testing.assert_close(model.energy(*arrays), model.energy(*tensors), atol=ENERGY_TOLERANCE, rtol=0)


def test_distances_are_zero_at_the_goal_and_known_beside_it():
    goal = torch.randn(16, 48)
    for distance in ("l1", "l2", "cosine"):
        torch.testing.assert_close(latent_distance(goal, goal, distance), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert latent_distance(goal + 2.0, goal, "l1") == pytest.approx(2.0, abs=1e-5)
    assert latent_distance(goal - 2.0, goal, "l2") == pytest.approx(2.0, abs=1e-5)
    assert latent_distance(-goal, goal, "cosine") == pytest.approx(2.0, abs=1e-5)
    with pytest.raises(ValueError, match="expected a distance"):
        latent_distance(goal, goal, "chebyshev")
    with pytest.raises(ValueError, match="expected a goal"):
        latent_distance(goal, goal[:1], "l1")


@pytest.mark.parametrize("wrong", ["context", "states", "actions"])
def test_shapes_that_do_not_fit_the_card_are_refused(wrong):
    model, inputs = tiny_world_model(), rollout_inputs(3, 1, frames=2)
    shortened = replace(inputs, **{wrong: getattr(inputs, wrong)[..., :-1]})
    with pytest.raises(ValueError, match=r"actions \[S, H, 7\]"):
        model.rollout(shortened.context, shortened.states, shortened.actions)
    with pytest.raises(ValueError, match="expected context"):
        model.rollout(inputs.context, inputs.states[:1], inputs.actions)
    with pytest.raises(ValueError, match="expected context"):
        model.rollout(inputs.context, inputs.states, inputs.actions[:0])


def metric_model() -> WorldModel:
    """Its metric finds a position, weighed 1, and a closedness, weighed as the card says, in single features."""
    metric = torch.zeros(2, 16 * 48)
    metric[0, 0], metric[1, 1] = 1.0, 0.01
    card = tiny_card(distance="metric", gripper_weight_m=0.01)
    return replace(tiny_world_model(), card=card, metric=metric)


def latent_of(position: float, closedness: float) -> torch.Tensor:
    latent = torch.zeros(16, 48)
    latent[0, 0], latent[0, 1] = position, closedness
    return latent


def test_a_planned_gripper_counts_more_than_by_the_metric_as_it_was_fitted():
    model, goal = metric_model(), latent_of(0.0, 0.0)
    shut, away = latent_of(0.0, 1.0), latent_of(0.03, 0.0)
    assert float(model.distance(shut, goal)) == pytest.approx(0.01)
    assert float(model.distance(shut, goal, "metric_gripper")) == pytest.approx(0.1)
    assert float(model.weighing_gripper(0.2).distance(shut, goal, "metric_gripper")) == pytest.approx(0.2)
    assert float(model.weighing_gripper(0.2).distance(shut, goal, "metric")) == pytest.approx(0.01)
    assert float(model.distance(away, goal, "metric_gripper")) == pytest.approx(0.03), "poses count as before"
    with pytest.raises(ValueError, match="gripper weight"):
        model.weighing_gripper(-0.1)


def test_how_the_fingers_of_a_goal_differ_is_read_off_the_metric():
    model = metric_model()
    assert model.gripper_change(latent_of(0.5, 0.0), latent_of(0.1, 0.3)) == pytest.approx(0.3)
    assert model.gripper_change(latent_of(0.0, 0.3), latent_of(0.0, 0.0)) == pytest.approx(-0.3)
    assert np.isnan(tiny_world_model().gripper_change(latent_of(0, 0), latent_of(0, 1))), "no metric, no telling"


def test_a_part_that_was_not_loaded_is_named():
    inputs = rollout_inputs(2, 1)
    with pytest.raises(CheckpointError, match="predictor"):
        WorldModel(tiny_card(), tiny_encoder(), None).rollout(inputs.context, inputs.states, inputs.actions)
    with pytest.raises(CheckpointError, match="encoder"):
        WorldModel(tiny_card(), None, tiny_predictor()).encode(_frames())


def test_rollouts_and_energies_equal_the_official_ones(load_golden):
    golden = load_golden("vjepa2_ac")
    shapes = replace(golden.shapes, action_predictor=replace(golden.shapes.action_predictor, normalize_output=True))
    model = WorldModel.load(golden.checkpoint, shapes=shapes)
    arrays = golden.arrays
    context, goal = arrays["frame_latents"][0, :16], arrays["goal_latent"][0]
    for row in range(arrays["actions"].shape[0]):
        start, actions = arrays["states"][row, :1], arrays["actions"][row : row + 1]
        latents = model.rollout(context[None], start, actions)
        torch.testing.assert_close(latents[0], arrays["rollout"][row], atol=1e-4, rtol=0)
        for horizon in (1, 2, 3):
            energy = model.energy(context[None], start, actions[:, :horizon], goal)
            expected = arrays["energies_l1"][row, horizon - 1]
            torch.testing.assert_close(energy[0], expected, atol=ENERGY_TOLERANCE, rtol=0)
