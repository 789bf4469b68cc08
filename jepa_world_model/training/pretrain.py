"""``jepa pretrain``: learn an encoder from episodes and keep it in a run folder.

Three objectives: ``tokens``, token-level prediction with an action-conditioned patch predictor that is kept for
post-training (:mod:`jepa_world_model.training.tokens`); ``joint``, the same with one global latent
(:mod:`jepa_world_model.training.joint`); ``vjepa``, masked latent prediction (:mod:`jepa_world_model.training.vjepa`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from jepa_common.file_identity import files_below
from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.data.episodes import EpisodeArrays, load_episodes
from jepa_world_model.masked_predictor import MaskedPredictor
from jepa_world_model.official_checkpoints import is_official, load_encoder, open_official
from jepa_world_model.preprocess import normalize_images
from jepa_world_model.training.color_moments import ColorMoments
from jepa_world_model.training.encoder_run import (
    EncoderShape,
    encoder_config,
    encoder_files,
    load_run_encoder,
    save_run_encoder,
)
from jepa_world_model.training.engine import Engine
from jepa_world_model.training.joint import JointConfig, JointModel
from jepa_world_model.training.loop import LoopConfig
from jepa_world_model.training.monitor import CollapseMonitor, MonitorConfig
from jepa_world_model.training.objectives import ClipConfig, JointObjective, TokenObjective, VJepaObjective
from jepa_world_model.training.predictor_run import (
    PredictorShape,
    load_run_predictor,
    predictor_files,
    predictor_for_data,
    save_run_predictor,
    trained_parts,
)
from jepa_world_model.training.provenance import provenance, write_provenance
from jepa_world_model.training.run_folder import claim, claim_inputs
from jepa_world_model.training.tokens import TokenConfig, TokenModel
from jepa_world_model.training.vjepa import VJepaConfig, VJepaModel, predictor_for
from jepa_world_model.vision_transformer import VisionTransformer

__all__ = ["EncoderShape", "PretrainConfig", "encoder_config", "pretrain"]

_MOMENT_FRAMES = 2000
"""Random frames in which colours and the deviation of their moments are found."""


@dataclass(frozen=True)
class PretrainConfig:
    """Pretrain an encoder on episodes.

    Attributes:
        data: folder of episodes (from ``jepa collect``, or a LeRobot dataset).
        out: run folder: ``config.yaml``, ``state.pt``, ``log.jsonl``, ``tensorboard/``, and ``encoder.pt`` with
            ``encoder.json`` and ``provenance.json`` when done.
        objective: what to minimise; the options of the others have no effect.
        validation: held-out episodes for the monitor; without them it looks at training frames.
        initial: weights to start from: a run folder, a checkpoint of this package or a released file. Its shape is
            taken, not ``encoder``. ``tokens`` also takes the predictor that a run of the same objective left there.
        image_size: side to which a LeRobot dataset's images are scaled; 0 keeps square ones as they are.
        batch: clips per step, over all processes.
        predictor: shape of the predictor of ``tokens``.
        clip_frames: frames per clip of ``tokens`` and ``joint``.
        max_stride: frames of a clip of ``tokens`` and ``joint`` lie 1 to this many control periods apart.
        seed: of weights, clips, masks and random directions.
        device: "cpu", or "cuda" for the graphics card that ``accelerate launch`` gives each process.
    """

    data: Path
    out: Path
    objective: Literal["tokens", "joint", "vjepa"] = "joint"
    validation: Path | None = None
    initial: Path | None = None
    image_size: int = 0
    encoder: EncoderShape = field(default_factory=EncoderShape)
    tokens: TokenConfig = field(default_factory=TokenConfig)
    predictor: PredictorShape = field(default_factory=PredictorShape)
    joint: JointConfig = field(default_factory=JointConfig)
    vjepa: VJepaConfig = field(default_factory=VJepaConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    batch: int = 42
    clip_frames: int = 3
    max_stride: int = 4
    seed: int = 0
    device: str = "cpu"


def pretrain(config: PretrainConfig) -> Path:
    """Train, or go on with, the run in ``config.out``; returns the path of the finished encoder's weights.

    Raises:
        DatasetError: no usable episodes.
        RunFolderError: the folder holds a run with other settings, data or initial weights.
        TrainingError: the run diverged or its latents collapsed.
    """
    started = time.monotonic()
    claim(config.out, config)
    episodes = load_episodes(config.data, config.image_size)
    held_out = episodes if config.validation is None else load_episodes(config.validation, config.image_size)
    objective, encoder = _objective(config, episodes)
    claim_inputs(config.out, _inputs(config))
    engine = Engine(objective, config.loop, config.out, config.device)
    engine.run("pretrain", CollapseMonitor(encoder, held_out, config.monitor, engine.device))
    if engine.is_main:
        seconds = round(time.monotonic() - started)
        save_run_encoder(config.out, encoder)
        if isinstance(objective, TokenObjective):
            save_run_predictor(config.out, objective.predictor)
        write_provenance(config.out, {**provenance("jepa pretrain", config, episodes), "seconds": seconds})
    return config.out / "encoder.pt"


def _inputs(config: PretrainConfig) -> dict[str, list[Path]]:
    """The files that shape the run, beside its settings."""
    inputs = {"data": files_below(config.data)}
    if config.validation is not None:
        inputs["validation"] = files_below(config.validation)
    if config.initial is not None:
        inputs["initial"] = [*encoder_files(config.initial), *predictor_files(config.initial)]
    return inputs


def _objective(
    config: PretrainConfig, episodes: EpisodeArrays
) -> tuple[TokenObjective | JointObjective | VJepaObjective, VisionTransformer]:
    """What to minimise, and the encoder to keep: for ``vjepa`` the moving average, as in the released models."""
    torch.manual_seed(config.seed)
    encoder = _first_encoder(config, episodes.image_size)
    if config.objective == "tokens":
        return _token_objective(config, episodes, encoder), encoder
    if config.objective == "joint":
        clips = ClipConfig(config.batch, config.max_stride, config.seed)
        model = JointModel(encoder, encoder.config.tokens_per_frame, encoder.config.embed_dim, config.joint)
        return JointObjective(model, episodes, clips, config.clip_frames), encoder
    clips = ClipConfig(config.batch, config.vjepa.max_stride, config.seed)
    masked = VJepaModel(encoder, config.vjepa, _first_predictor(config))
    cooldown_from = config.loop.steps - config.loop.cooldown_steps
    return VJepaObjective(masked, episodes, clips, cooldown_from), masked.target_encoder


def _token_objective(config: PretrainConfig, episodes: EpisodeArrays, encoder: VisionTransformer) -> TokenObjective:
    frames = np.random.default_rng(config.seed).integers(episodes.episodes * episodes.frames, size=_MOMENT_FRAMES)
    images = episodes.images[np.divmod(frames, episodes.frames)]
    moments = ColorMoments.fit(images, config.tokens.colors, encoder.config.patch_size, config.seed)
    predictor = _first_action_predictor(config, encoder, episodes)
    model = TokenModel(encoder, predictor, moments.features, config.tokens)
    shown = images[: config.monitor.frames]
    model.fit_moments(normalize_images(torch.from_numpy(shown)), moments(shown))
    clips = ClipConfig(config.batch, config.max_stride, config.seed)
    return TokenObjective(model, episodes, clips, config.clip_frames, moments)


def _first_encoder(config: PretrainConfig, image_size: int) -> VisionTransformer:
    if config.initial is None:
        return VisionTransformer(encoder_config(config.encoder, image_size))
    run = config.initial / "encoder.pt"
    encoder = (
        load_run_encoder(config.initial, config.encoder, image_size) if run.exists() else load_encoder(config.initial)
    )
    if not isinstance(encoder, VisionTransformer):
        raise CheckpointError(f"{config.initial}: expected a V-JEPA encoder to go on from, got {encoder.config.kind}")
    encoder.expect_images(image_size)
    return encoder.train().requires_grad_(True)


def _first_action_predictor(
    config: PretrainConfig, encoder: VisionTransformer, episodes: EpisodeArrays
) -> ActionConditionedPredictor:
    if config.initial is not None and predictor_files(config.initial):
        return trained_parts(load_run_predictor(config.initial), config.predictor).train()
    return predictor_for_data(config.predictor, encoder.config, episodes)


def _first_predictor(config: PretrainConfig) -> MaskedPredictor | None:
    """The masked predictor of a released file, where it holds one that fits the objective."""
    initial = config.initial
    if (
        initial is None
        or (initial / "encoder.pt").exists()
        or not is_official(initial)
        or config.vjepa.deep_supervision
    ):
        return None
    predictor = open_official(initial).load("masked_predictor")
    if not isinstance(predictor, MaskedPredictor):
        return None
    return predictor_for(predictor.train().requires_grad_(True), config.vjepa)
