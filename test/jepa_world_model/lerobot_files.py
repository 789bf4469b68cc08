"""LeRobot datasets of any version, written with pyarrow and PyAV alone, as other programs would write them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CAMERA = "observation.images.front"
POSE = ["x", "y", "z", "roll", "pitch", "yaw", "closedness"]


def numbered_picture(number: int, size: int = 32) -> np.ndarray:
    """A picture that tells its number, below 64."""
    return np.full((size, size, 3), (3 * number, 255 - 3 * number, 128), np.uint8)


def number_of(picture: np.ndarray) -> int:
    """The number of a picture."""
    return round(float(np.median(picture[..., 0])) / 3)


def write_video(path: Path, numbers: list[int], times: list[float], **options: str) -> None:
    """Pictures with these numbers at these times, s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unit = Fraction(1, 12000)
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264rgb", rate=30, options={"qp": "0", "bf": "0", "g": "4", **options})
        stream.height = stream.width = 32
        stream.pix_fmt, stream.codec_context.time_base = "rgb24", unit
        for number, time in zip(numbers, times, strict=True):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")
            frame.pts, frame.time_base = round(time / unit), unit
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def poses(length: int) -> np.ndarray:
    """States [T, 7] of a tool that moves along x while its gripper closes."""
    states = np.zeros((length, 7), np.float32)
    states[:, 0], states[:, 2], states[:, 3] = 0.4 + 0.002 * np.arange(length), 0.3, 3.0
    states[:, 6] = np.linspace(0, 1, length)
    return states


@dataclass
class Recipe:
    """What a dataset holds.

    Attributes:
        lengths: rows of each episode.
        fps: of the rows.
        version: "v2.0", "v2.1" or "v3.0".
        names: of the state's entries.
        units: of the state's entries; None leaves them out.
        states: rows of the state, by the episode's length.
        times: of an episode's rows, s; evenly by default.
        video: (numbers, times) of the pictures of each episode; those of the rows by default.
    """

    lengths: tuple[int, ...] = (10, 12)
    fps: int = 30
    version: str = "v2.1"
    names: Any = field(default_factory=lambda: list(POSE))
    units: Any = None
    states: Any = poses
    times: Any = None
    video: Any = None

    def row_times(self, length: int) -> np.ndarray:
        return np.arange(length) / self.fps if self.times is None else np.asarray(self.times(length))

    def pictures(self, length: int) -> tuple[list[int], list[float]]:
        times = np.arange(length) / self.fps
        return (list(range(length)), times.tolist()) if self.video is None else self.video(length)


def write(folder: Path, recipe: Recipe | None = None) -> Path:
    """The dataset of a recipe: a file per episode in v2, all in one file in v3."""
    recipe = recipe or Recipe()
    _write_information(folder, recipe)
    if recipe.version.startswith("v2"):
        _write_v2(folder, recipe)
    else:
        _write_v3(folder, recipe)
    return folder


def _write_information(folder: Path, recipe: Recipe) -> None:
    width = recipe.states(2).shape[1]
    number = {"shape": [1], "names": None}
    units = {} if recipe.units is None else {"units": recipe.units}
    features = {
        "observation.state": {"dtype": "float32", "shape": [width], "names": recipe.names, **units},
        CAMERA: {"dtype": "video", "shape": [32, 32, 3], "names": ["height", "width", "channels"]},
        "timestamp": {"dtype": "float32", **number},
        "episode_index": {"dtype": "int64", **number},
    }
    episode, file = "episode_{episode_index:06d}", "chunk-{chunk_index:03d}/file-{file_index:03d}"
    v2 = {
        "data_path": f"data/chunk-{{episode_chunk:03d}}/{episode}.parquet",
        "video_path": f"videos/chunk-{{episode_chunk:03d}}/{{video_key}}/{episode}.mp4",
        "chunks_size": 2,
    }
    v3 = {"data_path": f"data/{file}.parquet", "video_path": f"videos/{{video_key}}/{file}.mp4", "chunks_size": 1000}
    information = {"codebase_version": recipe.version, "robot_type": "arm", "fps": recipe.fps, "features": features}
    (folder / "meta").mkdir(parents=True)
    paths = v2 if recipe.version.startswith("v2") else v3
    (folder / "meta/info.json").write_text(json.dumps(information | paths))


def _table(recipe: Recipe, episode: int, length: int) -> pa.Table:
    return pa.table({
        "observation.state": pa.array(recipe.states(length).tolist()),
        "timestamp": pa.array(recipe.row_times(length).astype(np.float32)),
        "episode_index": np.full(length, episode),
    })  # fmt: skip


def _write_v2(folder: Path, recipe: Recipe) -> None:
    rows = []
    for episode, length in enumerate(recipe.lengths):
        data = folder / f"data/chunk-{episode // 2:03d}/episode_{episode:06d}.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(_table(recipe, episode, length), data)
        video = folder / f"videos/chunk-{episode // 2:03d}/{CAMERA}/episode_{episode:06d}.mp4"
        write_video(video, *recipe.pictures(length))
        rows.append(json.dumps({"episode_index": episode, "tasks": ["pick"], "length": length}))
    (folder / "meta/episodes.jsonl").write_text("\n".join(rows))


def _write_v3(folder: Path, recipe: Recipe) -> None:
    tables, records, numbers, times, start = [], [], [], [], 0.0
    for episode, length in enumerate(recipe.lengths):
        tables.append(_table(recipe, episode, length))
        shown, moments = recipe.pictures(length)
        numbers, times = numbers + shown, times + [start + moment for moment in moments]
        stop = start + length / recipe.fps
        record = {"episode_index": episode, "tasks": ["pick"], "length": length}
        record |= {f"{place}/{part}_index": 0 for place in ("data", f"videos/{CAMERA}") for part in ("chunk", "file")}
        record |= {f"videos/{CAMERA}/from_timestamp": start, f"videos/{CAMERA}/to_timestamp": stop}
        records.append(record)
        start = stop
    for path, table in (("data", pa.concat_tables(tables)), ("meta/episodes", pa.Table.from_pylist(records))):
        (folder / path / "chunk-000").mkdir(parents=True)
        pq.write_table(table, folder / path / "chunk-000/file-000.parquet")
    write_video(folder / f"videos/{CAMERA}/chunk-000/file-000.mp4", numbers, times)
