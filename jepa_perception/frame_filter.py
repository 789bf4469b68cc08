"""Decides by its stamp whether a camera frame is worth encoding."""

from __future__ import annotations

from enum import Enum

NANOSECONDS_PER_SECOND = 1_000_000_000


class Decision(Enum):
    """What becomes of a frame, and why."""

    TAKE = "taken"
    NO_STAMP = "its stamp is zero, so nothing could name it or tell its age: the camera driver must set it"
    REPEATED = "its stamp is that of an earlier frame"
    TOO_SOON = "the frame before it is younger than the rate asked for"


class FrameFilter:
    """Takes frames in the order of their stamps, at most `max_rate` per second.

    A stamp far before the last one means that time itself was set back (a simulation was reset, a recording
    starts again); the filter then starts anew.
    """

    def __init__(self, max_rate: float = 0.0, reset_seconds: float = 1.0) -> None:
        """`max_rate` in Hz, 0 takes all; stamps more than `reset_seconds` in the past set the filter back."""
        self._interval = int(NANOSECONDS_PER_SECOND / max_rate) if max_rate > 0.0 else 0
        self._reset = int(reset_seconds * NANOSECONDS_PER_SECOND)
        self._last: int | None = None

    def decide(self, stamp: int) -> Decision:
        """Judges the frame of `stamp` (ns) and remembers it when it is taken."""
        if stamp == 0:
            return Decision.NO_STAMP
        if self._last is not None and self._last - stamp < self._reset:
            if stamp <= self._last:
                return Decision.REPEATED
            # Cameras jitter: a frame that comes a little early still counts for its slot.
            if stamp - self._last < 0.9 * self._interval:
                return Decision.TOO_SOON
        self._last = stamp
        return Decision.TAKE
