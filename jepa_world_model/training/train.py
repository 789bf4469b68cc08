"""``jepa train``: action-conditioned post-training on a frozen encoder, and the checkpoint that the nodes load."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from jepa_common.file_identity import files_below
from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.checkpoint import save_world_model
from jepa_world_model.data.array_file import one_process_at_a_time
from jepa_world_model.data.episodes import EpisodeArrays, load_episodes
from jepa_world_model.encoders import Encoder, EncoderSource, encoder_card
from jepa_world_model.official_checkpoints import load_encoder
from jepa_world_model.training.distributed import process_device
from jepa_world_model.training.encoder_run import EncoderShape, encoder_files, load_run_encoder
from jepa_world_model.training.energy_metric import EnergyMetric, MetricConfig, fit_energy_metric
from jepa_world_model.training.energy_scale import EnergyScale, energy_scale
from jepa_world_model.training.engine import Engine
from jepa_world_model.training.frozen_latents import (
    CacheMode,
    StandardizedLatents,
    measured_statistics,
    open_latents,
)
from jepa_world_model.training.latents import LatentStatistics
from jepa_world_model.training.loop import LoopConfig
from jepa_world_model.training.post_objective import PostObjectiveConfig, PostTrainObjective
from jepa_world_model.training.post_train import LatentClipSampler, PostTrainConfig
from jepa_world_model.training.predictor_run import WEIGHTS_FILE as PREDICTOR_FILE
from jepa_world_model.training.predictor_run import (
    PredictorShape,
    load_run_predictor,
    predictor_config,
    predictor_for_data,
    trained_parts,
)
from jepa_world_model.training.provenance import provenance, read_provenance
from jepa_world_model.training.readout import fit_linear, readout_errors, readout_targets
from jepa_world_model.training.run_folder import LOCK_FILE, STATE_FILE, claim, claim_inputs, save_tensors
from jepa_world_model.training.scene_rows import SceneConfig, scene_targets
from jepa_world_model.training.validation import validate

_PROBED_EVERY = 4
"""Frames between those that fit the probe: neighbours in time look alike."""


@dataclass(frozen=True)
class TrainConfig:
    """Post-train a predictor on a frozen encoder and write a checkpoint.

    Attributes:
        data, validation: folders of training and held-out episodes.
        encoder_run: run folder of ``jepa pretrain``, a checkpoint of this package, a released file, or an encoder of
            another kind with a local weights file, ``timm:NAME@FILE``.
        out: run folder.
        checkpoint: the ``.safetensors`` to write.
        image_size: side to which a LeRobot dataset's images are scaled; 0 keeps square ones as they are.
        encoder: the encoder's shape, for a run that did not write it down.
        told: what the predictor is told of states and actions in training.
        metric: how the energy's metric is fitted.
        scene: rows of it that follow small things in the picture, for the distance "scene".
        distance: the energy: "metric" needs few and narrow tokens; "l1" is the published one.
        first_predictor: run folder whose predictor this one starts from: of an earlier ``jepa train``, or of
            ``jepa pretrain --objective tokens``.
        latents: what the predictor sees: layer-normed tokens "standardized" per token and channel, or "plain". The
            objective ``tokens`` learns which channels matter; standardising them would lift those that are noise.
        max_step_m: largest translation per action that the checkpoint recommends to planners.
        cache: whether the encoder's latents are kept on disk; "auto" keeps them when they fit.
        device: "cpu", or "cuda" for the graphics card that ``accelerate launch`` gives each process.
    """

    data: Path
    validation: Path
    encoder_run: Path
    out: Path
    checkpoint: Path
    image_size: int = 0
    encoder: EncoderShape = field(default_factory=EncoderShape)
    predictor: PredictorShape = field(default_factory=PredictorShape)
    post: PostTrainConfig = field(default_factory=PostTrainConfig)
    told: PostObjectiveConfig = field(default_factory=PostObjectiveConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    distance: Literal["metric", "l1"] = "metric"
    first_predictor: Path | None = None
    latents: Literal["standardized", "plain"] = "standardized"
    max_step_m: float = 0.2
    cache: CacheMode = "auto"
    device: str = "cpu"


@dataclass(frozen=True)
class _Data:
    """Episodes with their latents."""

    episodes: EpisodeArrays
    latents: StandardizedLatents


def train(config: TrainConfig) -> Path:
    """Train, or go on with, the run in ``config.out``; validate; write ``config.checkpoint`` and return it.

    Raises:
        DatasetError: no usable episodes.
        RunFolderError: the folder holds a run with other settings, data or encoder.
        TrainingError: the run diverged.
    """
    started = time.monotonic()
    claim(config.out, config)
    episodes = load_episodes(config.data, config.image_size)
    held_out = load_episodes(config.validation, config.image_size)
    encoder = frozen_encoder(config, episodes.image_size).to(process_device(config.device))
    claim_inputs(config.out, _inputs(config))
    data = _with_latents(config, encoder, episodes, None)
    metric = kept_metric(config, data, encoder.config.patch_size) if config.distance == "metric" else None
    predictor = build_predictor(config, encoder, episodes)
    engine = Engine(_objective(config, predictor, data, metric), config.loop, config.out, config.device)
    engine.run("train")
    if engine.is_main:
        validation = _with_latents(config, encoder, held_out, data.latents.statistics)
        _finish(config, encoder, predictor.cpu().eval(), data, validation, metric, time.monotonic() - started)
    return config.checkpoint


def _inputs(config: TrainConfig) -> dict[str, list[Path]]:
    """The files that shape the run, beside its settings."""
    folders = {"data": config.data, "validation": config.validation}
    inputs = {name: files_below(folder) for name, folder in folders.items()}
    inputs["encoder_run"] = encoder_files(config.encoder_run)
    if config.first_predictor is not None:
        kept = config.first_predictor / PREDICTOR_FILE
        inputs["first_predictor"] = [kept if kept.exists() else config.first_predictor / STATE_FILE]
    return inputs


def frozen_encoder(config: TrainConfig, image_size: int) -> Encoder:
    """The encoder to train on: of a finished run, of a checkpoint of this package, a released one, or of a kind."""
    source = config.encoder_run
    encoder: Encoder
    if source.is_file() or any(source.glob("*.safetensors")) or EncoderSource.parse(source):
        encoder = load_encoder(source)
        encoder.expect_images(image_size)
    else:
        encoder = load_run_encoder(source, config.encoder, image_size)
    return encoder.eval().requires_grad_(False)


def _with_latents(
    config: TrainConfig, encoder: Encoder, episodes: EpisodeArrays, statistics: LatentStatistics | None
) -> _Data:
    """Episodes with latents that are standardised by given statistics, or by their own."""
    source = open_latents(encoder, episodes, config.out, process_device(config.device), config.cache)
    if statistics is None and config.latents == "plain":
        shape = encoder.config.tokens_per_frame, encoder.config.embed_dim
        statistics = LatentStatistics(torch.zeros(shape), torch.ones(shape))
    statistics = statistics or measured_statistics(source, episodes)
    return _Data(episodes, StandardizedLatents(source, episodes, statistics))


def kept_metric(config: TrainConfig, data: _Data, patch_size: int) -> EnergyMetric:
    """The energy's metric, fitted once and kept in the run folder."""
    path = config.out / "metric.pt"
    with one_process_at_a_time(config.out / LOCK_FILE):
        if not path.exists():
            latents = data.latents.whole()
            episodes = data.episodes.first(len(latents))
            states, scene = torch.from_numpy(episodes.states), _scene(config, episodes, patch_size)
            save_tensors(path, vars(fit_energy_metric(latents, states, config.metric, config.post.seed, scene)))
    return EnergyMetric(**torch.load(path, map_location="cpu", weights_only=True))


