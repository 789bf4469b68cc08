"""Signs of life of a process to the one that started it, over a Unix socket; and time as those count it who wait.

The kernel says which process a sign came from, so nobody can give one in another's name. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from enum import Enum

SOCKET_VARIABLE = "JEPA_LIFE_SIGNS"
"""Environment variable with the abstract Unix socket on which the starter of a process listens."""

# Longest step of the clock that counts only time awake, s.
_LONGEST_STEP = 0.2


class Sign(Enum):
    """What a process says."""

    ALIVE = "alive"
    BUSY = "busy"  # nothing is to be expected until the next sign
    BYE = "bye"  # it ends as it should


class AwakeClock:
    """Seconds during which its owner was running: an owner that gets no time must not blame others for it.

    To be advanced every tenth of a second. Not thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds and never runs backward."""
        self._clock, self._last, self.seconds = clock, clock(), 0.0

    def advance(self) -> float:
        """The seconds now; a longer time since the last call than between two turns does not count."""
        now = self._clock()
        self.seconds += min(now - self._last, _LONGEST_STEP)
        self._last = now
        return self.seconds


class LineToStarter:
    """Says to the starter of this process what it should know, if that listens."""

    def __init__(self, name: str) -> None:
        """``name`` is what the starter calls this process when it speaks of it."""
        self._name = name
        self._socket = _connected(os.environ.get(SOCKET_VARIABLE, ""))

    def say(self, sign: Sign) -> None:
        """Sends a sign. A starter that is gone, or too busy to read, is told nothing: the process goes on."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(f"{sign.value} {self._name}".encode())

    def close(self) -> None:
        """No more signs."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected(address: str) -> socket.socket | None:
    if not address:
        return None
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    line.setblocking(False)
    try:
        line.connect(f"\0{address}")
    except OSError:
        line.close()
        return None
    return line
