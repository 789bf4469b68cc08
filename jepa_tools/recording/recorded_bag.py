"""Writes a rosbag2 folder that opens at any moment: what a full disk or `kill -9` leaves is a bag up to then."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rosbags.interfaces import Qos
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionMode
from rosbags.rosbag2.storage_mcap import McapWriter

from jepa_tools.recording.bag_writer import BAG_VERSION, BagWriter

SAVE_SECONDS: Final = 1.0
"""Longest time from a message to when it is safe."""

METADATA_SECONDS: Final = 15.0
"""Longest time from a message to when metadata.yaml counts it."""

_SAVE_BYTES = 1 << 25  # or so many bytes, before that


class _Pending(io.BytesIO):
    """What is still to be written, at its place in the file. `close` keeps it: there is always more to come."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start

    def tell(self) -> int:
        """The place in the file."""
        return self.start + super().tell()

    def close(self) -> None:
        """Nothing: the file is closed by who opened it."""

    def taken(self) -> bytes:
        """All that is pending, which is then no longer."""
        data = self.getvalue()
        self.seek(0)
        self.truncate()
        return data


class _LastingMcap(McapWriter):
    """An MCAP file that has its index and footer whenever `close` returns, and can be written to thereafter.

    Each `close` overwrites the index of the one before with what came since, and a new one, in one go. What fails on
    the way is undone, and tried again by the next.
    """

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        super().__init__(path, compression)
        self._file = self.bio
        self._file.flush()
        self._pending = _Pending(self._file.tell())
        # All that is asked of it is `write`, `tell` and `close`.
        self.bio = self._pending  # type: ignore[assignment]
        self._index = b""

    @property
    def pending_bytes(self) -> int:
        """What would be lost now."""
        return self._pending.tell() - self._pending.start + int(self.chunk.bio.tell())

    def close(self, version: int, metadata: str) -> None:
        """Saves everything. Raises OSError when the disk is full; the file is then as it was."""
        if self.chunk.bio.tell():
            self.close_chunk()
        data, start = self._pending.taken(), self._pending.start
        self._pending.start += len(data)
        super().close(version, metadata)
        index = self._pending.taken()
        try:
            self._put(start, data + index)
        except OSError:
            self._put(start, self._index)
            self._pending.start = start
            self._pending.write(data)
            raise
        self._index, self._saved = index, (version, metadata)

    def save(self) -> None:
        """As `close`, with the metadata of then, which takes a hundred times as long to write as all else."""
        self.close(*self._saved)

    def _put(self, start: int, data: bytes) -> None:
        """Makes `data` the end of the file."""
        handle, view = self._file.fileno(), memoryview(data)
        while view:
            written = os.pwrite(handle, view, start + len(data) - len(view))
            view = view[written:]
        os.ftruncate(handle, start + len(data))

    def abort(self) -> None:
        """Closes the file as it is."""
        self._file.close()


class _LastingWriter(Writer):
    """Writes a bag that is complete after each `close`, and goes on."""

    STORAGE_PLUGINS = {StoragePlugin.MCAP: _LastingMcap}  # noqa: RUF012 - the base class's

    def close(self) -> None:
        """Saves storage and metadata.yaml. Raises OSError when the disk is full; both are then as they were."""
        storage = self.storage
        try:
            super().close()
        finally:
            self.storage = storage
            with contextlib.suppress(OSError):
                self.metapath.with_suffix(".yaml.tmp").unlink(missing_ok=True)

    @property
    def lasting(self) -> _LastingMcap:
        """The open file."""
        if not isinstance(self.storage, _LastingMcap):
            raise TypeError(f"{self.path}: expected an open bag")
        return self.storage


class RecordedBag(BagWriter):
    """A bag at its path from the first moment on, with all but the last second of what came, however it ends.

    One to which nothing was written is removed when the block ends. For the rest see `BagWriter`.
    """

    def _start(self) -> Writer:
        self._lasting = _LastingWriter(self.path, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        return self._lasting

    def __enter__(self) -> Self:
        super().__enter__()
        self._describe()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._describe()
        except OSError:
            if kind is None:
                raise  # else the disk was full before, and that was said
        finally:
            self._lasting.abort()
            self._writer = None
            if not self.message_count:
                shutil.rmtree(self.path)

    def write(self, topic: str, data: bytes, now: int) -> None:
        """As the base class; saves now and then. Raises OSError when the disk is full: what was saved stays."""
        super().write(topic, data, now)
        if time.monotonic() - self._saved_at > SAVE_SECONDS or self._lasting.lasting.pending_bytes > _SAVE_BYTES:
            self.save()

    def add_topic(self, topic: str, message_type: str, offered_qos: Sequence[Qos] = ()) -> None:
        """As the base class."""
        super().add_topic(topic, message_type, offered_qos)
        self._described_at = float("-inf")

    def save(self) -> None:
        """Makes safe what came until now. Raises OSError when the disk is full: what was saved before stays."""
        now = time.monotonic()
        if now - self._described_at > METADATA_SECONDS:
            self._describe()
        else:
            self._lasting.lasting.save()
        self._saved_at = now

    def _describe(self) -> None:
        """Saves, and writes the metadata anew."""
        self._lasting.close()
        self._saved_at = self._described_at = time.monotonic()
