"""``jepa pretrain``: learn an encoder from episodes and keep it in a run folder.

The objective today is ``joint`` (see :mod:`jepa_world_model.training.joint`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from jepa_world_model.data.episodes import Clips, ClipSampler, EpisodeArrays, load_episodes
from jepa_world_model.preprocess import normalize_images
from jepa_world_model.training.joint import JointBatch, JointConfig, JointModel, state_features
from jepa_world_model.training.loop import LoopConfig, TrainingRun
from jepa_world_model.training.provenance import provenance, write_provenance
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

_SMALLEST_STD = 0.05
"""Least deviation that a head's target is divided by: what hardly varies (m, cosine, closedness) stays unimportant."""

_SCALE_BATCHES = 20


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
        out: run folder: ``state.pt``, ``log.jsonl``, and ``encoder.pt`` with ``provenance.json`` when done.
        batch, clip_frames: clips per step and frames per clip.
        max_stride: frames of a clip lie 1 to this many control periods apart.
        seed: of weights, clips and random directions.
        device: where to train.
    """

    data: Path
    out: Path
    encoder: EncoderShape = field(default_factory=EncoderShape)
    joint: JointConfig = field(default_factory=JointConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    batch: int = 42
    clip_frames: int = 3
    max_stride: int = 4
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class _Scales:
    """Data-set statistics that bring the heads' targets to unit variance."""

    state_mean: Tensor
    state_std: Tensor
    action_std: Tensor


def pretrain(config: PretrainConfig) -> Path:
    """Train, or go on with, the run in ``config.out``; returns the path of the finished encoder's weights."""
    started = time.monotonic()
    episodes = load_episodes(config.data)
    torch.manual_seed(config.seed)
    encoder = VisionTransformer(encoder_config(config.encoder, episodes.image_size))
    tokens = (episodes.image_size // encoder.config.patch_size) ** 2
    model = JointModel(encoder, tokens, config.encoder.dim, config.joint).to(config.device)
    run = TrainingRun(model, config.loop, config.out)
    sampler = ClipSampler(episodes, config.clip_frames, config.batch, config.seed, config.max_stride)
    scales = _scales(episodes, sampler)

    def objective(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        return model.losses(_batch(sampler.clips(step), scales, config.device), generator)

    run.run(objective, "pretrain")
    path = config.out / "encoder.pt"
    torch.save(encoder.state_dict(), path)
    seconds = round(time.monotonic() - started)
    write_provenance(config.out, {**provenance("jepa pretrain", config, episodes), "seconds": seconds})
    return path


def encoder_config(shape: EncoderShape, image_size: int) -> EncoderConfig:
    """The official encoder class's configuration for our size."""
    return EncoderConfig(
        image_size=image_size, embed_dim=shape.dim, depth=shape.depth, num_heads=shape.heads, num_frames=2
    )


def _scales(episodes: EpisodeArrays, sampler: ClipSampler) -> _Scales:
    features = state_features(torch.from_numpy(episodes.states)).flatten(0, 1)
    actions = torch.cat([torch.from_numpy(sampler.clips(step).actions).flatten(0, 1) for step in range(_SCALE_BATCHES)])
    return _Scales(
        features.mean(0), features.std(0).clamp(min=_SMALLEST_STD), actions.std(0).clamp(min=_SMALLEST_STD / 2)
    )


def _batch(clips: Clips, scales: _Scales, device: str) -> JointBatch:
    frames = normalize_images(torch.from_numpy(clips.images).flatten(0, 1)).unflatten(0, clips.images.shape[:2])
    states = state_features(torch.from_numpy(clips.states))
    return JointBatch(
        frames.to(device),
        ((states - scales.state_mean) / scales.state_std).to(device),
        (torch.from_numpy(clips.actions) / scales.action_std).to(device),
    )
