"""Latents of a frozen encoder for training: cached on disk when they fit, computed when they are needed otherwise."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from jepa_world_model.data.array_file import array_file
from jepa_world_model.data.episodes import EpisodeArrays
from jepa_world_model.encoders import Encoder, frame_latents
from jepa_world_model.training.latents import LatentStatistics, latent_statistics

CacheMode = Literal["auto", "always", "never"]

_BATCH = 256
_CACHE_FORMAT = 2
"""1 was named by a few of the images."""

_VALUES_IN_MEMORY = 500_000_000
"""Of latents that are looked at together: 1 GB as float16, 2 GB as float32."""

_DISK_SHARE = 0.8
"""Of the free disk space, what a cache may take."""


class LatentSource(Protocol):
    """Layer-normed tokens of a dataset's frames."""

    def read(self, episode: NDArray[np.int64], frame: NDArray[np.int64]) -> Tensor:
        """Tokens ``[..., tokens, dim]`` on the CPU, of frames with indices of one shape ``[...]``."""


@dataclass(frozen=True)
class CachedSource:
    """A memory-mapped float16 array ``[E, T, tokens, dim]``."""

    array: NDArray[np.float16]

    def read(self, episode: NDArray[np.int64], frame: NDArray[np.int64]) -> Tensor:
        """See :class:`LatentSource`."""
        return torch.from_numpy(self.array[episode, frame])


@dataclass(frozen=True)
class FreshSource:
    """Encodes the frames that are asked for."""

    encoder: Encoder
    images: NDArray[np.uint8]
    device: torch.device

    @torch.no_grad()
    def read(self, episode: NDArray[np.int64], frame: NDArray[np.int64]) -> Tensor:
        """See :class:`LatentSource`."""
        images = self.images[episode, frame]
        flat = images.reshape(-1, *images.shape[-3:])
        parts = [encode(self.encoder, flat[at : at + _BATCH], self.device) for at in range(0, len(flat), _BATCH)]
        return torch.cat(parts).unflatten(0, images.shape[:-3])


def encode(encoder: Encoder, images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Layer-normed float16 tokens ``[N, tokens, dim]`` on the CPU, of images uint8 ``[N, S, S, 3]``."""
    return frame_latents(encoder, encoder.config.preprocess(images).to(device)).half().cpu()


def open_latents(
    encoder: Encoder, episodes: EpisodeArrays, folder: Path, device: torch.device, mode: CacheMode = "auto"
) -> LatentSource:
    """Latents of ``episodes`` by a frozen encoder.

    Args:
        encoder: frozen, in evaluation mode, on ``device``.
        episodes: the dataset.
        folder: where the cache lies; its name tells encoder and images, so a stale one is never read.
        device: where to encode.
        mode: "auto" caches what takes less than most of the free disk space.

    Raises:
        OSError: mode "always", and the disk is full.
    """
    fresh = FreshSource(encoder, episodes.images, device)
    tokens = fresh.read(np.array([0]), np.array([0])).shape[1:]
    shape = (episodes.episodes, episodes.frames, *tokens)
    path = folder / f"latents-{_fingerprint(encoder, episodes)}.npy"
    if mode == "never" or (mode == "auto" and not path.exists() and not _fits(shape, folder)):
        return fresh

    def fill(array: NDArray[Any]) -> None:
        for row in tqdm(range(len(array)), desc="encode", unit="episode", mininterval=2.0):
            array[row] = fresh.read(np.full(shape[1], row), np.arange(shape[1])).numpy()

    return CachedSource(array_file(path, shape, np.float16, fill))


def _fits(shape: tuple[int, ...], folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    return 2 * int(np.prod(shape, dtype=np.int64)) < _DISK_SHARE * shutil.disk_usage(folder).free


def _fingerprint(encoder: Encoder, episodes: EpisodeArrays) -> str:
    """Of the encoder's shape and weights and of all images: of their files, or else of every pixel."""
    shape = (_CACHE_FORMAT, encoder.config, episodes.images.shape, episodes.source)
    digest = hashlib.sha256(repr(shape).encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    for images in () if episodes.source else episodes.images:
        digest.update(np.ascontiguousarray(images).tobytes())
    return digest.hexdigest()[:16]


class StandardizedLatents:
    """Latents with zero mean and unit variance over the data, read as they are needed."""

    def __init__(self, source: LatentSource, episodes: EpisodeArrays, statistics: LatentStatistics) -> None:
        self._source, self._shape, self.statistics = source, (episodes.episodes, episodes.frames), statistics

    def __getitem__(self, index: tuple[Tensor, Tensor]) -> Tensor:
        """Float32 ``[..., tokens, dim]`` of episode and frame indices that broadcast to ``[...]``."""
        episode, frame = np.broadcast_arrays(*(part.numpy() for part in index))
        return self.statistics.standardize(self._source.read(episode, frame).float())

    def whole(self) -> Tensor:
        """The first episodes, as many as fit the memory: float16 ``[E', T, tokens, dim]``."""
        episodes, frames = self._shape
        most = _VALUES_IN_MEMORY // self.statistics.mean.numel()
        chosen = torch.arange(min(episodes, max(1, most // frames)))
        return torch.stack([self[episode.expand(frames), torch.arange(frames)].half() for episode in chosen])


def measured_statistics(source: LatentSource, episodes: EpisodeArrays, seed: int = 0) -> LatentStatistics:
    """Statistics of as many random frames as fit the memory."""
    most = max(2, _VALUES_IN_MEMORY // source.read(np.array([0]), np.array([0])).numel())
    chosen = np.sort(np.random.default_rng(seed).permutation(episodes.episodes * episodes.frames)[:most])
    episode, frame = np.divmod(chosen, episodes.frames)
    return latent_statistics(source.read(episode, frame))
