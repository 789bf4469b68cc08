"""Ctrl-C while modules are imported."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130


@contextmanager
def ending_at_once_when_interrupted(name: str) -> Iterator[None]:
    """Ends the process on SIGINT while the block imports modules; `name` says who was interrupted.

    A KeyboardInterrupt in the middle of an import is not safe: libraries catch it, retry without end, or leave half of
    themselves behind, which aborts the process later. Nothing has been begun yet that would have to be ended well.
    Elsewhere than in the main thread, and where SIGINT is handled already, nothing changes.
    """
    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not is_ours:
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{name}: interrupted\n".encode())
        os._exit(EXIT_INTERRUPTED)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
