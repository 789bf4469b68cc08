"""Parameters of the `franka` node."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from jepa_common.parameters import parameter
from jepa_planner.limits import TABLES
from jepa_robot.arm_settings import ArmSettings
from jepa_robot.command_filter import Margins
from jepa_robot.franka_description import PREFIXES
from jepa_robot.hand import HandConfig
from jepa_sim.trajectory_controller import Replacement

_CYCLES_PER_SECOND = 1000
_PACKAGES = ("pylibfranka", "franky", "ruckig")


class FrankaPackagesMissingError(RuntimeError):
    """libfranka is not installed; the message says how to get it."""


def require_packages() -> None:
    """Raises FrankaPackagesMissingError where the optional packages are not installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise FrankaPackagesMissingError(
            f"the franka node drives a Franka through libfranka; not installed: {', '.join(missing)}. "
            "Install them with: pip install 'jepa_ros[franka]'"
        )


def _check_positive(name: str, values: tuple[float, ...], count: int) -> None:
    if len(values) != count or min(values) <= 0:
        raise ValueError(f"{name}: expected {count} positive numbers, got {list(values)}")


@dataclass(frozen=True)
class LimitParameters:
    """What is used of the limits that FCI enforces. The planner stays well below."""

    velocity_share: float = parameter(0.9, "Share of the velocity limits", minimum=0.01, maximum=0.99)
    acceleration_share: float = parameter(0.7, "Share of the acceleration limits", minimum=0.01, maximum=0.99)
    jerk_share: float = parameter(0.3, "Share of the jerk limits", minimum=0.01, maximum=0.99)
    position_margin: float = parameter(0.02, "Distance kept to the position limits, rad", minimum=0.001, maximum=0.5)

    def margins(self) -> Margins:
        """The filter's."""
        return Margins(self.velocity_share, self.acceleration_share, self.jerk_share, self.position_margin)


@dataclass(frozen=True)
class CollisionParameters:
    """Thresholds of FCI's collision detection."""

    contact_torque: tuple[float, ...] = parameter((20.0,) * 7, "Torques that count as a contact, one per joint, Nm")
    torque: tuple[float, ...] = parameter((40.0,) * 4 + (20.0,) * 3, "Torques that stop the arm, one per joint, Nm")
    contact_force: tuple[float, ...] = parameter(
        (20.0,) * 3 + (10.0,) * 3,
        "Forces at the tool that count as a contact, x y z, N, and torques about them, Nm",
    )
    force: tuple[float, ...] = parameter((40.0,) * 3 + (20.0,) * 3, "The same that stop the arm")

    def __post_init__(self) -> None:
        for name, count in (("contact_torque", 7), ("torque", 7), ("contact_force", 6), ("force", 6)):
            _check_positive(f"collision.{name}", getattr(self, name), count)


@dataclass(frozen=True)
class HandParameters:
    """The Franka Hand."""

    enabled: bool = parameter(True, "There is a Franka Hand")
    speed: float = parameter(0.1, "Speed of the fingers, m/s", minimum=0.01, maximum=0.2)
    force: float = parameter(20.0, "Force of a grasp, N; a trajectory's effort replaces it", minimum=1.0, maximum=70.0)

    def config(self) -> HandConfig:
        """The library's configuration."""
        return HandConfig(self.speed, self.force)


@dataclass(frozen=True)
class FrankaParameters:
    """Parameters of the `franka` node."""

    robot_ip: str = parameter("", "Address of the control box")
    robot_type: str = parameter("fr3", "Arm: its limits and the names of its joints", choices=tuple(TABLES))
    dry_run: bool = parameter(False, "Tell the arm's state, but refuse every trajectory")
    joint_state_rate: float = parameter(200.0, "Rate of joint_states, Hz", minimum=100.0, maximum=1000.0)
    clock: str = parameter(
        "system", "Time of everything: the system's, or the robot's, published on /clock", choices=("system", "robot")
    )
    realtime: str = parameter(
        "ignore", "Refuse to start without a real-time kernel, or try without", choices=("enforce", "ignore")
    )
    trajectory_replacement: str = parameter(
        Replacement.ON_ARRIVAL.value,
        "When a new trajectory takes over: on_arrival like the controllers of Jazzy and Kilted, or at_start",
        choices=tuple(choice.value for choice in Replacement),
    )
    command_timeout: float = parameter(
        1.0, "An arm that still moves so long after the last trajectory came is stopped, s; 0: never", minimum=0.0
    )
    hold_seconds: float = parameter(5.0, "So long at rest the control loop goes on, s", minimum=0.1, maximum=3600.0)
    joint_impedance: tuple[float, ...] = parameter(
        (3000.0, 3000.0, 3000.0, 2500.0, 2500.0, 2000.0, 2000.0), "Stiffness of the joints, Nm/rad"
    )
    limits: LimitParameters = LimitParameters()
    collision: CollisionParameters = CollisionParameters()
    gripper: HandParameters = HandParameters()

    def __post_init__(self) -> None:
        _check_positive("joint_impedance", self.joint_impedance, 7)

    @property
    def prefix(self) -> str:
        """Of the names of joints and links."""
        return PREFIXES[self.robot_type]

    @property
    def joints(self) -> tuple[str, ...]:
        """The arm's, in order."""
        return tuple(f"{self.prefix}joint{index}" for index in range(1, 8))

    @property
    def fingers(self) -> tuple[str, ...]:
        """The gripper's; none without one."""
        return tuple(f"{self.prefix}finger_joint{index}" for index in (1, 2)) if self.gripper.enabled else ()

    def arm_settings(self) -> ArmSettings:
        """What the process with the control loop is told. Raises ValueError without an address."""
        if not self.robot_ip:
            raise ValueError("robot_ip: expected the address of the control box, such as 172.16.0.2; it is empty")
        return ArmSettings(
            address=self.robot_ip,
            robot=self.robot_type,
            joints=self.joints,
            margins=self.limits.margins(),
            replacement=self.trajectory_replacement,
            enforce_realtime=self.realtime == "enforce",
            dry_run=self.dry_run,
            hold_seconds=self.hold_seconds,
            command_timeout=self.command_timeout,
            joint_impedance=self.joint_impedance,
            contact_torque=self.collision.contact_torque,
            collision_torque=self.collision.torque,
            contact_force=self.collision.contact_force,
            collision_force=self.collision.force,
            cycles_per_report=max(1, round(_CYCLES_PER_SECOND / self.joint_state_rate)),
        )
