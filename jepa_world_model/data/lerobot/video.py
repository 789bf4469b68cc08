"""Videos of a dataset: written picture by picture, read from any moment on."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import PictureType
from numpy.typing import NDArray

from jepa_world_model.data.lerobot.layout import LeRobotError, VideoOptions

Picture = NDArray[np.uint8]


def _local(path: Path) -> str:
    """The name of a file for FFmpeg, which takes what stands before a colon in a relative path for a protocol."""
    return str(path.absolute())


class VideoWriter:
    """An MP4 file with pictures at a constant rate. Leave its `with` block to complete it."""

    def __init__(self, path: Path, fps: int, size: tuple[int, int], options: VideoOptions) -> None:
        """Opens `path` for pictures of `size` (height, width).

        Raises:
            LeRobotError: this FFmpeg lacks the codec.
        """
        self._size, self._count, self._format = size, 0, options.pixel_format
        self._file = av.open(_local(path), "w", format="mp4")
        try:
            stream = self._file.add_stream(options.codec, rate=Fraction(fps), options=dict(options.options))
        except ValueError as error:  # what PyAV raises for an encoder that it was built without
            self._file.close()
            raise LeRobotError(f"video codec {options.codec}: this PyAV cannot write it ({error}); try png") from error
        self._stream = cast("av.VideoStream", stream)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = options.pixel_format
        self._stream.thread_count = 1  # the same file each time

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.mux(self._stream.encode())
        finally:
            self._file.close()

    def add(self, picture: Picture, starts_episode: bool) -> None:
        """Appends a picture uint8 [H, W, 3] RGB; the first one of an episode can be jumped to.

        Raises:
            LeRobotError: it has another size or type.
        """
        if picture.shape != (*self._size, 3) or picture.dtype != np.uint8:
            raise LeRobotError(f"expected pictures uint8 {(*self._size, 3)}, got {picture.dtype} {picture.shape}")
        frame: Any = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, self._count = self._count, self._count + 1
        frame.pict_type = PictureType.I if starts_episode else PictureType.NONE
        self._file.mux(self._stream.encode(frame))


def read_pictures(path: Path, start: float, fps: float) -> Iterator[Picture]:
    """Pictures uint8 [H, W, 3] RGB of a video from the moment `start`, s, on.

    Raises:
        LeRobotError: the file is missing or no video.
    """
    try:
        with av.open(_local(path)) as file:
            stream: Any = file.streams.video[0]
            stream.thread_count = 1
            file.seek(max(0, int((start - 0.5 / fps) / stream.time_base)), stream=stream, backward=True)
            for frame in file.decode(stream):
                if frame.time is not None and frame.time > start - 0.5 / fps:
                    yield frame.to_ndarray(format="rgb24")
    except (OSError, IndexError, FFmpegError) as error:
        raise LeRobotError(f"{path}: expected a video, but it cannot be read: {error}") from error


def video_information(path: Path) -> dict[str, Any]:
    """The `info` entry of a camera in info.json."""
    with av.open(_local(path)) as file:
        stream: Any = file.streams.video[0]
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.fps": int(stream.base_rate or 0),
            "video.channels": 3,
            "has_audio": False,
            "is_depth_map": False,
        }
