"""The ways of pretraining as objectives of the engine: batches by step, and what follows an update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.data.episodes import Clips, ClipSampler, EpisodeArrays
from jepa_world_model.preprocess import normalize_images
from jepa_world_model.training.augment import crop_clips, random_crops
from jepa_world_model.training.color_moments import ColorMoments
from jepa_world_model.training.distributed import Part
from jepa_world_model.training.joint import JointBatch, JointModel, state_features
from jepa_world_model.training.masks import draw_mask
from jepa_world_model.training.tokens import TokenBatch, TokenModel
from jepa_world_model.training.vjepa import VJepaBatch, VJepaConfig, VJepaModel

_SMALLEST_STD = 0.05
"""Least deviation that a head's target is divided by: what hardly varies (m, cosine, closedness) stays unimportant."""

_LEAST_CHANGE = 1e-2
"""Least mean squared change of a colour moment that its error is divided by: a still colour stays unimportant."""

_SCALE_BATCHES = 20
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class ClipConfig:
    """Which clips make a step.

    Attributes:
        batch: clips, over all processes.
        max_stride: frames of a clip lie 1 to this many control periods apart.
        seed: of the draws.
    """

    batch: int
    max_stride: int
    seed: int


@dataclass(frozen=True)
class JointStep:
    """Clips of a step, and the seed of its random directions."""

    clips: JointBatch
    seed: int


Model = TypeVar("Model", bound=nn.Module)


class _WholeModel(Generic[Model]):
    """What the objectives share: the model gives the losses, and all of it is a run's state."""

    def __init__(self, model: Model, clips: ClipConfig) -> None:
        self._model, self._clips = model, clips

    @property
    def module(self) -> nn.Module:
        """The model."""
        return self._model

    @property
    def kept(self) -> nn.Module:
        """The model."""
        return self._model

    def after_update(self) -> None:
        """Nothing moves besides the weights."""


class JointObjective(_WholeModel[JointModel]):
    """An action-conditioned JEPA; see :mod:`jepa_world_model.training.joint`."""

    def __init__(self, model: JointModel, episodes: EpisodeArrays, clips: ClipConfig, clip_frames: int) -> None:
        super().__init__(model, clips)
        self._sampler = ClipSampler(episodes, clip_frames, clips.batch, clips.seed, clips.max_stride)
        self._scales = _scales(episodes, self._sampler)

    def batch(self, step: int, part: Part) -> JointStep:
        """This process's clips, with states and actions standardised."""
        clips = self._sampler.clips(step, part.rows(self._clips.batch))
        states = state_features(torch.from_numpy(clips.states))
        batch = JointBatch(
            normalized_frames(clips),
            (states - self._scales.state_mean) / self._scales.state_std,
            torch.from_numpy(clips.actions) / self._scales.action_std,
        )
        return JointStep(batch, self._clips.seed * _SEED_STRIDE + step)

    def losses(self, module: nn.Module, batch: JointStep, device: torch.device) -> dict[str, Tensor]:
        """The terms of the joint loss."""
        clips = batch.clips
        moved = JointBatch(clips.frames.to(device), clips.states.to(device), clips.actions.to(device))
        generator = torch.Generator().manual_seed(batch.seed)
        losses: dict[str, Tensor] = module(moved, generator)
        return losses


class TokenObjective(_WholeModel[TokenModel]):
    """Token-level joint-embedding prediction; see :mod:`jepa_world_model.training.tokens`."""

    def __init__(
        self, model: TokenModel, episodes: EpisodeArrays, clips: ClipConfig, clip_frames: int, moments: ColorMoments
    ) -> None:
        super().__init__(model, clips)
        self._moments = moments
        self._sampler = ClipSampler(episodes, clip_frames, clips.batch, clips.seed, clips.max_stride)
        self._scales = _scales(episodes, self._sampler)
        self._moments_change = self._change_of_moments()

    @property
    def predictor(self) -> ActionConditionedPredictor:
        """The model's predictor, for post-training."""
        return self._model.predictor

    def batch(self, step: int, part: Part) -> TokenBatch:
        """This process's clips, with their colour moments."""
        clips = self._sampler.clips(step, part.rows(self._clips.batch))
        states, actions = torch.from_numpy(clips.states), torch.from_numpy(clips.actions)
        return TokenBatch(
            normalized_frames(clips),
            self._moments_of(clips),
            self._moments_change,
            states,
            (state_features(states) - self._scales.state_mean) / self._scales.state_std,
            actions,
            actions / self._scales.action_std,
        )

    def losses(self, module: nn.Module, batch: TokenBatch, device: torch.device) -> dict[str, Tensor]:
        """The terms of the loss."""
        losses: dict[str, Tensor] = module(batch.to(device))
        return losses

    def _moments_of(self, clips: Clips) -> Tensor:
        """Colour moments ``[B, T, patches, F]``."""
        flat = clips.images.reshape(-1, *clips.images.shape[2:])
        return self._moments(flat).unflatten(0, clips.images.shape[:2])

    def _change_of_moments(self) -> Tensor:
        clips = (self._moments_of(self._sampler.clips(step)) for step in range(_SCALE_BATCHES))
        changes = torch.stack([moments.diff(dim=1).square().mean(dim=(0, 1, 2)) for moments in clips])
        return changes.mean(dim=0).clamp(min=_LEAST_CHANGE)


