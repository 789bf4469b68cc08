"""The files of a bag, MCAP and SQLite, opened for their messages.

Only what a reader of messages needs is looked at: topics, types, definitions and the messages themselves. QoS, hashes
of types, profiles and channels of other encodings may be whatever they like.
"""

from __future__ import annotations

import heapq
import json
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

import zstandard
from mcap.reader import SeekingReader
from mcap.records import Channel as McapChannel
from mcap.records import Message, Schema
from mcap.stream_reader import StreamReader
from mcap.summary import Summary

from jepa_common.text_files import describe_text_file

CDR: Final = "cdr"
_MCAP, _SQLITE, _ZSTD = b"\x89MCAP0\r\n", b"SQLite format 3\0", b"\x28\xb5\x2f\xfd"
_ROS1 = b"#ROSBAG V"
ROS1_HINT: Final = "`rosbags-convert --src FILE.bag --dst FOLDER` makes one of ROS 2 of it"
_END_OF_TIME = 2**63 - 1
_OTHER_NAMES = {"omgidl": "ros2idl"}


class StorageError(ValueError):
    """A file that is no storage of a bag; the message says what it is instead."""


@dataclass(frozen=True)
class Definition:
    """The text that defines a message type. encoding: "ros2msg", "ros2idl" or what else the file says."""

    encoding: str
    text: str


@dataclass(frozen=True)
class Channel:
    """A topic in one file of a bag.

    Attributes:
        number: by which the file names it.
        topic: its name.
        message_type: such as "sensor_msgs/msg/Image"; empty where the file does not tell.
        encoding: of the messages; "cdr" in ROS 2.
        definition: of the type; None where the file has none.
        count: messages, as the file announces them.
    """

    number: int
    topic: str
    message_type: str
    encoding: str
    definition: Definition | None
    count: int


class Storage(ABC):
    """One open file. Not thread-safe.

    Attributes:
        channels: what is in it.
        span: when its first and last message were recorded, ns; the first after the last if it has none.
    """

    channels: Sequence[Channel]
    span: tuple[int, int]

    @abstractmethod
    def messages(self, chosen: Collection[Channel], start: int, stop: int) -> Iterator[tuple[int, Channel, bytes]]:
        """Time of recording (ns), channel and data of what was recorded from `start` until before `stop`."""

    @abstractmethod
    def close(self) -> None:
        """Closes the file."""


def open_storages(files: Sequence[Path], stack: ExitStack) -> list[Storage]:
    """Opens the files of a bag, the one that was recorded first in front; `stack` closes them.

    Raises:
        StorageError: a file is neither MCAP nor SQLite.
    """
    storages = [_opened(file, stack) for file in files]
    return sorted(storages, key=lambda storage: storage.span[0])


def messages_of(
    storages: Sequence[Storage], topics: Collection[tuple[str, str]], start: int, stop: int
) -> Iterator[tuple[int, Channel, bytes]]:
    """Messages of some (topic, encoding) of all files, in order of recording."""
    parts = []
    for storage in storages:
        chosen = [channel for channel in storage.channels if (channel.topic, channel.encoding) in topics]
        if chosen:
            parts.append((storage.span, storage.messages(chosen, start, stop)))
    follow = all(before[0][1] <= after[0][0] for before, after in pairwise(parts))
    # Files that overlap are read side by side; those that follow each other need not be open in memory at once.
    rows = (row for _, part in parts for row in part)
    merged = rows if follow else heapq.merge(*(part for _, part in parts), key=lambda row: row[0])
    for recorded, channel, data in merged:
        # No CDR begins so: the recorder compressed each message.
        yield recorded, channel, _unpacked(data) if data.startswith(_ZSTD) else data


