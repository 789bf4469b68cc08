"""``jepa train``: action-conditioned post-training on a frozen encoder, and the checkpoint that the nodes load."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.checkpoint import save_world_model
from jepa_world_model.data.episodes import EpisodeArrays, load_episodes
from jepa_world_model.model_card import ModelCard
from jepa_world_model.training.energy_metric import EnergyMetric, MetricConfig, fit_energy_metric
from jepa_world_model.training.energy_scale import EnergyScale, energy_scale
from jepa_world_model.training.latents import LatentStatistics, encode_frames, latent_statistics
from jepa_world_model.training.loop import LoopConfig, TrainingRun
from jepa_world_model.training.post_train import LatentClipSampler, PostTrainConfig, post_training_losses
from jepa_world_model.training.pretrain import EncoderShape, encoder_config
from jepa_world_model.training.probe import linear_probe
from jepa_world_model.training.provenance import provenance, read_provenance
from jepa_world_model.training.validation import validate
from jepa_world_model.vision_transformer import VisionTransformer


@dataclass(frozen=True)
class PredictorShape:
    """Size of the action-conditioned predictor."""

    dim: int = 128
    depth: int = 4
    heads: int = 4


@dataclass(frozen=True)
class TrainConfig:
    """Post-train a predictor on a frozen encoder and write a checkpoint.

    Attributes:
        data, validation: folders of training and held-out episodes.
        encoder_run: run folder of ``jepa pretrain``.
        out: run folder.
        checkpoint: the ``.safetensors`` to write.
        encoder: the encoder's shape, as it was pretrained.
        metric: how the energy's metric is fitted.
        first_predictor: run folder of an earlier ``jepa train`` whose predictor this one starts from.
        max_step_m: largest translation per action that the checkpoint recommends to planners.
    """

    data: Path
    validation: Path
    encoder_run: Path
    out: Path
    checkpoint: Path
    encoder: EncoderShape = field(default_factory=EncoderShape)
    predictor: PredictorShape = field(default_factory=PredictorShape)
    post: PostTrainConfig = field(default_factory=PostTrainConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    first_predictor: Path | None = None
    max_step_m: float = 0.2
    device: str = "cpu"


def train(config: TrainConfig) -> Path:
    """Train, or go on with, the run in ``config.out``; validate; write ``config.checkpoint`` and return it."""
    started = time.monotonic()
    device = torch.device(config.device)
    episodes, held_out = load_episodes(config.data), load_episodes(config.validation)
    encoder = load_pretrained_encoder(config, episodes.image_size).to(device)
    raw = cached_latents(encoder, episodes, config.out / "latents.pt", device)
    statistics = latent_statistics(raw.flatten(0, 1))
    latents = _standardize(raw, statistics)
    predictor = build_predictor(config, episodes).to(device)
    if config.first_predictor is not None:
        first = torch.load(config.first_predictor / "state.pt", map_location="cpu", weights_only=True)
        predictor.load_state_dict(first["module"])
    metric = cached_metric(config, latents, episodes)
    weights = metric.weights.to(device)
    run = TrainingRun(predictor, config.loop, config.out)
    sampler = LatentClipSampler(latents, episodes, config.post)

    def objective(step: int) -> dict[str, Tensor]:
        clips = sampler.clips(step).to(device)
        return post_training_losses(predictor, clips, config.post.rollout_steps, weights, config.post.metric_weight)

    run.run(objective, "train")
    predictor.eval()
    held_out_latents = _standardize(cached_latents(encoder, held_out, config.out / "held_out.pt", device), statistics)
    origin = {
        **provenance("jepa train", config, episodes),
        "objective": "joint",
        "encoder": read_provenance(config.encoder_run),
        **_held_out_metrics(predictor, latents, episodes, held_out_latents, held_out, metric),
        "seconds": round(time.monotonic() - started),
    }
    scale = energy_scale(predictor, held_out_latents, held_out, metric.weights)
    return write_checkpoint(config, encoder, predictor, statistics, metric, scale, origin)


def load_pretrained_encoder(config: TrainConfig, image_size: int) -> VisionTransformer:
    """The encoder of a finished ``jepa pretrain`` run, frozen."""
    path = config.encoder_run / "encoder.pt"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run `jepa pretrain --out {config.encoder_run}` to its end first")
    encoder = VisionTransformer(encoder_config(config.encoder, image_size))
    encoder.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return encoder.eval().requires_grad_(False)


def cached_latents(encoder: nn.Module, episodes: EpisodeArrays, path: Path, device: torch.device) -> Tensor:
    """Layer-normed float16 latents ``[E, T, tokens, dim]``, computed once and kept at ``path``."""
    if path.exists():
        return torch.load(path, map_location="cpu", weights_only=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    images = episodes.images.reshape(-1, *episodes.images.shape[2:])
    latents = encode_frames(encoder, images, device).unflatten(0, episodes.images.shape[:2])
    temporary = path.with_suffix(".tmp")
    torch.save(latents, temporary)
    temporary.replace(path)
    return latents


def cached_metric(config: TrainConfig, latents: Tensor, episodes: EpisodeArrays) -> EnergyMetric:
    """The energy's metric, fitted once and kept in the run folder."""
    path = config.out / "metric.pt"
    if path.exists():
        return EnergyMetric(**torch.load(path, map_location="cpu", weights_only=True))
    metric = fit_energy_metric(latents, torch.from_numpy(episodes.states), config.metric, config.post.seed)
    temporary = path.with_suffix(".tmp")
    torch.save(vars(metric), temporary)
    temporary.replace(path)
    return metric


