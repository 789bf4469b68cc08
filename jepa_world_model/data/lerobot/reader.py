"""Reads LeRobot datasets episode by episode: the layout v3, and its predecessor v2 with one file per episode."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from jepa_world_model.data.lerobot import layout, table
from jepa_world_model.data.lerobot.layout import Episode, Feature, LeRobotError, unreadable
from jepa_world_model.data.lerobot.timing import NO_PICTURE, Span, Times, match_pictures
from jepa_world_model.data.lerobot.video import VideoIndex, index_video, read_pictures

Picture = NDArray[np.uint8]
Key = TypeVar("Key")
Value = TypeVar("Value")


TIMESTAMP = "timestamp"
"""Column with the time of each row since the episode's begin, s."""

_KEPT = 4096
"""Of the videos' and rows' times: what is read again and again need not be looked up again."""


@dataclass(frozen=True)
class VideoPart:
    """An episode's stretch of a video.

    Attributes:
        path: of the video.
        begin: moment in the video at which the rows' time is 0, s.
        span: what lies outside belongs to other episodes.
        file_end: until when the file has to last for all of its episodes, s; minus infinity where nothing tells.
    """

    path: Path
    begin: float = 0.0
    span: Span = field(default_factory=Span)
    file_end: float = -np.inf


@dataclass(frozen=True)
class EpisodeRecord:
    """Where one episode lies.

    Attributes:
        index: of the episode.
        length: frames.
        tasks: its sentences.
        data: its table.
        videos: by camera, the file and where the episode lies in it.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    videos: Mapping[str, VideoPart]


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
        self._indexes: dict[Path, VideoIndex] = {}
        self._times: dict[int, Times] = {}
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

    def times(self, episode: int) -> Times:
        """Times of an episode's rows since its begin, s, [T].

        Raises:
            LeRobotError: they do not grow from row to row.
        """
        return _kept(self._times, episode, self._read_times)

    def _read_times(self, episode: int) -> Times:
        record = self.episodes[episode]
        if TIMESTAMP not in self.features:
            return np.arange(record.length) / self.fps
        times = self.columns(episode, [TIMESTAMP])[TIMESTAMP].astype(np.float64)
        wrong = np.flatnonzero(~(np.diff(times, prepend=-np.inf) > 0))
        if len(wrong) or not np.isfinite(times).all():
            row = int(wrong[0]) if len(wrong) else int(np.flatnonzero(~np.isfinite(times))[0])
            raise LeRobotError(
                f"{record.data}, episode {record.index}: expected timestamps that grow, got {times[row]:g} s"
                f" in row {row}"
            )
        return times

    def has_picture(self, episode: int, camera: str) -> NDArray[np.bool_]:
        """Whether the camera has a picture at each row's time, [T].

        Raises:
            LeRobotError: an unknown camera, or a video that ends too early for its episodes.
        """
        if self._known(camera) in self._in_table:
            return np.ones(self.episodes[episode].length, dtype=bool)
        return self._matched(episode, camera)[1] != NO_PICTURE

    def pictures(self, episode: int, camera: str, start: int = 0, stop: int | None = None) -> Iterator[Picture]:
        """Pictures uint8 [H, W, 3] RGB of an episode's rows from `start` up to `stop`, one by one.

        Raises:
            LeRobotError: an unknown camera, or no picture at a row's time.
        """
        length = self.episodes[episode].length
        return self.pictures_at(episode, camera, range(start, length if stop is None else min(stop, length)))

    def pictures_at(self, episode: int, camera: str, rows: Sequence[int]) -> Iterator[Picture]:
        """Pictures uint8 [H, W, 3] RGB of these rows of an episode, ascending, one by one.

        Raises:
            LeRobotError: an unknown camera, or no picture at a row's time.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        if self._known(camera) in self._in_table:
            record = self.episodes[episode]
            return table.pictures(table.episode_table(record.data, record.index, [camera]).take(chosen), camera)
        index, matched = self._matched(episode, camera)
        if len(missing := chosen[matched[chosen] == NO_PICTURE]):
            raise LeRobotError(self._what_is_missing(episode, camera, index, missing))
        return read_pictures(index, index.stamps[matched[chosen]].tolist())

    def files(self, camera: str) -> tuple[Path, ...]:
        """Everything that an episode with this camera's pictures is made of."""
        described = (path for path in (self.folder / "meta").rglob("*") if path.is_file())
        videos = (record.videos[camera].path for record in self.episodes if camera in record.videos)
        return tuple(sorted({*described, *videos, *(record.data for record in self.episodes)}))

    def episode(self, index: int) -> Episode:
        """One episode without the columns that the writer fills in; its pictures are read as they are asked for."""
        record = self.episodes[index]
        names = [name for name in self.features if name not in layout.INDEX_FEATURES]
        frames = {camera: self.pictures(index, camera) for camera in self.cameras}
        return Episode(self.columns(index, names), frames, record.tasks[0] if record.tasks else "")

    def _known(self, camera: str) -> str:
        if camera not in self.cameras:
            raise LeRobotError(f"{self.folder}: no camera {camera}; it has {', '.join(self.cameras) or 'none'}")
        return camera

    def _matched(self, episode: int, camera: str) -> tuple[VideoIndex, NDArray[np.int64]]:
        """The video's index, and the number of the picture of each row."""
        part = self.episodes[episode].videos[camera]
        index, rows = _kept(self._indexes, part.path, index_video), part.begin + self.times(episode)
        end = max(part.file_end, float(rows[-1]) + 1.0 / self.fps)
        last = float(index.times[-1]) + index.period
        if last < end - 0.5 * max(1.0 / self.fps, index.period):
            raise LeRobotError(
                f"{part.path}: expected pictures up to {end:.3f} s, the video ends at {last:.3f} s: which ones are"
                " missing cannot be told, so none is taken for another; leave its episodes out or make the video again"
            )
        return index, match_pictures(rows, index.times, 1.0 / self.fps, index.period, part.span)

    def _what_is_missing(self, episode: int, camera: str, index: VideoIndex, rows: NDArray[np.int64]) -> str:
        part = self.episodes[episode].videos[camera]
        moment = part.begin + self.times(episode)[rows[0]]
        return (
            f"{self.folder}, episode {self.episodes[episode].index}, {camera}: {len(rows)} rows have no picture at"
            f" their time, the first is row {rows[0]} at {moment:.3f} s of {index.path.name};"
            " `jepa convert DATASET TARGET --to episodes` cuts the episodes there"
        )

    def _records(self) -> Iterator[EpisodeRecord]:
        version = str(self.information["codebase_version"])
        videos = [camera for camera in self.cameras if camera not in self._in_table]
        if version.startswith("v3."):
            yield from _records_v3(self.folder, self.information, videos)
        elif version.startswith("v2."):
            yield from _records_v2(self.folder, self.information, videos)
        else:
            raise LeRobotError(f"{self.folder}: expected a dataset of version v2 or v3, got {version}")


