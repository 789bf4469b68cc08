"""The services of a person at the robot: pause, resume, step, stop (std_srvs/Trigger)."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node
from std_srvs.srv import Trigger

from jepa_planner.control_loop import ControlLoop


class ServiceRefusedError(RuntimeError):
    """What was asked for cannot be done now; the message says why."""


class PlannerServices:
    """Offers `~/pause`, `~/resume`, `~/step` and `~/stop` on a node. Everything runs on the executor's thread."""

    def __init__(self, node: Node, active_loop: Callable[[], ControlLoop]) -> None:
        """``active_loop`` gives the loop that may act, or raises ServiceRefusedError."""
        self._active_loop = active_loop
        for name, serve in (
            ("pause", self._pause),
            ("resume", self._resume),
            ("step", self._step),
            ("stop", self._stop),
        ):
            node.create_service(Trigger, f"~/{name}", _answer(serve))

    def _pause(self) -> str:
        loop = self._active_loop()
        with loop.locked():
            loop.machine.pause()
        return "paused"

    def _resume(self) -> str:
        loop = self._active_loop()
        with loop.locked():
            loop.machine.resume(time.monotonic())
        return "resumed"

    def _step(self) -> str:
        loop = self._active_loop()
        with loop.locked():
            if not loop.machine.step(time.monotonic()):
                raise ServiceRefusedError("a step needs a paused goal: pause first, and show a goal")
        return "takes one step"

    def _stop(self) -> str:
        loop = self._active_loop()
        with loop.locked():
            stopped = loop.machine.cancel("stopped by the service")
        return "stopped" if stopped else "there was no goal; the arm rests"


def _answer(serve: Callable[[], str]) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
    """A service callback that answers with what ``serve`` returns, or with why it refused."""

    def callback(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message, response.success = serve(), True
        except ServiceRefusedError as error:
            response.message, response.success = str(error), False
        return response

    return callback
