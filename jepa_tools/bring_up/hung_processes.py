"""Ends node processes that no longer give a sign of life, so that whoever supervises them starts them again."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from jepa_common.life_signs import AwakeClock, Sign

TURN_SECONDS = 0.1
_MESSAGE_BYTES = 512
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True)
class HangPatience:
    """How long a process may be silent, s.

    stopped: one that the kernel says was stopped, as by SIGSTOP. hung: any other; a busy machine delays signs.
    """

    stopped: float = 1.0
    hung: float = 10.0


@dataclass
class _Known:
    """A process that has given a sign: its pidfd, its name, when it last did, and whether it said that it is busy."""

    handle: int
    name: str
    heard: float = 0.0
    busy: bool = False


class HungProcessWatch:
    """Listens for life signs on a socket and kills processes that fall silent while the `with` block runs.

    Only processes of this user that have given a sign are ever killed; the kernel vouches for who gave it. A process
    under a debugger is left alone.

    Threads: one of its own listens and tells `report`; `process_of` may be called from any.
    """

    def __init__(
        self, address: str, report: Callable[[str, str], None], patience: HangPatience = HangPatience()
    ) -> None:
        """``address``: of the abstract Unix socket. ``report`` is told the name of a process and why it was killed."""
        self._report, self._patience = report, patience
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(f"\0{address}")
        self._socket.settimeout(TURN_SECONDS)
        self._known: dict[int, _Known] = {}
        self._clock = AwakeClock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hung-processes", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._socket.close()
        for process in tuple(self._known):
            self._forget(process)

    def process_of(self, name: str) -> int | None:
        """Id of the process that gives signs of life by this name; None when there is none."""
        return next((process for process, known in tuple(self._known.items()) if known.name == name), None)

    def _run(self) -> None:
        judged = 0.0
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                self._listen()
            if self._clock.advance() - judged >= TURN_SECONDS:
                judged = self._clock.seconds
                self._judge_all()

    def _listen(self) -> None:
        data, ancillary, _, _ = self._socket.recvmsg(_MESSAGE_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size))
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                process, user, _ = _CREDENTIALS.unpack(content)
                if user == os.getuid():
                    self._note(process, data.decode(errors="replace"))

    def _note(self, process: int, message: str) -> None:
        word, _, name = message.partition(" ")
        if word == Sign.BYE.value:
            self._forget(process)
            return
        if process not in self._known:
            with contextlib.suppress(ProcessLookupError):
                self._known[process] = _Known(os.pidfd_open(process), name)
        if known := self._known.get(process):
            known.heard, known.busy = self._clock.seconds, word == Sign.BUSY.value

    def _judge_all(self) -> None:
        for process, known in tuple(self._known.items()):
            if _has_ended(known.handle):
                self._forget(process)
            elif reason := self._judge(process, known):
                self._report(known.name, f"{reason}: it is killed, to be started again")
                signal.pidfd_send_signal(known.handle, signal.SIGKILL)
                self._forget(process)

    def _judge(self, process: int, known: _Known) -> str:
        """Why a process is to be killed; empty when it is not."""
        silent = self._clock.seconds - known.heard
        if silent <= self._patience.stopped:
            return ""
        state = _state(process)
        if state == "T":
            return f"was stopped, no sign of life for {silent:.1f} s"
        if state == "t" or known.busy or silent <= self._patience.hung:
            return ""
        return f"hangs, no sign of life for {silent:.1f} s"

    def _forget(self, process: int) -> None:
        known = self._known.pop(process, None)
        if known is not None:
            os.close(known.handle)


def _has_ended(handle: int) -> bool:
    """Whether the process of a pidfd is gone."""
    return bool(select.select([handle], [], [], 0)[0])


def _state(process: int) -> str:
    """The kernel's letter for what a process does: R, S, T for stopped, t for traced; empty when it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
