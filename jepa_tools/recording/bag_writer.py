"""Writes a rosbag2 folder with one MCAP file that is complete or absent."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import StoragePlugin, Writer

from jepa_tools.recording.message_types import MessageTypes

BAG_VERSION: Final = 9
_CDR_LITTLE_ENDIAN = 1
_NANOSECONDS = 1_000_000_000
STAMP_BYTES: Final = 12
"""Encapsulation, seconds, nanoseconds: what a serialised message with a header begins with."""


class BagExistsError(FileExistsError):
    """There is something at the bag's path already."""


class BagWriter:
    """A bag that appears at its path when the `with` block ends well, and else leaves nothing.

    Messages come serialised (CDR), as raw subscriptions deliver them. A message that begins with a header is filed
    under its header's stamp, every other one under the time that the caller names. Not thread-safe.
    """

    def __init__(self, path: Path, types: MessageTypes, metadata: Mapping[str, str] | None = None) -> None:
        """Nothing is written before the block begins.

        Args:
            path: folder to make.
            types: where message definitions come from.
            metadata: kept in the bag as `custom_data`.

        Raises:
            BagExistsError: `path` exists.
        """
        if path.exists():
            raise BagExistsError(f"{path} exists already: remove it or choose another name")
        self.path, self._types, self._metadata = path, types, dict(metadata or {})
        self._partial = path.parent / f".{path.name}.partial"
        self._writer: Writer | None = None
        self._connections: dict[str, tuple[Connection, bool]] = {}
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        writer = self._start()
        for key, value in self._metadata.items():
            writer.set_custom_data(key, value)
        writer.open()
        self._writer = writer
        return self

    def _start(self) -> Writer:
        """A writer that is not open yet."""
        shutil.rmtree(self._partial, ignore_errors=True)
        return Writer(self._partial / self.path.name, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        writer, self._writer = self._open_writer(), None
        try:
            if kind is None and self.message_count:
                writer.close()
                (self._partial / self.path.name).replace(self.path)
            else:
                writer.abort()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def set_metadata(self, key: str, value: str) -> None:
        """Adds to the bag's `custom_data`, or changes it."""
        self._open_writer().set_custom_data(key, value)

    @property
    def message_count(self) -> int:
        """Messages written so far."""
        return sum(self.counts.values())

    def add_topic(self, topic: str, message_type: str, offered_qos: Sequence[Qos] = ()) -> None:
        """Announces a topic; to be done once, before its first message.

        Raises:
            UnknownMessageTypeError: the type has no definition here.
        """
        has_header = self._types.starts_with_header(message_type)
        connection = self._open_writer().add_connection(
            topic, message_type, typestore=self._types.store, offered_qos_profiles=offered_qos
        )
        self._connections[topic] = (connection, has_header)
        self.counts[topic] = 0

    def write(self, topic: str, data: bytes, now: int) -> None:
        """Writes one message.

        Args:
            topic: one that was announced.
            data: the message, CDR with its encapsulation header.
            now: nanoseconds, for messages without a stamp of their own.

        Raises:
            KeyError: the topic was not announced.
            OSError: the disk is full.
        """
        connection, has_header = self._connections[topic]
        stamp = header_stamp(data) if has_header else 0
        self._open_writer().write(connection, stamp or now, data)
        self.counts[topic] += 1

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise RuntimeError(f"{self.path}: expected to write inside the bag's `with` block")
        return self._writer


def header_stamp(data: bytes) -> int:
    """The stamp, in nanoseconds, that a serialised message with a header begins with; 0 when it is not set."""
    order = "<" if data[1] == _CDR_LITTLE_ENDIAN else ">"
    seconds, nanoseconds = struct.unpack_from(order + "iI", data, 4)
    return max(0, seconds * _NANOSECONDS + nanoseconds)
