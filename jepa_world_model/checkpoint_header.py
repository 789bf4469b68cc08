"""What a checkpoint of this package says of itself, read without torch: planner and doctor need no more."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from jepa_common.resources import share_folder
from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.model_card import ModelCard
from jepa_world_model.safetensors_header import digests, read_metadata

FORMAT = "jepa_ros world model 1"
VERSION_DIGITS = 12
DECODER_PREFIX = "decoder."
"""How the names of a picture decoder's tensors begin; they stand last and do not count in the version."""

Config = TypeVar("Config")


@dataclass(frozen=True)
class CheckpointHeader:
    """The header of a checkpoint.

    Attributes:
        path: of the file.
        card: the model's, with its version.
        texts: JSON by part: "encoder", "predictor" and "provenance"; with a picture decoder also "decoder" and
            "decoder_provenance".
    """

    path: Path
    card: ModelCard
    texts: Mapping[str, str]


def open_header(path_or_name: str | Path) -> CheckpointHeader:
    """Read the header of a checkpoint and check the file against the index beside it.

    Raises:
        CheckpointError: not found, truncated, not ours, or changed since it was written.
    """
    path = find_checkpoint(path_or_name)
    header = read_metadata(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a world model of this package (format {header.get('format')!r});"
            " official and Hugging Face files go through `jepa convert` first"
        )
    version = _verified_version(path)
    values = json.loads(header["card"])
    if values is None:
        raise CheckpointError(f"{path} has no model card; write it again with this version of the package")
    return CheckpointHeader(path, replace(from_values(ModelCard, values, path), version=version), header)


def checkpoint_folders() -> list[Path]:
    """Where checkpoints are looked for by name: this installation's, then those of sourced workspaces."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    sourced = [Path(prefix, "share", "jepa_ros") for prefix in prefixes if prefix]
    return [share / "models" / "checkpoints" for share in (share_folder(), *sourced)]


def find_checkpoint(path_or_name: str | Path) -> Path:
    """The file that a path, or the name of a shipped checkpoint, stands for.

    Raises:
        CheckpointError: neither exists; lists the names that do.
    """
    path = Path(path_or_name).expanduser()
    if path.is_file():
        return path
    folders = checkpoint_folders()
    for folder in folders:
        candidate = folder / f"{path.name.removesuffix('.safetensors')}.safetensors"
        if candidate.is_file() and path.parent == Path():
            return candidate
    known = sorted({file.stem for folder in folders if folder.is_dir() for file in folder.glob("*.safetensors")})
    raise CheckpointError(f"no file {path} and no checkpoint of that name; known names: {', '.join(known) or 'none'}")


def _verified_version(path: Path) -> str:
    file_digest, weights_digest = digests(path, DECODER_PREFIX)
    index_path = path.parent / "index.json"
    entry = json.loads(index_path.read_text()).get(path.name) if index_path.exists() else None
    if entry is not None and entry["sha256"] != file_digest:
        raise CheckpointError(
            f"{path} has SHA-256 {file_digest[:16]}…, its index says {entry['sha256'][:16]}…;"
            " the file changed after it was written, fetch or write it again"
        )
    return weights_digest[:VERSION_DIGITS]


def from_values(kind: type[Config], values: Mapping[str, Any], path: Path) -> Config:
    """A configuration from the JSON values of a header.

    Raises:
        CheckpointError: a value that it does not have.
    """
    unknown = set(values) - {field.name for field in fields(kind)}  # type: ignore[arg-type] # all are dataclasses
    if unknown:
        raise CheckpointError(f"{path} was written by another version: {kind.__name__} has no {sorted(unknown)}")
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return kind(**arguments)
