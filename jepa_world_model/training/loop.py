"""What every training run shares: its configuration, the learning rate and the optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from jepa_world_model.layers import Block
from jepa_world_model.training.muon import Muon


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and what to do."""


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train.

    Attributes:
        steps: optimiser steps.
        learning_rate: peak of the warm-up/cosine schedule, AdamW's.
        matrix_rate: the same for Muon, which trains the matrices of transformer blocks; 0 leaves them to AdamW, as
            V-JEPA does.
        final_fraction: the schedule's last value as a fraction of the peak.
        weight_decay: on matrices only.
        warmup_steps: linear warm-up.
        clip_norm: gradient norm limit.
        save_every: steps between checkpoints of the run; an interrupted run loses at most this many.
        log_every: steps between lines in ``log.jsonl``.
        cooldown_steps: with 0 the rate follows a cosine after the warm-up; otherwise it is held and falls linearly
            over this many last steps (V-JEPA 2, section 2.3).
        precision: of the forward pass; weights and optimiser are float32 in any case.
        bad_steps: so many steps in a row whose loss or gradient is not finite are left out; one more ends the run.
        prefetch: batches prepared ahead of the one in work.
    """

    steps: int = 3000
    learning_rate: float = 1.5e-3
    matrix_rate: float = 0.04
    final_fraction: float = 0.01
    weight_decay: float = 0.04
    warmup_steps: int = 100
    clip_norm: float = 1.0
    save_every: int = 250
    log_every: int = 25
    cooldown_steps: int = 0
    precision: Literal["float32", "bf16"] = "float32"
    bad_steps: int = 5
    prefetch: int = 1

    def __post_init__(self) -> None:
        if self.cooldown_steps and self.warmup_steps + self.cooldown_steps > self.steps:
            raise ValueError(
                f"{self.warmup_steps} steps of warm-up and {self.cooldown_steps} of cool-down do not fit a run of"
                f" {self.steps} steps"
            )


def learning_rate_share(config: LoopConfig, step: int) -> float:
    """Share of the peak: linear warm-up, then down to ``final_fraction`` by a cosine, or held and then linearly."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.cooldown_steps:
        gone = max(0.0, (step - config.steps + config.cooldown_steps + 1) / config.cooldown_steps)
        return 1.0 - (1.0 - config.final_fraction) * gone
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return config.final_fraction + (1.0 - config.final_fraction) * cosine


def make_optimizers(module: nn.Module, config: LoopConfig) -> list[torch.optim.Optimizer]:
    """AdamW that decays matrices and leaves biases, norms and tokens alone; Muon before it where it is asked for.

    Each parameter group keeps the peak of its learning rate as ``peak_lr``.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    inner = _block_matrices(module) if config.matrix_rate else []
    known = {id(parameter) for parameter in inner}
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2 and id(parameter) not in known]
    others = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
    ]
    if inner:
        optimizers.insert(0, Muon(inner, config.matrix_rate, config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def set_learning_rates(optimizers: Iterable[torch.optim.Optimizer], config: LoopConfig, step: int) -> None:
    """Brings every parameter group to its place in the schedule at ``step``."""
    share = learning_rate_share(config, step)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak_lr"]


def _block_matrices(module: nn.Module) -> list[Tensor]:
    """Weights of the linear layers inside transformer blocks that are trained."""
    layers = [
        layer
        for block in module.modules()
        if isinstance(block, Block)
        for layer in block.modules()
        if isinstance(layer, nn.Linear)
    ]
    return [layer.weight for layer in layers if layer.weight.requires_grad]
