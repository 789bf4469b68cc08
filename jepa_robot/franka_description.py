"""The robot description of a Franka by its type: an FR3 has the FER's kinematics under names and limits of its own."""

from __future__ import annotations

from dataclasses import replace

from jepa_planner.limits import TABLES
from jepa_sim.robot_description import ARM_JOINTS, Joint, JointLimits, RobotDescription, franka_panda

PREFIXES = {"fr3": "fr3_", "fer": "panda_"}
"""What the names of joints and links begin with, by robot type."""


def franka_arm(robot_type: str) -> RobotDescription:
    """Arm, hand and tool frame of an "fr3" or a "fer". Raises KeyError for another type."""
    robot, prefix = franka_panda(), PREFIXES[robot_type]
    limits = _limits(robot_type)
    joints = tuple(_renamed(joint, prefix, limits.get(joint.name, joint.limits)) for joint in robot.joints)
    links = tuple(replace(link, name=_name(link.name, prefix)) for link in robot.links)
    return RobotDescription(robot_type if robot_type == "fr3" else robot.name, links, joints)


def _limits(robot_type: str) -> dict[str, JointLimits]:
    table, robot = TABLES[robot_type](ARM_JOINTS), franka_panda()
    rows = zip(table.lower, table.upper, table.velocity, table.acceleration, table.jerk, strict=True)
    efforts = (limits.effort for limits in robot.limits(ARM_JOINTS))
    return {
        name: JointLimits(*map(float, (*row, effort)))
        for name, row, effort in zip(ARM_JOINTS, rows, efforts, strict=True)
    }


def _renamed(joint: Joint, prefix: str, limits: JointLimits | None) -> Joint:
    return replace(
        joint,
        name=_name(joint.name, prefix),
        parent=_name(joint.parent, prefix),
        child=_name(joint.child, prefix),
        limits=limits,
        mimic=_name(joint.mimic, prefix) if joint.mimic else None,
    )


def _name(name: str, prefix: str) -> str:
    return prefix + name.removeprefix("panda_")