def _kept(cache: dict[Key, Value], key: Key, make: Callable[[Key], Value]) -> Value:
    """The value of a key, made where it is missing; the oldest ones make room."""
    if key not in cache:
        while len(cache) >= _KEPT:
            del cache[next(iter(cache))]
        cache[key] = make(key)
    return cache[key]


def _read_information(folder: Path) -> dict[str, Any]:
    path = folder / layout.INFO_PATH
    try:
        information = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LeRobotError(f"{folder}: expected a finished dataset with {layout.INFO_PATH}: {error}") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, "the description of a finished dataset", error) from error
    missing = [name for name in ("codebase_version", "fps", "features", "data_path") if name not in information]
    if missing:
        raise LeRobotError(f"{path}: lacks {', '.join(missing)}")
    return dict(information)


def _is_camera(entry: Mapping[str, Any]) -> bool:
    return entry["dtype"] in ("video", "image")


def _feature(entry: Mapping[str, Any]) -> Feature:
    dtype = "object" if entry["dtype"] in ("string", "language") else entry["dtype"]
    shape = tuple(entry["shape"])
    names = flat_names(entry.get("names"))
    size = int(np.prod(shape))
    # One name for a row of several numbers, such as "state" or "motors", tells none of them.
    return Feature(dtype, shape, names if len(names) == size else None, _units(entry, names, size))


