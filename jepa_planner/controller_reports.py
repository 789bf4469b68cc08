"""What the arm's controller says that it follows: `desired_joint_states`, and `controller_state` of ros2_control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sensor_msgs.msg import JointState

from jepa_common.managed_node import ManagedNode
from jepa_common.qos_profiles import joint_states_qos
from jepa_common.stamps import NANOSECONDS_PER_SECOND, to_nanoseconds

OnReport = Callable[[float, Sequence[str], Sequence[float], Sequence[float]], None]
"""Takes a time, s, and names, desired positions, rad, and desired velocities, rad/s, or none, of joints."""


def hear_reports(node: ManagedNode[Any], on_report: OnReport) -> None:
    """Listens while `node` is active; to be called from its `activate`.

    `desired_joint_states` (sensor_msgs/JointState) is what franka_ros2 and this package's simulator publish;
    `controller_state` (control_msgs/JointTrajectoryControllerState) is that of a JointTrajectoryController, heard where
    control_msgs is installed. The planner knows how to live without either.
    """

    def on_desired(message: JointState) -> None:
        on_report(_seconds(message), message.name, message.position, message.velocity)

    def on_state(message: Any) -> None:
        on_report(_seconds(message), message.joint_names, message.reference.positions, message.reference.velocities)

    node.subscribe_while_active(JointState, "desired_joint_states", on_desired, joint_states_qos())
    state_type = _controller_state_type()
    if state_type is not None:
        node.subscribe_while_active(state_type, "controller_state", on_state, joint_states_qos())


def _controller_state_type() -> type | None:
    try:
        from control_msgs.msg import JointTrajectoryControllerState  # not among the wheels
    except ImportError:
        return None
    # Before Jazzy it was called `desired`.
    return JointTrajectoryControllerState if hasattr(JointTrajectoryControllerState, "reference") else None


def _seconds(message: Any) -> float:
    return to_nanoseconds(message.header.stamp) / NANOSECONDS_PER_SECOND
