"""Arms by name: what their joints and frames are called, what the manufacturer lets them do, and their controllers.

Everything that has to know an arm takes it from here: the planner's tables of limits, the simulated arm, bags,
launch files. Sources: the manufacturer's published interface specification for Panda (FER) and FR3.
"""

from __future__ import annotations

from dataclasses import dataclass

from jepa_common.gripper_description import GripperDescription
from jepa_common.registry import Registry

Row = tuple[float, ...]


@dataclass(frozen=True)
class VelocityRampTable:
    """Velocity limits that shrink near the position limits, per joint: see `jepa_planner.limits.VelocityRamp`."""

    offset: Row
    gain: Row
    lower: Row
    upper: Row


@dataclass(frozen=True)
class Robot:
    """An arm with its gripper. Limits are per joint, in rad, s and Nm.

    Attributes:
        base_link, tip_link: in whose frame states and actions are, and whose pose the state is.
        joints: of the arm, in order, as in the URDF and in joint states.
        hand: its gripper.
        lower, upper, velocity, acceleration, jerk, effort: the manufacturer's limits.
        ramp: what the velocity limits do near the position limits; None: nothing.
        arm_controller, gripper_controller: names of the trajectory controllers that launch files start.
    """

    base_link: str
    tip_link: str
    joints: tuple[str, ...]
    hand: GripperDescription
    lower: Row
    upper: Row
    velocity: Row
    acceleration: Row
    jerk: Row
    effort: Row
    ramp: VelocityRampTable | None = None
    arm_controller: str = "arm_controller"
    gripper_controller: str = "gripper_controller"

    def __post_init__(self) -> None:
        """Raises ValueError where there is not one limit for each joint."""
        for name in ("lower", "upper", "velocity", "acceleration", "jerk", "effort"):
            if len(getattr(self, name)) != len(self.joints):
                raise ValueError(
                    f"{name}: expected one for each of {len(self.joints)} joints, got {getattr(self, name)}"
                )


def _hand(prefix: str) -> GripperDescription:
    """The Franka hand: each finger slides 0.04 m."""
    return GripperDescription((f"{prefix}_finger_joint1", f"{prefix}_finger_joint2"), open=0.04, closed=0.0)


FER = Robot(
    base_link="panda_link0",
    tip_link="panda_hand_tcp",
    joints=tuple(f"panda_joint{number}" for number in range(1, 8)),
    hand=_hand("panda"),
    lower=(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
    upper=(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
    velocity=(2.175,) * 4 + (2.61,) * 3,
    acceleration=(15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0),
    jerk=(7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
    effort=(87.0,) * 4 + (12.0,) * 3,
)
"""The Franka Emika Robot, "panda"; also the arm of the simulated table."""

FR3 = Robot(
    base_link="fr3_link0",
    tip_link="fr3_hand_tcp",
    joints=tuple(f"fr3_joint{number}" for number in range(1, 8)),
    hand=_hand("fr3"),
    lower=(-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159),
    upper=(2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159),
    velocity=(2.62,) * 4 + (5.26, 4.18, 5.26),
    acceleration=(10.0,) * 7,
    jerk=(5000.0,) * 7,
    effort=(87.0,) * 4 + (12.0,) * 3,
    ramp=VelocityRampTable(
        offset=(0.30, 0.20, 0.20, 0.30, 0.35, 0.35, 0.35),
        gain=(12.0, 5.17, 7.0, 8.0, 34.0, 11.0, 34.0),
        lower=(-2.7501, -1.7918, -2.9065, -3.0481, -2.8101, 0.54092, -3.0196),
        upper=(2.7501, 1.7918, 2.9065, -0.1458, 2.8101, 4.5205, 3.0196),
    ),
)
"""The Franka Research 3."""

ROBOTS: Registry[Robot] = Registry(
    "jepa_ros.robots", "robot", {"fer": "jepa_common.robots:FER", "fr3": "jepa_common.robots:FR3"}
)
URDF_ONLY = "urdf"
"""The `robot_type` of an arm that is in no table: its URDF alone limits it."""

ROBOT_TYPES = (*ROBOTS.names(), URDF_ONLY)
"""What the parameter and launch argument `robot_type` may be."""
