"""Opens bags of ROS 2 of any kind, and says in plain words what is wrong with one."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import zstandard
from mcap.exceptions import McapError
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError

from jepa_tools.bags.bag_metadata import METADATA, BagMetadata, is_bag_metadata, read_metadata
from jepa_tools.bags.definitions import BagDefinitions
from jepa_tools.bags.storage import CDR, ROS1_HINT, Channel, Storage, StorageError, messages_of, open_storages

STORAGE_SUFFIXES = (".mcap", ".db3")
_PACKED_SUFFIX = ".zstd"
_HASH_BYTES = 1 << 20
_ALWAYS = (0, 2**63 - 1)

# What the libraries raise for damaged files, also where a database holds values of other types than it should.
_DAMAGE = (
    McapError, zstandard.ZstdError, sqlite3.Error, struct.error, OSError, EOFError, RuntimeError, ValueError, TypeError,
    AttributeError, LookupError, MemoryError,
)  # fmt: skip
_NO_MESSAGE = (SerdeError, TypesysError, struct.error, ValueError, KeyError, IndexError, AssertionError, MemoryError)


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
            raise BagError(
                f"{path}: expected a bag of ROS 2 (a folder with {METADATA}, or .mcap or .db3), {_instead(path)}"
            )
        found.extend(bag for bag in below if bag not in found)
    return found


def _bags_below(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if is_storage_file(path) else []
    files = _storage_files(path)
    if _is_split_bag(path, files) or ((path / METADATA).exists() and (files or is_bag_metadata(path / METADATA))):
        return [path]
    # What is hidden is not finished yet.
    folders = sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
    return files + [bag for folder in folders for bag in _bags_below(folder)]


def is_storage_file(path: Path) -> bool:
    """Whether a file is one of a bag's, by its name; also one that the recorder compressed."""
    name = path.name.removesuffix(_PACKED_SUFFIX)
    return name.endswith(STORAGE_SUFFIXES) and path.is_file()


def _storage_files(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if is_storage_file(item))


def _is_split_bag(folder: Path, files: Sequence[Path]) -> bool:
    """Whether these files are parts of one recording, by the names that a recorder gives them."""
    number = re.compile(rf"{re.escape(folder.absolute().name)}_\d+\.")
    return len(files) > 1 and all(number.match(file.name) for file in files)


