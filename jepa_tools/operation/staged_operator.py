"""A table in a simulator that is not this package's: its scenes are set up with that simulator's own services."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from rclpy.publisher import Publisher
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from jepa_common.qos_profiles import latest_qos
from jepa_sim.backends.protocol import SimulatorBackend, SimulatorError
from jepa_sim.backends.staging import SceneSource
from jepa_sim.robot_description import ARM_JOINTS, FINGER_JOINTS
from jepa_tools.operation.ros_client import RosClient
from jepa_tools.operation.table_operator import MESSAGE_SECONDS, ResetError, TableOperator

ARM_SPEED = 0.8
"""Mean speed of the fastest joint on the way to a scene's arm positions, rad/s."""

ARRIVED = 0.02
"""Joints nearer than this to where they should be have arrived, rad."""


class StagedOperator(TableOperator):
    """An operator whose resets move the arm by trajectory and the objects by service. Threads: as the client's.

    No simulator's service moves joints; so a reset takes as long as the arm's way there.
    """

    def __init__(
        self,
        client: RosClient,
        backend: SimulatorBackend,
        arm_topic: str = "joint_trajectory",
        gripper_topic: str = "gripper_trajectory",
    ) -> None:
        """The topics are those of the arm's and the gripper's trajectory controllers."""
        super().__init__(client)
        self._backend, self._scenes = backend, SceneSource()
        self._arm_topic = arm_topic
        self._gripper = client.node.create_publisher(JointTrajectory, gripper_topic, latest_qos())

    def reset(self, seed: int, task: str, joint_positions: Sequence[float] = ()) -> None:
        """Moves the arm, then puts the objects, to where `seed` and `task` say.

        Raises:
            ResetError: the simulator refused, or a value that no scene has.
            RosTimeoutError: the arm did not arrive.
        """
        try:
            scene = self._scenes.draw(seed, task, joint_positions)
            self._move_arm(scene.arm_positions)
            self._gripper.publish(_trajectory(FINGER_JOINTS, scene.finger_positions, 1.0))
            scene.place_objects(self._backend)
        except (SimulatorError, ValueError) as error:
            raise ResetError(f"the scene was not set up: {error}") from error
        self.forget()

    def _move_arm(self, target: Sequence[float]) -> None:
        # Only while it moves the arm: the planner holds it as long as another node may command it.
        arm = self._client.node.create_publisher(JointTrajectory, self._arm_topic, latest_qos())
        try:
            self._lead(arm, target)
        finally:
            self._client.node.destroy_publisher(arm)

    def _lead(self, arm: Publisher, target: Sequence[float]) -> None:
        distance = float(np.abs(self.joint_positions() - target).max())
        self._client.wait_until(
            lambda: arm.get_subscription_count() > 0, "the arm's trajectory controller", MESSAGE_SECONDS
        )
        seconds = 1.0 + distance / ARM_SPEED
        arm.publish(_trajectory(ARM_JOINTS, target, seconds))
        self._client.wait_until(
            lambda: bool(np.abs(self.joint_positions() - target).max() < ARRIVED),
            "the arm at the start of the scene",
            MESSAGE_SECONDS + 10.0 * seconds,
        )


def _trajectory(names: Sequence[str], positions: Sequence[float], seconds: float) -> JointTrajectory:
    """To `positions`, at rest there, in `seconds` from now."""
    whole = int(seconds)
    point = JointTrajectoryPoint(time_from_start=Duration(sec=whole, nanosec=int((seconds - whole) * 1e9)))
    point.positions = list(positions)
    point.velocities = point.accelerations = [0.0] * len(names)
    return JointTrajectory(joint_names=list(names), points=[point])
