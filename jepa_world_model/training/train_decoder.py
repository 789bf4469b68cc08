"""``jepa train-decoder``: a decoder that shows a checkpoint's latents as pictures, added to the checkpoint.

Encoder and predictor stay as they are, and so does the model's version; nothing is planned by the decoder.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from jepa_world_model.checkpoint import (
    WorldModelFile,
    add_decoder,
    load_encoder_of,
    load_statistics,
    open_world_model,
)
from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.data.episodes import EpisodeArrays, load_episodes
from jepa_world_model.encoders import Encoder
from jepa_world_model.official_checkpoints import is_official
from jepa_world_model.picture_decoder import PictureDecoder, PictureDecoderConfig, to_pixels
from jepa_world_model.preprocess import resize_and_crop
from jepa_world_model.training.distributed import Part, process_device
from jepa_world_model.training.engine import Engine
from jepa_world_model.training.frozen_latents import CacheMode, StandardizedLatents, encode, open_latents
from jepa_world_model.training.latents import LatentStatistics
from jepa_world_model.training.loop import LoopConfig
from jepa_world_model.training.picture_quality import PictureQuality, picture_quality
from jepa_world_model.training.provenance import provenance
from jepa_world_model.training.run_folder import claim

_ROW = 32
"""Frames that are encoded together."""

_AT_ONCE = 64
_MEASURED = 256
"""Frames whose difference to the mean picture is measured."""


@dataclass(frozen=True)
class DecoderShape:
    """Size of the decoder.

    Attributes:
        width, depth, heads: of the transformer blocks on the grid of tokens.
        channels: of the convolutions.
    """

    width: int = 192
    depth: int = 2
    heads: int = 4
    channels: int = 48


@dataclass(frozen=True)
class PictureLoss:
    """What the decoder minimises: mean absolute error of pixels and of the differences between neighbours.

    Attributes:
        unusual_weight: of pixels where a frame differs from the mean picture, as an arm and objects do, against the
            background: an error there counts 1 + weight times the difference, in units of its mean.
        most: largest factor of that.
        edge_weight: of the differences between neighbours, which keep edges sharp.
        latent_noise: deviation of the noise on latents, as a share of theirs, that prepares for predicted ones.
    """

    unusual_weight: float = 1.0
    most: float = 8.0
    edge_weight: float = 1.0
    latent_noise: float = 0.1


@dataclass(frozen=True)
class TrainDecoderConfig:
    """Train a decoder that shows latents as pictures, and add it to the checkpoint.

    Attributes:
        model: checkpoint of this package, a path or a name in models/checkpoints; a released file goes through
            `jepa convert` first.
        data: folder of training episodes.
        validation: folder of held-out ones; without it every tenth episode of `data` is held out.
        out: run folder; out/decoder-NAME unless given.
        checkpoint: the ``.safetensors`` to write; the model's own file unless given.
        frames: random frames to train on.
        held_out_frames: random frames to measure on.
        batch: frames per step.
        seed: of weights, frames and noise.
        cache: whether latents are kept in the run folder; "auto" keeps them when they fit.
        device: "cpu", or "cuda" for the graphics card that ``accelerate launch`` gives each process.
    """

    model: str
    data: Path
    validation: Path | None = None
    out: Path | None = None
    checkpoint: Path | None = None
    frames: int = 8000
    held_out_frames: int = 512
    batch: int = 16
    shape: DecoderShape = field(default_factory=DecoderShape)
    loss: PictureLoss = field(default_factory=PictureLoss)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=800, learning_rate=2e-3, warmup_steps=50))
    seed: int = 0
    cache: CacheMode = "auto"
    device: str = "cpu"


@dataclass(frozen=True)
class FrameLatents:
    """Random frames uint8 ``[N, S, S, 3]`` as the encoder sees them, and their latents, standardised."""

    images: NDArray[np.uint8]
    latents: StandardizedLatents

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Float32 latents ``[B, tokens, dim]`` of the frames ``rows`` ``[B]``."""
        episode, frame = (torch.from_numpy(index) for index in np.divmod(rows, _ROW))
        return self.latents[episode, frame]


@dataclass(frozen=True)
class PictureBatch:
    """latents ``[B, tokens, dim]`` and frames ``[B, 3, S, S]``, 0 to 1."""

    latents: Tensor
    frames: Tensor


