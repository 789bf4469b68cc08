"""`/diagnostics` at 1 Hz, as `diagnostic_updater` publishes it where that package is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType

from jepa_common.health import Report

if TYPE_CHECKING:
    from rclpy.node import Node

PERIOD_SECONDS = 1.0


def status_message(name: str, hardware_id: str, report: Report) -> DiagnosticStatus:
    """The message form of `report`."""
    return DiagnosticStatus(
        level=bytes([report.level]),
        name=name,
        message=report.message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in report.values.items()],
    )


class DiagnosticsPublisher:
    """Publishes what `make_report` returns, every second, also while simulated time stands still."""

    def __init__(self, node: Node, make_report: Callable[[], Report], hardware_id: str = "") -> None:
        """Starts at once and ends with the node."""
        self._node, self._make_report, self._hardware_id = node, make_report, hardware_id
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._timer = node.create_timer(PERIOD_SECONDS, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publishes now, out of turn."""
        name = f"{self._node.get_fully_qualified_name().lstrip('/')}: state"
        message = DiagnosticArray(status=[status_message(name, self._hardware_id, self._make_report())])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
