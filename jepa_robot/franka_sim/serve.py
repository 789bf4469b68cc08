"""A control box on an address of its own, with all of FCI's limits enforced. Runs in franka-sim's environment.

    python serve.py ADDRESS MODEL.xml [OBJECT_WIDTH]

OBJECT_WIDTH (m) is what the gripper finds between its fingers. Several can run at once, each on an address of its own
such as 127.0.0.2: libfranka's ports are fixed. SIGUSR1 cuts the network for a second. The line "ready" says that it
listens. It knows nothing of this project, whose packages are not in its environment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from franka_sim import FrankaSimServer
from franka_sim.gripper.backend import FrankaHandSim

CUT_SECONDS = 1.0
_TICK = 0.005
_PRIORITY = 50


class TimedHand(FrankaHandSim):
    """Fingers that take the time that their speed says, where those of franka-sim are there at once."""

    def homing(self) -> bool:
        """Opens."""
        self.is_grasped = False
        return self._go(self.max_width, 0.05)

    def move(self, width: float, speed: float) -> bool:
        """To a width, m, or until something stops the fingers."""
        self.is_grasped = False
        return self._go(self._blocked(self._clamp(width)), speed)

    def grasp(self, width: float, epsilon_inner: float, epsilon_outer: float, speed: float, force: float) -> bool:  # noqa: ARG002
        """Closes until something stops the fingers."""
        self._go(self._blocked(0.0), speed)
        self.is_grasped = width - epsilon_inner < self.width < width + epsilon_outer
        return self.is_grasped

    def stop(self) -> bool:
        """The fingers stay where they are."""
        return True

    def _go(self, width: float, speed: float) -> bool:
        step = max(speed, 0.01) * _TICK
        while abs(width - self.width) > 1e-9:
            self.width += max(-step, min(step, width - self.width))
            time.sleep(_TICK)
        return True


class Network:
    """What may be cut."""

    def __init__(self) -> None:
        self._cut_until = 0.0

    def cut(self, *_: object) -> None:
        """For a second from now."""
        self._cut_until = time.monotonic() + CUT_SECONDS

    @property
    def is_cut(self) -> bool:
        """Whether datagrams get lost now."""
        return time.monotonic() < self._cut_until


class LossySocket:
    """A socket whose datagrams get lost, both ways, while the network is cut."""

    def __init__(self, socket: Any, network: Network) -> None:
        self._socket, self._network = socket, network

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def sendto(self, data: bytes, address: Any) -> int:
        """As a socket's."""
        return len(data) if self._network.is_cut else int(self._socket.sendto(data, address))

    def recvfrom(self, size: int) -> tuple[bytes, Any]:
        """As a socket's; franka-sim drops what is empty."""
        data, sender = self._socket.recvfrom(size)
        return (b"" if self._network.is_cut else data), sender


class Server(FrankaSimServer):
    """franka-sim's server, on a network that may be cut."""

    def __init__(self, network: Network, **options: Any) -> None:
        self._network = network
        super().__init__(**options)

    def __setattr__(self, name: str, value: Any) -> None:
        lossy = name == "udp_socket" and value is not None
        super().__setattr__(name, LossySocket(value, self._network) if lossy else value)


def _prioritise() -> None:
    """A control box is not slowed down by what else runs on this machine, as far as the system allows that."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))


def main() -> None:
    """Serves until SIGINT or SIGTERM."""
    address, model, *width = sys.argv[1:]
    os.environ["FR3_MJCF"] = model
    _prioritise()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    network = Network()
    hand = TimedHand(object_width=float(width[0]) if width else None)
    server = Server(
        network, host=address, gripper_backend=hand, enforce_comm_constraints=True, enforce_motion_limits=True
    )
    signal.signal(signal.SIGUSR1, network.cut)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))  # nothing is to be kept, and franka-sim takes its time
    threading.Thread(target=server.start, daemon=True).start()
    while not server.physics_sim.running:
        time.sleep(0.05)
    print("ready", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
