"""``jepa train``: action-conditioned post-training on a frozen encoder, and the checkpoint that the nodes load."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from jepa_common.file_identity import files_below
from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig, Conditioning
from jepa_world_model.checkpoint import save_world_model
from jepa_world_model.data.array_file import one_process_at_a_time
from jepa_world_model.data.episodes import EpisodeArrays, load_episodes
from jepa_world_model.model_card import ModelCard
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
from jepa_world_model.training.probe import linear_probe
from jepa_world_model.training.provenance import provenance, read_provenance
from jepa_world_model.training.run_folder import LOCK_FILE, STATE_FILE, claim, claim_inputs, save_tensors
from jepa_world_model.training.validation import validate
from jepa_world_model.vision_transformer import VisionTransformer


@dataclass(frozen=True)
class PredictorShape:
    """Size of the action-conditioned predictor.

    Attributes:
        dim, depth, heads: width, blocks, attention heads.
        conditioning: "tokens" puts an action and a state token before each step's patches, as the released model does;
            "adaln" modulates every norm.
        use_state: whether the predictor sees the robot's state. Without it, it goes by the pictures alone, and a camera
            that is turned against the robot's axes contradicts nothing.
    """

    dim: int = 128
    depth: int = 4
    heads: int = 4
    conditioning: Conditioning = "tokens"
    use_state: bool = True


@dataclass(frozen=True)
class TrainConfig:
    """Post-train a predictor on a frozen encoder and write a checkpoint.

    Attributes:
        data, validation: folders of training and held-out episodes.
        encoder_run: run folder of ``jepa pretrain``, a checkpoint of this package, or a released file.
        out: run folder.
        checkpoint: the ``.safetensors`` to write.
        image_size: side to which a LeRobot dataset's images are scaled; 0 keeps square ones as they are.
        encoder: the encoder's shape, for a run that did not write it down.
        told: what the predictor is told of states and actions in training.
        metric: how the energy's metric is fitted.
        distance: the energy: "metric" needs few and narrow tokens; "l1" is the published one.
        first_predictor: run folder of an earlier ``jepa train`` whose predictor this one starts from.
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
    distance: Literal["metric", "l1"] = "metric"
    first_predictor: Path | None = None
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
    metric = kept_metric(config, data) if config.distance == "metric" else None
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
        inputs["first_predictor"] = [config.first_predictor / STATE_FILE]
    return inputs


def frozen_encoder(config: TrainConfig, image_size: int) -> VisionTransformer:
    """The encoder to train on: of a finished run, of a checkpoint of this package, or a released one."""
    source = config.encoder_run
    if source.is_file() or any(source.glob("*.safetensors")):
        encoder = load_encoder(source)
        encoder.config = replace(encoder.config, image_size=image_size)
    else:
        encoder = load_run_encoder(source, config.encoder, image_size)
    return encoder.eval().requires_grad_(False)


def _with_latents(
    config: TrainConfig, encoder: VisionTransformer, episodes: EpisodeArrays, statistics: LatentStatistics | None
) -> _Data:
    """Episodes with latents that are standardised by given statistics, or by their own."""
    source = open_latents(encoder, episodes, config.out, process_device(config.device), config.cache)
    statistics = statistics or measured_statistics(source, episodes)
    return _Data(episodes, StandardizedLatents(source, episodes, statistics))


def kept_metric(config: TrainConfig, data: _Data) -> EnergyMetric:
    """The energy's metric, fitted once and kept in the run folder."""
    path = config.out / "metric.pt"
    with one_process_at_a_time(config.out / LOCK_FILE):
        if not path.exists():
            latents = data.latents.whole()
            states = torch.from_numpy(data.episodes.states[: len(latents)])
            save_tensors(path, vars(fit_energy_metric(latents, states, config.metric, config.post.seed)))
    return EnergyMetric(**torch.load(path, map_location="cpu", weights_only=True))


def _objective(
    config: TrainConfig, predictor: ActionConditionedPredictor, data: _Data, metric: EnergyMetric | None
) -> PostTrainObjective:
    sampler = LatentClipSampler(data.latents, data.episodes, config.post)
    mean_state = torch.from_numpy(data.episodes.states).flatten(0, 1).mean(dim=0)
    weights = None if metric is None else metric.weights
    return PostTrainObjective(predictor, sampler, config.post, config.told, mean_state, weights)


