"""LeRobot datasets of other robots and labs (DROID and the like) become episodes that our training reads.

Those are LeRobot datasets too: at the model's rate, with end-effector states and square pictures of one camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_tools.conversion.bag_to_dataset import padded_actions
from jepa_tools.conversion.columns import IMAGES, POSE_NAMES, VIDEO_OPTIONS, Storage, pose_features
from jepa_tools.conversion.dataset_to_bag import check_states, chosen_camera
from jepa_world_model.data.lerobot import (
    ACTION,
    STATE,
    DatasetDescription,
    Episode,
    LeRobotDataset,
    LeRobotError,
    write_dataset,
)
from jepa_world_model.poses import difference
from jepa_world_model.preprocess import resize_and_crop


@dataclass(frozen=True)
class EpisodeConversion:
    """How a dataset becomes training episodes.

    Attributes:
        rate_hz: about how many frames per second to keep; every n-th stored frame is.
        camera: name of the camera; empty takes the only one.
        state_columns: columns that make up the state x, y, z (m), roll, pitch, yaw (extrinsic xyz, rad), closedness
            (0 open to 1 closed), in this order; empty where `observation.state` is that already. Of DROID:
            observation.state.cartesian_position and observation.state.gripper_position.
        image_size: side of the square pictures, pixels; the short side is scaled to it and the middle cut.
        storage: how pictures are stored.
    """

    rate_hz: float = 4.0
    camera: str = ""
    state_columns: tuple[str, ...] = ()
    image_size: int = 256
    storage: Storage = "lossless"


def convert_to_episodes(source: Path, target: Path, conversion: EpisodeConversion) -> int:
    """Writes the training episodes, and returns how many episodes were left out because they are too short.

    Raises:
        LeRobotError: the dataset is damaged, or lacks the camera or the states.
        FileExistsError: `target` exists.
    """
    dataset = LeRobotDataset(source)
    camera = chosen_camera(dataset, conversion.camera)
    _check_columns(dataset, conversion.state_columns)
    stride = max(1, round(dataset.fps / conversion.rate_hz))
    long_enough = [number for number, record in enumerate(dataset.episodes) if record.length > stride]
    description = _description(dataset, conversion, stride)

    def episodes_from(first: int) -> Iterator[Episode]:
        for number in tqdm(long_enough[first:], desc="convert", unit="episode", disable=None):
            yield _episode(dataset, number, camera, stride, conversion)

    write_dataset(target, description, episodes_from, source=str(source.resolve()))
    return len(dataset) - len(long_enough)


def _check_columns(dataset: LeRobotDataset, columns: tuple[str, ...]) -> None:
    if not columns:
        check_states(dataset)
        return
    missing = [name for name in columns if name not in dataset.features]
    if missing:
        raise LeRobotError(f"{dataset.folder}: no column {', '.join(missing)}; it has {', '.join(dataset.features)}")
    size = sum(int(np.prod(dataset.features[name].shape)) for name in columns)
    if size != len(POSE_NAMES):
        raise LeRobotError(f"expected state columns with {', '.join(POSE_NAMES)}: 7 numbers, got {size}")


def _description(dataset: LeRobotDataset, conversion: EpisodeConversion, stride: int) -> DatasetDescription:
    size = conversion.image_size
    return DatasetDescription(
        fps=max(1, round(dataset.fps / stride)),
        robot_type=dataset.robot_type or "unknown",
        features=pose_features(),
        cameras={f"{IMAGES}.camera": (size, size)},
        tasks=dataset.tasks or ("",),
        video=VIDEO_OPTIONS[conversion.storage],
        extra={"source": dataset.folder.name, "source_fps": dataset.fps, "source_stride": stride},
    )


def _episode(dataset: LeRobotDataset, number: int, camera: str, stride: int, conversion: EpisodeConversion) -> Episode:
    states = _states(dataset, number, conversion.state_columns)[::stride]
    if not np.isfinite(states).all():
        raise LeRobotError(f"{dataset.folder}, episode {number}: the states are not all finite")
    columns = {STATE: states, ACTION: padded_actions(difference(states[:-1], states[1:]))}
    kept = (item for row, item in enumerate(dataset.pictures(number, camera)) if row % stride == 0)
    pictures = (resize_and_crop(item, conversion.image_size, conversion.image_size) for item in kept)
    tasks = dataset.episodes[number].tasks
    return Episode(columns, {f"{IMAGES}.camera": pictures}, tasks[0] if tasks else dataset.tasks[0])


def _states(dataset: LeRobotDataset, number: int, columns: tuple[str, ...]) -> NDArray[np.float64]:
    """States [T, 7]; the gripper is clipped to 0 ... 1."""
    names = columns or (STATE,)
    rows = dataset.columns(number, names)
    parts = [rows[name].reshape(len(rows[name]), -1).astype(np.float64) for name in names]
    states = np.concatenate(parts, axis=1)
    states[:, 6] = np.clip(states[:, 6], 0.0, 1.0)
    return states
