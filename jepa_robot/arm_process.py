"""The node's end of the process with the control loop: starts it, hears it, and starts it again when it dies."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

from jepa_robot.arm_link import Link, LinkClosedError, Message
from jepa_robot.arm_settings import ArmSettings

RESTART_SECONDS = 1.0
LEAVE_SECONDS = 5.0
"""A moving arm is brought to rest before the process ends."""


class ArmProcess:
    """One control loop. `on_message` is called on a thread of its own with every message, and with {"kind": "died"}."""

    def __init__(self, settings: ArmSettings, on_message: Callable[[Message], None]) -> None:
        """Starts at once."""
        self._settings = settings
        self._on_message = on_message
        self._closing = threading.Event()
        self._link, self._process = self._start()
        self._thread = threading.Thread(target=self._hear, name="arm process", daemon=True)
        self._thread.start()

    @property
    def process_id(self) -> int:
        """Of the process now."""
        return self._process.pid

    def send(self, **message: object) -> bool:
        """Tells the loop something; returns whether it got through."""
        try:
            return self._link.send(**message)
        except LinkClosedError:
            return False

    def close(self) -> None:
        """Has the arm come to rest and the process end."""
        self._closing.set()
        self.send(kind="leave")
        try:
            self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._link.close()
        self._thread.join()

    def _start(self) -> tuple[Link, subprocess.Popen[bytes]]:
        link, theirs = Link.pair()
        # A session of its own: Ctrl-C in a terminal reaches the node, which says how to leave.
        command = [sys.executable, "-m", "jepa_robot.arm_loop", str(theirs.fileno()), self._settings.to_text()]
        process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), start_new_session=True)  # noqa: S603
        theirs.close()
        return link, process

    def _hear(self) -> None:
        while True:
            try:
                while (message := self._link.receive(wait=True)) is not None:
                    self._on_message(message)
            except LinkClosedError:
                if self._closing.is_set():
                    return
            self._on_message({"kind": "died", "text": f"the control loop ended with code {self._process.wait()}"})
            if self._closing.wait(RESTART_SECONDS):
                return
            self._link.close()
            self._link, self._process = self._start()
