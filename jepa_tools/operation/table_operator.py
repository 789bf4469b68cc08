"""What a person at the simulated table does, over ROS: resets it, takes pictures, shows a goal, watches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros.msg import PlannerStatus
from jepa_ros.srv import ResetSimulation
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from jepa_common.qos_profiles import camera_qos, latched_qos
from jepa_common.stamps import NANOSECONDS_PER_SECOND, to_nanoseconds
from jepa_planner.kinematics import Kinematics
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK, HAND, TCP_LINK
from jepa_tools.operation.ros_client import RosClient, RosTimeoutError

MESSAGE_SECONDS = 20.0
"""Longest wait for a message that comes several times a second."""

REST_SPEED = 0.01
"""Joints that are slower count as still, rad/s or m/s."""

ON_THE_WAY_NANOSECONDS = 50_000_000
"""Messages sent before a reset that may still arrive after it are not older than this."""

STATUS_DEPTH = 200
PURSUED = (PlannerStatus.PLANNING, PlannerStatus.HOLDING)
ENDED = (PlannerStatus.REACHED, PlannerStatus.ABORTED)
OnStatus = Callable[[PlannerStatus], None]


class ResetError(RuntimeError):
    """The simulator refused to reset; the message is its reason."""


class TableOperator:
    """One operator at one table. Threads: as the client's."""

    def __init__(self, client: RosClient) -> None:
        """Subscribes and advertises; nothing is waited for."""
        self._client = client
        # Of 100 a second only the newest is ever looked at.
        newest_joint_states = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._latest: dict[type, Any] = {}
        self._statuses: deque[PlannerStatus] = deque()
        self._diagnostics: dict[str, dict[str, str]] = {}
        for message_type, topic, qos in (
            (Image, "image", camera_qos()),
            (JointState, "joint_states", newest_joint_states),
            (String, "robot_description", latched_qos()),
            (MarkerArray, "objects", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)),
        ):
            client.subscribe(message_type, topic, self._keep, qos)
        client.subscribe(PlannerStatus, "planner_status", self._keep_status, QoSProfile(depth=STATUS_DEPTH))
        client.subscribe(DiagnosticArray, "/diagnostics", self._keep_diagnostics, QoSProfile(depth=20))
        self._goal_topic = client.node.create_publisher(Image, "goal_image", latched_qos())
        self._kinematics: Kinematics | None = None

    def reset(self, seed: int, task: str, joint_positions: Sequence[float] = ()) -> None:
        """Puts the table into the state of `seed`, with the arm at `joint_positions` [7] if given.

        Raises:
            ResetError: the simulator refused.
        """
        request = ResetSimulation.Request(seed=seed, task=task, joint_positions=list(joint_positions))
        response = self._client.call(ResetSimulation, "reset_simulation", request)
        if not response.success:
            raise ResetError(f"the simulator did not reset: {response.message}")
        self.forget()

    def forget(self) -> None:
        """Forgets what was seen of the table, because it has changed."""
        for message_type in (Image, JointState, MarkerArray):
            self._latest.pop(message_type, None)

    def picture(self) -> Image:
        """A camera image taken after this call."""
        before = to_nanoseconds(self._message(JointState).header.stamp) + ON_THE_WAY_NANOSECONDS
        self._client.wait_until(
            lambda: Image in self._latest and to_nanoseconds(self._latest[Image].header.stamp) > before,
            "a camera image",
            MESSAGE_SECONDS,
        )
        return self._latest[Image]

    def joint_positions(self) -> NDArray[np.float64]:
        """Newest arm joint positions [7], rad."""
        return arm_positions(self._message(JointState))

    def simulated_time(self) -> float:
        """Stamp of the newest joint state, s."""
        return to_nanoseconds(self._message(JointState).header.stamp) / NANOSECONDS_PER_SECOND

    def wait_for_rest(self, timeout: float) -> None:
        """Returns when no joint moves any more, or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            time.sleep(0.1)
            if np.abs(self._message(JointState).velocity).max() < REST_SPEED:
                return

    def tool_position(self) -> NDArray[np.float64]:
        """Where the tool is now [3], m, in the base frame."""
        if self._kinematics is None:
            self._kinematics = table_kinematics(self._message(String).data)
        return self._kinematics.pose(self.joint_positions())[:3]

    def closedness(self) -> float:
        """How far the gripper is closed, 0 open to 1 closed."""
        message = self._message(JointState)
        positions = dict(zip(message.name, message.position, strict=False))
        return float(HAND.closedness(np.mean([positions[name] for name in HAND.joints])))

    def object_position(self, name: str) -> NDArray[np.float64]:
        """Centre [3] of an object as the simulator knows it, m, in the base frame.

        Raises:
            ValueError: there is no such object.
        """
        for marker in self._message(MarkerArray).markers:
            if marker.ns == name:
                position = marker.pose.position
                return np.array([position.x, position.y, position.z])
        raise ValueError(f"objects: expected one called {name}, there is none")

    def forget_statuses(self) -> None:
        """What the planner has reported until now does not concern the next goal."""
        self._client.poll()
        self._statuses.clear()

    def show_goal(self, image: Image) -> None:
        """Publishes a goal image once the encoder listens."""
        self._client.wait_until(
            lambda: self._goal_topic.get_subscription_count() > 0, "a reader of goal_image", MESSAGE_SECONDS
        )
        self.forget_statuses()
        self._goal_topic.publish(image)

    def watch(self, timeout: float, on_status: OnStatus = lambda _: None) -> PlannerStatus:
        """Waits until the goal that was shown last is reached or given up, and returns the status that says so.

        Args:
            timeout: seconds, wall time.
            on_status: told about every status on the way.

        Raises:
            RosTimeoutError: neither happened in time; the message says what the planner last reported.
        """
        deadline, pursued, last = time.monotonic() + timeout, False, "nothing"
        while time.monotonic() < deadline:
            self._client.wait_until(lambda: bool(self._statuses), "planner_status", MESSAGE_SECONDS)
            status = self._statuses.popleft()
            on_status(status)
            pursued, last = pursued or status.state in PURSUED, status.reason or "nothing"
            if pursued and status.state in ENDED:
                return status
        raise RosTimeoutError(f"no end of the goal within {timeout:.0f} s; the planner last said: {last}")

    def diagnostic(self, node: str, key: str) -> float:
        """A number that a node reports on /diagnostics; NaN when it has not reported it."""
        try:
            return float(self._diagnostics.get(node, {}).get(key, "nan"))
        except ValueError:
            return float("nan")

    def _message(self, message_type: type) -> Any:
        """The newest message of this type."""
        self._client.wait_until(
            lambda: message_type in self._latest, f"a message {message_type.__name__}", MESSAGE_SECONDS
        )
        return self._latest[message_type]

    def _keep(self, message: Any) -> None:
        self._latest[type(message)] = message

    def _keep_status(self, message: PlannerStatus) -> None:
        self._statuses.append(message)

    def _keep_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            node = status.name.partition(":")[0].rsplit("/", 1)[-1]
            self._diagnostics[node] = {item.key: item.value for item in status.values}


def arm_positions(message: Any) -> NDArray[np.float64]:
    """Arm joint positions [7] of a JointState message, of rclpy or of a bag.

    Raises:
        ValueError: an arm joint is missing.
    """
    positions = dict(zip(message.name, message.position, strict=False))
    missing = [name for name in ARM_JOINTS if name not in positions]
    if missing:
        raise ValueError(f"joint_states: expected {', '.join(ARM_JOINTS)}, without {', '.join(missing)}")
    return np.array([positions[name] for name in ARM_JOINTS])


def table_kinematics(urdf: str) -> Kinematics:
    """Kinematics of the simulated arm's tool."""
    return Kinematics.from_urdf(urdf, BASE_LINK, TCP_LINK, ARM_JOINTS)
