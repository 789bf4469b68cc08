"""What a LeRobot v3 dataset consists of: folders, columns and their description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_common.text_files import describe_text_file

CODEBASE_VERSION = "v3.0"
FILES_PER_CHUNK = 1000

STATE, ACTION = "observation.state", "action"
"""Columns of the robot's states and of the actions that follow them."""

INFO_PATH, STATS_PATH, TASKS_PATH = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

PNG = "png"
"""Instead of a codec: pictures lie in the table, compressed one by one, for readers without a video decoder."""

MEGABYTES = 100, 200
"""What the layout's own writer fills data files and videos up to; stated in info.json, and no limit for readers."""


class LeRobotError(ValueError):
    """A dataset that cannot be read or written; the message says what was expected and what came."""


def unreadable(path: Path, expected: str, error: Exception) -> LeRobotError:
    """The error for a file that cannot be read: it says so where something else was downloaded in its place."""
    try:
        instead = describe_text_file(path)
    except OSError:
        instead = None
    return LeRobotError(
        f"{path}: expected {expected}, but it {f'is {instead}' if instead else 'cannot be read'}: {error}"
    )


@dataclass(frozen=True)
class Feature:
    """One column of numbers, a row per frame.

    Attributes:
        dtype: numpy's name of the type, such as "float32".
        shape: of one row; () and (1,) are one number.
        names: of the entries of a row, if they have any.
        units: of the entries, as somebody wrote them; empty where nothing tells.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None
    units: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The entry in info.json."""
        names = list(self.names) if self.names else None
        return {"dtype": self.dtype, "shape": list(self.shape or (1,)), "names": names}


INDEX_FEATURES = {
    "timestamp": Feature("float32", (1,)),
    "frame_index": Feature("int64", (1,)),
    "episode_index": Feature("int64", (1,)),
    "index": Feature("int64", (1,)),
    "task_index": Feature("int64", (1,)),
}
"""Columns that every dataset has, and that the writer fills in."""


@dataclass(frozen=True)
class VideoOptions:
    """How pictures are stored.

    Attributes:
        codec: an encoder of FFmpeg, or "png". The default keeps every pixel as it is; "libsvtav1", the layout's usual
            codec, loses details and takes less space.
        pixel_format: what the codec stores.
        options: of the codec.
    """

    codec: str = "libx264rgb"
    pixel_format: str = "rgb24"
    options: Mapping[str, str] = field(default_factory=lambda: {"qp": "0", "preset": "veryfast", "g": "8", "bf": "0"})


@dataclass(frozen=True)
class DatasetDescription:
    """What a dataset holds.

    Attributes:
        fps: frames per second; the layout allows whole numbers only.
        robot_type: free text.
        features: columns of numbers by name, such as `observation.state` and `action`.
        cameras: height and width by name, such as `observation.images.front`.
        tasks: sentences; every episode has one of them.
        video: how pictures are stored.
        extra: further entries of info.json that are ours; other readers skip them.
    """

    fps: int
    robot_type: str
    features: Mapping[str, Feature]
    cameras: Mapping[str, tuple[int, int]]
    tasks: tuple[str, ...] = ("",)
    video: VideoOptions = field(default_factory=VideoOptions)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fps < 1 or self.fps != int(self.fps):
            raise LeRobotError(f"fps: the layout takes whole numbers from 1 on, got {self.fps}")
        if clash := sorted(set(self.features) & set(INDEX_FEATURES)):
            raise LeRobotError(f"features: {', '.join(clash)} are filled in by the writer")
        if odd := [name for name in (*self.features, *self.cameras) if "/" in name]:
            raise LeRobotError(f"features: names must not hold a slash, got {', '.join(odd)}")
        if not self.tasks:
            raise LeRobotError("tasks: expected at least one; an empty sentence will do")

    @property
    def pictures_in_table(self) -> bool:
        """Whether pictures are compressed one by one instead of as a video."""
        return self.video.codec == PNG


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode, on its way in or out.

    Attributes:
        columns: arrays [T, ...] by the features' names.
        frames: by camera, T pictures uint8 [H, W, 3] RGB, in order; may be an iterator.
        task: one of the dataset's tasks.
    """

    columns: Mapping[str, NDArray[Any]]
    frames: Mapping[str, Iterable[NDArray[np.uint8]]]
    task: str = ""

    @property
    def length(self) -> int:
        """Frames of the episode, as its columns say."""
        return len(next(iter(self.columns.values())))


def file_number(path: Path) -> int:
    """The number of a file that `numbered` gave its path."""
    chunk, file = (int(name.rpartition("-")[2]) for name in (path.parent.name, path.stem))
    return chunk * FILES_PER_CHUNK + file


def numbered(pattern: str, index: int, video_key: str = "") -> Path:
    """Path, inside the dataset, of the file number `index` of a pattern such as `DATA_PATH`."""
    chunk, file = divmod(index, FILES_PER_CHUNK)
    return Path(pattern.format(chunk_index=chunk, file_index=file, video_key=video_key))
