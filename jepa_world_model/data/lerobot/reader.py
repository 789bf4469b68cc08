"""Reads LeRobot datasets episode by episode: the layout v3, and its predecessor v2 with one file per episode."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_world_model.data.lerobot import layout, table
from jepa_world_model.data.lerobot.layout import Episode, Feature, LeRobotError
from jepa_world_model.data.lerobot.video import read_pictures

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class EpisodeRecord:
    """Where one episode lies.

    Attributes:
        index: of the episode.
        length: frames.
        tasks: its sentences.
        data: its table.
        videos: by camera, the file and the moment, s, at which the episode begins in it.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    videos: Mapping[str, tuple[Path, float]]


class LeRobotDataset:
    """A dataset on disk. Only the list of episodes is kept in memory.

    Attributes:
        folder: of the dataset.
        information: what info.json holds.
        fps: frames per second.
        features: columns of numbers by name.
        cameras: height and width by name.
        episodes: where each episode lies.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the description and the list of episodes.

        Raises:
            LeRobotError: no finished dataset there, or one of an unknown version.
        """
        self.folder = folder
        self.information = _read_information(folder)
        self.fps = float(self.information["fps"])
        described = self.information["features"]
        self.features = {name: _feature(entry) for name, entry in described.items() if not _is_camera(entry)}
        self.cameras = {name: _size(entry) for name, entry in described.items() if _is_camera(entry)}
        self._in_table = {name for name, entry in described.items() if entry["dtype"] == "image"}
        self.episodes: tuple[EpisodeRecord, ...] = tuple(self._records())

    @property
    def robot_type(self) -> str:
        """Free text."""
        return str(self.information.get("robot_type") or "")

    @property
    def tasks(self) -> tuple[str, ...]:
        """All sentences that an episode has, in the order of their first use."""
        return tuple(dict.fromkeys(task for record in self.episodes for task in record.tasks))

    def __len__(self) -> int:
        return len(self.episodes)

    def columns(self, episode: int, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Columns [T, ...] of an episode, all of them or those named; single numbers become [T].

        Raises:
            LeRobotError: an unknown column, or a table that does not match the list of episodes.
        """
        names = list(self.features) if names is None else list(names)
        if unknown := [name for name in names if name not in self.features]:
            raise LeRobotError(f"{self.folder}: no column {', '.join(unknown)}; it has {', '.join(self.features)}")
        record = self.episodes[episode]
        rows = table.episode_table(record.data, record.index, names)
        if rows.num_rows != record.length:
            raise LeRobotError(f"{record.data}, episode {episode}: expected {record.length} rows, got {rows.num_rows}")
        return {name: table.rows(rows, name, self.features[name]) for name in names}

    def pictures(self, episode: int, camera: str, start: int = 0, stop: int | None = None) -> Iterator[Picture]:
        """Pictures uint8 [H, W, 3] RGB of an episode from frame `start` up to `stop`, one by one.

        Raises:
            LeRobotError: an unknown camera, or fewer pictures than the episode has frames.
        """
        if camera not in self.cameras:
            raise LeRobotError(f"{self.folder}: no camera {camera}; it has {', '.join(self.cameras) or 'none'}")
        record = self.episodes[episode]
        stop = record.length if stop is None else min(stop, record.length)
        passed = 0
        for picture in islice(self._stored_pictures(record, camera, start), max(0, stop - start)):
            yield picture
            passed += 1
        if passed < stop - start:
            raise LeRobotError(f"{self.folder}, episode {episode}, {camera}: ended after {passed} of {stop} pictures")

    def episode(self, index: int) -> Episode:
        """One episode without the columns that the writer fills in; its pictures are read as they are asked for."""
        record = self.episodes[index]
        names = [name for name in self.features if name not in layout.INDEX_FEATURES]
        frames = {camera: self.pictures(index, camera) for camera in self.cameras}
        return Episode(self.columns(index, names), frames, record.tasks[0] if record.tasks else "")

    def _stored_pictures(self, record: EpisodeRecord, camera: str, start: int) -> Iterator[Picture]:
        if camera in self._in_table:
            return table.pictures(table.episode_table(record.data, record.index, [camera]).slice(start), camera)
        path, begin = record.videos[camera]
        return read_pictures(path, begin + start / self.fps, self.fps)

    def _records(self) -> Iterator[EpisodeRecord]:
        version = str(self.information["codebase_version"])
        videos = [camera for camera in self.cameras if camera not in self._in_table]
        if version.startswith("v3."):
            yield from _records_v3(self.folder, self.information, videos)
        elif version.startswith("v2."):
            yield from _records_v2(self.folder, self.information, videos)
        else:
            raise LeRobotError(f"{self.folder}: expected a dataset of version v2 or v3, got {version}")


def _read_information(folder: Path) -> dict[str, Any]:
    path = folder / layout.INFO_PATH
    try:
        information = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise LeRobotError(f"{folder}: expected a finished dataset with {layout.INFO_PATH}: {error}") from error
    missing = [name for name in ("codebase_version", "fps", "features", "data_path") if name not in information]
    if missing:
        raise LeRobotError(f"{path}: lacks {', '.join(missing)}")
    return dict(information)


def _is_camera(entry: Mapping[str, Any]) -> bool:
    return entry["dtype"] in ("video", "image")


def _feature(entry: Mapping[str, Any]) -> Feature:
    names = entry.get("names")
    names = names if isinstance(names, list) else None
    dtype = "object" if entry["dtype"] in ("string", "language") else entry["dtype"]
    return Feature(dtype, tuple(entry["shape"]), tuple(map(str, names)) if names else None)


def _size(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width; some writers put the colours first."""
    shape = [int(size) for size in entry["shape"]]
    height, width = shape[1:] if shape[0] in (1, 3) and shape[-1] not in (1, 3) else shape[:2]
    return height, width


def _records_v3(folder: Path, information: Mapping[str, Any], cameras: Sequence[str]) -> Iterator[EpisodeRecord]:
    paths = sorted((folder / "meta/episodes").glob("chunk-*/file-*.parquet"))
    for path in paths:
        names = [name for name in table.column_names(path) if not name.startswith("stats/")]
        for row in table.read(path, columns=names).to_pylist():
            yield EpisodeRecord(
                row["episode_index"],
                row["length"],
                tuple(row.get("tasks") or ()),
                folder / _formatted(information["data_path"], row, "data"),
                {camera: _video(folder, information, row, camera) for camera in cameras},
            )


def _video(folder: Path, information: Mapping[str, Any], row: Mapping[str, Any], camera: str) -> tuple[Path, float]:
    path = _formatted(information["video_path"], row, f"videos/{camera}", camera)
    return folder / path, float(row[f"videos/{camera}/from_timestamp"])


def _formatted(pattern: str, row: Mapping[str, Any], place: str, camera: str = "") -> str:
    chunk, file = row[f"{place}/chunk_index"], row[f"{place}/file_index"]
    return pattern.format(chunk_index=chunk, file_index=file, video_key=camera)


def _records_v2(folder: Path, information: Mapping[str, Any], cameras: Sequence[str]) -> Iterator[EpisodeRecord]:
    path = folder / "meta/episodes.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise LeRobotError(f"{folder}: expected a list of episodes in {path.name}: {error}") from error
    for row in map(json.loads, filter(None, lines)):
        place = {
            "episode_index": row["episode_index"],
            "episode_chunk": row["episode_index"] // int(information.get("chunks_size", layout.FILES_PER_CHUNK)),
        }
        videos = {
            camera: (folder / information["video_path"].format(video_key=camera, **place), 0.0) for camera in cameras
        }
        data = folder / information["data_path"].format(**place)
        yield EpisodeRecord(row["episode_index"], row["length"], tuple(row.get("tasks") or ()), data, videos)
