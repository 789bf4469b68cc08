"""LeRobot datasets as arrays of equally long episodes, decoded once and kept beside the dataset.

Frames are taken at our control rate. Episodes of unequal length (DROID and other recordings) are cut into windows.
The decoded images are a memory-mapped file: data sets that are larger than the memory train too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_common.file_identity import file_stamps
from jepa_world_model.data.array_file import array_file
from jepa_world_model.data.episodes import DatasetError, EpisodeArrays
from jepa_world_model.data.lerobot import STATE, LeRobotDataset
from jepa_world_model.data.state_reading import state_columns
from jepa_world_model.poses import difference
from jepa_world_model.preprocess import resize_and_crop

DECODED_FOLDER = ".decoded"
DECODED_FORMAT = 2
"""1 took pictures by their number; since 2 they are those of the rows' times."""

OBJECTS = "observation.environment_state"
"""Where simulators keep what they alone know; used when its numbers are the x, y and z of objects."""

WINDOW_FRAMES = 24
"""Length of the windows that episodes of unequal length are cut into."""

LARGEST_UNEVENNESS = 0.4
"""By which share of it the time from frame to frame may differ from the usual one."""


@dataclass(frozen=True)
class Window:
    """``frames`` frames of an episode from ``start`` on, ``stride`` stored frames apart."""

    episode: int
    start: int
    stride: int
    frames: int

    @property
    def rows(self) -> slice:
        """The stored frames."""
        return slice(self.start, self.start + (self.frames - 1) * self.stride + 1, self.stride)


def load_lerobot_episodes(folder: Path, image_size: int = 0, camera: str = "", rate_hz: float = 4.0) -> EpisodeArrays:
    """Episodes of a dataset whose states are end-effector poses with the gripper's closedness.

    Args:
        folder: the dataset's.
        image_size: side of the square images; 0 keeps square ones as they are.
        camera: which one; empty takes the first.
        rate_hz: about how many frames per second to keep.

    Raises:
        DatasetError: images that are not square, rows missing within an episode, or no episode that is long enough.
        LeRobotError: states of another kind or in other units, or the dataset is damaged.
    """
    dataset = LeRobotDataset(folder)
    every = state_columns(dataset).all_states()
    camera = _chosen_camera(dataset, camera)
    size = image_size or _stored_size(dataset, camera)
    windows = _windows(dataset, rate_hz)
    for window in windows:
        _check_times(dataset, window)
    states = np.stack([every[window.episode][window.rows] for window in windows])
    if not np.isfinite(states).all():
        raise DatasetError(f"{folder}: {STATE} is not finite everywhere; leave the broken episodes out")
    name = f"{_fingerprint(dataset, camera, windows)}-{size}"
    images = _decoded(dataset, camera, size, windows, name)
    actions = difference(states[:, :-1], states[:, 1:]).astype(np.float32)
    return EpisodeArrays(images, states, actions, name, _objects(dataset, windows))


def _objects(dataset: LeRobotDataset, windows: list[Window]) -> NDArray[np.float32] | None:
    """Objects' centres ``[windows, frames, K, 3]``, where the dataset holds them as a simulator's x, y, z."""
    feature = dataset.features.get(OBJECTS)
    if feature is None or [name[-2:] for name in feature.names or ()] != [".x", ".y", ".z"] * (feature.shape[0] // 3):
        return None
    rows = [dataset.columns(window.episode, [OBJECTS])[OBJECTS][window.rows] for window in windows]
    return np.stack(rows).astype(np.float32).reshape(len(windows), windows[0].frames, -1, 3)


def _chosen_camera(dataset: LeRobotDataset, camera: str) -> str:
    names = list(dataset.cameras)
    if not names or (camera and camera not in names):
        raise DatasetError(
            f"{dataset.folder}: expected camera {camera or 'images'}, it has {', '.join(names) or 'none'}"
        )
    return camera or names[0]


def _stored_size(dataset: LeRobotDataset, camera: str) -> int:
    height, width = dataset.cameras[camera]
    if height != width:
        raise DatasetError(
            f"{dataset.folder}: {camera} is {width} x {height}, not square; say --image-size, to scale its short side"
            " to it and cut the middle"
        )
    return height


def _windows(dataset: LeRobotDataset, rate_hz: float) -> list[Window]:
    """The frames to use, in the order of the episodes."""
    stride = max(1, round(dataset.fps / rate_hz))
    lengths = [1 + (record.length - 1) // stride for record in dataset.episodes]
    frames = lengths[0] if len(set(lengths)) == 1 else WINDOW_FRAMES
    windows = [
        Window(episode, first * stride, stride, frames)
        for episode, length in enumerate(lengths)
        for first in range(0, length - frames + 1, frames)
    ]
    if not windows or frames < 2:
        raise DatasetError(f"{dataset.folder}: no episode has {max(2, frames)} frames at {rate_hz} frames per second")
    return windows


def _check_times(dataset: LeRobotDataset, window: Window) -> None:
    """Raises DatasetError where rows are missing in a window: an action would span more time than the others."""
    steps = np.diff(dataset.times(window.episode)[window.rows]) * dataset.fps / window.stride
    if len(uneven := np.flatnonzero(np.abs(steps - 1) > LARGEST_UNEVENNESS)):
        row = window.start + int(uneven[0]) * window.stride
        raise DatasetError(
            f"{dataset.folder}, episode {dataset.episodes[window.episode].index}: expected {window.stride} rows at"
            f" {dataset.fps:g} Hz from row {row} on to take {window.stride / dataset.fps:.3f} s, they take"
            f" {steps[uneven[0]] * window.stride / dataset.fps:.3f} s;"
            " `jepa convert DATASET TARGET --to episodes` cuts the episodes at such gaps"
        )


def _decoded(dataset: LeRobotDataset, camera: str, size: int, windows: list[Window], name: str) -> NDArray[np.uint8]:
    """Images ``[windows, frames, size, size, 3]``, from the file of an earlier call where there is one."""
    shape = (len(windows), windows[0].frames, size, size, 3)
    path = dataset.folder / DECODED_FOLDER / f"{name}.npy"

    def fill(images: NDArray[np.uint8]) -> None:
        for row, window in enumerate(tqdm(windows, desc="decode", unit="episode", mininterval=2.0)):
            for frame, picture in enumerate(_pictures(dataset, camera, window)):
                images[row, frame] = resize_and_crop(picture, size, size)
        if not name.startswith(_fingerprint(dataset, camera, windows)):
            raise DatasetError(f"{dataset.folder} was changed while its pictures were decoded: begin again")

    return array_file(path, shape, np.uint8, fill)


def _pictures(dataset: LeRobotDataset, camera: str, window: Window) -> Iterator[NDArray[np.uint8]]:
    return dataset.pictures_at(window.episode, camera, range(window.rows.start, window.rows.stop, window.stride))


def _fingerprint(dataset: LeRobotDataset, camera: str, windows: list[Window]) -> str:
    """Changes with the dataset's files and with what is taken of them, so that other decoded images are not taken."""
    inputs = (DECODED_FORMAT, camera, windows, file_stamps(dataset.files(camera), dataset.folder))
    return hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]
