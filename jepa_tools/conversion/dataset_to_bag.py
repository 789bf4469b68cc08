"""A LeRobot dataset becomes bags that read like recordings."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_tools.bags import BagSettings
from jepa_tools.bags.resampling import NANOSECONDS
from jepa_tools.conversion.bag_messages import BagMessages
from jepa_tools.conversion.columns import JOINTS, ROBOT_DESCRIPTION, STAMP
from jepa_tools.recording.bag_writer import BagExistsError, BagWriter
from jepa_tools.recording.message_types import MessageTypes
from jepa_world_model.data.lerobot import LeRobotDataset, LeRobotError
from jepa_world_model.data.state_reading import StateColumns, StateReading, state_columns
from jepa_world_model.data.state_survey import StateSurvey

PAUSE = 2 * NANOSECONDS
"""Between episodes without stamps of their own, so that readers tell them apart."""

Stamps = NDArray[np.int64]


def convert_dataset(
    source: Path,
    target: Path,
    settings: BagSettings,
    camera: str = "",
    bag_per_episode: bool = False,
    reading: StateReading | None = None,
) -> StateSurvey:
    """Writes one bag, or a folder with a bag per episode, there whole or not at all; returns the states' ranges.

    Raises:
        LeRobotError: the dataset is damaged, or holds no end-effector states or no such camera.
        FileExistsError: `target` exists.
    """
    dataset = LeRobotDataset(source)
    camera = chosen_camera(dataset, camera)
    columns = state_columns(dataset, reading)
    survey, stamps = columns.survey(), _stamps(dataset)
    episodes = range(len(dataset))
    if not bag_per_episode:
        _check_order(dataset, stamps)
        _write_bag(target, columns, camera, stamps, episodes, settings)
        return survey
    if target.exists():
        raise BagExistsError(f"{target} exists already: remove it or choose another name")
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for episode in episodes:
            _write_bag(partial / f"episode_{episode:06d}", columns, camera, stamps, [episode], settings)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return survey


def chosen_camera(dataset: LeRobotDataset, camera: str) -> str:
    """The camera of that name, or the only one."""
    names = list(dataset.cameras)
    if camera in names:
        return camera
    if camera or len(names) != 1:
        raise LeRobotError(f"{dataset.folder}: expected {camera or 'one camera'}, it has {', '.join(names) or 'none'}")
    return names[0]


def _stamps(dataset: LeRobotDataset) -> list[Stamps]:
    """Stamps of each episode's frames, ns: the recorded ones, or those of the rows' times."""
    if STAMP in dataset.features:
        return [dataset.columns(episode, [STAMP])[STAMP] for episode in range(len(dataset))]
    stamps, start = [], NANOSECONDS  # a stamp of zero counts as none
    for episode in range(len(dataset)):
        times = dataset.times(episode)
        stamps.append(start + np.rint((times - times[0]) * NANOSECONDS).astype(np.int64))
        start = int(stamps[-1][-1]) + PAUSE
    return stamps


def _check_order(dataset: LeRobotDataset, stamps: Sequence[Stamps]) -> None:
    for number, (before, after) in enumerate(pairwise(stamps)):
        if after[0] <= before[-1]:
            raise LeRobotError(
                f"{dataset.folder}: episode {number + 1} begins before the one before it ended: they come from clocks "
                "that were reset; ask for --bag-per-episode"
            )


def _write_bag(
    path: Path,
    columns: StateColumns,
    camera: str,
    stamps: Sequence[Stamps],
    episodes: Sequence[int],
    settings: BagSettings,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = columns.dataset
    metadata = {"source": dataset.folder.name, "episodes": str(len(episodes))}
    with BagWriter(path, types := MessageTypes(), metadata) as writer:
        messages = BagMessages(writer, types, settings)
        urdf = str(dataset.information.get(ROBOT_DESCRIPTION, ""))
        if urdf:
            messages.describe_robot(urdf, int(stamps[episodes[0]][0]))
        for episode in tqdm(episodes, desc="convert", unit="episode", disable=None):
            states, shown = columns.states(episode), dataset.has_picture(episode, camera)
            has_joints = urdf and JOINTS in dataset.features
            joints = dataset.columns(episode, [JOINTS])[JOINTS] if has_joints else None
            pictures = dataset.pictures_at(episode, camera, np.flatnonzero(shown).tolist())
            for row, stamp in enumerate(stamps[episode].tolist()):
                messages.write_state(stamp, states[row], None if joints is None else joints[row])
                if shown[row]:
                    messages.write_picture(stamp, next(pictures))
