"""``jepa pretrain``: learn an encoder from episodes and keep it in a run folder.

The objective today is ``joint`` (see :mod:`jepa_world_model.training.joint`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jepa_world_model.data.episodes import Clips, ClipSampler, EpisodeArrays, load_episodes
from jepa_world_model.preprocess import normalize_images
from jepa_world_model.training.joint import JointBatch, JointConfig, JointModel
from jepa_world_model.training.loop import LoopConfig, TrainingRun
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

_SMOOTH_COLUMNS = [0, 1, 2, 6]
"""Columns of the state that do not wrap: x, y, z and closedness."""


@dataclass(frozen=True)
class EncoderShape:
    """Size of the encoder to train; patches are 16 pixels, clips two frames, as in the official models."""

    dim: int = 192
    depth: int = 4
    heads: int = 3


@dataclass(frozen=True)
class PretrainConfig:
    """Pretrain an encoder on episodes.

    Attributes:
        data: folder of ``shard_*.npz`` (from ``jepa collect``).
        out: run folder: ``state.pt``, ``log.jsonl``, and ``encoder.pt`` when done.
        batch, clip_frames: clips per step and frames per clip.
        seed: of weights, clips and random directions.
        device: where to train.
    """

    data: Path
    out: Path
    encoder: EncoderShape = field(default_factory=EncoderShape)
    joint: JointConfig = field(default_factory=JointConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    batch: int = 48
    clip_frames: int = 4
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class _Scales:
    """Data-set statistics that bring the heads' targets to unit variance."""

    position_mean: Tensor
    position_std: Tensor
    action_std: Tensor


def pretrain(config: PretrainConfig) -> Path:
    """Train, or go on with, the run in ``config.out``; returns the path of the finished encoder's weights."""
    episodes = load_episodes(config.data)
    torch.manual_seed(config.seed)
    encoder = VisionTransformer(encoder_config(config.encoder, episodes.image_size))
    tokens = (episodes.image_size // encoder.config.patch_size) ** 2
    model = JointModel(encoder, tokens, config.encoder.dim, config.joint).to(config.device)
    run = TrainingRun(model, config.loop, config.out)
    sampler = ClipSampler(episodes, config.clip_frames, config.batch, config.seed)
    scales = _scales(episodes)

    def objective(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        return model.losses(_batch(sampler.clips(step), scales, config.device), generator)

    run.run(objective, "pretrain")
    path = config.out / "encoder.pt"
    torch.save(encoder.state_dict(), path)
    return path


def encoder_config(shape: EncoderShape, image_size: int) -> EncoderConfig:
    """The official encoder class's configuration for our size."""
    return EncoderConfig(
        image_size=image_size, embed_dim=shape.dim, depth=shape.depth, num_heads=shape.heads, num_frames=2
    )


def _scales(episodes: EpisodeArrays) -> _Scales:
    positions = episodes.states[..., _SMOOTH_COLUMNS].reshape(-1, 4)
    actions = episodes.actions.reshape(-1, 7)
    return _Scales(
        torch.from_numpy(positions.mean(0)),
        torch.from_numpy(np.maximum(positions.std(0), 1e-3)),
        torch.from_numpy(np.maximum(actions.std(0), 1e-3)),
    )


def _batch(clips: Clips, scales: _Scales, device: str) -> JointBatch:
    frames = normalize_images(torch.from_numpy(clips.images).flatten(0, 1)).unflatten(0, clips.images.shape[:2])
    positions = torch.from_numpy(clips.states[..., _SMOOTH_COLUMNS])
    return JointBatch(
        frames.to(device),
        ((positions - scales.position_mean) / scales.position_std).to(device),
        (torch.from_numpy(clips.actions) / scales.action_std).to(device),
    )