def _units(entry: Mapping[str, Any], names: Sequence[str], size: int) -> tuple[str, ...]:
    """The unit of each number: its own, the one of all, or all that are told, of which its meaning chooses one."""
    told = entry.get("units", entry.get("unit"))
    if isinstance(told, Mapping) and set(told) & set(names):
        return tuple(str(told.get(name) or "") for name in names)
    units = flat_names(told)
    return units if len(units) == size else (" ".join(units),) * size if units else ()


def flat_names(names: Any) -> tuple[str, ...]:
    """The names of a row's entries, in order, however they are nested: in lists, in mappings of lists, or numbered."""
    if isinstance(names, Mapping):
        if names and all(isinstance(place, int) for place in names.values()):
            return tuple(sorted(map(str, names), key=lambda name: int(names[name])))
        return tuple(name for part in names.values() for name in flat_names(part))
    if isinstance(names, Sequence) and not isinstance(names, str):
        return tuple(name for part in names for name in flat_names(part))
    return () if names is None else (str(names),)


def _size(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width; some writers put the colours first."""
    shape = [int(size) for size in entry["shape"]]
    height, width = shape[1:] if shape[0] in (1, 3) and shape[-1] not in (1, 3) else shape[:2]
    return height, width


def _records_v3(folder: Path, information: Mapping[str, Any], cameras: Sequence[str]) -> Iterator[EpisodeRecord]:
    rows = list(_episode_rows(folder))
    ends: dict[Path, float] = {}
    for row in rows:
        for camera in cameras:
            part = _video_part(folder, information, row, camera)
            ends[part.path] = max(part.file_end, ends.get(part.path, -np.inf))
    for row in rows:
        parts = {camera: _video_part(folder, information, row, camera) for camera in cameras}
        yield EpisodeRecord(
            row["episode_index"],
            row["length"],
            tuple(row.get("tasks") or ()),
            folder / _formatted(information["data_path"], row, "data"),
            {camera: replace(part, file_end=ends[part.path]) for camera, part in parts.items()},
        )


def _episode_rows(folder: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted((folder / "meta/episodes").glob("chunk-*/file-*.parquet")):
        names = [name for name in table.column_names(path) if not name.startswith("stats/")]
        yield from table.read(path, columns=names).to_pylist()


def _video_part(folder: Path, information: Mapping[str, Any], row: Mapping[str, Any], camera: str) -> VideoPart:
    place = f"videos/{camera}"
    path = folder / _formatted(information["video_path"], row, place, camera)
    begin, end = float(row[f"{place}/from_timestamp"]), row.get(f"{place}/to_timestamp")
    if end is None:
        return VideoPart(path, begin, Span(begin))
    return VideoPart(path, begin, Span(begin, float(end)), float(end))


def _formatted(pattern: str, row: Mapping[str, Any], place: str, camera: str = "") -> str:
    chunk, file = row[f"{place}/chunk_index"], row[f"{place}/file_index"]
    return pattern.format(chunk_index=chunk, file_index=file, video_key=camera)


def _records_v2(folder: Path, information: Mapping[str, Any], cameras: Sequence[str]) -> Iterator[EpisodeRecord]:
    path = folder / "meta/episodes.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise unreadable(path, "a list of episodes", error) from error
    for row in rows:
        place = {
            "episode_index": row["episode_index"],
            "episode_chunk": row["episode_index"] // int(information.get("chunks_size", layout.FILES_PER_CHUNK)),
        }
        videos = {
            camera: VideoPart(folder / information["video_path"].format(video_key=camera, **place))
            for camera in cameras
        }
        data = folder / information["data_path"].format(**place)
        yield EpisodeRecord(row["episode_index"], row["length"], tuple(row.get("tasks") or ()), data, videos)