class DecoderModel(nn.Module):
    """The decoder with its loss, as one call that several processes can share."""

    def __init__(self, decoder: PictureDecoder, mean: Tensor, mean_difference: float, loss: PictureLoss) -> None:
        """``mean`` picture ``[3, S, S]`` of the frames, and their mean difference to it."""
        super().__init__()
        self.decoder, self.loss, self.mean_difference = decoder, loss, mean_difference
        self.mean_picture: Tensor
        self.register_buffer("mean_picture", mean, persistent=False)

    def forward(self, batch: PictureBatch) -> dict[str, Tensor]:
        """``loss``, and its terms ``pixels`` and ``edges``."""
        error = self.decoder(batch.latents) - batch.frames
        unusual = (batch.frames - self.mean_picture).abs().mean(dim=1, keepdim=True) / self.mean_difference
        weight = (1.0 + self.loss.unusual_weight * unusual).clamp(max=self.loss.most)
        pixels = (weight * error.abs()).mean()
        down, right = (error.diff(dim=axis).abs().mean() for axis in (2, 3))
        return {"loss": pixels + self.loss.edge_weight * (down + right), "pixels": pixels, "edges": down + right}


class DecoderObjective:
    """Pictures of the latents of random frames."""

    def __init__(self, decoder: PictureDecoder, data: FrameLatents, config: TrainDecoderConfig) -> None:
        self._decoder, self._data, self._config = decoder, data, config
        mean = mean_picture(data.images, decoder.config.picture_size)
        with torch.no_grad():
            decoder.base.copy_(mean)
        some = as_targets(data.images[:_MEASURED], decoder.config.picture_size)
        self._model = DecoderModel(decoder, mean, float((some - mean).abs().mean().clamp(min=1e-3)), config.loss)

    @property
    def module(self) -> nn.Module:
        """The decoder with its loss."""
        return self._model

    @property
    def kept(self) -> nn.Module:
        """The decoder."""
        return self._decoder

    def batch(self, step: int, part: Part) -> PictureBatch:
        """This process's share of the frames of ``step``, with noise on their latents."""
        config, share = self._config, part.rows(self._config.batch)
        generator = np.random.default_rng((config.seed, step))
        rows = generator.integers(len(self._data.images), size=config.batch)[share]
        latents = self._data.read(rows)
        noise = np.random.default_rng((config.seed, step, 1)).normal(size=(config.batch, *latents.shape[1:]))[share]
        latents = latents + config.loss.latent_noise * latents.std() * torch.from_numpy(noise).float()
        return PictureBatch(latents, as_targets(self._data.images[rows], self._decoder.config.picture_size))

    def losses(self, module: nn.Module, batch: PictureBatch, device: torch.device) -> dict[str, Tensor]:
        """Errors of pixels and of edges."""
        losses: dict[str, Tensor] = module(PictureBatch(batch.latents.to(device), batch.frames.to(device)))
        return losses

    def after_update(self) -> None:
        """Nothing moves besides the weights."""


def train_decoder(config: TrainDecoderConfig) -> Path:
    """Train, or go on with, a decoder; measure it on held-out frames; return the checkpoint that now holds it.

    Raises:
        CheckpointError: no checkpoint of this package, or one without an encoder.
        DatasetError: no usable episodes.
        RunFolderError: the folder holds a run with other settings.
        TrainingError: the run diverged.
    """
    started = time.monotonic()
    file = _open(config.model)
    folder = config.out or Path("out") / f"decoder-{file.card.name}"
    claim(folder, config)
    device = process_device(config.device)
    encoder = load_encoder_of(file, device, torch.float32)
    if encoder is None:
        raise CheckpointError(f"{file.path} holds no encoder, so there are no latents to show")
    episodes, held_out = _episodes(config, file.card.image_size)
    data = _frame_latents(file, encoder, episodes, config.frames, folder, config)
    torch.manual_seed(config.seed)
    decoder = PictureDecoder(PictureDecoderConfig(file.card.tokens, file.card.dim, **vars(config.shape)))
    engine = Engine(DecoderObjective(decoder, data, config), config.loop, folder, config.device)
    engine.run("train-decoder")
    target = config.checkpoint or file.path
    if engine.is_main:
        unseen = _frame_latents(file, encoder, held_out, config.held_out_frames, folder, config)
        mean = mean_picture(data.images, decoder.config.picture_size)
        quality = measure(decoder.eval(), encoder, unseen, mean, device)
        origin = {**provenance("jepa train-decoder", config, episodes), "model": file.card.model_id, **quality}
        add_decoder(file, target, decoder.cpu(), {**origin, "seconds": round(time.monotonic() - started)})
        print(summary(quality))
    return target


