"""Keeps simulated time in step with the wall clock, and notices when that fails."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class PaceConfig:
    """How simulated time follows the wall clock.

    Attributes:
        factor: simulated seconds per second of the wall clock.
        max_backlog: what is caught up after a delay, s of the wall clock; beyond it time is lost, so that a busy
            machine gets a slower simulation and not one that rushes.
        window: length of the average of the achieved factor, s.
        tolerance: share of the factor that may be missing before the simulation counts as behind.
    """

    factor: float = 1.0
    max_backlog: float = 0.25
    window: float = 2.0
    tolerance: float = 0.03

    def __post_init__(self) -> None:
        if not min(self.factor, self.max_backlog, self.window, self.tolerance) > 0:
            raise ValueError(f"expected a pace of positive numbers, got {self}")


class RealTimePace:
    """Waits before each tick until the wall clock has come to it. For one thread; `factor` may be read by others."""

    def __init__(
        self,
        config: PaceConfig = PaceConfig(),
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """`clock` gives seconds; `pause` waits so many seconds, the default can be cut short by `stop`."""
        self.config = config
        self._clock = clock
        self._stopped = threading.Event()
        self._pause = pause or self._stopped.wait
        self._due = clock()
        self._ticks: deque[tuple[float, float]] = deque()
        self._simulated = 0.0
        self._achieved = config.factor

    def stop(self) -> None:
        """Lets a present and all later calls of `wait` return at once. May be called from any thread."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    @property
    def achieved(self) -> float:
        """Simulated seconds per second over the last window."""
        return self._achieved

    @property
    def is_behind(self) -> bool:
        """Whether the achieved factor is short of what was asked for."""
        return self._achieved < self.config.factor * (1.0 - self.config.tolerance)

    def wait(self, seconds: float) -> None:
        """Waits until `seconds` more of simulated time are due."""
        self._due += seconds / self.config.factor
        ahead = self._due - self._clock()
        if ahead > 0:
            self._pause(ahead)
        elif -ahead > self.config.max_backlog:
            self._due = self._clock() - self.config.max_backlog
        self._simulated += seconds
        self._measure()

    def _measure(self) -> None:
        now = self._clock()
        self._ticks.append((now, self._simulated))
        while len(self._ticks) > 2 and now - self._ticks[1][0] >= self.config.window:
            self._ticks.popleft()
        first, simulated = self._ticks[0]
        # A short average says little: one rendered frame is a tick of its own.
        if now - first >= self.config.window / 2:
            self._achieved = (self._simulated - simulated) / (now - first)
