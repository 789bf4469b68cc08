"""Episodes on disk and clips in memory.

A dataset is in the LeRobot v3 layout (see :mod:`jepa_world_model.data.lerobot_episodes`), or a folder of
``shard_*.npz`` files. Each such file holds equally long episodes:

* ``images``  uint8   ``[episodes, frames, size, size, 3]`` RGB,
* ``states``  float32 ``[episodes, frames, 7]`` end-effector state (metres, radians, closedness),
* ``actions`` float32 ``[episodes, frames - 1, 7]`` measured state differences at the control rate,
* ``objects`` float32 ``[episodes, frames, objects, 3]`` where a simulator knows them: centres in metres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_common.file_identity import file_stamps
from jepa_common.gripper_description import GripperDescription
from jepa_common.registry import Registry
from jepa_world_model.data.state_names import POSE_NAMES
from jepa_world_model.data.state_survey import Surveyor
from jepa_world_model.poses import difference

STATE_DIM = 7
ACTION_DIM = 7


class DatasetError(ValueError):
    """A dataset folder that cannot be trained on; the message says what was expected and what came."""


@dataclass(frozen=True)
class EpisodeArrays:
    """All episodes of a dataset in memory.

    Attributes:
        images: uint8 ``[E, T, S, S, 3]`` RGB.
        states: float32 ``[E, T, 7]``.
        actions: float32 ``[E, T - 1, 7]``.
        source: changes with the files that they were read from; empty where nothing tells.
        objects: float32 ``[E, T, K, 3]``, centres in metres, to measure by and never to learn from; None where nobody
            knows them.
    """

    images: NDArray[np.uint8]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    source: str = ""
    objects: NDArray[np.float32] | None = None

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return int(self.images.shape[0])

    @property
    def frames(self) -> int:
        """Frames per episode."""
        return int(self.images.shape[1])

    def first(self, count: int) -> EpisodeArrays:
        """The first ``count`` episodes."""
        objects = None if self.objects is None else self.objects[:count]
        return EpisodeArrays(self.images[:count], self.states[:count], self.actions[:count], self.source, objects)

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return int(self.images.shape[2])


@dataclass(frozen=True)
class Clips:
    """A batch of clips: images uint8 ``[B, T, S, S, 3]``, states ``[B, T, 7]``, actions ``[B, T - 1, 7]``."""

    images: NDArray[np.uint8]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]


@dataclass(frozen=True)
class DatasetFormat:
    """One layout of datasets to train on.

    Attributes:
        looks_like: what tells a folder of this format, for people.
        is_in: whether a folder holds a finished dataset of this format.
        load: the dataset of a folder; the second argument is the side to which images are scaled, 0 keeps square
            ones. Raises DatasetError for what cannot be trained on.
    """

    looks_like: str
    is_in: Callable[[Path], bool]
    load: Callable[[Path, int], EpisodeArrays]


DATASET_FORMATS: Registry[DatasetFormat] = Registry(
    "jepa_ros.dataset_formats",
    "dataset format",
    {"shards": "jepa_world_model.data.episodes:SHARDS", "lerobot": "jepa_world_model.data.episodes:LEROBOT"},
)


def load_episodes(folder: Path, image_size: int = 0) -> EpisodeArrays:
    """Read the dataset in ``folder``, of the first of :data:`DATASET_FORMATS` that it is in.

    Args:
        folder: a LeRobot dataset, shards, or another registered format.
        image_size: side to which a LeRobot dataset's images are scaled; 0 keeps square ones as they are.

    Raises:
        DatasetError: no dataset, a missing array, shapes that do not belong together, or non-finite numbers.
    """
    folder, formats = Path(folder), [DATASET_FORMATS.load(name) for name in DATASET_FORMATS.names()]
    for candidate in formats:
        if candidate.is_in(folder):
            return candidate.load(folder, image_size)
    raise DatasetError(
        f"{folder} holds no finished dataset: expected {' or '.join(known.looks_like for known in formats)};"
        f" `jepa collect --out {folder}` makes one, or goes on with one that was interrupted"
    )


def _load_shards(folder: Path, _: int) -> EpisodeArrays:
    paths = _shards(folder)
    shards = [_load_shard(path) for path in paths]
    return EpisodeArrays(
        images=np.concatenate([shard.images for shard in shards]),
        states=np.concatenate([shard.states for shard in shards]),
        actions=np.concatenate([shard.actions for shard in shards]),
        source=file_stamps(paths, folder),
        objects=_joined([shard.objects for shard in shards]),
    )


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard_*.npz"))


def _joined(objects: list[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    """All shards' objects; None unless every shard has some."""
    known = [part for part in objects if part is not None]
    return np.concatenate(known) if len(known) == len(objects) else None