def summary(quality: dict[str, Any]) -> str:
    """The figures in one line."""
    drawn, mean = quality["held_out"], quality["mean_picture"]
    return (
        f"{quality['held_out_frames']} held-out frames: PSNR {drawn['psnr_db']:.1f} dB, SSIM {drawn['ssim']:.3f},"
        f" difference to the encoder {drawn['feature_error']:.0%} of that between two frames"
        f" (the mean picture: {mean['psnr_db']:.1f} dB, {mean['ssim']:.3f}, {mean['feature_error']:.0%})"
    )


def _open(model: str) -> WorldModelFile:
    if is_official(Path(model)):
        raise CheckpointError(f"{model} is a released file; `jepa convert {model} NAME.safetensors` first")
    return open_world_model(model)


def _episodes(config: TrainDecoderConfig, image_size: int) -> tuple[EpisodeArrays, EpisodeArrays]:
    """Training and held-out episodes; a LeRobot dataset's images at the model's size."""
    episodes = load_episodes(config.data, image_size)
    if config.validation is not None:
        return episodes, load_episodes(config.validation, image_size)
    held_out = np.arange(episodes.episodes) % 10 == 9
    if not held_out.any():
        raise ValueError(f"{config.data}: expected at least 10 episodes to hold some out, or --validation")
    return _chosen(episodes, ~held_out), _chosen(episodes, held_out)


def _chosen(episodes: EpisodeArrays, rows: NDArray[np.bool_]) -> EpisodeArrays:
    return EpisodeArrays(episodes.images[rows], episodes.states[rows], episodes.actions[rows])


def _frame_latents(
    file: WorldModelFile,
    encoder: Encoder,
    episodes: EpisodeArrays,
    count: int,
    folder: Path,
    config: TrainDecoderConfig,
) -> FrameLatents:
    """Random frames, in rows as the latents' cache takes them, at the size that the encoder sees."""
    total = episodes.episodes * episodes.frames
    rows = max(1, min(count, total) // _ROW)
    chosen = np.random.default_rng(config.seed).choice(total, rows * _ROW, replace=total < rows * _ROW)
    episode, frame = np.divmod(chosen, episodes.frames)
    preprocess = file.card.preprocess
    images = np.stack(
        [
            resize_and_crop(image, preprocess.short_side, preprocess.image_size)
            for image in episodes.images[episode, frame]
        ]
    )
    states = episodes.states[episode, frame].reshape(rows, _ROW, -1)
    frames = EpisodeArrays(images.reshape(rows, _ROW, *images.shape[1:]), states, np.diff(states, axis=1))
    source = open_latents(encoder, frames, folder, process_device(config.device), config.cache)
    found = load_statistics(file, torch.device("cpu"))
    shape = (file.card.tokens, file.card.dim)
    statistics = LatentStatistics(*(found or (torch.zeros(shape), torch.ones(shape))))
    return FrameLatents(images, StandardizedLatents(source, frames, statistics))


def as_targets(images: NDArray[np.uint8] | NDArray[np.float64], size: int) -> Tensor:
    """Float32 ``[N, 3, size, size]``, 0 to 1, of frames uint8 ``[N, S, S, 3]``."""
    frames = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255.0
    return frames if frames.shape[-1] == size else F.interpolate(frames, size=(size, size), mode="area")


def mean_picture(images: NDArray[np.uint8], size: int) -> Tensor:
    """Float32 ``[3, size, size]``, 0 to 1, of frames uint8 ``[N, S, S, 3]``."""
    return as_targets(images.mean(axis=0, dtype=np.float64)[None], size)[0]


@torch.no_grad()
def measure(
    decoder: PictureDecoder, encoder: Encoder, data: FrameLatents, mean: Tensor, device: torch.device
) -> dict[str, Any]:
    """Quality on held-out frames of what the decoder draws, beside the mean picture of the training frames."""
    size, count = decoder.config.picture_size, len(data.images)
    parts = [data.read(np.arange(at, min(at + _AT_ONCE, count))) for at in range(0, count, _AT_ONCE)]
    drawn = torch.cat([decoder(part.to(device)).float().cpu().clamp(0, 1) for part in parts])
    frames = as_targets(data.images, size)

    def quality(pictures: Tensor) -> PictureQuality:
        return picture_quality(pictures, frames, encoded(pictures), encoded(frames))

    def encoded(pictures: Tensor) -> Tensor:
        seen = F.interpolate(pictures, size=data.images.shape[1:3], mode="bilinear", antialias=True)
        pixels = to_pixels(seen).numpy()
        return torch.cat([encode(encoder, part, device).float() for part in np.array_split(pixels, len(parts))])

    return {
        "held_out_frames": count,
        "held_out": quality(drawn).as_dict(),
        "mean_picture": quality(mean.expand(count, -1, -1, -1)).as_dict(),
    }
