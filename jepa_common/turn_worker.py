"""One thread for long pieces of work that take turns, so that a short one does not wait for a long one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, TypeAlias

Work: TypeAlias = Generator[Any, None, None]
"""Work that yields wherever it can wait a moment, or be given up: what it yields means nothing."""


class TurnWorker:
    """Carries out work on a thread of its own, one turn of each piece after the other.

    Threads: all methods may be called from any; work runs on the worker's thread and ends with an exception, or None.
    """

    def __init__(self, name: str) -> None:
        """Starts the thread; ``name`` is for debuggers."""
        self._changed = threading.Condition()
        self._turns: deque[tuple[Work, Future[None]]] = deque()
        self._dropped = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[None]:
        """Lets `work` take turns until it is done; its future is cancelled when it is dropped before."""
        future: Future[None] = Future()
        with self._changed:
            if self._stopped:
                future.cancel()
            else:
                self._turns.append((work, future))
                self._changed.notify()
        return future

    def drop(self) -> None:
        """Gives up all work: what is in its turn now at the end of that turn."""
        with self._changed:
            self._dropped += 1
            for _, future in self._turns:
                future.cancel()
            self._turns.clear()

    def stop(self) -> None:
        """Gives up all work and ends the thread."""
        self.drop()
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._turns)
                if self._stopped:
                    return
                (work, future), dropped = self._turns.popleft(), self._dropped
            goes_on = _turn(work, future)
            with self._changed:
                if goes_on and dropped == self._dropped:
                    self._turns.append((work, future))
                elif goes_on:
                    work.close()
                    future.cancel()


def _turn(work: Work, future: Future[None]) -> bool:
    """One turn of `work`; false when it is done, and its future with it."""
    try:
        next(work)
    except StopIteration:
        future.set_result(None)
        return False
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
        future.set_exception(error)
        return False
    return True
