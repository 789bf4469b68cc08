"""Whether files are still those that unfinished work began with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

_PIECE = 1 << 20


def files_below(path: Path) -> list[Path]:
    """The file itself, or all files of a folder but hidden ones: caches, locks and what is not finished."""
    if not path.is_dir():
        return [path]
    found = (item for item in path.rglob("*") if item.is_file())
    return sorted(item for item in found if not any(part.startswith(".") for part in item.relative_to(path).parts))


def file_stamps(paths: Iterable[Path], root: Path | None = None) -> str:
    """Changes when a file is changed in place, replaced, added or taken away: names, sizes and times of change.

    Args:
        paths: the files.
        root: a folder that may be moved: names count from it on.

    Raises:
        OSError: a file is missing.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        information = path.stat()
        name = str(path.resolve() if root is None else path.relative_to(root))
        digest.update(repr((name, information.st_size, information.st_mtime_ns)).encode())
    return digest.hexdigest()


def content_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over contents, and over names below the folder that holds them all: the same for a copy elsewhere.

    Reads every byte.

    Raises:
        OSError: a file cannot be read.
    """
    digest, files = hashlib.sha256(), sorted(paths)
    root = os.path.commonpath([path.parent for path in files])
    for path in files:
        # The name of a single file is no part of what it is.
        name = str(path.relative_to(root)) if len(files) > 1 else ""
        digest.update(f"{name}\n{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()
