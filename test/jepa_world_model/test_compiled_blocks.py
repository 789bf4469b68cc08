"""Compiled blocks compute what the others do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import rollout_inputs, tiny_predictor, tiny_world_model

from jepa_world_model.compiled_blocks import compile_once
from jepa_world_model.rollout import CachedRollout, uncached_rollout

TOLERANCE = 1e-5
"""On latents of unit variance and on energies, float32."""
FRAMES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def traced(monkeypatch):
    """torch.compile traces as ever, in one piece, and runs what it traced: the C++ compiler would take minutes."""
    compile_ = torch.compile

    def trace(function, mode):
        assert mode in ("default", "reduce-overhead", "max-autotune")
        return compile_(function, backend="aot_eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", trace)
    compile_once.cache_clear()
    torch.compiler.reset()
    yield
    compile_once.cache_clear()
    torch.compiler.reset()


@pytest.mark.parametrize("conditioning", ["tokens", "adaln"])
def test_compiled_rollouts_equal_uncached_ones(traced, conditioning):
    predictor = tiny_predictor(conditioning=conditioning, depth=2, normalize_output=True)
    rollout = CachedRollout(predictor, "reduce-overhead")
    for samples in (5, 3):
        inputs = rollout_inputs(samples, 2, frames=2)
        expected = uncached_rollout(predictor, inputs)
        torch.testing.assert_close(rollout.latents(inputs), expected, atol=TOLERANCE, rtol=0)


def assert_compiling_changes_nothing() -> None:
    model, inputs = tiny_world_model(), rollout_inputs(5, 1)
    arguments = (inputs.context, inputs.states, inputs.actions, inputs.context[0])
    latents, energies = model.encode(FRAMES), model.energy(*arguments)
    compiled = model.compiled()
    torch.testing.assert_close(compiled.encode(FRAMES), latents, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(compiled.energy(*arguments), energies, atol=TOLERANCE, rtol=0)


def test_compiling_changes_no_latent_and_no_energy(traced):
    assert_compiling_changes_nothing()


@pytest.mark.long
def test_compiling_to_machine_code_changes_no_latent_and_no_energy():
    assert_compiling_changes_nothing()
