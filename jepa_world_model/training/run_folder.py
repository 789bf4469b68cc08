"""The folder of a run: its state, complete or absent; its configuration; and its log, which follows the state.

A run may be killed at any instant and the disk may be full: what was saved last stays readable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from jepa_common.file_identity import content_hash, file_stamps
from jepa_common.settings_changes import changed_settings, plain
from jepa_common.whole_files import whole_file, write_whole
from jepa_world_model.data.array_file import one_process_at_a_time

STATE_FILE = "state.pt"
CONFIG_FILE = "config.yaml"
INPUTS_FILE = "inputs.json"
LOG_FILE = "log.jsonl"
LOCK_FILE = ".lock"

_MAY_CHANGE = frozenset({"out", "data", "validation", "checkpoint", "encoder_run", "device", "save_every", "log_every"})
"""What may differ when a run is continued: where things lie and how often they are written.

Where the data and the encoder lie may differ, not what they are: see :func:`claim_inputs`.
"""


class RunFolderError(RuntimeError):
    """A run's folder cannot be used; the message says what to change."""


def save_tensors(path: Path, value: Any) -> None:
    """``torch.save`` that leaves a complete file or the previous one.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    with whole_file(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            # torch's archive writer hides why the file could not be written.
            raise OSError(f"{path} could not be written ({error}); is the disk full?") from error


def claim(folder: Path, config: Any) -> None:
    """Keep ``config``, a dataclass, as ``config.yaml``; or check that it goes on with what lies there.

    Raises:
        RunFolderError: the folder holds a run with other settings; names them.
    """
    path = folder / CONFIG_FILE
    with one_process_at_a_time(folder / LOCK_FILE):
        if not path.exists():
            write_whole(path, yaml.safe_dump(plain(config), sort_keys=False))
        changed = changed_settings(yaml.safe_load(path.read_text()), config, _MAY_CHANGE)
    if changed:
        raise RunFolderError(
            f"{folder} holds a run with other values of {', '.join(changed)} (see {path}):"
            " use the same ones to go on, or another output folder"
        )


def claim_inputs(folder: Path, inputs: Mapping[str, Sequence[Path]]) -> None:
    """Keep what a run reads as ``inputs.json``; or check that it is still the same, wherever it lies now.

    Every byte is read once, when a run begins, and again when files were copied or touched.

    Args:
        folder: the run's.
        inputs: files by the name of the setting that leads to them.

    Raises:
        RunFolderError: the run began with other contents.
        OSError: a file cannot be read.
    """
    path = folder / INPUTS_FILE
    with one_process_at_a_time(folder / LOCK_FILE):
        found = json.loads(path.read_text()) if path.exists() else {}
        known = {name: _identity(files, found.get(name, {})) for name, files in inputs.items()}
        changed = sorted(name for name in known.keys() | found.keys() if found and not _same(found, known, name))
        if not changed:
            write_whole(path, json.dumps(known, indent=1) + "\n")
    if changed:
        raise RunFolderError(
            f"{folder} holds a run that began with other contents of {', '.join(changed)}: put them back to go on,"
            " or take another output folder"
        )


def _identity(files: Sequence[Path], before: Mapping[str, str]) -> Mapping[str, str]:
    """Stamps and content of files; content is not read again where the stamps are those of before."""
    stamps = file_stamps(files)
    return before if before.get("stamps") == stamps else {"stamps": stamps, "content": content_hash(files)}


def _same(found: Mapping[str, Mapping[str, str]], known: Mapping[str, Mapping[str, str]], name: str) -> bool:
    return found.get(name, {}).get("content") == known.get(name, {}).get("content")


class RunLog:
    """Values by step in ``log.jsonl``. Opened at a step, it forgets what an interrupted run logged after it."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / LOG_FILE
        if self._path.exists():
            kept = [line for line in self._path.read_text().splitlines() if _logged_until(line, step)]
            write_whole(self._path, "".join(f"{line}\n" for line in kept))

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
