"""Where the time of an evaluation goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """Adds up the wall time of named parts. Not thread-safe; parts do not nest."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Times what happens in the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] = self._seconds.get(part, 0.0) + time.perf_counter() - start

    def seconds(self) -> Mapping[str, float]:
        """Seconds by part, and in all under "total"."""
        return {**self._seconds, "total": time.perf_counter() - self._began}
