"""What made a run: kept beside its weights, so that a checkpoint can say where it comes from."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from jepa_common.whole_files import write_whole
from jepa_world_model.data.episodes import EpisodeArrays

PROVENANCE_FILE = "provenance.json"


def provenance(command: str, config: Any, episodes: EpisodeArrays) -> dict[str, Any]:
    """Command, configuration (paths by their last part), size of the data, commit and torch version."""
    return {
        "command": command,
        "config": _plain(asdict(config)),
        "episodes": episodes.episodes,
        "frames": episodes.episodes * episodes.frames,
        "commit": _commit(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def write_provenance(folder: Path, values: dict[str, Any]) -> None:
    """Keep ``values`` in a run folder, complete or not at all."""
    write_whole(folder / PROVENANCE_FILE, json.dumps(values, indent=1) + "\n")


def read_provenance(folder: Path) -> dict[str, Any]:
    """What :func:`write_provenance` kept; empty where there is nothing."""
    path = folder / PROVENANCE_FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _plain(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _plain(value) for name, value in values.items()}
    return values.name if isinstance(values, Path) else values


def _commit() -> str:
    git = shutil.which("git") or "git"
    command = [git, "rev-parse", "--short", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)  # noqa: S603
    return result.stdout.strip() or "unknown"