def _scene(config: TrainConfig, episodes: EpisodeArrays, patch_size: int) -> Tensor | None:
    """Where small things are in each picture ``[E, T, R]``, if the metric is to follow them."""
    if not config.scene.weight_m:
        return None
    flat = episodes.images.reshape(-1, *episodes.images.shape[2:])
    return scene_targets(flat, config.scene, patch_size, config.post.seed).unflatten(0, episodes.images.shape[:2])


def _objective(
    config: TrainConfig, predictor: ActionConditionedPredictor, data: _Data, metric: EnergyMetric | None
) -> PostTrainObjective:
    sampler = LatentClipSampler(data.latents, data.episodes, config.post)
    mean_state = torch.from_numpy(data.episodes.states).flatten(0, 1).mean(dim=0)
    weights = None if metric is None else metric.weights
    return PostTrainObjective(predictor, sampler, config.post, config.told, mean_state, weights)


def build_predictor(config: TrainConfig, encoder: Encoder, episodes: EpisodeArrays) -> ActionConditionedPredictor:
    """The predictor of an earlier run, or a new one at the data's scale."""
    torch.manual_seed(config.post.seed)
    first = config.first_predictor
    if first is None:
        return predictor_for_data(config.predictor, encoder.config, episodes)
    if (first / PREDICTOR_FILE).exists():
        return trained_parts(load_run_predictor(first), config.predictor)
    predictor = ActionConditionedPredictor(predictor_config(config.predictor, encoder.config))
    predictor.load_state_dict(torch.load(first / STATE_FILE, map_location="cpu", weights_only=True)["module"])
    return trained_parts(predictor, config.predictor)


