"""Writes LeRobot v3 datasets, file by file: each file of episodes is there completely or not at all."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_common.whole_files import put_in_place, whole_file, write_whole
from jepa_world_model.data.lerobot import layout, table
from jepa_world_model.data.lerobot.layout import (
    INDEX_FEATURES,
    DatasetDescription,
    Episode,
    LeRobotError,
    file_number,
    numbered,
)
from jepa_world_model.data.lerobot.statistics import PictureStatistics, Statistics, column_statistics, combined
from jepa_world_model.data.lerobot.video import VideoWriter, video_information

Picture = NDArray[np.uint8]
DESCRIPTION_FILE = "source.txt"


class LeRobotWriter:
    """Fills a folder with files of episodes. Several processes may each write files of their own.

    A file is complete once its table of episodes is there, which is put in place last. `finish` makes the dataset
    readable; more files may be added afterwards, and `finish` called again.
    """

    def __init__(self, folder: Path, description: DatasetDescription) -> None:
        """Nothing is written yet."""
        self.folder, self.description = folder, description

    def has_file(self, index: int) -> bool:
        """Whether the file number `index` is complete."""
        return (self.folder / numbered(layout.EPISODES_PATH, index)).exists()

    @property
    def last_file(self) -> int:
        """The highest number of a complete file; -1 where there is none."""
        return max((file_number(path) for path in episode_files(self.folder)), default=-1)

    def write_file(self, index: int, episodes: Iterable[Episode], first_episode: int, first_frame: int) -> int:
        """Writes the file number `index` and returns its number of episodes.

        Args:
            index: from 0; the files of a finished dataset are numbered without gaps.
            episodes: at least one; they are taken one after the other, and their pictures one by one.
            first_episode: number of its first episode in the dataset.
            first_frame: number of its first frame in the dataset.

        Raises:
            LeRobotError: an episode does not fit the description; nothing of the file is kept.
        """
        staging = self.folder / f".file-{index:06d}"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            with _FileWriter(staging, self.description, index, first_episode, first_frame) as file:
                for episode in episodes:
                    file.add(episode)
            self._put_in_place(staging, index)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return len(file.records)

    def _put_in_place(self, staging: Path, index: int) -> None:
        """Moves the finished parts, the table of episodes last: it says that the others are there."""
        videos = [] if self.description.pictures_in_table else list(self.description.cameras)
        parts = [numbered(layout.VIDEO_PATH, index, camera) for camera in videos]
        for path in (*parts, numbered(layout.DATA_PATH, index), numbered(layout.EPISODES_PATH, index)):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            put_in_place(staging / path, self.folder / path)

    def finish(self) -> None:
        """Writes tasks, statistics and, last, info.json, for all files that are there.

        Raises:
            LeRobotError: no file, or numbers of files, episodes or frames that do not follow each other.
        """
        records = list(episode_records(self.folder))
        _check_sequence(self.folder, records)
        (self.folder / "meta").mkdir(parents=True, exist_ok=True)
        with whole_file(self.folder / layout.TASKS_PATH) as temporary:
            table.write_tasks(temporary, self.description.tasks)
        _write_json(self.folder / layout.STATS_PATH, _total_statistics(records))
        _write_json(self.folder / layout.INFO_PATH, self._information(records))

    def _information(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        description = self.description
        return {
            "codebase_version": layout.CODEBASE_VERSION,
            "robot_type": description.robot_type,
            "total_episodes": len(records),
            "total_frames": int(records[-1]["dataset_to_index"]),
            "total_tasks": len(description.tasks),
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": layout.MEGABYTES[0],
            "video_files_size_in_mb": layout.MEGABYTES[1],
            "fps": int(description.fps),
            "splits": {"train": f"0:{len(records)}"},
            "data_path": layout.DATA_PATH,
            "video_path": None if description.pictures_in_table else layout.VIDEO_PATH,
            "features": self._features(),
            **description.extra,
        }

    def _features(self) -> dict[str, Any]:
        features = {name: feature.as_json() for name, feature in self.description.features.items()}
        for name, (height, width) in self.description.cameras.items():
            entry: dict[str, Any] = {"shape": [height, width, 3], "names": ["height", "width", "channels"]}
            if self.description.pictures_in_table:
                features[name] = {"dtype": "image", **entry}
            else:
                video = self.folder / numbered(layout.VIDEO_PATH, 0, name)
                features[name] = {"dtype": "video", **entry, "info": video_information(video)}
        return features | {name: feature.as_json() for name, feature in INDEX_FEATURES.items()}


class _FileWriter:
    """One file of episodes in a folder of its own: a table, a video per camera, and the table of its episodes."""

    def __init__(
        self, folder: Path, description: DatasetDescription, index: int, first_episode: int, first_frame: int
    ) -> None:
        self._folder, self._description, self._index = folder, description, index
        self._episode, self._frame, self._start = first_episode, first_frame, first_frame
        self._table: pq.ParquetWriter | None = None
        self._videos: dict[str, VideoWriter] = {}
        self._files = ExitStack()
        self.records: list[dict[str, Any]] = []

    def __enter__(self) -> _FileWriter:
        self._files.__enter__()
        if not self._description.pictures_in_table:
            for camera, size in self._description.cameras.items():
                path = self._path(layout.VIDEO_PATH, camera)
                video = VideoWriter(path, self._description.fps, size, self._description.video)
                self._videos[camera] = self._files.enter_context(video)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._files.__exit__(kind, error, trace)
        if kind is None:
            if not self.records:
                raise LeRobotError(f"file {self._index}: expected at least one episode")
            table.write_rows(self._path(layout.EPISODES_PATH), self.records)

    def add(self, episode: Episode) -> None:
        """Appends one episode."""
        length = self._checked_length(episode)
        index = self._index_columns(episode, length)
        features = {**self._description.features, **INDEX_FEATURES}
        values = {**episode.columns, **index}
        statistics = {name: column_statistics(values[name]) for name in features}
        columns = {name: table.column(values[name], feature) for name, feature in features.items()}
        for camera in self._description.cameras:
            statistics[camera], pictures = self._add_pictures(camera, episode, length)
            columns |= {} if pictures is None else {camera: pictures}
        self._write_rows(pa.table(columns))
        self.records.append(self._record(episode, length, statistics))
        self._episode, self._frame = self._episode + 1, self._frame + length

    def _path(self, pattern: str, camera: str = "") -> Path:
        path = self._folder / numbered(pattern, self._index, camera)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _checked_length(self, episode: Episode) -> int:
        where, features = f"episode {self._episode}", self._description.features
        if set(episode.columns) != set(features) or set(episode.frames) != set(self._description.cameras):
            wanted = sorted([*features, *self._description.cameras])
            raise LeRobotError(f"{where}: expected {wanted}, got {sorted([*episode.columns, *episode.frames])}")
        lengths = {name: len(values) for name, values in episode.columns.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise LeRobotError(f"{where}: expected columns of one length, got {lengths}")
        if episode.task not in self._description.tasks:
            raise LeRobotError(f"{where}: its task {episode.task!r} is not among {list(self._description.tasks)}")
        return next(iter(lengths.values()))

    def _index_columns(self, episode: Episode, length: int) -> dict[str, NDArray[Any]]:
        frames = np.arange(length)
        return {
            "timestamp": (frames / self._description.fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(length, self._episode),
            "index": self._frame + frames,
            "task_index": np.full(length, self._description.tasks.index(episode.task)),
        }

    def _add_pictures(self, camera: str, episode: Episode, length: int) -> tuple[Statistics, pa.Array | None]:
        """Stores an episode's pictures; returns their statistics, and the column where they lie in the table."""
        statistics, passed = PictureStatistics(), 0

        def measured() -> Iterator[Picture]:
            nonlocal passed
            for picture in episode.frames[camera]:
                statistics.add(picture)
                passed += 1
                yield picture

        column = None
        if self._description.pictures_in_table:
            column = table.picture_column(measured())
        else:
            for number, picture in enumerate(measured()):
                self._videos[camera].add(picture, starts_episode=number == 0)
        if passed != length:
            raise LeRobotError(f"episode {self._episode}, {camera}: expected {length} pictures, got {passed}")
        return statistics.result(), column

    def _write_rows(self, rows: pa.Table) -> None:
        """One episode is one row group, so that a reader can fetch it alone."""
        if self._table is None:
            writer = pq.ParquetWriter(self._path(layout.DATA_PATH).absolute(), rows.schema, compression="snappy")
            self._table = self._files.enter_context(writer)
        self._table.write_table(rows)

    def _record(self, episode: Episode, length: int, statistics: Mapping[str, Statistics]) -> dict[str, Any]:
        """The row of the table of episodes."""
        chunk, file = divmod(self._index, layout.FILES_PER_CHUNK)
        place = {"chunk_index": chunk, "file_index": file}
        record: dict[str, Any] = {"episode_index": self._episode, "tasks": [episode.task], "length": length}
        record |= {f"data/{name}": value for name, value in place.items()}
        record |= {"dataset_from_index": self._frame, "dataset_to_index": self._frame + length}
        begin = self._frame - self._start
        for camera in self._videos:
            record |= {f"videos/{camera}/{name}": value for name, value in place.items()}
            record[f"videos/{camera}/from_timestamp"] = begin / self._description.fps
            record[f"videos/{camera}/to_timestamp"] = (begin + length) / self._description.fps
        for feature, values in statistics.items():
            record |= {f"stats/{feature}/{name}": value.tolist() for name, value in values.items()}
        return record | {f"meta/episodes/{name}": value for name, value in place.items()}


