"""A ROS node for tools: asked for messages when they are wanted, with waits that say what they waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

POLL_SECONDS = 0.01
SERVICE_SECONDS = 20.0
ASK_AGAIN_SECONDS = 2.0
"""A question to a process that was killed is never answered, and the graph shows its services for a while longer."""


class RosTimeoutError(TimeoutError):
    """Something that should have come did not come in time; the message names it."""


def nothing_to_check() -> None:
    """Default of the checks that run while waiting."""


@dataclass(frozen=True, eq=False)
class _Reader:
    subscription: Subscription
    callback: Callable[[Any], None]


class RosClient:
    """A node in a ROS context of its own that lives while the `with` block runs.

    Messages wait in their subscriptions until `poll`, which every wait calls: an executor of rclpy would spend
    about a millisecond on each, and two cores are all that the nodes have. `check` is called while waiting and
    may raise, for instance when a process has ended; it may be replaced.

    Threads: one thread makes, uses and leaves it. Callbacks run inside `poll`.
    """

    def __init__(self, name: str, check: Callable[[], None] = nothing_to_check, namespace: str = "") -> None:
        """Takes the ROS domain from the environment."""
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node: Node = rclpy.create_node(name, namespace=namespace, context=self._context)
        self.check = check
        self._executor = SingleThreadedExecutor(context=self._context)
        self._readers: list[_Reader] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def subscribe(
        self, message_type: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile, raw: bool = False
    ) -> Callable[[], None]:
        """Passes messages to `callback`, serialised ones if `raw`, whenever the client is polled.

        Returns what ends it.
        """

        def deliver(message: Any) -> None:
            callback(message)

        subscription = self.node.create_subscription(message_type, topic, deliver, qos, raw=raw)
        reader = _Reader(subscription, deliver)
        self._readers.append(reader)

        def end() -> None:
            self._readers.remove(reader)
            self.node.destroy_subscription(subscription)

        return end

    def poll(self) -> None:
        """Delivers all messages that have come, topic by topic."""
        for reader in tuple(self._readers):
            handle, message_type = reader.subscription.handle, reader.subscription.msg_type
            while (taken := handle.take_message(message_type, reader.subscription.raw)) is not None:
                reader.callback(taken[0])

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        """Polls until `condition` holds.

        Raises:
            RosTimeoutError: it did not within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        self.poll()
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise RosTimeoutError(f"waited {timeout:.0f} s for {what}, which did not come")
            time.sleep(POLL_SECONDS)
            self.poll()

    def call(self, service_type: Any, name: str, request: Any, timeout: float = SERVICE_SECONDS) -> Any:
        """Calls a service and returns its response.

        Raises:
            RosTimeoutError: there is no such service, or no answer in time.
        """
        client = self.node.create_client(service_type, name)
        try:
            self.wait_until(client.service_is_ready, f"the service {client.srv_name}", timeout)
            future = client.call_async(request)
            self._spin_until(future, f"an answer of the service {client.srv_name}", timeout)
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
            state = "not there"
            while (state := self._state_before(deadline, name, state)) != "active":
                if time.monotonic() > deadline:
                    raise RosTimeoutError(f"waited {timeout:.0f} s for {name} to be active, it is {state}")
                self.check()
                time.sleep(0.1)
            on_active(name)

    def _state_before(self, deadline: float, name: str, known: str) -> str:
        """The node's lifecycle state; what was `known` before when it does not answer in time."""
        try:
            return self.lifecycle_state(name, min(ASK_AGAIN_SECONDS, max(0.1, deadline - time.monotonic())))
        except RosTimeoutError:
            return known

    def _spin_until(self, future: Any, what: str, timeout: float) -> None:
        """Spins until `future` is done; messages that come meanwhile are delivered, too."""
        deadline = time.monotonic() + timeout
        self._executor.add_node(self.node)
        try:
            while not future.done():
                self.check()
                if time.monotonic() > deadline:
                    raise RosTimeoutError(f"waited {timeout:.0f} s for {what}, which did not come")
                self._executor.spin_once(timeout_sec=0.1)
        finally:
            self._executor.remove_node(self.node)
