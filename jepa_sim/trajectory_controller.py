"""What a ros2_control JointTrajectoryController does with a trajectory, without ROS.

Behaviour follows the controller of the current ROS 2 distributions:

* a start of 0 means now; a trajectory that lies wholly in the past is refused, single points in the past are dropped;
* from the moment of arrival the desired state moves from where it is to the first point that lies ahead, and the
  previous trajectory is forgotten (`Replacement.ON_ARRIVAL`), or kept until the start of the new one
  (`Replacement.AT_START`, what later versions of that controller do);
* between two points that both have velocities and accelerations the interpolation is quintic, cubic without
  accelerations, linear without velocities;
* joint names may come in any order but must be exactly the controller's;
* the last point is held until something else is asked for, so its velocity must be zero.

Beyond that it refuses what a real arm would abort on: values that are not finite, positions or velocities outside
the limits, also between the points, and jumps.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepa_sim.robot_description import JointLimits

Vector = NDArray[np.float64]


class TrajectoryRefusedError(ValueError):
    """A trajectory that is not executed; the message says what was expected and what came."""


class Replacement(Enum):
    """When a new trajectory takes over from the one that is being executed."""

    ON_ARRIVAL = "on_arrival"
    AT_START = "at_start"


@dataclass(frozen=True)
class TrajectoryPoint:
    """A point to pass at `time_from_start` (s): values per joint in rad or m, s; empty where not given."""

    time_from_start: float
    positions: Sequence[float]
    velocities: Sequence[float] = ()
    accelerations: Sequence[float] = ()
    efforts: Sequence[float] = ()


@dataclass(frozen=True)
class Trajectory:
    """Points for `joint_names`, to be passed from `start` (s, absolute; 0 means now)."""

    start: float
    joint_names: Sequence[str]
    points: Sequence[TrajectoryPoint]


@dataclass(frozen=True, eq=False)
class DesiredState:
    """Positions, velocities and accelerations, each [joints], in the controller's joint order."""

    positions: Vector
    velocities: Vector
    accelerations: Vector

    @classmethod
    def at_rest(cls, positions: ArrayLike) -> DesiredState:
        """Standing still at `positions` [joints]."""
        values = np.array(positions, dtype=np.float64)
        return cls(values, np.zeros_like(values), np.zeros_like(values))


@dataclass(frozen=True)
class TrajectoryControllerConfig:
    """How strict the controller is.

    Attributes:
        replacement: when a new trajectory takes over.
        jump_seconds: a change of the desired position at once is taken for continuous up to the joint's velocity
            limit times this.
        limit_tolerance: share by which an interpolated velocity may exceed its limit.
        checks_per_segment: instants per segment at which the limits are checked.
    """

    replacement: Replacement = Replacement.ON_ARRIVAL
    jump_seconds: float = 0.02
    limit_tolerance: float = 0.02
    checks_per_segment: int = 12