def write_dataset(
    folder: Path,
    description: DatasetDescription,
    episodes_from: Callable[[int], Iterable[Episode]],
    episodes_per_file: int = 50,
    source: str = "",
) -> Path:
    """Writes a whole dataset, which appears at `folder` when it is complete; an interrupted one goes on where it was.

    What fails leaves nothing; what is interrupted (Ctrl-C, a killed process) stays in a hidden folder beside `folder`.

    Args:
        folder: must not exist.
        description: of the dataset.
        episodes_from: yields the episodes from the given number on, the same ones at every call.
        episodes_per_file: how many lie in one table and one video.
        source: whatever the episodes depend on: contents and every option; an unfinished dataset of another source is
            begun anew.

    Raises:
        FileExistsError: `folder` exists.
        LeRobotError: no episode, or one that does not fit the description.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists already: remove it or choose another name")
    partial = folder.parent / f".{folder.name}.partial"
    writer = LeRobotWriter(partial, description)
    _claim(partial, description, source)
    with _kept_if_interrupted(partial):
        _write_missing(writer, episodes_from, episodes_per_file)
        writer.finish()
        (partial / DESCRIPTION_FILE).unlink()
        return partial.replace(folder)


@contextmanager
def _kept_if_interrupted(folder: Path) -> Iterator[None]:
    """Removes the folder of what failed; what was only interrupted can go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_missing(
    writer: LeRobotWriter, episodes_from: Callable[[int], Iterable[Episode]], episodes_per_file: int
) -> None:
    """Adds the files of episodes that are not there yet."""
    partial = writer.folder
    records = list(episode_records(partial))
    index = next(number for number in range(len(records) + 1) if not writer.has_file(number))
    frame = int(records[-1]["dataset_to_index"]) if records else 0
    episodes = iter(episodes_from(len(records)))
    for first in episodes:
        total = len(records)
        writer.write_file(index, chain([first], islice(episodes, episodes_per_file - 1)), total, frame)
        records.extend(table.read(partial / numbered(layout.EPISODES_PATH, index)).to_pylist())
        index, frame = index + 1, int(records[-1]["dataset_to_index"])


