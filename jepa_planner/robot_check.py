"""Whether a robot description is one of the robot that it is said to be: its joint axes and its limits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jepa_planner.kinematics import Kinematics
from jepa_planner.limits import JointLimits

Vector = npt.NDArray[np.float64]

# Denavit-Hartenberg parameters of Franka's arms (modified convention), from the maker's documentation: a (m), d (m),
# alpha (rad) of each joint.
_FRANKA = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
)
# A description may differ from these by so much: the place of an axis (m), its direction, the distance of the tool from
# the last axis (m), position limits (rad), and the factor of velocity limits.
_PLACE, _DIRECTION, _TOOL = 0.02, 0.02, 0.5
_RANGE, _SPEED = 0.35, 2.0


def check_robot(kinematics: Kinematics, table: JointLimits) -> None:
    """Raises ValueError when ``kinematics`` are not those of a Franka arm whose published limits are ``table``."""
    found, expected = _screws(kinematics), _franka_screws()
    off = np.abs(found - expected)
    for name, place, direction in zip(kinematics.joint_names, off[:, :3], off[:, 3:], strict=True):
        if np.any(direction > _DIRECTION) or np.any(place > _PLACE):
            raise ValueError(
                f"the axis of {name} is not where that arm has it, by {place.max():.3f} m and "
                f"{direction.max():.3f}: another arm, or a base_link that is not the arm's own? See robot_type"
            )
    reach = float(np.linalg.norm(kinematics.pose(np.zeros(len(table.names)))[:3] - _last_axis()))
    if reach > _TOOL:
        raise ValueError(f"the tip is {reach:.2f} m from the arm's flange; expected at most {_TOOL} m")
    _check_limits(kinematics.limits(), table)


def _check_limits(found: JointLimits, table: JointLimits) -> None:
    for index, name in enumerate(found.names):
        low, high = table.lower[index] - _RANGE, table.upper[index] + _RANGE
        if not (low <= found.lower[index] and found.upper[index] <= high):
            raise ValueError(
                f"{name} may go from {found.lower[index]:.4g} to {found.upper[index]:.4g} rad, but "
                f"that arm's from {table.lower[index]:.4g} to {table.upper[index]:.4g}. See robot_type"
            )
        if np.isfinite(found.velocity[index]) and found.velocity[index] > _SPEED * table.velocity[index]:
            raise ValueError(
                f"{name} may move at {found.velocity[index]:.4g} rad/s, but that arm's at "
                f"{table.velocity[index]:.4g}. See robot_type"
            )


def _screws(kinematics: Kinematics) -> Vector:
    """The axes [joints, 6] at zero: moment about the base's origin, m, and direction."""
    zero = np.zeros(len(kinematics.joint_names))
    jacobian, tip = kinematics.jacobian(zero), kinematics.pose(zero)[:3]
    moments = [linear - np.cross(angular, tip) for linear, angular in zip(jacobian[:3].T, jacobian[3:].T, strict=True)]
    return np.concatenate([np.array(moments), jacobian[3:].T], axis=1)


def _franka_screws() -> Vector:
    frames = _franka_frames()
    return np.array([[*np.cross(frame[:3, 3], frame[:3, 2]), *frame[:3, 2]] for frame in frames])


def _last_axis() -> Vector:
    return _franka_frames()[-1][:3, 3]


def _franka_frames() -> list[Vector]:
    """Frames [4, 4] of the joints at zero, in the base's."""
    frames, frame = [], np.eye(4)
    for a, d, alpha in _FRANKA:
        c, s = np.cos(alpha), np.sin(alpha)
        frame = frame @ np.array([[1, 0, 0, a], [0, c, -s, -d * s], [0, s, c, d * c], [0, 0, 0, 1]])
        frames.append(frame)
    return frames