def build_predictor(
    config: TrainConfig, encoder: VisionTransformer, episodes: EpisodeArrays
) -> ActionConditionedPredictor:
    """A predictor whose action and state embeddings start at the data's scale (raw actions are a few centimetres)."""
    torch.manual_seed(config.post.seed)
    predictor = ActionConditionedPredictor(predictor_config(config, encoder))
    with torch.no_grad():
        for layer, values in ((predictor.action_encoder, episodes.actions), (predictor.state_encoder, episodes.states)):
            rows = torch.from_numpy(values).reshape(-1, values.shape[-1])
            layer.weight.normal_(std=0.3).div_(rows.std(dim=0).clamp(min=1e-2))
            layer.bias.copy_(-layer.weight @ rows.mean(dim=0))
    if config.first_predictor is not None:
        first = torch.load(config.first_predictor / STATE_FILE, map_location="cpu", weights_only=True)
        predictor.load_state_dict(first["module"])
    if not config.predictor.use_state:
        with torch.no_grad():
            predictor.state_encoder.weight.zero_()
        predictor.state_encoder.weight.requires_grad_(False)
    if config.predictor.conditioning == "tokens":
        # Without influence on the output; several processes would wait for its gradient.
        predictor.extrinsics_encoder.requires_grad_(False)
    return predictor


def predictor_config(config: TrainConfig, encoder: VisionTransformer) -> ActionPredictorConfig:
    """The official predictor class's configuration for our size: residual output on standardised latents."""
    shape = config.predictor
    return ActionPredictorConfig(
        image_size=encoder.config.image_size,
        embed_dim=encoder.config.embed_dim,
        predictor_dim=shape.dim,
        depth=shape.depth,
        num_heads=shape.heads,
        conditioning=shape.conditioning,
        residual_output=True,
        normalize_output=False,
    )


def _finish(
    config: TrainConfig,
    encoder: VisionTransformer,
    predictor: ActionConditionedPredictor,
    data: _Data,
    validation: _Data,
    metric: EnergyMetric | None,
    seconds: float,
) -> None:
    """Measure on held-out episodes and write the checkpoint."""
    held_out_latents = validation.latents.whole()
    held_out = validation.episodes.first(len(held_out_latents))
    weights = None if metric is None else metric.weights
    trained = read_provenance(config.encoder_run)
    origin: dict[str, Any] = {
        **provenance("jepa train", config, data.episodes),
        "objective": trained.get("config", {}).get("objective", "joint") if trained else "given encoder",
        "encoder": trained,
        "held_out": validate(predictor, held_out_latents, held_out, weights).as_dict(),
        "probe": _probe(data, held_out_latents, held_out),
        "seconds": round(seconds),
    }
    if metric is not None:
        origin["energy_metric"] = {name: value for name, value in vars(metric).items() if name != "weights"}
    scale = energy_scale(predictor, held_out_latents, held_out, weights)
    write_checkpoint(config, encoder.cpu(), predictor, data.latents.statistics, metric, scale, origin)


def _probe(data: _Data, held_out_latents: Tensor, held_out: EpisodeArrays) -> dict[str, float]:
    """How well a linear map of the latents finds the end-effector on held-out frames."""
    latents = data.latents.whole()
    train_rows = _some_rows(latents, 3000)
    test_rows = _some_rows(held_out_latents, 1500)
    probe = linear_probe(
        latents.flatten(0, 1)[train_rows],
        _positions(data.episodes)[train_rows],
        held_out_latents.flatten(0, 1)[test_rows],
        _positions(held_out)[test_rows],
    )
    return asdict(probe)


def _some_rows(latents: Tensor, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(latents.shape[0] * latents.shape[1], generator=generator)[:count]


def _positions(episodes: EpisodeArrays) -> Tensor:
    return torch.from_numpy(episodes.states[..., :3]).reshape(-1, 3)


def write_checkpoint(
    config: TrainConfig,
    encoder: VisionTransformer,
    predictor: ActionConditionedPredictor,
    statistics: LatentStatistics,
    metric: EnergyMetric | None,
    scale: EnergyScale,
    origin: dict[str, Any],
) -> Path:
    """Save encoder, predictor, latent statistics and the energy's metric, where there is one, as one world model."""
    shape = encoder.config
    card = ModelCard(
        name=config.checkpoint.stem,
        image_size=shape.image_size,
        tokens=shape.tokens_per_frame,
        dim=shape.embed_dim,
        max_step_m=config.max_step_m,
        distance=config.distance,
        reach_energy=scale.reach_energy,
        reach_tolerance_m=scale.reach_tolerance_m,
        energy_per_meter=scale.energy_per_meter,
        surprise_energy=scale.surprise_energy,
    )
    weights = None if metric is None else metric.weights
    save_world_model(config.checkpoint, encoder, predictor, card, origin, statistics.mean, statistics.std, weights)
    return config.checkpoint
