"""Opens bags of any kind that `rosbags` reads, and says in plain words what is wrong with one."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.rosbag2 import ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_typestore

STORAGE_SUFFIXES = (".mcap", ".db3")
METADATA = "metadata.yaml"
_HASH_BYTES = 1 << 20

# What the libraries raise for damaged files, beside their own errors.
_DAMAGE = (
    AnyReaderError, ReaderError, SerdeError, TypesysError, sqlite3.Error, struct.error, yaml.YAMLError,
    OSError, EOFError, ValueError, KeyError, IndexError, AssertionError, UnicodeDecodeError, MemoryError,
)  # fmt: skip


class BagError(ValueError):
    """A bag that cannot be used; the message says what was expected, what came and what to do."""


def find_bags(paths: Iterable[Path]) -> list[Path]:
    """The bags at or below `paths`, in the order of their names: folders with metadata, and lone storage files.

    Raises:
        BagError: a path does not exist or holds no bag.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise BagError(f"{path}: expected a bag, but there is nothing")
        below = _bags_below(path)
        if not below:
            raise BagError(f"{path}: expected a bag (a folder with {METADATA}, or .mcap or .db3), found none")
        found.extend(bag for bag in below if bag not in found)
    return found


def _bags_below(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in STORAGE_SUFFIXES else []
    if (path / METADATA).exists():
        return [path]
    files = sorted(item for item in path.iterdir() if item.is_file() and item.suffix in STORAGE_SUFFIXES)
    # What is hidden is not finished yet.
    folders = sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
    return files + [bag for folder in folders for bag in _bags_below(folder)]


def bag_hash(path: Path) -> str:
    """SHA-256 over a bag's files and their names; reads them in pieces.

    Raises:
        BagError: a file cannot be read.
    """
    digest = hashlib.sha256()
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    try:
        for file in files:
            digest.update(f"{file.relative_to(path) if file != path else file.name}\n{file.stat().st_size}\n".encode())
            with file.open("rb") as stream:
                while piece := stream.read(_HASH_BYTES):
                    digest.update(piece)
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error}") from error
    return digest.hexdigest()


class OpenBag:
    """A bag that is open. Not thread-safe.

    Attributes:
        path: of the bag.
        metadata: what its recorder noted, such as the model.
    """

    def __init__(self, path: Path, reader: AnyReader) -> None:
        self.path, self._reader = path, reader
        self.metadata = _custom_data(path)

    @property
    def connections(self) -> Sequence[Connection]:
        """Topics and their types."""
        return self._reader.connections

    def topics_of(self, *message_types: str) -> list[str]:
        """Names of the topics that have messages of these types, such as "sensor_msgs/msg/Image"."""
        return sorted({item.topic for item in self.connections if item.msgtype in message_types and item.msgcount})

    def raw_messages(
        self, topics: Iterable[str], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[str, str, int, bytes]]:
        """(topic, type, time of recording in ns, CDR) of the messages of these topics, in order of recording.

        Args:
            topics: their names.
            start: only what was recorded then or later, ns.
            stop: only what was recorded before, ns.

        Raises:
            BagError: the bag ends in the middle or is damaged.
        """
        wanted = set(topics)
        chosen = [item for item in self.connections if item.topic in wanted]
        if not chosen:
            return
        with _damage_explained(self.path):
            for connection, stamp, data in self._reader.messages(chosen, start, stop):
                yield connection.topic, connection.msgtype, stamp, bytes(data)

    def parse(self, data: bytes, message_type: str) -> Any:
        """A message from its CDR.

        Raises:
            BagError: the bytes are no message of that type.
        """
        with _damage_explained(self.path):
            return self._reader.deserialize(data, message_type)


@contextmanager
def open_bag(path: Path) -> Iterator[OpenBag]:
    """Opens a rosbag2 folder (split or not, sqlite3 or MCAP) or one storage file.

    Raises:
        BagError: it is missing, empty, cut off or damaged.
    """
    reader = _opened(path)
    try:
        yield OpenBag(path, reader)
    finally:
        reader.close()


def _opened(path: Path) -> AnyReader:
    _check_files(path)
    with _damage_explained(path):
        # Bags of older recorders hold no definitions: those of the newest distribution stand in.
        reader = AnyReader([path], default_typestore=get_typestore(Stores.LATEST))
        reader.open()
    if not any(item.msgcount for item in reader.connections):
        reader.close()
        raise BagError(f"{path}: the bag is empty: nothing was recorded")
    return reader


def _check_files(path: Path) -> None:
    if not path.exists():
        raise BagError(f"{path}: expected a bag, but there is nothing")
    files = [path] if path.is_file() else [item for item in path.iterdir() if item.suffix in STORAGE_SUFFIXES]
    if path.is_dir() and not (path / METADATA).exists():
        raise BagError(f"{path}: {METADATA} is missing: name the .mcap or .db3 file in it, or `ros2 bag reindex` it")
    if not files and not list(path.glob("*.zstd")):
        raise BagError(f"{path}: expected .mcap or .db3 files, found none")
    if empty := [file.name for file in files if not file.stat().st_size]:
        raise BagError(f"{path}: {', '.join(empty)} is empty: the recording was cut off before its first message")


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Turns what the libraries raise for damaged files into a message for people."""
    try:
        yield
    except BagError:
        raise
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise BagError(
            f"{path}: the bag is damaged or was cut off ({reason}); "
            "`mcap recover` or `ros2 bag reindex` may rescue what is in it"
        ) from error


def _custom_data(path: Path) -> dict[str, str]:
    """What the recorder noted in the metadata; nothing for a lone file."""
    file = path / METADATA
    if not file.is_file():
        return {}
    with _damage_explained(path):
        information = yaml.safe_load(file.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        return {str(key): str(value) for key, value in (information.get("custom_data") or {}).items()}
