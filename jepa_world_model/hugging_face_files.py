"""Which safetensors files of a Hugging Face folder hold a model: the index decides where there is one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jepa_common.text_files import describe_text_file
from jepa_world_model.checkpoint_errors import CheckpointError

_SINGLE = "model.safetensors"
_INDEX = ".safetensors.index.json"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)\.safetensors")


def safetensors_files(path: Path) -> list[Path]:
    """The safetensors files that a file or a folder stands for, in order of their names.

    Raises:
        CheckpointError: a folder without any, with one missing, or with several of which one must be named.
    """
    if path.is_file() and not _SHARD.fullmatch(path.name):
        return [path]
    folder = path.parent if path.is_file() else path
    if index := index_file(path):
        names = sorted(set(read_weight_map(index).values()))
    else:
        names = _without_index(folder, path)
    if absent := [name for name in names if not (folder / name).is_file()]:
        source = f"which {index.name} names" if index else "the other parts are there"
        raise CheckpointError(f"{folder}: {', '.join(absent)} is missing, {source}: download it too")
    return [folder / name for name in names]


def index_file(path: Path) -> Path | None:
    """The file that says which tensor is in which file; None where there is none, or for a file that is whole itself.

    Raises:
        CheckpointError: several, and none with the usual name.
    """
    if path.is_file() and not _SHARD.fullmatch(path.name):
        return None
    found = sorted((path.parent if path.is_file() else path).glob(f"*{_INDEX}"))
    usual = [file for file in found if file.name == f"model{_INDEX}"]
    if len(found) > 1 and not usual:
        raise CheckpointError(f"{path} has several indexes, {_named(found)}: keep the one that is meant")
    return next(iter(usual or found), None)


def read_weight_map(index: Path) -> Mapping[str, str]:
    """Name of the file that holds each tensor.

    Raises:
        CheckpointError: the index is not one, or names a file elsewhere.
    """
    files = read_json(index).get("weight_map")
    if not isinstance(files, Mapping) or not files or not all(isinstance(name, str) for name in files.values()):
        raise CheckpointError(f"{index}: expected a weight_map with the file of each tensor; download it again")
    if outside := sorted({name for name in files.values() if Path(name).name != name}):
        raise CheckpointError(f"{index}: expected names of files beside it, got {', '.join(outside)}")
    return files


def read_json(path: Path) -> Mapping[str, Any]:
    """The contents of a JSON file.

    Raises:
        CheckpointError: it holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        instead = describe_text_file(path) or "no text"
        raise CheckpointError(f"{path}: expected JSON, but it is {instead} ({error})") from error
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{path}: expected names with values, got {type(values).__name__}")
    return values


def _without_index(folder: Path, path: Path) -> list[str]:
    names = sorted(file.name for file in folder.glob("*.safetensors"))
    if _SINGLE in names and path.is_dir():
        return [_SINGLE]
    shards = [match for name in names if (match := _SHARD.fullmatch(name))]
    if shards and (path.is_file() or len(shards) == len(names)):
        return _all_shards(folder, shards)
    if len(names) > 1:
        raise CheckpointError(f"{folder} holds several models, {', '.join(names)}, and no index: name the file itself")
    if not names:
        others = _named(sorted([*folder.glob("*.bin"), *folder.glob("*.pt")]))
        instead = f"found {others}, which is of another format" if others else "found none"
        raise CheckpointError(f"expected .safetensors files in {folder}, {instead}; download the model again")
    return names


def _all_shards(folder: Path, shards: list[re.Match[str]]) -> list[str]:
    """Names of all parts of a model of which some are there."""
    if len({(shard["stem"], shard["count"]) for shard in shards}) > 1:
        found = ", ".join(shard.string for shard in shards)
        raise CheckpointError(f"{folder} holds parts of several models, {found}, and no index: keep those of one")
    first = shards[0]
    width, count = len(first["count"]), first["count"]
    numbers = range(1, int(count) + 1)
    return [f"{first['stem']}-{number:0{width}d}-of-{count}.safetensors" for number in numbers]


def _named(files: list[Path]) -> str:
    return ", ".join(file.name for file in files)
