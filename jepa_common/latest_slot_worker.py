"""One thread for slow work, fed through slots in which the newest item wins."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _Reported:
    """Context that hands an exception to `on_error` in place of letting it end the thread unseen."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._on_error(error)
        return True


class LatestSlotWorker(Generic[Item]):
    """Calls `work(item)` on a thread of its own, one item at a time.

    Threads: `submit` may be called from any thread and never waits for the work. `work` and `on_error` run on
    the worker's thread. An item that still waits in a slot is replaced by a newer one for the same slot;
    different slots do not replace each other and are served in the order in which they were filled. When too
    many slots wait, the one that waits longest is dropped.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Item], None],
        on_error: Callable[[Exception], None],
        max_waiting: int = 32,
    ) -> None:
        """Starts the thread.

        Args:
            name: name of the thread, for debuggers.
            work: what to do with an item.
            on_error: told what `work` raised; the worker goes on with the next item.
            max_waiting: slots that may wait.
        """
        self._max_waiting = max_waiting
        self._work, self._on_error = work, on_error
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, Item] = OrderedDict()
        self._stopped = False
        self._replaced = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def replaced(self) -> int:
        """Items that never ran because newer ones took their place."""
        return self._replaced

    def submit(self, item: Item, slot: str = "") -> None:
        """Puts `item` into `slot`, in place of the item that waits there. Ignored once stopped."""
        with self._changed:
            if self._stopped:
                return
            self._replaced += slot in self._waiting
            self._waiting[slot] = item
            if len(self._waiting) > self._max_waiting:
                self._waiting.popitem(last=False)
                self._replaced += 1
            self._changed.notify()

    def stop(self) -> None:
        """Drops what waits, and returns when the item in work is done."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._waiting)
                if self._stopped:
                    return
                _, item = self._waiting.popitem(last=False)
            with _Reported(self._on_error):
                self._work(item)
