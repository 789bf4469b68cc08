"""Joint limits: the manufacturer's tables, and what is left of them after caution.

Source: the manufacturer's published interface specification for Panda (FER) and FR3. Those of a URDF come
from `Kinematics.limits`; `JointLimits.stricter` joins both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

LONGEST_STEP, LONGEST_STEP_HOLDING = 0.075, 0.04
"""Longest translation of one action, m, and the same while the gripper holds something: in nodes and evaluations."""


@dataclass(frozen=True, eq=False)
class VelocityRamp:
    """FR3's velocity limits near the position limits, per joint.

    Upper limit: max(0, -offset + sqrt(gain * (upper - q))); the lower one is its mirror image at ``lower``.
    """

    offset: Vector
    gain: Vector
    lower: Vector
    upper: Vector

    def bounds(self, low: Vector, high: Vector) -> tuple[Vector, Vector]:
        """Velocity limits (negative, positive), rad/s, that hold from position ``low`` to ``high``."""
        forward = np.sqrt(self.gain * np.maximum(self.upper - high, 0.0)) - self.offset
        backward = np.sqrt(self.gain * np.maximum(low - self.lower, 0.0)) - self.offset
        return -np.maximum(backward, 0.0), np.maximum(forward, 0.0)


@dataclass(frozen=True, eq=False)
class JointLimits:
    """Limits of a chain of joints: rad, rad/s, rad/s^2, rad/s^3, each [joints]. Infinity where unknown.

    arm: those of the arm itself, where these are only what a cautious envelope leaves of them.
    """

    names: tuple[str, ...]
    lower: Vector
    upper: Vector
    velocity: Vector
    acceleration: Vector
    jerk: Vector
    ramp: VelocityRamp | None = None
    arm: JointLimits | None = None

    def __post_init__(self) -> None:
        count = len(self.names)
        for name in ("lower", "upper", "velocity", "acceleration", "jerk"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != (count,) or np.any(np.isnan(values)):
                raise ValueError(f"{name} needs a number for each of the {count} joints, got {values}")
            object.__setattr__(self, name, values)
        ranges = zip(self.names, self.lower, self.upper, strict=True)
        empty = [f"{name} from {low:.4g} to {high:.4g}" for name, low, high in ranges if low >= high]
        if empty:
            raise ValueError(f"joint ranges are empty: {', '.join(empty)}")
        for name in ("velocity", "acceleration", "jerk"):
            joints = [joint for joint, limit in zip(self.names, getattr(self, name), strict=True) if limit <= 0]
            if joints:
                raise ValueError(f"limits of velocity, acceleration and jerk must be positive: {name} of {joints}")

    def velocity_bounds(self, low: Vector, high: Vector) -> tuple[Vector, Vector]:
        """Velocity limits (negative, positive), rad/s, that hold from position ``low`` to ``high``."""
        if self.ramp is None:
            return -self.velocity, self.velocity
        backward, forward = self.ramp.bounds(low, high)
        return np.maximum(backward, -self.velocity), np.minimum(forward, self.velocity)

    def stricter(self, other: JointLimits) -> JointLimits:
        """The tighter of both limits for every joint; raises ValueError for different joints."""
        if self.names != other.names:
            raise ValueError(f"limits of {self.names} cannot be joined with limits of {other.names}")
        return JointLimits(
            self.names,
            np.maximum(self.lower, other.lower),
            np.minimum(self.upper, other.upper),
            np.minimum(self.velocity, other.velocity),
            np.minimum(self.acceleration, other.acceleration),
            np.minimum(self.jerk, other.jerk),
            self.ramp or other.ramp,
        )


@dataclass(frozen=True)
class Envelope:
    """How much of the limits is used.

    velocity_scale, acceleration_scale: shares of the limits, in (0, 1].
    max_jerk: rad/s^3. A quarter of the acceleration and a jerk of 300 are in wide use on this arm.
    position_margin: distance kept to the position limits, rad.
    stop_seconds: speeds are kept so low that a stop inside the envelope takes no longer. With the 0.02 s until it is
        noticed and the 0.04 s until it begins, the arm rests 0.3 s after a fault.
    """

    velocity_scale: float = 1.0
    acceleration_scale: float = 0.25
    max_jerk: float = 300.0
    position_margin: float = 0.05
    stop_seconds: float = 0.24

    def __post_init__(self) -> None:
        if not 0 < self.velocity_scale <= 1 or not 0 < self.acceleration_scale <= 1:
            raise ValueError(
                "velocity_scale and acceleration_scale must lie in (0, 1], got "
                f"{self.velocity_scale} and {self.acceleration_scale}"
            )
        if not self.max_jerk > 0 or not self.position_margin >= 0 or not self.stop_seconds > 0:
            raise ValueError(f"max_jerk and stop_seconds must be positive, position_margin not negative: {self}")

    def apply(self, limits: JointLimits) -> JointLimits:
        """``limits`` as cautiously as this envelope says.

        Raises ValueError when an acceleration limit is unknown or nothing is left of a range or a speed.
        """
        if not np.all(np.isfinite(limits.acceleration)):
            raise ValueError(
                f"no acceleration limits for {limits.names}: a URDF has none, so name the robot (fer, fr3) "
                "or list them in the parameters"
            )
        acceleration = limits.acceleration * self.acceleration_scale
        jerk = np.minimum(limits.jerk, self.max_jerk)
        return replace(
            limits,
            lower=limits.lower + self.position_margin,
            upper=limits.upper - self.position_margin,
            velocity=np.minimum(limits.velocity * self.velocity_scale, self._stoppable(acceleration, jerk)),
            acceleration=acceleration,
            jerk=jerk,
            arm=limits,
        )

    def _stoppable(self, acceleration: Vector, jerk: Vector) -> Vector:
        # Worst case: still accelerating at the limit. Turning the acceleration round and letting it go at the
        # end takes three ramps of acceleration / jerk seconds beside the braking itself.
        speed = acceleration * (self.stop_seconds - 3 * acceleration / jerk)
        if np.any(speed <= 0):
            raise ValueError(f"no speed allows a stop within {self.stop_seconds} s at this acceleration and jerk")
        return speed


def fer_limits(names: Sequence[str]) -> JointLimits:
    """The published limits of the Franka Emika Robot (Panda), whatever its seven joints are called."""
    return _table(
        names,
        lower=(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
        upper=(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
        velocity=(2.175,) * 4 + (2.61,) * 3,
        acceleration=(15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0),
        jerk=(7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
    )


def fr3_limits(names: Sequence[str]) -> JointLimits:
    """The published limits of the Franka Research 3, with velocities that shrink near the position limits."""
    return _table(
        names,
        lower=(-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159),
        upper=(2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159),
        velocity=(2.62,) * 4 + (5.26, 4.18, 5.26),
        acceleration=(10.0,) * 7,
        jerk=(5000.0,) * 7,
        ramp=VelocityRamp(
            offset=np.array([0.30, 0.20, 0.20, 0.30, 0.35, 0.35, 0.35]),
            gain=np.array([12.0, 5.17, 7.0, 8.0, 34.0, 11.0, 34.0]),
            lower=np.array([-2.7501, -1.7918, -2.9065, -3.0481, -2.8101, 0.54092, -3.0196]),
            upper=np.array([2.7501, 1.7918, 2.9065, -0.1458, 2.8101, 4.5205, 3.0196]),
        ),
    )


def _table(
    names: Sequence[str],
    lower: Sequence[float],
    upper: Sequence[float],
    velocity: Sequence[float],
    acceleration: Sequence[float],
    jerk: Sequence[float],
    ramp: VelocityRamp | None = None,
) -> JointLimits:
    if len(names) != len(lower):
        raise ValueError(f"this table is for {len(lower)} joints, got {len(names)}: {tuple(names)}")
    rows = np.array([lower, upper, velocity, acceleration, jerk], dtype=np.float64)
    return JointLimits(tuple(names), rows[0], rows[1], rows[2], rows[3], rows[4], ramp)


TABLES = {"fer": fer_limits, "fr3": fr3_limits}
"""The published limits of the arms that are known, by `robot_type`."""
