"""Jerk-limited joint motion: short segments, spliced to the one being executed, that end at rest.

A segment is written down at every instant where a joint's jerk changes. Between two such points the
acceleration is linear, so the quintic through position, velocity and acceleration that a
JointTrajectoryController interpolates with is the planned cubic itself: what the arm is told is what was
checked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import ruckig

from jepa_planner.limits import JointLimits

Vector = npt.NDArray[np.float64]
# Points closer than this, s, are one: the controller's clock ticks in milliseconds.
_CLOSEST = 2e-5
# Arms at rest this close to each other, rad, are at the same place.
_SAME_PLACE = 1e-4
# Smaller velocities (rad/s) and accelerations are rounding errors, at which ruckig fails to synchronise joints.
_DUST = 1e-9


class MotionError(RuntimeError):
    """No segment leads from the given state to the target inside the limits."""


@dataclass(frozen=True, eq=False)
class MotionState:
    """Position, velocity and acceleration of all joints, each [joints]: rad, rad/s, rad/s^2."""

    position: Vector
    velocity: Vector
    acceleration: Vector

    @classmethod
    def at_rest(cls, position: Sequence[float] | Vector) -> MotionState:
        """Standing still at ``position``."""
        values = np.array(position, dtype=np.float64)
        return cls(values, np.zeros_like(values), np.zeros_like(values))


@dataclass(frozen=True, eq=False)
class Segment:
    """A piece of motion with constant jerk between its points; after it all rests.

    start: absolute time of the first point, s.
    times: [points] from 0, s, increasing. positions, velocities, accelerations: [points, joints].
    """

    start: float
    times: Vector
    positions: Vector
    velocities: Vector
    accelerations: Vector

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return float(self.times[-1])

    @property
    def end(self) -> float:
        """Absolute time of the last point, s."""
        return self.start + self.duration

    @property
    def target(self) -> Vector:
        """Where it comes to rest [joints]."""
        return self.positions[-1]

    def jerks(self) -> Vector:
        """Jerk of each interval [points - 1, joints], rad/s^3."""
        return np.diff(self.accelerations, axis=0) / np.diff(self.times)[:, None]

    def sample(self, time: float) -> MotionState:
        """The state at absolute ``time``, s: the first point before the start, rest after the end."""
        elapsed = time - self.start
        if elapsed >= self.duration:
            return MotionState.at_rest(self.target)
        index = max(bisect_right(self.times, elapsed) - 1, 0)
        step = max(elapsed - float(self.times[index]), 0.0)
        jerk = (self.accelerations[index + 1] - self.accelerations[index]) / (self.times[index + 1] - self.times[index])
        return advance(self._state(index), jerk, step)

    def _state(self, index: int) -> MotionState:
        return MotionState(self.positions[index], self.velocities[index], self.accelerations[index])


def advance(state: MotionState, jerk: Vector, seconds: float) -> MotionState:
    """``state`` after ``seconds`` of constant ``jerk``."""
    position, velocity, acceleration = state.position, state.velocity, state.acceleration
    return MotionState(
        position + seconds * (velocity + seconds * (acceleration / 2 + seconds * jerk / 6)),
        velocity + seconds * (acceleration + seconds * jerk / 2),
        acceleration + seconds * jerk,
    )


class CommandedMotion:
    """What the controller has been told: the mirror of its desired state. Not thread-safe.

    A controller that starts each new trajectory at its stamp executes exactly this, so the next segment can
    be spliced to it without asking the controller.
    """

    def __init__(self, position: Sequence[float] | Vector) -> None:
        """Begins at rest at ``position`` [joints]."""
        self._rest = MotionState.at_rest(position)
        self._segments: list[Segment] = []

    def copy(self) -> CommandedMotion:
        """The same, to be continued differently."""
        copied = CommandedMotion(self._rest.position)
        copied._segments = list(self._segments)
        return copied

    def append(self, segment: Segment) -> None:
        """Lets ``segment`` replace what was planned from its start on."""
        self._segments = [known for known in self._segments if known.start < segment.start]
        self._segments.append(segment)

    def shift(self, seconds: float) -> None:
        """Moves everything by ``seconds``, as a clock that was set demands."""
        self._segments = [replace(segment, start=segment.start + seconds) for segment in self._segments]

    def forget_before(self, time: float) -> None:
        """Drops segments that were over or replaced at ``time``; `sample` is exact from there on."""
        index = bisect_right([segment.start for segment in self._segments], time) - 1
        if index > 0:
            self._segments = self._segments[index:]

    def sample(self, time: float) -> MotionState:
        """The desired state at absolute ``time``, s."""
        index = bisect_right([segment.start for segment in self._segments], time) - 1
        if index >= 0:
            return self._segments[index].sample(time)
        return self._rest

    def lead_in(self, first: float, segment: Segment) -> Segment:
        """``segment`` preceded by the points from ``first``, s, to its start where the commanded jerk changes.

        Without them a controller that takes a trajectory over on its arrival would join its present state and the first
        point by one polynomial, whose acceleration overshoots where the jerk should have changed.
        """
        knots = self.knots(first, segment.start)
        if not knots:
            return segment
        states = [self.sample(time) for time in knots]
        return Segment(
            knots[0],
            np.concatenate([np.array(knots) - knots[0], segment.start - knots[0] + segment.times]),
            np.concatenate([[state.position for state in states], segment.positions]),
            np.concatenate([[state.velocity for state in states], segment.velocities]),
            np.concatenate([[state.acceleration for state in states], segment.accelerations]),
        )

    def knots(self, after: float, before: float) -> list[float]:
        """Instants from ``after`` until ``before``, s, at which the commanded jerk may change, in order."""
        return [time for time in self._knots() if after <= time < before - _CLOSEST]

    def rests_as(self, other: CommandedMotion, time: float) -> bool:
        """Whether both are over at ``time``, s, at the same place."""
        apart = np.abs(self.sample(time).position - other.sample(time).position)
        return time >= max(self.end, other.end) and bool(np.max(apart) < _SAME_PLACE)

    def _knots(self) -> list[float]:
        """Instants at which the commanded jerk may change, in order."""
        following = [*(segment.start for segment in self._segments[1:]), float("inf")]
        return [
            segment.start + float(time)
            for index, segment in enumerate(self._segments)
            for time in segment.times
            if segment.start + time < following[index] - _CLOSEST
        ]

    @property
    def end(self) -> float:
        """When it all comes to rest, absolute s; minus infinity when nothing was commanded."""
        return self._segments[-1].end if self._segments else float("-inf")


def join(before: MotionState, after: MotionState, seconds: float) -> tuple[Vector, Vector, Vector]:
    """Peaks [joints] of speed, acceleration and jerk of the quintic by which a controller gets from state to state."""
    shares = np.linspace(0.0, 1.0, _JOIN_SAMPLES)
    powers = shares[:, None] ** np.arange(4)
    rows = [before.position, before.velocity * seconds, before.acceleration * seconds**2 / 2]
    ahead = np.array([
        after.position - rows[0] - rows[1] - rows[2],
        after.velocity * seconds - rows[1] - 2 * rows[2],
        after.acceleration * seconds**2 - 2 * rows[2],
    ])  # fmt: skip
    # Coefficients of the powers 3, 4 and 5 of a quintic on [0, 1] from its values, slopes and curvatures at both ends.
    cubic, quartic, quintic = np.array([[10, -4, 0.5], [-15, 7, -1], [6, -3, 0.5]]) @ ahead
    speeds = (
        rows[1]
        + 2 * powers[:, 1:2] * rows[2]
        + powers[:, 2:3] * (3 * cubic + 4 * powers[:, 1:2] * quartic + 5 * powers[:, 2:3] * quintic)
    )
    accelerations = 2 * rows[2] + powers[:, 1:2] * (
        6 * cubic + 12 * powers[:, 1:2] * quartic + 20 * powers[:, 2:3] * quintic
    )
    jerks = 6 * cubic + 24 * powers[:, 1:2] * quartic + 60 * powers[:, 2:3] * quintic
    peaks = [
        np.abs(values).max(axis=0) / seconds**order for order, values in enumerate((speeds, accelerations, jerks), 1)
    ]
    return peaks[0], peaks[1], peaks[2]


# Instants at which such a quintic is looked at.
_JOIN_SAMPLES = 21


class SegmentPlanner:
    """Time-optimal, jerk-limited, synchronised segments (ruckig). Not thread-safe."""

    def __init__(self, limits: JointLimits, spacing: float = 0.05) -> None:
        """``limits`` bound everything; ``spacing`` is the longest time between two points, s."""
        if not spacing > 0:
            raise ValueError(f"the spacing of points must be positive, got {spacing}")
        self._limits = limits
        self._spacing = spacing
        self._joints = len(limits.names)
        self._generator = ruckig.Ruckig(self._joints)

    @property
    def limits(self) -> JointLimits:
        """What bounds the segments."""
        return self._limits

    def to_target(
        self, start: float, state: MotionState, target: Vector, speed: float = 1.0, duration: float = 0.0
    ) -> Segment:
        """From ``state`` at absolute time ``start`` to rest at ``target`` [joints].

        speed: share of the velocity limits to use, in (0, 1]. duration: take at least so long, s.
        Raises MotionError when ruckig finds no way.
        """
        request = self._request(state)
        low, high = np.minimum(state.position, target), np.maximum(state.position, target)
        backward, forward = self._limits.velocity_bounds(low, high)
        request.target_position = [float(value) for value in target]
        # Exactly at a limit the ramp allows no speed at all, which ruckig does not accept.
        request.max_velocity = [max(float(value) * speed, 1e-3) for value in forward]
        request.min_velocity = [min(float(value) * speed, -1e-3) for value in backward]
        if duration > 0:
            request.minimum_duration = duration
        return self._calculate(start, request, state)

    def to_rest(self, start: float, state: MotionState, together: bool = False) -> Segment:
        """From ``state`` at absolute time ``start`` to a standstill, as soon as the limits allow.

        Each joint stops as soon as it can, which is the shortest way; ``together``, all stop with the slowest, which
        keeps nearer to the path that was being followed.
        """
        request = self._request(state)
        request.control_interface = ruckig.ControlInterface.Velocity
        request.synchronization = ruckig.Synchronization.Phase if together else ruckig.Synchronization.No
        request.max_velocity = [float(value) for value in self._limits.velocity]
        return self._calculate(start, request, state)

    def _request(self, state: MotionState) -> ruckig.InputParameter:
        for values in (state.position, state.velocity, state.acceleration):
            if values.shape != (self._joints,) or not np.all(np.isfinite(values)):
                raise MotionError(f"a motion state needs finite values for {self._joints} joints, got {state}")
        request = ruckig.InputParameter(self._joints)
        request.current_position = [float(value) for value in state.position]
        request.current_velocity = _without_dust(state.velocity)
        request.current_acceleration = _without_dust(state.acceleration)
        request.target_velocity = [0.0] * self._joints
        request.max_acceleration = [float(value) for value in self._limits.acceleration]
        request.max_jerk = [float(value) for value in self._limits.jerk]
        return request

    def _calculate(self, start: float, request: ruckig.InputParameter, state: MotionState) -> Segment:
        trajectory = ruckig.Trajectory(self._joints)
        try:
            result = self._generator.calculate(request, trajectory)
        except RuntimeError as error:
            raise MotionError(f"no jerk-limited motion from {state}: {error}") from error
        if result not in (ruckig.Result.Working, ruckig.Result.Finished):
            raise MotionError(f"no jerk-limited motion from {state}: {result}")
        return _as_segment(start, trajectory, self._spacing)


def _without_dust(values: Vector) -> list[float]:
    return [float(value) if abs(value) >= _DUST else 0.0 for value in values]


def _as_segment(start: float, trajectory: ruckig.Trajectory, spacing: float) -> Segment:
    times = _point_times(trajectory, spacing)
    rows = np.array([trajectory.at_time(float(time)) for time in times])
    return Segment(start, times, rows[:, 0], rows[:, 1], rows[:, 2])


def _point_times(trajectory: ruckig.Trajectory, spacing: float) -> Vector:
    # At least two points, also for an arm that already rests at the target.
    duration = max(float(trajectory.duration), spacing)
    grid = np.linspace(0.0, duration, int(np.ceil(duration / spacing - 1e-9)) + 1)
    changes = np.concatenate([_jerk_changes(profile) for profile in trajectory.profiles[0]])
    inside = changes[(changes > _CLOSEST) & (changes < duration - _CLOSEST)]
    # A grid point next to a change of jerk would only make the intervals there very short.
    free = [time for time in grid[1:-1] if not np.any(np.abs(inside - time) < spacing / 10)]
    times = np.sort(np.concatenate([grid[:1], inside, free, grid[-1:]]))
    return times[np.concatenate([[True], np.diff(times) > _CLOSEST])]


def _jerk_changes(profile: ruckig.Profile) -> Vector:
    brake = np.cumsum(np.asarray(profile.brake.t, dtype=np.float64))
    return np.concatenate([brake, brake[-1] + np.cumsum(np.asarray(profile.t, dtype=np.float64))])