def _unpacked(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def _opened(file: Path, stack: ExitStack) -> Storage:
    with file.open("rb") as stream:
        head = stream.read(len(_SQLITE))
    if head.startswith(_ZSTD):
        folder = stack.enter_context(TemporaryDirectory(prefix="jepa-bag-"))
        return _opened(_decompressed(file, Path(folder)), stack)
    if head.startswith(_MCAP):
        return stack.enter_context(closing(McapStorage(file)))
    if head == _SQLITE:
        return stack.enter_context(closing(SqliteStorage(file)))
    if head.startswith(_ROS1):
        raise StorageError(f"{file.name} is a bag of ROS 1: {ROS1_HINT}")
    raise StorageError(f"{file.name} is {describe_text_file(file) or 'neither MCAP nor SQLite'}")


def _decompressed(file: Path, folder: Path) -> Path:
    target = folder / file.stem
    with file.open("rb") as packed, target.open("wb") as plain:
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        shutil.copyfileobj(reader, plain)
    return target


def _message_type(name: str) -> str:
    """The name as ROS 2 writes it: "sensor_msgs/Image" is "sensor_msgs/msg/Image"."""
    package, slash, kind = name.partition("/")
    return f"{package}/msg/{kind}" if slash and "/" not in kind else name


def _definition(encoding: str, text: str) -> Definition | None:
    return Definition(_OTHER_NAMES.get(encoding, encoding), text) if text.strip() else None


class SqliteStorage(Storage):
    """A `.db3` file of any version of its tables."""

    def __init__(self, file: Path) -> None:
        # A path may hold characters that mean something in a URI. `immutable` reads from folders without permission
        # to write; it does not see what a recorder that was killed left beside the file.
        left = Path(f"{file}-wal")
        options = "mode=ro" if left.exists() and left.stat().st_size else "mode=ro&immutable=1"
        self._database = sqlite3.connect(f"{file.resolve().as_uri()}?{options}", uri=True)
        self._database.text_factory = lambda data: data.decode(errors="replace")
        try:
            self._read_topics()
        except BaseException:
            self._database.close()
            raise

    def _read_topics(self) -> None:
        rows = self._database.execute(
            "SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages GROUP BY topic_id"
        ).fetchall()
        counts = {number: count for number, count, _, _ in rows}
        self.span = min((row[2] for row in rows), default=_END_OF_TIME), max((row[3] for row in rows), default=0)
        definitions = self._definitions()
        self.channels = [
            Channel(number, topic, kind := _message_type(name), form, definitions.get(kind), counts.get(number, 0))
            for number, topic, name, form in self._database.execute(
                "SELECT id, name, type, serialization_format FROM topics ORDER BY id"
            )
        ]

    def _definitions(self) -> dict[str, Definition | None]:
        """Recorders before Iron keep none."""
        known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'message_definitions'"
        if not self._database.execute(known).fetchone():
            return {}
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        return {_message_type(name): _definition(form, text) for name, form, text in self._database.execute(query)}

    def messages(self, chosen: Collection[Channel], start: int, stop: int) -> Iterator[tuple[int, Channel, bytes]]:
        """As the base class says."""
        channels = {channel.number: channel for channel in chosen}
        rows = self._database.execute(
            "SELECT topic_id, timestamp, data FROM messages WHERE timestamp >= ? AND timestamp < ? "
            "AND topic_id IN (SELECT value FROM json_each(?)) ORDER BY timestamp, id",
            (start, stop, json.dumps(list(channels))),
        )
        for number, recorded, data in rows:
            if not isinstance(data, bytes):
                raise TypeError(f"expected bytes of a message, got {type(data).__name__}")
            yield recorded, channels[number], data

    def close(self) -> None:
        """Closes the database."""
        self._database.close()


class McapStorage(Storage):
    """An `.mcap` file with or without chunks, index and summary."""

    def __init__(self, file: Path) -> None:
        self._stream: IO[bytes] = file.open("rb")
        try:
            self._reader = SeekingReader(self._stream, validate_crcs=True)
            summary = self._reader.get_summary()  # which a file that was cut off does not have
            self._indexed = summary is not None and _is_complete(summary)
            contents = _contents(summary) if summary and self._indexed else self._scanned()
        except BaseException:
            self._stream.close()
            raise
        schemas, channels, counts, self.span = contents
        self.channels = [
            _mcap_channel(channel, schemas.get(channel.schema_id), counts[number])
            for number, channel in sorted(channels.items())
        ]

    def _scanned(self) -> _McapContents:
        """Reads everything once, for files that do not say themselves what is in them."""
        schemas: dict[int, Schema] = {}
        channels: dict[int, McapChannel] = {}
        counts: Counter[int] = Counter()
        first, last = _END_OF_TIME, 0
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, McapChannel):
                channels[record.id] = record
            elif isinstance(record, Message):
                counts[record.channel_id] += 1
                first, last = min(first, record.log_time), max(last, record.log_time)
        return schemas, channels, counts, (first, last)

    def _records(self) -> Iterator[object]:
        self._stream.seek(0)
        yield from StreamReader(self._stream, validate_crcs=True).records

    def messages(self, chosen: Collection[Channel], start: int, stop: int) -> Iterator[tuple[int, Channel, bytes]]:
        """As the base class says; a file without an index is read in the order in which it was written."""
        channels = {channel.number: channel for channel in chosen}
        for message in self._indexed_messages(chosen, start, stop) if self._indexed else self._records():
            if not isinstance(message, Message) or message.channel_id not in channels:
                continue
            if start <= message.log_time < stop:
                yield message.log_time, channels[message.channel_id], message.data

    def _indexed_messages(self, chosen: Collection[Channel], start: int, stop: int) -> Iterator[Message]:
        topics = {channel.topic for channel in chosen}
        for _, _, message in self._reader.iter_messages(topics, starting_at=start, ending_before=stop):
            yield message

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


_McapContents = tuple[dict[int, Schema], dict[int, McapChannel], Counter[int], tuple[int, int]]


def _is_complete(summary: Summary) -> bool:
    """Whether a summary has all channels, their types and an index of all chunks; writers may leave any of it out."""
    counts = summary.statistics
    if counts is None or not summary.chunk_indexes or counts.chunk_count != len(summary.chunk_indexes):
        return False
    types = {channel.schema_id for channel in summary.channels.values()} - {0}
    named = set(counts.channel_message_counts) | {
        number for chunk in summary.chunk_indexes for number in chunk.message_index_offsets
    }
    same_count = counts.channel_count == len(summary.channels)
    # Without counts by channel the empty ones cannot be told.
    counted = sum(counts.channel_message_counts.values()) == counts.message_count
    return same_count and counted and types <= set(summary.schemas) and named <= set(summary.channels)


def _contents(summary: Summary) -> _McapContents:
    statistics = summary.statistics
    if statistics is None:
        raise StorageError("expected a summary with statistics")
    counts = Counter(statistics.channel_message_counts)
    span = statistics.message_start_time, statistics.message_end_time
    return summary.schemas, summary.channels, counts, span if statistics.message_count else (_END_OF_TIME, 0)


def _mcap_channel(channel: McapChannel, schema: Schema | None, count: int) -> Channel:
    name = _message_type(schema.name) if schema else ""
    definition = _definition(schema.encoding, schema.data.decode(errors="replace")) if schema else None
    return Channel(channel.id, channel.topic, name, channel.message_encoding, definition, count)
