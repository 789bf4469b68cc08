"""`planner_status`: on every change, and at least once a second."""

from __future__ import annotations

import time
from typing import Any

from jepa_ros.msg import PlannerStatus
from rclpy.node import Node

from jepa_common.qos_profiles import OVERRIDABLE, latest_qos
from jepa_planner.control_loop import Status
from jepa_planner.planner_messages import status_message

STATUS_SECONDS = 1.0
REASON_SECONDS = 0.2  # ages in a reason change all the time


class StatusPublisher:
    """Decides when a status is news. Everything runs on the executor's thread."""

    def __init__(self, node: Node) -> None:
        """Publishes in every state of the node."""
        self._node = node
        self._topic = node.create_publisher(
            PlannerStatus, "planner_status", latest_qos(), qos_overriding_options=OVERRIDABLE
        )
        self._last: tuple[Any, ...] = ()
        self._reason = ""
        self._time = float("-inf")

    def publish_news(self, status: Status, model: str) -> None:
        """Publishes ``status`` unless it says what was said just now."""
        now = time.monotonic()
        waited = now - self._time
        progress = (status.state, status.step, status.sub_goal)
        new_reason = status.reason != self._reason and waited > REASON_SECONDS
        if progress == self._last and not new_reason and waited <= STATUS_SECONDS:
            return
        self._last, self._reason, self._time = progress, status.reason, now
        self._topic.publish(status_message(status, self._node.get_clock().now().to_msg(), model))
