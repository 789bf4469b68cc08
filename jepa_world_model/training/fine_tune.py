"""Fine-tuning a trained predictor: which of its weights change, and how much memory that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization, remove_parametrizations

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig

TunedParts = Literal["all", "layers", "lora"]


@dataclass(frozen=True)
class FineTuneConfig:
    """What of an initial predictor is trained.

    Attributes:
        parts: "all" of it; the last "layers", with the read-out and the embeddings of actions and states; or a low-rank
            change of the matrices in all blocks ("lora", Hu et al., 2021), with the same embeddings.
        layers: blocks that "layers" trains.
        rank: of the change that "lora" trains.
        recompute: keep what enters each block alone and compute the rest again for the gradient: a third more time, a
            fraction of the memory.
    """

    parts: TunedParts = "all"
    layers: int = 4
    rank: int = 8
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.layers < 1 or self.rank < 1:
            raise ValueError(f"layers and rank must be at least 1, got {self.layers} and {self.rank}")


class LowRankChange(nn.Module):
    """A weight plus a product of two thin matrices, the second of which starts at zero."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.down = nn.Parameter(torch.randn(rank, inputs, device=weight.device) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight ``[outputs, inputs]``."""
        return weight + self.up @ self.down


def choose_trained(predictor: ActionConditionedPredictor, config: FineTuneConfig) -> ActionConditionedPredictor:
    """Freeze what is not trained; add the low-rank changes, which :func:`merge_changes` works in.

    Raises:
        ValueError: more layers than the predictor has.
    """
    predictor.recompute_blocks = config.recompute
    if config.parts == "all":
        return predictor
    blocks = list(predictor.predictor_blocks)
    if config.parts == "layers" and config.layers > len(blocks):
        raise ValueError(f"tune.layers: the predictor has {len(blocks)} blocks, got {config.layers}")
    predictor.requires_grad_(False)
    trained: list[nn.Module] = [predictor.action_encoder, predictor.state_encoder]
    if config.parts == "layers":
        trained += [*blocks[-config.layers :], predictor.predictor_norm, predictor.predictor_proj]
    for module in trained:
        module.requires_grad_(True)
    if config.parts == "lora":
        for layer in _block_layers(predictor):
            register_parametrization(layer, "weight", LowRankChange(layer.weight, config.rank))
    return predictor


def merge_changes(predictor: ActionConditionedPredictor) -> ActionConditionedPredictor:
    """The same predictor with its low-rank changes, if there are any, in its weights."""
    predictor.recompute_blocks = False
    for layer in _block_layers(predictor):
        if is_parametrized(layer):
            remove_parametrizations(layer, "weight", leave_parametrized=True)
    return predictor


def _block_layers(predictor: ActionConditionedPredictor) -> list[nn.Linear]:
    blocks = predictor.predictor_blocks
    return [layer for block in blocks for layer in block.modules() if isinstance(layer, nn.Linear)]


def training_bytes(predictor: ActionConditionedPredictor, batch: int, clip_frames: int, rollout_steps: int) -> int:
    """Memory that weights, gradients, AdamW's means and kept activations of a step take, bfloat16 in the forward pass.

    An upper bound for the published loss: each token keeps 36 values per unit of width in a block (what its norms,
    projections, rotations, attention and MLP need for the gradient), or 4 if blocks are recomputed; one block at a time
    is computed again. The fused attention of a graphics card is assumed, which keeps no table of scores.
    """
    trained = sum(weight.numel() for weight in predictor.parameters() if weight.requires_grad)
    whole = sum(weight.numel() for weight in predictor.parameters())
    tokens = batch * _predicted_steps(clip_frames, rollout_steps) * predictor.config.tokens_per_step
    return (
        4 * whole + 2 * whole + 12 * trained + _activation_bytes(predictor.config, tokens, predictor.recompute_blocks)
    )


def _predicted_steps(clip_frames: int, rollout_steps: int) -> int:
    """Frames that go through the predictor for one clip."""
    steps = clip_frames - 1
    return steps + sum(range(2, min(rollout_steps, steps) + 1))


def _activation_bytes(config: ActionPredictorConfig, tokens: int, recompute: bool) -> int:
    shape, bf16 = config.block_shape, 2
    block = bf16 * tokens * (_KEPT_WIDTHS * shape.dim + 3 * shape.mlp_dim)
    entering = 4 * tokens * shape.dim
    outside = 4 * tokens * 6 * config.embed_dim
    return outside + (config.depth * entering + block if recompute else config.depth * block)


_KEPT_WIDTHS = 24
