"""The training loop that every objective shares: schedule, clipping, progress, and exact resume."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and what to do."""


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train.

    Attributes:
        steps: optimiser steps.
        learning_rate: peak of the warm-up/cosine schedule.
        final_fraction: the schedule's last value as a fraction of the peak.
        weight_decay: AdamW's, on matrices only.
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
    learning_rate: float = 7e-4
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


Objective = Callable[[int], dict[str, Tensor]]
"""Maps a step to named scalar losses; the entry ``loss`` is minimised, the others are logged."""


def learning_rate_at(config: LoopConfig, step: int) -> float:
    """Linear warm-up, then down to ``final_fraction`` of the peak: by a cosine, or held and then linearly."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.cooldown_steps:
        gone = max(0.0, (step - config.steps + config.cooldown_steps + 1) / config.cooldown_steps)
        return config.learning_rate * (1.0 - (1.0 - config.final_fraction) * gone)
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * (config.final_fraction + (1.0 - config.final_fraction) * cosine)


def make_optimizer(module: nn.Module, config: LoopConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves biases, norms and tokens alone."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    others = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))


class TrainingRun:
    """A resumable run in a folder: ``state.pt`` (complete or absent) and ``log.jsonl``.

    The random draws of an objective must depend on the step alone; then a resumed run repeats the uninterrupted one.
    """

    def __init__(self, module: nn.Module, config: LoopConfig, folder: Path) -> None:
        self.module, self.config, self.folder = module, config, Path(folder)
        self.optimizer = make_optimizer(module, config)
        self.step = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    @property
    def state_path(self) -> Path:
        """Where the run's state lies."""
        return self.folder / "state.pt"

    def _resume(self) -> None:
        if not self.state_path.exists():
            return
        state = torch.load(self.state_path, map_location="cpu", weights_only=True)
        if state["steps"] != self.config.steps:
            raise TrainingError(
                f"{self.state_path} belongs to a run of {state['steps']} steps, this one asks for"
                f" {self.config.steps}; give the same number or another output folder"
            )
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def save(self) -> None:
        """Write the state beside its place, then rename: a crash leaves the previous one."""
        state = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "steps": self.config.steps,
        }
        temporary = self.state_path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.state_path)

    def run(self, objective: Objective, title: str) -> None:
        """Train to the last step, with a progress bar.

        Raises:
            TrainingError: the loss is not finite; the last saved state is kept.
        """
        with tqdm(total=self.config.steps, initial=self.step, desc=title, mininterval=2.0) as bar:
            while self.step < self.config.steps:
                losses = self._advance(objective)
                self.step += 1
                bar.update()
                if self.step % self.config.log_every == 0 or self.step == self.config.steps:
                    self._log(losses, bar)
                if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                    self.save()

    def _advance(self, objective: Objective) -> dict[str, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.config, self.step)
        losses = objective(self.step)
        if not torch.isfinite(losses["loss"]):
            raise TrainingError(
                f"the loss is {losses['loss'].item()} at step {self.step}; lower the learning rate and start again,"
                f" the state of an earlier step is in {self.state_path}"
            )
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return losses

    def _log(self, losses: dict[str, Tensor], bar: Any) -> None:
        values = {name: float(value.detach()) for name, value in losses.items()}
        bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()}, refresh=False)
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps({"step": self.step, **values}) + "\n")