def _standardize(latents: Tensor, statistics: LatentStatistics) -> Tensor:
    """Standardised latents in float16, episode by episode so that memory stays flat."""
    return torch.stack([statistics.standardize(episode.float()).half() for episode in latents])


def build_predictor(config: TrainConfig, episodes: EpisodeArrays) -> ActionConditionedPredictor:
    """A predictor whose action and state embeddings start at the data's scale (raw actions are a few centimetres)."""
    torch.manual_seed(config.post.seed)
    predictor = ActionConditionedPredictor(predictor_config(config, episodes.image_size))
    with torch.no_grad():
        for layer, values in ((predictor.action_encoder, episodes.actions), (predictor.state_encoder, episodes.states)):
            rows = torch.from_numpy(values).reshape(-1, values.shape[-1])
            layer.weight.normal_(std=0.3).div_(rows.std(dim=0).clamp(min=1e-2))
            layer.bias.copy_(-layer.weight @ rows.mean(dim=0))
    return predictor


def predictor_config(config: TrainConfig, image_size: int) -> ActionPredictorConfig:
    """The official predictor class's configuration for our size: residual output on standardised latents."""
    shape = config.predictor
    return ActionPredictorConfig(
        image_size=image_size,
        embed_dim=config.encoder.dim,
        predictor_dim=shape.dim,
        depth=shape.depth,
        num_heads=shape.heads,
        residual_output=True,
        normalize_output=False,
    )


def _held_out_metrics(
    predictor: ActionConditionedPredictor,
    latents: Tensor,
    episodes: EpisodeArrays,
    held_out_latents: Tensor,
    held_out: EpisodeArrays,
    metric: EnergyMetric,
) -> dict[str, Any]:
    train_rows, test_rows = _probe_rows(episodes, 3000), _probe_rows(held_out, 1500)
    probe = linear_probe(
        latents.flatten(0, 1)[train_rows],
        _positions(episodes)[train_rows],
        held_out_latents.flatten(0, 1)[test_rows],
        _positions(held_out)[test_rows],
    )
    return {
        "held_out": validate(predictor, held_out_latents, held_out, metric.weights).as_dict(),
        "probe": asdict(probe),
        "energy_metric": {"ridge": metric.ridge, "median_cm": metric.median_cm, "p90_cm": metric.p90_cm},
    }


def _probe_rows(episodes: EpisodeArrays, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(episodes.episodes * episodes.frames, generator=generator)[:count]


def _positions(episodes: EpisodeArrays) -> Tensor:
    return torch.from_numpy(episodes.states[..., :3]).reshape(-1, 3)


def write_checkpoint(
    config: TrainConfig,
    encoder: VisionTransformer,
    predictor: ActionConditionedPredictor,
    statistics: LatentStatistics,
    metric: EnergyMetric,
    scale: EnergyScale,
    origin: dict[str, Any],
) -> Path:
    """Save encoder, predictor, latent statistics and the energy's metric as one world model."""
    shape = encoder.config
    card = ModelCard(
        name=config.checkpoint.stem,
        image_size=shape.image_size,
        tokens=shape.tokens_per_frame,
        dim=shape.embed_dim,
        max_step_m=config.max_step_m,
        distance="metric",
        reach_energy=scale.reach_energy,
        reach_tolerance_m=scale.reach_tolerance_m,
        energy_per_meter=scale.energy_per_meter,
        surprise_energy=scale.surprise_energy,
    )
    save_world_model(
        config.checkpoint, encoder, predictor, card, origin, statistics.mean, statistics.std, metric.weights
    )
    return config.checkpoint
