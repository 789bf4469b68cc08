"""What a bag's metadata.yaml says that a reader needs, whatever version and distribution wrote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import yaml

METADATA = "metadata.yaml"
_INFORMATION = "rosbag2_bagfile_information"
_Part = TypeVar("_Part")
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class BagMetadata:
    """What the recorder noted. Everything else in the file, such as QoS, hashes and the storage's name, is not needed.

    Attributes:
        files: names of the bag's files; empty if the metadata does not tell.
        counts: announced messages of each topic.
        types: of the topics.
        custom_data: such as the model.
        problems: what could not be read, for people.
    """

    files: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    custom_data: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def is_bag_metadata(file: Path) -> bool:
    """Whether a file of that name is a bag's: other programs have one too."""
    return _INFORMATION.encode() in file.read_bytes()


def read_metadata(folder: Path) -> BagMetadata:
    """Reads what can be read of a folder's metadata: the bag's files hold everything else themselves."""
    try:
        information = yaml.safe_load((folder / METADATA).read_text(encoding="utf-8"))[_INFORMATION]
        files = _files(information)
    except (OSError, yaml.YAMLError, *_MALFORMED) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return BagMetadata(problems=(f"{METADATA} cannot be read ({reason}): the files beside it were",))
    return BagMetadata(
        files,
        _readable(lambda: _counts(information), {}),
        _readable(lambda: _types(information), {}),
        _readable(lambda: _custom_data(information), {}),
    )


def _files(information: Any) -> tuple[str, ...]:
    """Older versions name the folder too, and on another machine's disk."""
    return tuple(PurePosixPath(str(path)).name for path in information["relative_file_paths"])


def _counts(information: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in information["topics_with_message_count"]:
        name = str(item["topic_metadata"]["name"])
        counts[name] = counts.get(name, 0) + int(item["message_count"])
    return counts


def _types(information: Any) -> dict[str, str]:
    topics = [item["topic_metadata"] for item in information["topics_with_message_count"]]
    return {str(topic["name"]): str(topic["type"]) for topic in topics}


def _custom_data(information: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in (information.get("custom_data") or {}).items()}


def _readable(read: Callable[[], _Part], otherwise: _Part) -> _Part:
    try:
        return read()
    except _MALFORMED:
        return otherwise
