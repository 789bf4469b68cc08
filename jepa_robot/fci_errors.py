"""What FCI's reflexes and errors mean, and what to do about them: for diagnostics and docs/your-robot.md."""

from __future__ import annotations

import re

MEANINGS = {
    "joint_motion_generator_position_limits_violation": "a command beyond a joint's range: raise "
    "limits.position_margin",
    "joint_motion_generator_velocity_limits_violation": "a command too fast for a joint: lower limits.velocity_share",
    "joint_motion_generator_velocity_discontinuity": "commands with a jump, often after lost packets: see "
    "communication_constraints_violation, and lower limits.acceleration_share",
    "joint_motion_generator_acceleration_discontinuity": "commands with a jolt, often after lost packets: see "
    "communication_constraints_violation, and lower limits.jerk_share",
    "joint_position_motion_generator_start_pose_invalid": "the first command was not where the arm stood: it was moved "
    "by hand meanwhile? recover and try again",
    "joint_velocity_violation": "a joint moved too fast: pushed, or overshooting with an unknown load? set the load in "
    "Desk, lower the planner's limits.velocity_scale",
    "joint_position_limits_violation": "a joint stands beyond its range: lead it back by hand in Desk",
    "cartesian_velocity_violation": "the tool moved too fast: lower safety.max_tool_speed of the planner",
    "joint_reflex": "a joint felt a torque above collision.torque: the arm hit something, or carries a load that Desk "
    "does not know; clear the way, then recover",
    "cartesian_reflex": "the tool felt a force above collision.force: it hit something, or carries a load that Desk "
    "does not know; clear the way, then recover",
    "self_collision_avoidance_violation": "links came too close to each other: give the planner an arm.posture, a "
    "smaller safety.workspace",
    "communication_constraints_violation": "20 commands in a row came too late: use a cable without switches, a "
    "real-time kernel and realtime:=enforce, and less load; see control_command_success_rate",
    "power_limit_violation": "the arm needed too much power: lower limits.acceleration_share, check the load in Desk",
    "tau_j_range_violation": "a joint's torque left its range: the load is too heavy, or not set in Desk",
    "controller_torque_discontinuity": "the controller's torque jumped: the impedance was changed in motion, or the "
    "arm was hit",
    "instability_detected": "the controller oscillated: lower joint_impedance",
    "max_path_pose_deviation_violation": "the arm could not follow: something holds it, or joint_impedance is too low",
    "max_goal_pose_deviation_violation": "the arm did not get to its goal: something holds it, or joint_impedance is "
    "too low",
}
"""By FCI's name: the cause, and what to do. Names that position control of joints cannot raise are left out."""

_NAMES = re.compile(r"[a-z][a-z_]+")


def error_names(text: str) -> tuple[str, ...]:
    """The errors that libfranka lists in a message such as `["joint_reflex", "cartesian_reflex"]`."""
    return tuple(dict.fromkeys(name for name in _NAMES.findall(text) if name in MEANINGS))


def explained(text: str) -> str:
    """``text`` of libfranka, and what it means."""
    meanings = [f"{name}: {MEANINGS[name]}" for name in error_names(text)]
    return "; ".join([text, *meanings])
