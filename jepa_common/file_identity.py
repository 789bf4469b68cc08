"""Whether files are still those that unfinished work began with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_PIECE = 1 << 20


def files_below(path: Path) -> list[Path]:
    """The file itself, or all files of a folder but hidden ones: caches, locks and what is not finished."""
    if not path.is_dir():
        return [path]
    found = (item for item in path.rglob("*") if item.is_file())
    return sorted(item for item in found if not any(part.startswith(".") for part in item.relative_to(path).parts))


def file_stamps(paths: Iterable[Path]) -> str:
    """Changes when a file is changed in place, replaced, added or taken away: names, sizes and times of change.

    Raises:
        OSError: a file is missing.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        information = path.stat()
        digest.update(repr((str(path.resolve()), information.st_size, information.st_mtime_ns)).encode())
    return digest.hexdigest()


def content_hash(paths: Iterable[Path], root: Path) -> str:
    """SHA-256 over contents and names below `root`: the same for a copy elsewhere. Reads every byte.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        name = str(path.relative_to(root)) if path != root else ""
        digest.update(f"{name}\n{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()