def _load_lerobot(folder: Path, image_size: int) -> EpisodeArrays:
    # Its libraries for tables and videos are not needed to read shards.
    from jepa_world_model.data.lerobot_episodes import load_lerobot_episodes

    return load_lerobot_episodes(folder, image_size)


SHARDS = DatasetFormat("shard_*.npz", lambda folder: bool(_shards(folder)), _load_shards)
LEROBOT = DatasetFormat(
    "meta/info.json (LeRobot layout)", lambda folder: (folder / "meta" / "info.json").exists(), _load_lerobot
)


def _load_shard(path: Path) -> EpisodeArrays:
    with np.load(path, allow_pickle=False) as arrays:
        missing = {"images", "states", "actions"} - set(arrays.files)
        if missing:
            raise DatasetError(f"{path} lacks {sorted(missing)}; it holds {arrays.files}. Collect it again.")
        objects = arrays["objects"] if "objects" in arrays.files else None
        shard = EpisodeArrays(arrays["images"], arrays["states"], arrays["actions"], objects=objects)
    _check_shard(path, shard)
    return shard


def _check_shard(path: Path, shard: EpisodeArrays) -> None:
    images, states, actions = shard.images, shard.states, shard.actions
    if images.ndim != 5 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise DatasetError(f"{path}: images must be uint8 [E, T, S, S, 3], not {images.dtype} {images.shape}")
    if states.shape != (*images.shape[:2], STATE_DIM):
        raise DatasetError(f"{path}: states must be {(*images.shape[:2], STATE_DIM)}, not {states.shape}")
    if actions.shape != (images.shape[0], images.shape[1] - 1, ACTION_DIM):
        raise DatasetError(f"{path}: actions must have one row fewer than frames, not {actions.shape}")
    if not (np.isfinite(states).all() and np.isfinite(actions).all()):
        raise DatasetError(f"{path}: states or actions are not finite; collect it again")
    surveyor = Surveyor(POSE_NAMES, "euler", GripperDescription((), 0.0, 1.0), 1.0, frozenset({"gripper"}))
    surveyor.add(states.reshape(-1, STATE_DIM).astype(np.float64))
    if refusals := surveyor.result().refusals:
        raise DatasetError(f"{path}: {'; '.join(refusals)}")


class ClipSampler:
    """Draws random clips of evenly spaced frames; the draw depends only on ``seed`` and ``step``.

    Being a function of the step, not of a generator's history, a resumed run sees exactly the clips it would have.
    """

    def __init__(self, episodes: EpisodeArrays, clip_frames: int, batch: int, seed: int, max_stride: int = 1) -> None:
        """Clips of ``clip_frames`` frames that lie 1 to ``max_stride`` control periods apart, drawn per clip.

        Raises:
            DatasetError: the longest clip does not fit the episodes.
        """
        longest = (clip_frames - 1) * max_stride + 1
        if longest > episodes.frames:
            raise DatasetError(
                f"clips of {clip_frames} frames, {max_stride} apart, do not fit episodes of {episodes.frames} frames"
            )
        self._episodes, self._clip_frames, self._batch, self._seed = episodes, clip_frames, batch, seed
        self._max_stride = max_stride

    def indices(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Episode ``[B]`` and frame ``[B, T]`` indices of the batch at ``step``."""
        generator = np.random.default_rng((self._seed, step))
        episode = generator.integers(self._episodes.episodes, size=self._batch)
        stride = generator.integers(1, self._max_stride + 1, size=self._batch)
        start = generator.integers(self._episodes.frames - (self._clip_frames - 1) * stride)
        return episode, start[:, None] + stride[:, None] * np.arange(self._clip_frames)

    def clips(self, step: int, chosen: slice = slice(None)) -> Clips:
        """The batch of clips at ``step``, or ``chosen`` ones; an action spans the time between two frames."""
        episode, frame = (index[chosen] for index in self.indices(step))
        rows = episode[:, None]
        states = self._episodes.states[rows, frame]
        actions = difference(states[:, :-1], states[:, 1:]).astype(np.float32)
        return Clips(images=self._episodes.images[rows, frame], states=states, actions=actions)
