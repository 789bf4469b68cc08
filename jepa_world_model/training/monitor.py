"""Watches an encoder for collapse on held-out frames, and ends a run that is dead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepa_world_model.data.episodes import EpisodeArrays
from jepa_world_model.encoders import Encoder, frame_latents
from jepa_world_model.training.loop import TrainingError
from jepa_world_model.training.probe import linear_probe

_BATCH = 64
_TRAIN_SHARE = 2 / 3


@dataclass(frozen=True)
class MonitorConfig:
    """When to look and what counts as dead.

    Attributes:
        every: steps between looks; 0 never looks.
        frames: held-out frames; two thirds fit the probe, the rest measure it.
        least_std: deviation over frames of a layer-normed feature, averaged; below it latents say nothing.
        least_rank: effective rank of the latents over frames; below it they say one thing only.
        patience: so many looks in a row below a limit end the run.
        ridge: of the probe.
    """

    every: int = 500
    frames: int = 768
    least_std: float = 0.01
    least_rank: float = 2.0
    patience: int = 3
    ridge: float = 1.0


@dataclass(frozen=True)
class CollapseReport:
    """How alive latents are.

    Attributes:
        feature_std: deviation over frames of a layer-normed feature, averaged over tokens and features (0 to 1).
        effective_rank: exponential of the entropy of the latents' normalised spectrum over frames.
        probe_cm: median held-out error of a linear probe of the end-effector's position.
        constant_cm: the same of the mean position, which knows no latent.
    """

    feature_std: float
    effective_rank: float
    probe_cm: float
    constant_cm: float


class CollapseMonitor:
    """Measures an encoder's latents of the same held-out frames every time."""

    def __init__(
        self, encoder: Encoder, held_out: EpisodeArrays, config: MonitorConfig, device: torch.device, seed: int = 0
    ) -> None:
        self._encoder, self._config, self._device = encoder, config, device
        frames = held_out.episodes * held_out.frames
        # Probe and test frames come from different episodes: neighbours in time look alike.
        chosen = np.sort(np.random.default_rng(seed).permutation(frames)[: config.frames])
        episode, frame = np.divmod(chosen, held_out.frames)
        self._images = held_out.images[episode, frame]
        self._positions = torch.from_numpy(held_out.states[episode, frame, :3])
        self._bad_looks = 0

    def due(self, step: int) -> bool:
        """Whether to measure when ``step`` steps are done."""
        return self._config.every > 0 and step % self._config.every == 0

    def measure(self, step: int) -> Mapping[str, float]:
        """Values to log.

        Raises:
            TrainingError: latents have been below a limit ``patience`` times.
        """
        report = collapse_report(self._latents(), self._positions, self._config.ridge)
        config = self._config
        dead = report.feature_std < config.least_std or report.effective_rank < config.least_rank
        self._bad_looks = self._bad_looks + 1 if dead else 0
        if self._bad_looks >= config.patience:
            raise TrainingError(
                f"the encoder has collapsed at step {step}: feature std {report.feature_std:.4f} (at least"
                f" {config.least_std} expected), effective rank {report.effective_rank:.1f} (at least"
                f" {config.least_rank} expected) in {self._bad_looks} looks in a row; add a term against collapse"
                " (--vjepa.sigreg-weight, --vjepa.variance-weight) or lower the learning rate, and start again"
            )
        return {f"monitor/{name}": value for name, value in vars(report).items()}

    @torch.inference_mode()
    def _latents(self) -> Tensor:
        """Layer-normed tokens ``[N, tokens, dim]``, each frame encoded alone as at run time."""
        training = self._encoder.training
        self._encoder.eval()
        parts = []
        for start in range(0, len(self._images), _BATCH):
            images = self._encoder.config.preprocess(self._images[start : start + _BATCH]).to(self._device)
            parts.append(frame_latents(self._encoder, images).cpu())
        self._encoder.train(training)
        return torch.cat(parts)


def collapse_report(latents: Tensor, positions: Tensor, ridge: float = 1.0) -> CollapseReport:
    """Measure layer-normed latents ``[N, tokens, dim]`` of frames, in order of time, with positions ``[N, 3]`` in m."""
    split = int(len(latents) * _TRAIN_SHARE)
    probe = linear_probe(latents[:split], positions[:split], latents[split:], positions[split:], ridge)
    away = (positions[split:] - positions[:split].mean(dim=0)).norm(dim=-1)
    return CollapseReport(
        feature_std=float(latents.std(dim=0).mean()),
        effective_rank=effective_rank(latents),
        probe_cm=probe.median_cm,
        constant_cm=100.0 * float(away.median()),
    )


def effective_rank(latents: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values of centred latents ``[N, ...]``; 0 if constant."""
    flat = latents.flatten(1).double()
    flat = flat - flat.mean(dim=0)
    # The Gram matrix over frames has the same spectrum as the covariance and is small.
    values = torch.linalg.eigvalsh(flat @ flat.T).clamp(min=0.0).sqrt()
    # A share of rounding errors would look like a full rank.
    if float(values.max()) <= 1e-6 * max(1.0, float(latents.abs().max())) * flat.shape[1] ** 0.5:
        return 0.0
    shares = values / values.sum()
    return float(torch.exp(torch.special.entr(shares).sum()))