class TrajectoryController:
    """Follows trajectories of a fixed set of joints. Not thread-safe.

    Times are seconds of one clock that never runs backward between two `reset` calls.
    """

    def __init__(
        self,
        joint_names: Sequence[str],
        limits: Sequence[JointLimits],
        config: TrajectoryControllerConfig = TrajectoryControllerConfig(),
    ) -> None:
        if len(joint_names) != len(limits):
            raise ValueError(f"expected limits for {len(joint_names)} joints, got {len(limits)}")
        self.joint_names = tuple(joint_names)
        self._config = config
        self._bounds = _Bounds(self.joint_names, limits)
        self._pieces: list[_Piece] = []
        self.reset(np.clip(np.zeros(len(limits)), self._bounds.lower, self._bounds.upper), 0.0)

    def reset(self, positions: ArrayLike, time: float) -> None:
        """Forgets everything and holds `positions` [joints] from `time` on."""
        self._pieces = [_Piece.holding(time, DesiredState.at_rest(positions))]

    def accept(self, trajectory: Trajectory, now: float) -> None:
        """Executes `trajectory`, which arrives at `now`.

        Raises:
            TrajectoryRefusedError: it cannot be executed; what was being executed goes on.
        """
        order = self._joint_order(trajectory.joint_names)
        knots = _checked_knots(trajectory, order, now)
        if knots[-1].time <= now:
            raise TrajectoryRefusedError(
                f"expected a trajectory that ends after now ({now:.3f} s), this one ends at {knots[-1].time:.3f} s: "
                "is it stamped with another clock, or its only point at time 0?"
            )
        self._append(self._piece(knots, trajectory.start or now, now), now)

    def sample(self, time: float) -> DesiredState:
        """The desired state at `time`; before everything known, the earliest that is known."""
        index = bisect_right([piece.start for piece in self._pieces], time) - 1
        return self._pieces[max(index, 0)].sample(time)

    def end(self) -> float:
        """When all that was accepted comes to rest."""
        return self._pieces[-1].end

    def _joint_order(self, names: Sequence[str]) -> list[int]:
        expected, given = set(self.joint_names), set(names)
        if expected != given or len(names) != len(given):
            raise TrajectoryRefusedError(
                f"expected each of the joints {list(self.joint_names)} once, got {list(names)}"
                + (f"; missing: {sorted(expected - given)}" if expected - given else "")
                + (f"; unknown: {sorted(given - expected)}" if given - expected else "")
            )
        return [list(names).index(name) for name in self.joint_names]

    def _piece(self, knots: list[_Knot], start: float, now: float) -> _Piece:
        """The motion from the present desired state through those `knots` that lie ahead."""
        takes_over = max(start, now) if self._config.replacement is Replacement.AT_START else now
        ahead = knots[0].time - takes_over
        if ahead > 0:
            knots = [_Knot.moving(takes_over, self.sample(takes_over)), *knots]
        else:
            passed = bisect_right([knot.time for knot in knots], takes_over)
            knots = knots[passed - 1 :]
        piece = _Piece.through(knots, takes_over)
        # So close to the first point, a difference within the tolerated jump would look like a high velocity.
        unchecked = ahead if 0 < ahead < self._config.jump_seconds else 0.0
        if ahead < self._config.jump_seconds:
            self._check_jump(piece.sample(takes_over + unchecked).positions, takes_over)
        self._check_limits(piece, takes_over + unchecked)
        return piece

    def _check_limits(self, piece: _Piece, first: float) -> None:
        times, positions, velocities = piece.samples(self._config.checks_per_segment)
        counts = times >= first
        self._bounds.check(times[counts], positions[counts], velocities[counts], self._config.limit_tolerance)

    def _check_jump(self, positions: Vector, time: float) -> None:
        before = self.sample(time).positions
        jump = np.abs(positions - before)
        joint = int(np.argmax(jump / self._bounds.velocity))
        allowed = self._bounds.velocity[joint] * self._config.jump_seconds
        if jump[joint] > allowed:
            raise TrajectoryRefusedError(
                f"{self.joint_names[joint]} would jump from {before[joint]:.4f} to {positions[joint]:.4f}: expected a "
                f"first point ahead of now, or one within {allowed:.4f} of the present desired position"
            )

    def _append(self, piece: _Piece, now: float) -> None:
        kept = [known for known in self._pieces if known.start < piece.start]
        # Everything before the piece that is being executed now is history.
        executed = bisect_right([known.start for known in kept], now) - 1
        self._pieces = [*kept[max(executed, 0) :], piece]


@dataclass(frozen=True, eq=False)
class _Knot:
    """A state to pass at an absolute time, and which of its derivatives were given."""

    time: float
    state: DesiredState
    has_velocities: bool
    has_accelerations: bool

    @classmethod
    def moving(cls, time: float, state: DesiredState) -> _Knot:
        return cls(time, state, has_velocities=True, has_accelerations=True)

    def derivatives(self, order: int) -> list[tuple[int, Vector]]:
        """The position and its first `order - 1` derivatives, numbered."""
        return list(enumerate((self.state.positions, self.state.velocities, self.state.accelerations)))[:order]


