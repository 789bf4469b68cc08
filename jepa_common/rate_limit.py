"""At most so many messages a second, with some in quick succession; of the others the newest is kept."""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")


class RateLimit(Generic[Item]):
    """Lets items through at a bounded rate. Not thread-safe.

    Of those that come too fast only the newest waits, so that the last word counts.
    """

    def __init__(self, rate: float, burst: int) -> None:
        """``rate``: items per second in the long run; ``burst``: as many may come at once after a pause."""
        if not rate > 0 or burst < 1:
            raise ValueError(f"expected a positive rate and a burst of at least 1, got {rate} and {burst}")
        self._rate, self._burst = rate, burst
        self._allowed, self._counted_at = float(burst), float("-inf")
        self._waiting: Item | None = None
        self.dropped = 0
        """Items that gave way to newer ones."""

    def offer(self, item: Item, now: float) -> bool:
        """True when `item` may be used at ``now``, s; otherwise it waits, in place of the one that waited before."""
        self._count(now)
        if self._allowed >= 1:
            self._allowed -= 1
            # What waited is older.
            self.dropped += self._waiting is not None
            self._waiting = None
            return True
        self.dropped += self._waiting is not None
        self._waiting = item
        return False

    def due(self, now: float) -> Item | None:
        """The item that waits, once its turn has come at ``now``, s."""
        self._count(now)
        if self._waiting is None or self._allowed < 1:
            return None
        item, self._waiting = self._waiting, None
        self._allowed -= 1
        return item

    def _count(self, now: float) -> None:
        grown = (now - self._counted_at) * self._rate
        self._allowed = min(self._allowed + max(grown, 0.0), float(self._burst))
        self._counted_at = now
