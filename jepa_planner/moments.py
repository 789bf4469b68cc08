"""Now, on both clocks, and how far simulated time may have gone on since it was last heard of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from jepa_planner.control_loop import Moment

# What stands still for longer than this, s, is taken for a simulation that does.
_LONGEST_BEHIND = 0.2


class Moments:
    """Reads both clocks. May be used from any thread.

    Simulated time comes in messages, which a process that gets no time takes late or a thread that waits for another
    does not take at all: ROS time stands still meanwhile, and the arm's controller goes on.
    """

    def __init__(
        self, ros: Callable[[], float], is_simulated: bool, steady: Callable[[], float] = time.monotonic
    ) -> None:
        """``ros`` and ``steady`` read the clocks, s."""
        self._ros, self._steady, self._is_simulated = ros, steady, is_simulated
        self._lock = threading.Lock()
        self._heard, self._heard_at = float("nan"), 0.0

    def now(self) -> Moment:
        """The present moment."""
        with self._lock:
            ros, steady = self._ros(), self._steady()
            if ros != self._heard:
                self._heard, self._heard_at = ros, steady
            behind = min(steady - self._heard_at, _LONGEST_BEHIND) if self._is_simulated else 0.0
            return Moment(ros, steady, behind)
