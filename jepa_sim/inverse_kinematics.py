"""Inverse kinematics of the simulated arm: damped least squares on MuJoCo's Jacobian.

The planner has its own kinematics, which reads any robot's URDF; this one serves the simulator's environment, whose
actions are steps of the tool.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from jepa_sim.robot_description import HOME_POSITIONS, TCP_LINK
from jepa_sim.simulation import JointAddresses, arm_range

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class InverseKinematicsConfig:
    """How the solution is approached.

    Attributes:
        damping: added to the diagonal of J J^T, so that the arm does not race near singular poses.
        posture_gain: share of the way to the home posture that the free seventh joint takes per iteration.
        max_step: largest change of a joint per iteration, rad.
        margin: distance kept to the joint limits, rad.
        tolerance: an error below it in every direction ends the search, m and rad.
    """

    damping: float = 1e-4
    posture_gain: float = 0.1
    max_step: float = 0.3
    margin: float = 0.05
    tolerance: float = 1e-4


@dataclass(frozen=True, eq=False)
class InverseKinematicsSolution:
    """Joint positions [7], rad, and what is left of the error, m and rad."""

    positions: Vector
    position_error: float
    rotation_error: float


class InverseKinematics:
    """Finds joint positions for poses of the tool frame. Not thread-safe."""

    def __init__(self, model: mujoco.MjModel, config: InverseKinematicsConfig = InverseKinematicsConfig()) -> None:
        self._model, self._config = model, config
        self._data = mujoco.MjData(model)
        self._at = JointAddresses(model)
        self._tcp = model.body(TCP_LINK).id
        self._home = np.array(HOME_POSITIONS)
        limits = arm_range()
        self._lower, self._upper = limits.lower + config.margin, limits.upper - config.margin
        self._jacobian = np.zeros((6, model.nv))

    def solve(
        self, position: Vector, rotation: Vector, start: Vector, iterations: int = 30
    ) -> InverseKinematicsSolution:
        """The joint positions nearest to `start` that put the tool at `position` [3], `rotation` [3, 3].

        The best try is returned also when the pose is out of reach: its errors tell.
        """
        joints = np.array(start, dtype=np.float64)
        # MuJoCo quaternions once, in place of a rotation matrix product and logarithm per iteration.
        target = np.empty(4)
        mujoco.mju_mat2Quat(target, np.ascontiguousarray(rotation, dtype=np.float64).ravel())
        for _ in range(iterations):
            error = self._error(joints, position, target)
            if np.abs(error).max() < self._config.tolerance:
                break
            joints = self._improve(joints, error)
        error = self._error(joints, position, target)
        return InverseKinematicsSolution(joints, float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:])))

    def _error(self, joints: Vector, position: Vector, target: Vector) -> Vector:
        """Position error, m, and rotation vector to the target, rad, in the base frame: [6]."""
        data = self._data
        data.qpos[self._at.arm_position] = joints
        mujoco.mj_kinematics(self._model, data)
        error, inverse, turn = np.empty(6), np.empty(4), np.empty(4)
        error[:3] = position - data.xpos[self._tcp]
        mujoco.mju_negQuat(inverse, data.xquat[self._tcp])
        mujoco.mju_mulQuat(turn, target, inverse)
        mujoco.mju_quat2Vel(error[3:], turn, 1.0)
        return error

    def _improve(self, joints: Vector, error: Vector) -> Vector:
        config, data = self._config, self._data
        mujoco.mj_comPos(self._model, data)
        mujoco.mj_jacBody(self._model, data, self._jacobian[:3], self._jacobian[3:], self._tcp)
        jacobian = self._jacobian[:, self._at.arm_velocity]
        # dq = J# e + (I - J# J) g = J# (e - J g) + g: one solve for the task and the posture together.
        posture = config.posture_gain * (self._home - joints)
        damped = jacobian @ jacobian.T + config.damping * np.eye(6)
        change = jacobian.T @ np.linalg.solve(damped, error - jacobian @ posture) + posture
        change = np.clip(change, -config.max_step, config.max_step)
        return np.clip(joints + change, self._lower, self._upper)
