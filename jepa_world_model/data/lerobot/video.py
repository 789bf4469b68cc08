"""Videos of a dataset: written picture by picture, read from any moment on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import PictureType
from numpy.typing import NDArray

from jepa_world_model.data.lerobot.layout import LeRobotError, VideoOptions, unreadable

Picture = NDArray[np.uint8]
Stamps = NDArray[np.int64]


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


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """When each picture of a video is on show, and where decoding can begin.

    Attributes:
        path: of the video.
        stamps: of the pictures, ascending, in units of `unit`, [N].
        unit: s.
        entries: stamp of each picture that can be decoded without others, ascending, and its place to seek to, [K, 2].
    """

    path: Path
    stamps: Stamps
    unit: Fraction
    entries: Stamps

    @property
    def times(self) -> NDArray[np.float64]:
        """When each picture begins to be shown, s, [N]."""
        return np.asarray(self.stamps * float(self.unit), dtype=np.float64)

    @property
    def period(self) -> float:
        """Usual time from picture to picture, s; 0 for a single one."""
        return float(np.median(np.diff(self.times))) if len(self.stamps) > 1 else 0.0

    def place_before(self, stamp: int) -> int:
        """Where to seek to, to decode the picture of this stamp."""
        entry = max(0, int(np.searchsorted(self.entries[:, 0], stamp, side="right")) - 1)
        return int(self.entries[entry, 1])


def index_video(path: Path) -> VideoIndex:
    """Reads a video's stamps, and decodes nothing.

    Raises:
        LeRobotError: the file is missing, no video, or its pictures have no stamps.
    """
    with _readable(path) as (file, stream):
        packets = [packet for packet in file.demux(stream) if packet.size and not packet.is_discard]
    if not packets or any(packet.pts is None for packet in packets):
        raise LeRobotError(f"{path}: expected a video whose pictures have stamps, got {len(packets)} pictures")
    entries = sorted(
        (packet.pts, packet.pts if packet.dts is None else packet.dts) for packet in packets if packet.is_keyframe
    )
    entries = entries or [(packets[0].pts, packets[0].dts)]
    stamps = np.unique(np.array([packet.pts for packet in packets], dtype=np.int64))
    return VideoIndex(path, stamps, Fraction(packets[0].time_base), np.array(entries, dtype=np.int64))


def read_pictures(index: VideoIndex, stamps: Sequence[int]) -> Iterator[Picture]:
    """Pictures uint8 [H, W, 3] RGB of these stamps, ascending; one that is asked for twice comes twice.

    Raises:
        LeRobotError: one of them cannot be decoded.
    """
    if not len(stamps):
        return
    wanted = deque(int(stamp) for stamp in stamps)
    with _readable(index.path) as (file, stream):
        file.seek(index.place_before(wanted[0]), stream=stream, backward=True)
        for frame in file.decode(stream):
            if frame.pts is None or frame.pts < wanted[0]:
                continue
            if frame.pts > wanted[0]:
                break
            picture = frame.to_ndarray(format="rgb24")
            while wanted and wanted[0] == frame.pts:
                wanted.popleft()
                yield picture
            if not wanted:
                return
    moment = float(wanted[0] * index.unit)
    raise LeRobotError(f"{index.path}: the picture at {moment:.3f} s cannot be decoded: the video is damaged")


@contextmanager
def _readable(path: Path) -> Iterator[tuple[Any, Any]]:
    """The opened file and its video stream, with the library's errors put in our words."""
    try:
        with av.open(_local(path)) as file:
            stream: Any = file.streams.video[0]
            stream.thread_count = 1
            yield file, stream
    except (OSError, IndexError, FFmpegError) as error:
        raise unreadable(path, "a video", error) from error


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
