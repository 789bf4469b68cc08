"""Files that are there completely or not at all: a killed process or a full disk leaves what was there before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden path beside ``path`` to write to; what was written is renamed to ``path`` when the block ends.

    The folder is made where it is missing. A link stays one: the file that it leads to is replaced. A device or a pipe,
    such as ``/dev/stdout`` on a terminal, cannot be replaced, and is itself written to.

    Raises:
        OSError: it cannot be written; what lay at ``path`` is untouched, and nothing else is left.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same name at every try, so that what a killed process left is overwritten, not kept.
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(finished: Path, path: Path) -> None:
    """Renames a file of the same disk to ``path`` when its contents are safely on that disk.

    Raises:
        OSError: they cannot be written.
    """
    with finished.open("rb+") as file:
        os.fsync(file.fileno())
    finished.replace(path)


def write_whole(path: Path, text: str) -> None:
    """Text, in UTF-8, as a :func:`whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
