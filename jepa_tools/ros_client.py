"""A ROS node for tools: spun on its own thread, with calls that wait and say what they waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

POLL_SECONDS = 0.01
SERVICE_SECONDS = 20.0


class RosTimeoutError(TimeoutError):
    """Something that should have come did not come in time; the message names it."""


def nothing_to_check() -> None:
    """Default of the checks that run while waiting."""


class RosClient:
    """A node `node`, in a ROS context of its own, that lives while the `with` block runs.

    Threads: callbacks of subscriptions run on the client's thread; everything else belongs to the thread that made
    the client. `check` is called while waiting and may raise, for instance when a process has ended; it may be
    replaced.
    """

    def __init__(self, name: str, use_sim_time: bool = False, check: Callable[[], None] = nothing_to_check) -> None:
        """Takes the ROS domain from the environment."""
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node: Node = rclpy.create_node(
            name,
            context=self._context,
            parameter_overrides=[Parameter("use_sim_time", value=use_sim_time)],
        )
        self.check = check
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name=f"{name}-executor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()
        self._context.try_shutdown()
        self._thread.join()
        self.node.destroy_node()

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        """Returns when `condition` holds.

        Raises:
            RosTimeoutError: it did not within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            self.check()
            if not self._thread.is_alive():
                raise RosTimeoutError(f"waited for {what}, but ROS was shut down")
            if time.monotonic() > deadline:
                raise RosTimeoutError(f"waited {timeout:.0f} s for {what}, which did not come")
            time.sleep(POLL_SECONDS)

    def call(self, service_type: Any, name: str, request: Any, timeout: float = SERVICE_SECONDS) -> Any:
        """Calls a service and returns its response.

        Raises:
            RosTimeoutError: there is no such service, or no answer in time.
        """
        client = self.node.create_client(service_type, name)
        try:
            self.wait_until(client.service_is_ready, f"the service {client.srv_name}", timeout)
            future = client.call_async(request)
            self.wait_until(future.done, f"an answer of the service {client.srv_name}", timeout)
            return future.result()
        finally:
            self.node.destroy_client(client)

    def lifecycle_state(self, name: str, timeout: float = SERVICE_SECONDS) -> str:
        """State of a lifecycle node: unconfigured, inactive, active, finalized, or a transition's name."""
        response = self.call(GetState, f"{name}/get_state", GetState.Request(), timeout)
        return str(response.current_state.label)

    def wait_until_active(
        self, names: Iterable[str], timeout: float, on_active: Callable[[str], None] = lambda _: None
    ) -> None:
        """Returns when all these lifecycle nodes are active; tells `on_active` about each.

        Raises:
            RosTimeoutError: one is not active within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        for name in names:
            while (state := self.lifecycle_state(name, max(0.1, deadline - time.monotonic()))) != "active":
                if time.monotonic() > deadline:
                    raise RosTimeoutError(f"waited {timeout:.0f} s for {name} to be active, it is {state}")
                self.check()
                time.sleep(0.1)
            on_active(name)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return