def _claim(folder: Path, description: DatasetDescription, source: str) -> None:
    """Makes sure that an unfinished dataset in `folder` is this one, or starts with an empty folder."""
    wanted = repr(description) + source
    path = folder / DESCRIPTION_FILE
    if not path.exists() or path.read_text(encoding="utf-8") != wanted:
        if path.exists():
            tqdm.write(f"{folder}: of another source or with other options; begun anew", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_whole(path, wanted)


def episode_records(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the tables of episodes, in the order of the files."""
    for path in episode_files(folder):
        yield from table.read(path).to_pylist()


def episode_files(folder: Path) -> list[Path]:
    """The tables of episodes, in order."""
    return sorted((folder / "meta/episodes").glob("chunk-*/file-*.parquet"))


def _check_sequence(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    if not records:
        raise LeRobotError(f"{folder}: no episode was written")
    frame = 0
    for number, record in enumerate(records):
        if record["episode_index"] != number or record["dataset_from_index"] != frame:
            raise LeRobotError(f"{folder}: expected episode {number}, frame {frame}, got {record['episode_index']}")
        frame = record["dataset_to_index"]


def _total_statistics(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Statistics of all episodes together, as JSON."""
    per_feature: dict[str, list[Statistics]] = {}
    for record in records:
        episode: dict[str, Statistics] = {}
        for key in (key for key in record if key.startswith("stats/")):
            feature, _, name = key.removeprefix("stats/").rpartition("/")
            episode.setdefault(feature, {})[name] = np.array(record[key])
        for feature, statistics in episode.items():
            per_feature.setdefault(feature, []).append(statistics)
    return {
        feature: {name: value.tolist() for name, value in combined(parts).items()}
        for feature, parts in per_feature.items()
    }


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2) + "\n")