def _instead(path: Path) -> str:
    if path.suffix == ".bag" or (path.is_dir() and any(path.rglob("*.bag"))):
        return f"found one of ROS 1: {ROS1_HINT}"
    return "found none"


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
        notes: what is odd about its files, for people.
    """

    def __init__(
        self, path: Path, storages: Sequence[Storage], metadata: BagMetadata, notes: tuple[str, ...] = ()
    ) -> None:
        self.path, self.metadata, self.notes = path, metadata.custom_data, notes
        self._storages, self._announced = storages, metadata.counts
        # A channel without a schema has its type in the metadata at best.
        self._types = {
            channel.topic: channel.message_type or metadata.types.get(channel.topic, "") for channel in self._channels()
        }
        self._definitions = BagDefinitions(
            {item.message_type: item.definition for item in self._channels() if item.definition is not None}
        )

    def _channels(self) -> Iterator[Channel]:
        for storage in self._storages:
            yield from (channel for channel in storage.channels if channel.encoding == CDR)

    @property
    def topics(self) -> list[str]:
        """Names of all topics with messages of ROS 2."""
        return sorted({channel.topic for channel in self._channels() if channel.count})

    def topics_of(self, *message_types: str) -> list[str]:
        """Names of the topics that have messages of these types, such as "sensor_msgs/msg/Image"."""
        return [topic for topic in self.topics if self._types[topic] in message_types]

    def other_encodings(self) -> list[str]:
        """Encodings of messages that are not of ROS 2, such as "json"."""
        channels = (channel for storage in self._storages for channel in storage.channels if channel.count)
        return sorted({channel.encoding for channel in channels} - {CDR})

    def announced(self, topic: str) -> int:
        """How many messages of a topic the metadata or the files announce, whichever says more.

        A recorder that was killed has written to the file since it wrote the metadata.
        """
        counted = sum(channel.count for channel in self._channels() if channel.topic == topic)
        return max(self._announced.get(topic, 0), counted)

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
        wanted = {(topic, CDR) for topic in topics}
        bounds = _ALWAYS[0] if start is None else start, _ALWAYS[1] if stop is None else stop
        with _damage_explained(self.path):
            for recorded, channel, data in messages_of(self._storages, wanted, *bounds):
                yield channel.topic, self._types[channel.topic], recorded, data

    def parse(self, data: bytes, message_type: str) -> Any:
        """A message from its CDR.

        Raises:
            BagError: the bytes are no message of that type, or nothing defines it.
        """
        try:
            return self._definitions.store(message_type).deserialize_cdr(data, message_type)
        except (*_NO_MESSAGE, LookupError) as error:
            reason = str(error) or type(error).__name__
            raise BagError(f"{len(data)} bytes are no {message_type} ({reason})") from error


@contextmanager
def open_bag(path: Path) -> Iterator[OpenBag]:
    """Opens a rosbag2 folder (split or not, sqlite3 or MCAP) or one storage file.

    Raises:
        BagError: it is missing, empty, cut off or damaged.
    """
    with ExitStack() as stack:
        yield _opened(path, stack)


def _opened(path: Path, stack: ExitStack) -> OpenBag:
    if not path.exists():
        raise BagError(f"{path}: expected a bag, but there is nothing")
    if path.is_dir() and not (path / METADATA).exists() and not _is_split_bag(path, _storage_files(path)):
        raise BagError(f"{path}: {METADATA} is missing: name the .mcap or .db3 file in it, or `ros2 bag reindex` it")
    metadata = read_metadata(path) if path.is_dir() else BagMetadata()
    with _damage_explained(path):
        files = _files(path, metadata)
        bag = OpenBag(path, open_storages(files, stack), metadata, (*metadata.problems, *_left_out(path, files)))
    if not bag.topics:
        raise BagError(f"{path}: {_why_empty(bag)}")
    return bag


def _files(path: Path, metadata: BagMetadata) -> list[Path]:
    """The files of a bag: those that its metadata names, or those that are there."""
    files = [_named_file(path, name) for name in metadata.files] or ([path] if path.is_file() else _storage_files(path))
    if absent := [file.name for file in files if not file.exists()]:
        others = [file.name for file in _storage_files(path) if file not in files]
        instead = f"; {', '.join(others)} is: name that file itself if it was renamed" if others else ""
        raise BagError(
            f"{path}: {METADATA} names {', '.join(absent)}, which is not there: copy the whole folder{instead}"
        )
    if not files:
        raise BagError(f"{path}: expected .mcap or .db3 files, found none")
    if empty := [file.name for file in files if not file.stat().st_size]:
        raise BagError(f"{path}: {', '.join(empty)} is empty: the recording was cut off before its first message")
    return files


def _named_file(folder: Path, name: str) -> Path:
    """A file that the metadata names; some recorders name it as it was before they compressed it."""
    packed = folder / f"{name}{_PACKED_SUFFIX}"
    return packed if packed.exists() and not (folder / name).exists() else folder / name


def _left_out(path: Path, files: Sequence[Path]) -> tuple[str, ...]:
    """What is in the folder and is not named in the metadata, for people."""
    surplus = [file.name for file in _storage_files(path) if file not in files] if path.is_dir() else []
    return (f"{', '.join(surplus)} left out: not named in {METADATA}",) if surplus else ()


def _why_empty(bag: OpenBag) -> str:
    others = bag.other_encodings()
    if "ros1" in others:
        return f"the messages are of ROS 1: {ROS1_HINT}"
    if others:
        return f"expected messages of ROS 2 (cdr), found only {', '.join(others)}"
    return "the bag is empty: nothing was recorded"


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Turns what the libraries raise for damaged files into a message for people."""
    try:
        yield
    except BagError:
        raise
    except StorageError as error:
        raise BagError(f"{path}: expected a bag, but {error}") from error
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise BagError(
            f"{path}: the bag is damaged or was cut off ({reason}); "
            "`mcap recover` or `ros2 bag reindex` may rescue what is in it"
        ) from error
