"""Jerk-limited joint motion toward a target that may change at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import ruckig
from numpy.typing import ArrayLike, NDArray

from jepa_sim.robot_description import ARM_JOINTS, franka_panda

Vector = NDArray[np.float64]

_DUST = 1e-9
"""Smaller velocities (rad/s) and accelerations are rounding errors, at which ruckig fails to synchronise joints."""


@dataclass(frozen=True)
class MotionRates:
    """What a motion reaches at most, for each of the arm's joints: rad/s, rad/s^2, rad/s^3."""

    velocity: tuple[float, ...]
    acceleration: tuple[float, ...]
    jerk: tuple[float, ...]


@dataclass(frozen=True)
class SmoothMotionConfig:
    """Shares of the arm's velocity and acceleration limits that are used, and the jerk limit, rad/s^3.

    Data are collected like this. The planner drives the arm more gently: an evaluation takes its rates.
    """

    velocity_scale: float = 0.8
    acceleration_scale: float = 0.5
    max_jerk: float = 500.0

    @property
    def rates(self) -> MotionRates:
        """What that comes to."""
        limits = franka_panda().limits(ARM_JOINTS)
        return MotionRates(
            tuple(limit.velocity * self.velocity_scale for limit in limits),
            tuple(limit.acceleration * self.acceleration_scale for limit in limits),
            (self.max_jerk,) * len(limits),
        )


@dataclass(frozen=True, eq=False)
class MotionState:
    """Positions (rad), velocities and accelerations of the arm's joints, each [7]."""

    positions: Vector
    velocities: Vector
    accelerations: Vector


class SmoothMotion:
    """The arm's desired motion: time-optimal to the target within the limits, replanned from the desired state."""

    def __init__(self, rates: MotionRates = SmoothMotionConfig().rates) -> None:
        joints = len(rates.velocity)
        self._generator = ruckig.Ruckig(joints)
        self._request = ruckig.InputParameter(joints)
        self._request.max_velocity = list(rates.velocity)
        self._request.max_acceleration = list(rates.acceleration)
        self._request.max_jerk = list(rates.jerk)
        self.rest_at(np.zeros(joints))

    @property
    def state(self) -> MotionState:
        """The desired state now."""
        return self._state

    def rest_at(self, positions: ArrayLike) -> None:
        """Stand still at `positions` [7]."""
        values = np.array(positions, dtype=np.float64)
        self._state = MotionState(values, np.zeros_like(values), np.zeros_like(values))

    def continue_from(self, state: MotionState) -> None:
        """Take up the motion of a saved `state`."""
        self._state = state

    def move(self, target: Vector, times: Vector) -> Vector:
        """Head for `target` [7] and advance to the last of `times` [K] (s from now, increasing).

        Returns:
            The desired positions [K, 7] at those times.

        Raises:
            RuntimeError: no motion leads there, which means that the target is not finite.
        """
        request, state = self._request, self._state
        request.current_position = state.positions
        request.current_velocity = _without_dust(state.velocities)
        request.current_acceleration = _without_dust(state.accelerations)
        request.target_position = target
        trajectory = ruckig.Trajectory(len(target))
        result = self._generator.calculate(request, trajectory)
        if result not in (ruckig.Result.Working, ruckig.Result.Finished):
            raise RuntimeError(f"no smooth motion from {state.positions} to {target}: {result}")
        samples = [trajectory.at_time(time) for time in times]
        self._state = MotionState(*(np.array(values) for values in samples[-1]))
        return np.array([positions for positions, *_ in samples])


def _without_dust(values: Vector) -> Vector:
    return np.where(np.abs(values) < _DUST, 0.0, values)
