"""A control box on an address of its own, with all of FCI's limits enforced. Runs in franka-sim's environment.

    python serve.py ADDRESS MODEL.xml [OBJECT_WIDTH]

OBJECT_WIDTH (m) is what the gripper finds between its fingers. Several can run at once, each on an address of its own
such as 127.0.0.2: libfranka's ports are fixed. SIGUSR1 cuts the network for a second. The line "ready" says that it
listens. It knows nothing of this project, whose packages are not in its environment.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from typing import Any

CUT_SECONDS = 1.0
_TICK = 0.005


def main() -> None:
    """Serves until SIGINT or SIGTERM."""
    address, model, *width = sys.argv[1:]
    os.environ["FR3_MJCF"] = model
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    from franka_sim import FrankaSimServer
    from franka_sim.gripper.backend import FrankaHandSim

    class TimedHand(FrankaHandSim):
        """Fingers that take the time that their speed says, where those of franka-sim are there at once."""

        def _go(self, width: float, speed: float) -> None:
            step = max(speed, 0.01) * _TICK
            while abs(width - self.width) > 1e-9:
                self.width += max(-step, min(step, width - self.width))
                time.sleep(_TICK)

        def homing(self) -> bool:
            self._go(self.max_width, 0.05)
            self.is_grasped = False
            return True

        def move(self, width: float, speed: float) -> bool:
            self.is_grasped = False
            self._go(self._blocked(self._clamp(width)), speed)
            return True

        def grasp(self, width: float, epsilon_inner: float, epsilon_outer: float, speed: float, force: float) -> bool:
            self._go(self._blocked(0.0), speed)
            self.is_grasped = width - epsilon_inner < self.width < width + epsilon_outer
            return self.is_grasped

        def stop(self) -> bool:
            return True

    class Server(FrankaSimServer):
        """Drops datagrams in both directions while the network is cut."""

        cut_until = 0.0

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "udp_socket" and value is not None:
                value = CutSocket(value, self)
            super().__setattr__(name, value)

    class CutSocket:
        """A socket whose datagrams get lost while the server's network is cut."""

        def __init__(self, socket: Any, server: Any) -> None:
            self._socket, self._server = socket, server

        def __getattr__(self, name: str) -> Any:
            return getattr(self._socket, name)

        def _cut(self) -> bool:
            return time.monotonic() < self._server.cut_until

        def sendto(self, data: bytes, address: Any) -> int:
            return len(data) if self._cut() else self._socket.sendto(data, address)

        def recvfrom(self, size: int) -> Any:
            data, sender = self._socket.recvfrom(size)
            return (b"" if self._cut() else data), sender

    hand = TimedHand(object_width=float(width[0]) if width else None)
    server = Server(host=address, gripper_backend=hand, enforce_comm_constraints=True, enforce_motion_limits=True)

    def cut(*_: object) -> None:
        server.cut_until = time.monotonic() + CUT_SECONDS

    def leave(*_: object) -> None:
        os._exit(0)  # nothing is to be kept, and franka-sim takes its time

    signal.signal(signal.SIGUSR1, cut)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    threading.Thread(target=server.start, daemon=True).start()
    while not server.physics_sim.running:
        time.sleep(0.05)
    print("ready", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
