"""The folder of a run: its state, complete or absent; its configuration; and its log, which follows the state.

A run may be killed at any instant and the disk may be full: what was saved last stays readable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import torch
import yaml

from jepa_world_model.data.array_file import one_process_at_a_time

STATE_FILE = "state.pt"
CONFIG_FILE = "config.yaml"
LOG_FILE = "log.jsonl"
LOCK_FILE = ".lock"

_MAY_CHANGE = frozenset({"out", "data", "validation", "checkpoint", "encoder_run", "device", "save_every", "log_every"})
"""What may differ when a run is continued: where things lie and how often they are written."""


class RunFolderError(RuntimeError):
    """A run's folder cannot be used; the message says what to change."""


def write_complete(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a file beside ``path`` and rename it when it is safely on disk.

    Raises:
        OSError: it cannot be written; what lay at ``path`` is untouched, and nothing else is left.
    """
    # The same name at every try, so that what a killed process left is overwritten, not kept.
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: Path, value: Any) -> None:
    """``torch.save`` that leaves a complete file or the previous one.

    Raises:
        OSError: the disk is full or cannot be written.
    """

    def write(file: BinaryIO) -> None:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            # torch's archive writer hides why the file could not be written.
            raise OSError(f"{path} could not be written ({error}); is the disk full?") from error

    write_complete(path, write)


def write_text(path: Path, text: str) -> None:
    """Text that is there completely or not at all."""
    write_complete(path, lambda file: file.write(text.encode()))


def plain(value: Any) -> Any:
    """A configuration as JSON and YAML can hold it: paths as text, tuples as lists."""
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def claim(folder: Path, config: Any) -> None:
    """Keep ``config``, a dataclass, as ``config.yaml``; or check that it goes on with what lies there.

    Raises:
        RunFolderError: the folder holds a run with other settings; names them.
    """
    path, settings = folder / CONFIG_FILE, plain(asdict(config))
    with one_process_at_a_time(folder / LOCK_FILE):
        if not path.exists():
            write_text(path, yaml.safe_dump(settings, sort_keys=False))
        changed = _changed(yaml.safe_load(path.read_text()), settings)
    if changed:
        raise RunFolderError(
            f"{folder} holds a run with other values of {', '.join(changed)} (see {path}):"
            " use the same ones to go on, or another output folder"
        )


def _changed(found: Mapping[str, Any], settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names of settings that both have, with different values; a setting that is new had its default before."""
    names: list[str] = []
    for name in settings.keys() & found.keys() - _MAY_CHANGE:
        before, now = found[name], settings[name]
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            names += _changed(before, now, f"{prefix}{name}.")
        elif before != now:
            names.append(f"{prefix}{name}")
    return sorted(names)


class RunLog:
    """Values by step in ``log.jsonl``. Opened at a step, it forgets what an interrupted run logged after it."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / LOG_FILE
        if self._path.exists():
            kept = [line for line in self._path.read_text().splitlines() if _logged_until(line, step)]
            write_text(self._path, "".join(f"{line}\n" for line in kept))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def _logged_until(line: str, step: int) -> bool:
    """Whether a line is whole and not later than ``step``."""
    try:
        return int(json.loads(line)["step"]) <= step
    except (json.JSONDecodeError, KeyError):
        return False
