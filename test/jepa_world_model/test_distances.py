"""A model may be measured by another distance than its card's, and then nothing in another unit counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import rollout_inputs, tiny_card, tiny_world_model

from jepa_world_model.model_card import ModelCard
from jepa_world_model.world_model import WorldModel

CALIBRATED = {"reach_energy": 0.1, "reach_tolerance_m": 0.04, "energy_per_meter": 2.0, "surprise_energy": 0.3}


def measured() -> WorldModel:
    """A model with a metric and all that is calibrated for it."""
    model = tiny_world_model()
    metric = torch.randn(3, model.card.tokens * model.card.dim, generator=torch.Generator().manual_seed(0))
    return replace(model, metric=metric, card=replace(model.card, distance="metric", **CALIBRATED))


def test_energies_are_measured_by_what_was_asked_for() -> None:
    inputs, model = rollout_inputs(5, 2), measured()
    arguments = (inputs.context, inputs.states, inputs.actions, inputs.context[0])
    torch.testing.assert_close(model.measured_by("l1").energy(*arguments), model.energy(*arguments, "l1"))
    assert not torch.allclose(model.measured_by("l1").energy(*arguments), model.energy(*arguments))
    torch.testing.assert_close(model.measured_by("").energy(*arguments), model.energy(*arguments))


def test_what_was_calibrated_in_another_unit_is_not_known() -> None:
    card = measured().card
    assert card.measured_by("") is card and card.measured_by("metric") is card
    other = card.measured_by("l1")
    assert other.distance == "l1" and other.model_id == card.model_id
    assert {name: getattr(other, name) for name in CALIBRATED} == dict.fromkeys(CALIBRATED)


def test_region_goes_with_any_distance_but_the_metric() -> None:
    region = (0.0, 0.0, 0.5, 0.5)
    with pytest.raises(ValueError, match="with a region, ask for the distance l1"):
        measured().looking_at(region)
    looking = measured().measured_by("l1").looking_at(region)
    assert looking.token_weights is not None
    with pytest.raises(ValueError, match="measures whole pictures"):
        looking.measured_by("metric")


def test_distance_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="expected l1, l2, cosine, metric, metric_gripper, scene or nothing, got 'l3'"):
        ModelCard(name="any").measured_by("l3")
    assert tiny_card().distance == "l1"
    with pytest.raises(ValueError, match="holds no metric; ask for l1, l2 or cosine"):
        tiny_world_model().measured_by("metric")
