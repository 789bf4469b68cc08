"""Muon does what torch.optim.Muon does, in the parameters' precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jepa_world_model.training.loop import LoopConfig, make_optimizers, set_learning_rates
from jepa_world_model.training.muon import Muon, orthogonalized
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalized(matrix))
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize("shape", [(24, 8), (8, 24)])
def test_steps_are_those_of_torch(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    ours = nn.Parameter(torch.randn(shape, generator=generator))
    theirs = nn.Parameter(ours.detach().clone())
    optimizers = [
        Muon([ours], lr=0.1, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, momentum=0.95, adjust_lr_fn="original"),
    ]
    for _ in range(5):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    # torch iterates in bfloat16.
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.02)


def test_zero_gradient_moves_nothing() -> None:
    parameter = nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.zeros(4, 4)
    Muon([parameter], lr=0.1).step()
    assert torch.equal(parameter.detach(), torch.ones(4, 4))


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"matrices only.*\(3,\)"):
        Muon([nn.Parameter(torch.ones(3))], lr=0.1)


def encoder() -> VisionTransformer:
    return VisionTransformer(EncoderConfig(image_size=32, embed_dim=24, depth=2, num_heads=2, num_frames=2))


def test_every_parameter_belongs_to_one_optimizer_and_blocks_matrices_to_muon() -> None:
    module = encoder()
    muon, adam = make_optimizers(module, LoopConfig(learning_rate=1e-3, matrix_rate=0.04))
    assert isinstance(muon, Muon)
    inner = [id(value) for group in muon.param_groups for value in group["params"]]
    others = [id(value) for group in adam.param_groups for value in group["params"]]
    assert sorted(inner + others) == sorted(id(value) for value in module.parameters())
    expected = {id(v) for name, v in module.named_parameters() if name.startswith("blocks.") and v.ndim == 2}
    assert set(inner) == expected
    assert len(expected) == 8


def test_without_matrix_rate_everything_is_adamws() -> None:
    module = encoder()
    (adam,) = make_optimizers(module, LoopConfig(matrix_rate=0.0))
    assert isinstance(adam, torch.optim.AdamW)
    assert sum(len(group["params"]) for group in adam.param_groups) == len(list(module.parameters()))


def test_both_rates_follow_one_schedule() -> None:
    config = LoopConfig(steps=100, warmup_steps=10, learning_rate=1e-3, matrix_rate=0.04)
    optimizers = make_optimizers(encoder(), config)
    set_learning_rates(optimizers, config, 4)
    assert [group["lr"] for optimizer in optimizers for group in optimizer.param_groups] == pytest.approx(
        [0.02, 5e-4, 5e-4]
    )
