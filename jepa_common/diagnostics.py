"""`/diagnostics` at 1 Hz, as `diagnostic_updater` publishes it where that package is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    def __init__(
        self, node: Node, make_report: Callable[[], Report], about_others: Callable[[], Mapping[str, Report]] = dict
    ) -> None:
        """Starts at once and ends with the node.

        ``about_others`` returns what is to be said about nodes that do not report themselves, by their names.
        """
        self._node, self._make_report, self._about_others = node, make_report, about_others
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._timer = node.create_timer(PERIOD_SECONDS, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publishes now, out of turn."""
        reports = {self._node.get_fully_qualified_name().lstrip("/"): self._make_report(), **self._about_others()}
        message = DiagnosticArray(
            status=[status_message(f"{name}: state", "", report) for name, report in reports.items()]
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