class _Piece:
    """Polynomials between knots; holds the last knot's position after them."""

    def __init__(self, start: float, times: Vector, coefficients: Vector, last: Vector) -> None:
        """`times` [K] of the knots, `coefficients` [K - 1, 6, joints] by rising power, `last` position [joints]."""
        self.start = start
        self._times = times
        self._coefficients = coefficients
        self._rest = DesiredState.at_rest(last)

    @classmethod
    def holding(cls, start: float, state: DesiredState) -> _Piece:
        return cls(start, np.array([start]), np.empty((0, 6, len(state.positions))), state.positions)

    @classmethod
    def through(cls, knots: list[_Knot], start: float) -> _Piece:
        pairs = itertools.pairwise(knots)
        coefficients = [_polynomial(first, second) for first, second in pairs]
        shape = (len(coefficients), 6, len(knots[0].state.positions))
        times = np.array([knot.time for knot in knots])
        return cls(start, times, np.reshape(coefficients, shape), knots[-1].state.positions)

    @property
    def end(self) -> float:
        return float(self._times[-1])

    def sample(self, time: float) -> DesiredState:
        if time >= self.end or len(self._times) == 1:
            return self._rest
        index = max(bisect_right(self._times, time) - 1, 0)
        elapsed = max(time - float(self._times[index]), 0.0)
        positions, velocities, accelerations = _DERIVATIVES @ elapsed**_POWERS @ self._coefficients[index]
        return DesiredState(positions, velocities, accelerations)

    def samples(self, per_segment: int) -> tuple[Vector, Vector, Vector]:
        """Times [T] from the start on, the knots among them, with positions and velocities [T, joints]."""
        shares = np.arange(per_segment) / per_segment
        elapsed = np.diff(self._times)[:, None] * shares
        powers = elapsed[..., None] ** _POWERS
        inside = [np.einsum("ktp,qp,kqj->ktj", powers, matrix, self._coefficients) for matrix in _DERIVATIVES[:2]]
        joints = self._rest.positions.size
        times = np.append((self._times[:-1, None] + elapsed).ravel(), self.end)
        positions, velocities = (
            np.concatenate([values.reshape(-1, joints), last[None]])
            for values, last in zip(inside, (self._rest.positions, self._rest.velocities), strict=True)
        )
        counts = times >= self.start
        return times[counts], positions[counts], velocities[counts]


_POWERS = np.arange(6)


def _derivative_matrices() -> Vector:
    """[3, 6, 6]: the maps from the powers t^0..t^5 to themselves and to their first two derivatives."""
    derivative = np.diag(np.arange(1.0, 6.0), k=-1)
    return np.stack([np.eye(6), derivative, derivative @ derivative])


_DERIVATIVES = _derivative_matrices()


def _spline_matrix(order: int) -> Vector:
    """[2 order, 2 order]: boundary values of a spline on [0, 1] to its coefficients.

    The boundary values are position and `order - 1` derivatives at 0, then the same at 1.
    """
    rows = [_DERIVATIVES[derivative] @ np.array(time) ** _POWERS for time in (0.0, 1.0) for derivative in range(order)]
    return np.linalg.inv(np.array(rows)[:, : 2 * order])


# By number of boundary values on each side: linear, cubic and quintic.
_SPLINES = {order: _spline_matrix(order) for order in (1, 2, 3)}


def _polynomial(first: _Knot, second: _Knot) -> Vector:
    """Coefficients [6, joints], by rising power of the time since `first`, of the spline that the knots allow."""
    order = 1
    if first.has_velocities and second.has_velocities:
        order = 3 if first.has_accelerations and second.has_accelerations else 2
    duration = second.time - first.time
    # Solved on [0, 1], where short segments are as well conditioned as long ones.
    boundary = [values * duration**power for knot in (first, second) for power, values in knot.derivatives(order)]
    coefficients = np.zeros((6, len(first.state.positions)))
    coefficients[: 2 * order] = _SPLINES[order] @ np.array(boundary)
    return coefficients / duration ** _POWERS[:, None]


