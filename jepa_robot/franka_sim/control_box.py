"""Starts a simulated control box, for tests and benchmarks."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

ENVIRONMENT = Path(__file__).parents[2] / ".venv" / "franka-sim"
_SERVER = Path(__file__).with_name("serve.py")


class ControlBoxError(RuntimeError):
    """The control box cannot be started; the message says why."""


def why_missing() -> str:
    """Why no control box can be started here; empty when one can."""
    wanted = (ENVIRONMENT / "bin" / "python", ENVIRONMENT / "arm.xml")
    missing = [str(path) for path in wanted if not path.exists()]
    return f"a simulated control box needs {', '.join(missing)}: say make franka-sim" if missing else ""


class ControlBox:
    """A running one. It ends with `close`, and its process group with it."""

    def __init__(self, address: str, object_width: float | None = None) -> None:
        """Starts at `address`, on this machine, with something `object_width` m wide in the gripper, if anything.

        Raises ControlBoxError when it cannot be started.
        """
        if missing := why_missing():
            raise ControlBoxError(missing)
        self.address = address
        width = [] if object_width is None else [str(object_width)]
        command = [str(ENVIRONMENT / "bin" / "python"), str(_SERVER), address, str(ENVIRONMENT / "arm.xml"), *width]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self._wait_until_ready()

    def cut_network(self) -> None:
        """Datagrams get lost for a second from now."""
        self._process.send_signal(signal.SIGUSR1)

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _wait_until_ready(self) -> None:
        printed = []
        for line in self._process.stdout or ():
            if line.strip() == "ready":
                return
            printed.append(line)
        raise ControlBoxError(f"the control box at {self.address} ended: {''.join(printed[-20:])}")