@dataclass(frozen=True)
class _Stage:
    """Size of the clips in one part of the schedule."""

    frames: int
    image_size: int


class VJepaObjective(_WholeModel[VJepaModel]):
    """Masked latent prediction; see :mod:`jepa_world_model.training.vjepa`.

    Args:
        model: encoder, target and predictor.
        episodes: what to learn from.
        clips: which clips make a step.
        cooldown_from: the step at which longer clips and larger images begin.
    """

    def __init__(self, model: VJepaModel, episodes: EpisodeArrays, clips: ClipConfig, cooldown_from: int) -> None:
        super().__init__(model, clips)
        self._cooldown_from = cooldown_from
        config = model.config
        first = _Stage(config.frames, config.image_size or episodes.image_size)
        last = _Stage(config.cooldown_frames or first.frames, config.cooldown_image_size or first.image_size)
        self._stages = {stage: self._sampler(episodes, stage) for stage in (first, last)}
        self._first, self._last = first, last

    def batch(self, step: int, part: Part) -> VJepaBatch:
        """This process's clips and masks."""
        stage = self._last if step >= self._cooldown_from else self._first
        rows, config = part.rows(self._clips.batch), self._model.config
        clips = self._stages[stage].clips(step, rows)
        generator = np.random.default_rng((self._clips.seed, step, 1))
        crops = random_crops(config.crop, self._clips.batch, generator)[rows]
        grid = self._grid(stage)
        # Drawn for the whole batch, so that several processes keep as many tokens as one.
        masks = tuple(draw_mask(mask, grid, self._clips.batch, generator).rows(rows) for mask in config.masks)
        frames = normalized_frames(clips).transpose(1, 2)
        return VJepaBatch(
            crop_clips(frames, crops, stage.image_size),
            masks,
            grid,
            _warmed_up(config, step),
            self._clips.seed * _SEED_STRIDE + step * len(masks),
        )

    def losses(self, module: nn.Module, batch: VJepaBatch, device: torch.device) -> dict[str, Tensor]:
        """The masked error and the terms that are on."""
        masks = tuple(mask.to(device) for mask in batch.masks)
        moved = VJepaBatch(batch.clips.to(device), masks, batch.grid, batch.context_weight, batch.seed)
        losses: dict[str, Tensor] = module(moved)
        return losses

    def after_update(self) -> None:
        """Move the target encoder."""
        self._model.update_target()

    def _sampler(self, episodes: EpisodeArrays, stage: _Stage) -> ClipSampler:
        return ClipSampler(episodes, stage.frames, self._clips.batch, self._clips.seed, self._clips.max_stride)

    def _grid(self, stage: _Stage) -> tuple[int, int, int]:
        shape = self._model.encoder.config
        if stage.frames % shape.tubelet_size or stage.image_size % shape.patch_size:
            raise ValueError(
                f"expected clips of a multiple of {shape.tubelet_size} frames and images of a multiple of"
                f" {shape.patch_size} pixels, got {stage.frames} frames of {stage.image_size}"
            )
        side = stage.image_size // shape.patch_size
        return stage.frames // shape.tubelet_size, side, side


def normalized_frames(clips: Clips) -> Tensor:
    """Float32 ``[B, T, 3, S, S]``."""
    return normalize_images(torch.from_numpy(clips.images).flatten(0, 1)).unflatten(0, clips.images.shape[:2])


def _warmed_up(config: VJepaConfig, step: int) -> float:
    grown = 1.0 if not config.context_warmup_steps else min(1.0, (step + 1) / config.context_warmup_steps)
    return config.context_weight * grown


@dataclass(frozen=True)
class _Scales:
    """Data-set statistics that bring the heads' targets to unit variance."""

    state_mean: Tensor
    state_std: Tensor
    action_std: Tensor


def _scales(episodes: EpisodeArrays, sampler: ClipSampler) -> _Scales:
    features = state_features(torch.from_numpy(episodes.states)).flatten(0, 1)
    actions = torch.cat([torch.from_numpy(sampler.clips(step).actions).flatten(0, 1) for step in range(_SCALE_BATCHES)])
    return _Scales(
        features.mean(0), features.std(0).clamp(min=_SMALLEST_STD), actions.std(0).clamp(min=_SMALLEST_STD / 2)
    )