class _Bounds:
    """Position and velocity limits of the joints, as arrays [joints]."""

    # A thousandth of a degree: what is exactly at a limit stays legal after arithmetic.
    _SLACK = 2e-5

    def __init__(self, names: tuple[str, ...], limits: Sequence[JointLimits]) -> None:
        self._names = names
        self.lower = np.array([limit.lower for limit in limits])
        self.upper = np.array([limit.upper for limit in limits])
        self.velocity = np.array([limit.velocity for limit in limits])

    def check(self, times: Vector, positions: Vector, velocities: Vector, tolerance: float) -> None:
        """Raises TrajectoryRefusedError when any of the states [T, joints], wanted at `times` [T], is outside."""
        outside = np.maximum(self.lower - positions, positions - self.upper)
        if outside.max(initial=0.0) > self._SLACK:
            row, joint = np.unravel_index(int(np.argmax(outside)), outside.shape)
            raise TrajectoryRefusedError(
                f"{self._names[joint]}: expected positions from {self.lower[joint]} to {self.upper[joint]}, got "
                f"{positions[row, joint]:.4f} at {times[row]:.3f} s"
            )
        share = np.abs(velocities) / self.velocity
        if share.max(initial=0.0) > 1.0 + tolerance:
            row, joint = np.unravel_index(int(np.argmax(share)), share.shape)
            raise TrajectoryRefusedError(
                f"{self._names[joint]}: expected velocities up to {self.velocity[joint]}, got "
                f"{abs(velocities[row, joint]):.4f} at {times[row]:.3f} s"
            )


def _checked_knots(trajectory: Trajectory, order: list[int], now: float) -> list[_Knot]:
    """The points as knots in the controller's joint order, with nothing wrong in any of them."""
    if not trajectory.points:
        raise TrajectoryRefusedError("expected at least one point, got an empty trajectory")
    if not np.isfinite(trajectory.start) or trajectory.start < 0:
        raise TrajectoryRefusedError(f"expected a start that is 0 or a time, got {trajectory.start}")
    start = trajectory.start or now
    knots = [_checked_knot(index, point, start, order) for index, point in enumerate(trajectory.points)]
    for index, (first, second) in enumerate(itertools.pairwise(knots), start=1):
        if second.time <= first.time:
            raise TrajectoryRefusedError(
                f"point {index}: expected a time_from_start above {first.time - start:.4f} s, the one before it, got "
                f"{second.time - start:.4f} s"
            )
    _check_rest(knots[-1].state.velocities)
    return knots


def _checked_knot(index: int, point: TrajectoryPoint, start: float, order: list[int]) -> _Knot:
    if not point.time_from_start >= 0 or not np.isfinite(point.time_from_start):
        raise TrajectoryRefusedError(
            f"point {index}: expected a time_from_start of at least 0 s, got {point.time_from_start}"
        )
    if len(point.positions) == 0 or len(point.efforts) > 0:
        raise TrajectoryRefusedError(f"point {index}: expected positions and no efforts: this is a position controller")
    positions = _checked_values(index, "positions", point.positions, order)
    velocities = _checked_values(index, "velocities", point.velocities, order)
    accelerations = _checked_values(index, "accelerations", point.accelerations, order)
    return _Knot(
        start + point.time_from_start,
        DesiredState(positions, velocities, accelerations),
        has_velocities=len(point.velocities) > 0,
        has_accelerations=len(point.accelerations) > 0,
    )


def _checked_values(index: int, what: str, values: Sequence[float], order: list[int]) -> Vector:
    """`values` in the controller's joint order; zeros when none were given."""
    if len(values) not in (0, len(order)):
        raise TrajectoryRefusedError(f"point {index}: expected {len(order)} {what} or none, got {len(values)}")
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise TrajectoryRefusedError(f"point {index}: expected finite {what}, got {array}")
    return array[order] if len(array) else np.zeros(len(order))


def _check_rest(velocities: Vector) -> None:
    if np.abs(velocities).max() > np.finfo(np.float32).eps:
        raise TrajectoryRefusedError(f"expected the last point to be at rest, got velocities {velocities}")
