"""What a node reports about itself on `/diagnostics`: rate, latency, the last error."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum


class Level(IntEnum):
    """Severity of a report; the values are those of `diagnostic_msgs/DiagnosticStatus`."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Report:
    """One line of `/diagnostics`: how severe, in one sentence, with values by name."""

    level: Level
    message: str
    values: dict[str, str] = field(default_factory=dict)


class HealthMonitor:
    """Counts what a node does and what goes wrong, from any thread.

    Rate and latency are those of the last `window` successes. An error is reported as a warning until
    `error_seconds` after it, so that one bad message is seen but does not stay.
    """

    def __init__(
        self, window: int = 20, error_seconds: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds and never runs backward."""
        self._lock = threading.Lock()
        self._clock = clock
        self._error_seconds = error_seconds
        self._successes: deque[tuple[float, float]] = deque(maxlen=window)
        self._count = 0
        self._error_count = 0
        self._error_message = ""
        self._error_time = float("-inf")
        self._measured: dict[str, float] = {}

    def succeeded(self, seconds: float) -> None:
        """Counts one piece of work that took `seconds`."""
        with self._lock:
            self._successes.append((self._clock(), seconds))
            self._count += 1

    def measured(self, name: str, value: float) -> None:
        """Reports the latest `value` under `name` from now on."""
        with self._lock:
            self._measured[name] = value

    def failed(self, message: str) -> None:
        """Remembers what went wrong."""
        with self._lock:
            self._error_count += 1
            self._error_message, self._error_time = message, self._clock()

    def report(self) -> Report:
        """The state now."""
        with self._lock:
            now = self._clock()
            values = {
                "rate_hz": f"{self._rate(now):.2f}",
                "latency_ms": f"{self._mean_latency() * 1e3:.1f}",
                "count": str(self._count),
                "errors": str(self._error_count),
                "last_error": self._error_message,
                **{name: f"{value:.4g}" for name, value in self._measured.items()},
            }
            if now - self._error_time < self._error_seconds:
                return Report(Level.WARN, self._error_message, values)
            return Report(Level.OK, "working" if self._count else "nothing done yet", values)

    def _rate(self, now: float) -> float:
        """Successes per second since the window's first; falls toward zero when nothing new comes."""
        if len(self._successes) < 2:
            return 0.0
        elapsed = now - self._successes[0][0]
        return (len(self._successes) - 1) / elapsed if elapsed > 0.0 else 0.0

    def _mean_latency(self) -> float:
        if not self._successes:
            return 0.0
        return sum(seconds for _, seconds in self._successes) / len(self._successes)
