"""Large arrays as memory-mapped files that are complete or absent."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from jepa_common.whole_files import whole_file


def array_file(
    path: Path, shape: tuple[int, ...], dtype: DTypeLike, fill: Callable[[NDArray[Any]], object]
) -> NDArray[Any]:
    """The array in the ``.npy`` file at ``path``, memory-mapped for reading; made by ``fill`` where it is missing.

    Processes that want the same file at the same moment wait for the one that makes it.

    Raises:
        OSError: the disk is full; nothing is left of the file.
    """
    with one_process_at_a_time(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            _make(path, shape, dtype, fill)
    return np.load(path, mmap_mode="r")


@contextmanager
def one_process_at_a_time(path: Path) -> Iterator[None]:
    """Others that name the same lock file wait until the block ends; a process that dies lets go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(path: Path, shape: tuple[int, ...], dtype: DTypeLike, fill: Callable[[NDArray[Any]], object]) -> None:
    with whole_file(path) as temporary:
        array = np.lib.format.open_memmap(temporary, "w+", np.dtype(dtype), shape)
        with temporary.open("rb+") as file:
            # A full disk would otherwise end the process by a signal at some write to the mapped memory.
            os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        fill(array)
        array.flush()