def _finish(
    config: TrainConfig,
    encoder: Encoder,
    predictor: ActionConditionedPredictor,
    data: _Data,
    validation: _Data,
    metric: EnergyMetric | None,
    seconds: float,
) -> None:
    """Measure on held-out episodes and write the checkpoint."""
    held_out_latents = validation.latents.whole()
    held_out = validation.episodes.first(len(held_out_latents))
    robot = None if metric is None else metric.robot
    trained = read_provenance(config.encoder_run)
    origin: dict[str, Any] = {
        **provenance("jepa train", config, data.episodes),
        "objective": trained.get("config", {}).get("objective", "joint") if trained else "given encoder",
        "encoder": trained,
        "held_out": validate(predictor, held_out_latents, held_out, robot).as_dict(),
        "probe": _probe(data, held_out_latents, held_out),
        "seconds": round(seconds),
    }
    if metric is not None:
        origin["energy_metric"] = {name: value for name, value in vars(metric).items() if name != "weights"}
    scale = energy_scale(predictor, held_out_latents, held_out, robot)
    write_checkpoint(config, encoder.cpu(), predictor, data.latents.statistics, metric, scale, origin)


def _probe(data: _Data, held_out_latents: Tensor, held_out: EpisodeArrays) -> list[dict[str, Any]]:
    """How well a linear map of the latents finds the tool, the objects and the closedness on held-out frames."""
    latents = data.latents.whole()[:, ::_PROBED_EVERY]
    targets, _ = readout_targets(data.episodes.first(len(latents)))
    truth, quantities = readout_targets(held_out)
    readout = fit_linear(latents.flatten(0, 1), targets[:, ::_PROBED_EVERY].flatten(0, 1))
    errors = readout_errors(readout, held_out_latents.flatten(0, 1), truth.flatten(0, 1), quantities)
    return [asdict(error) for error in errors]


def write_checkpoint(
    config: TrainConfig,
    encoder: Encoder,
    predictor: ActionConditionedPredictor,
    statistics: LatentStatistics,
    metric: EnergyMetric | None,
    scale: EnergyScale,
    origin: dict[str, Any],
) -> Path:
    """Save encoder, predictor, latent statistics and the energy's metric, where there is one, as one world model."""
    card = replace(
        encoder_card(encoder.config, config.checkpoint.stem),
        max_step_m=config.max_step_m,
        distance=config.distance,
        reach_energy=scale.reach_energy,
        reach_tolerance_m=scale.reach_tolerance_m,
        energy_per_meter=scale.energy_per_meter,
        surprise_energy=scale.surprise_energy,
        gripper_weight_m=config.metric.gripper_weight,
        scene_rows=0 if metric is None else metric.scene_rows,
    )
    weights = None if metric is None else metric.weights
    save_world_model(config.checkpoint, encoder, predictor, card, origin, statistics.mean, statistics.std, weights)
    return config.checkpoint
