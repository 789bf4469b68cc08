"""Bags become a LeRobot dataset at the model's rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_common.file_identity import files_below
from jepa_tools.bags import READER_VERSION, BagEpisode, BagError, BagSettings, RecordedBag, read_bag
from jepa_tools.bags.bag_file import bag_hash
from jepa_tools.conversion.columns import (
    IMAGES,
    JOINTS,
    ROBOT_DESCRIPTION,
    STAMP,
    VIDEO_OPTIONS,
    Storage,
    pose_features,
)
from jepa_tools.conversion.source_files import SourceFiles
from jepa_world_model.data.lerobot import ACTION, STATE, DatasetDescription, Episode, Feature, write_dataset
from jepa_world_model.data.state_reading import CLOSEDNESS_FROM


@dataclass(frozen=True)
class BagConversion:
    """How bags become a dataset.

    Attributes:
        rate_hz: frames per second, a whole number, unless the settings name another.
        storage: how pictures are stored.
        task: what the robot was told, in words.
        robot_type: noted in the dataset.
    """

    rate_hz: float = 4.0
    storage: Storage = "lossless"
    task: str = ""
    robot_type: str = "panda"


def convert_bags(
    sources: Sequence[Path], target: Path, settings: BagSettings, conversion: BagConversion
) -> tuple[BagError, ...]:
    """Writes the episodes of all bags, in order; an interrupted conversion goes on where it was.

    Returns:
        Why bags were left out, each of which cannot be used at all.

    Raises:
        BagError: no bag can be used, or the bags differ in size of pictures or in joints.
        SourceChangedError: a bag was changed meanwhile.
        FileExistsError: `target` exists.
        LeRobotError: the rate is no whole number.
    """
    files = [SourceFiles(source, files_below(source)) for source in sources]
    bags, unusable = _usable_bags(sources, settings, conversion.rate_hz)
    if not bags:
        raise BagError("\n".join(map(str, unusable)))
    contents = [bag_hash(bag.path) for bag in bags]
    for bag in bags:
        for note in bag.notes:
            tqdm.write(f"{bag.path.name}: {note}")
    description = _description(bags, settings, conversion)
    bar = tqdm(total=sum(len(bag.episodes) for bag in bags), desc="convert", unit="episode", disable=None)

    def episodes_from(first: int) -> Iterator[Episode]:
        bar.update(first)
        for episode in islice(chain.from_iterable(bag.episodes for bag in bags), first, None):
            yield _episode(episode, description, conversion.task)
            bar.update()
        for source in files:
            source.check_unchanged()

    # What is in the robot's file counts, and which files these are; the bags' names are part of the description.
    urdf = Path(settings.urdf).read_text(encoding="utf-8") if settings.urdf else ""
    identity = repr((READER_VERSION, contents, [item.identity for item in files], settings, urdf, conversion))
    with bar:
        write_dataset(target, description, episodes_from, source=identity)
    return unusable


def _usable_bags(
    sources: Sequence[Path], settings: BagSettings, rate_hz: float
) -> tuple[list[RecordedBag], tuple[BagError, ...]]:
    """The bags that can be read, and why the others cannot."""
    bags, unusable = [], []
    for source in sources:
        try:
            bags.append(read_bag(source, settings, rate_hz))
        except BagError as error:
            unusable.append(error)
    return bags, tuple(unusable)


def _description(bags: Sequence[RecordedBag], settings: BagSettings, conversion: BagConversion) -> DatasetDescription:
    sizes = {bag.path: next(bag.episodes[0].pictures()).shape[:2] for bag in bags}
    joints = {bag.path: bag.episodes[0].joint_positions is not None for bag in bags}
    if len(set(sizes.values())) > 1 or len(set(joints.values())) > 1:
        kinds = ", ".join(f"{path.name} {sizes[path]}{' with joints' * joints[path]}" for path in sizes)
        raise BagError(f"expected bags with pictures of one size, all with or all without joints, got {kinds}")
    features = pose_features() | {STAMP: Feature("int64", (1,))}
    if all(joints.values()):
        features[JOINTS] = Feature("float64", (len(settings.arm_joints),), settings.arm_joints)
    height, width = next(iter(sizes.values()))
    extra: dict[str, Any] = {"source": [bag.path.name for bag in bags], CLOSEDNESS_FROM: "the bags' finger joints"}
    if bags[0].urdf:
        extra[ROBOT_DESCRIPTION] = bags[0].urdf
    return DatasetDescription(
        fps=bags[0].rate_hz,  # type: ignore[arg-type]  # refused there unless it is a whole number
        robot_type=conversion.robot_type,
        features=features,
        cameras={f"{IMAGES}.camera": (height, width)},
        tasks=(conversion.task,),
        video=VIDEO_OPTIONS[conversion.storage],
        extra=extra,
    )


def _episode(episode: BagEpisode, description: DatasetDescription, task: str) -> Episode:
    columns: dict[str, NDArray[Any]] = {
        STATE: episode.states,
        ACTION: padded_actions(episode.actions),
        STAMP: episode.stamps,
    }
    if episode.joint_positions is not None:
        columns[JOINTS] = episode.joint_positions
    return Episode(columns, {camera: episode.pictures() for camera in description.cameras}, task)


def padded_actions(actions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Actions [T, 7] of a dataset, which has one for each frame: the last one is zero."""
    return np.concatenate([actions, np.zeros((1, 7))])
