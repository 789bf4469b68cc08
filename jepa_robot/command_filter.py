"""Between trajectories and an arm that stops at any jump: what comes out keeps its limits, whatever goes in.

FCI takes a position every millisecond and answers a velocity, acceleration or jerk above its limits with a reflex.
`CommandFilter` passes on what is inside the limits as it is, and gets to everything else as fast as they allow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import ruckig

from jepa_planner.limits import JointLimits
from jepa_planner.motion import MotionState

Vector = npt.NDArray[np.float64]

PERIOD = 0.001
"""Seconds from one command to the next."""
# Smaller velocities (rad/s) and accelerations are rounding errors.
_DUST = 1e-9
# What counts as standing still, rad/s: it moves by a nanometre or less in a period.
_STILL = 1e-6
# A way to rest is looked at in the middle and at the end of each of its three phases.
_LOOKS = (0.5, 1.0)
# Exactly at a limit no speed at all is allowed, which ruckig does not accept.
_LEAST_SPEED = 1e-4
# Targets keep off the limits by what rounding may add.
_INSIDE = 0.999


@dataclass(frozen=True)
class Margins:
    """What is used of the limits that FCI enforces.

    velocity, acceleration, jerk: shares, in (0, 1). position: distance that is kept to the ends, rad.
    """

    velocity: float = 0.9
    acceleration: float = 0.7
    jerk: float = 0.3
    position: float = 0.02

    def __post_init__(self) -> None:
        shares = (self.velocity, self.acceleration, self.jerk)
        if not (min(shares) > 0 and max(shares) < 1) or not self.position > 0:
            raise ValueError(f"shares of the limits must lie in (0, 1) and the position margin be positive, got {self}")

    def apply(self, limits: JointLimits) -> JointLimits:
        """``limits`` with these margins. Raises ValueError when nothing is left of a joint's range."""
        return replace(
            limits,
            lower=limits.lower + self.position,
            upper=limits.upper - self.position,
            velocity=limits.velocity * self.velocity,
            acceleration=limits.acceleration * self.acceleration,
            jerk=limits.jerk * self.jerk,
        )


class CommandFilter:
    """The commanded motion, advanced by one period at a time. Not thread-safe.

    Each joint goes the fastest way to where it should be (ruckig), as long as it can still come to rest inside the
    limits from the next state; otherwise it begins to do so now. As the way to rest itself was found inside the limits
    one period earlier, nothing that goes in can lead out of them.
    """

    def __init__(self, limits: JointLimits, share_of_velocity: float = 0.9) -> None:
        """``limits`` have their margins already. ``share_of_velocity``: of the bound that shrinks near the ends."""
        self._limits = limits
        self._ramp_share = share_of_velocity
        count = len(limits.names)
        self._generator = ruckig.Ruckig(count, PERIOD)
        self._answer = ruckig.OutputParameter(count)
        self._request = ruckig.InputParameter(count)
        self._request.synchronization = ruckig.Synchronization.No
        self._request.max_acceleration = list(limits.acceleration)
        self._request.max_jerk = list(limits.jerk)
        self.rest_at(np.zeros(count))

    @property
    def state(self) -> MotionState:
        """What is commanded now."""
        return self._state

    @property
    def rests(self) -> bool:
        """Whether the commanded motion stands still."""
        slow = np.abs(self._state.velocity).max() < _STILL
        return bool(slow and np.abs(self._state.acceleration).max() < _STILL / PERIOD)

    def rest_at(self, position: Vector) -> None:
        """Stands still at ``position`` [joints]."""
        self._state = MotionState.at_rest(position)

    def continue_from(self, position: Vector, velocity: Vector, acceleration: Vector) -> None:
        """Takes up what the arm made of the motion while commands did not arrive, each [joints].

        The robot tells rates as differences to the command before, which are those of half a period ago; with them as
        they are, the next command would halve the acceleration, which is a jolt.
        """
        self._state = MotionState(position, velocity + acceleration * PERIOD / 2, acceleration)

    def follow(self, wanted: MotionState) -> Vector:
        """One period on toward ``wanted``; returns the position to command [joints]."""
        self._set_target(wanted)
        self._request.current_position = self._state.position
        self._request.current_velocity = _without_dust(self._state.velocity)
        self._request.current_acceleration = _without_dust(self._state.acceleration)
        try:
            self._generator.update(self._request, self._answer)
        except RuntimeError:  # no way was found, which rounding may bring about
            return self.brake()
        answer = self._answer
        ahead = MotionState(*map(np.array, (answer.new_position, answer.new_velocity, answer.new_acceleration)))
        safe = self._can_stop(ahead)
        self._state = ahead if safe.all() else _chosen(safe, ahead, self._stopped_by(PERIOD))
        return self._state.position

    def brake(self) -> Vector:
        """One period on along the shortest way to rest; returns the position to command [joints]."""
        self._state = self._stopped_by(PERIOD)
        return self._state.position

    # --- going there ----------------------------------------------------------------------------------------

    def _speed_bounds(self, position: Vector) -> tuple[Vector, Vector]:
        limits = self._limits
        if limits.ramp is None:
            return -limits.velocity, limits.velocity
        backward, forward = limits.ramp.bounds(position, position)
        share = self._ramp_share
        return np.maximum(share * backward, -limits.velocity), np.minimum(share * forward, limits.velocity)

    def _set_target(self, wanted: MotionState) -> None:
        limits, request = self._limits, self._request
        backward, forward = self._speed_bounds(self._state.position)
        backward, forward = np.minimum(backward, -_LEAST_SPEED), np.maximum(forward, _LEAST_SPEED)
        velocity = np.clip(wanted.velocity, _INSIDE * backward, _INSIDE * forward)
        # An acceleration leads to a velocity inside the limits, and comes from one.
        room = np.minimum(forward - velocity, velocity - backward)
        most = np.minimum(limits.acceleration, np.sqrt(2 * limits.jerk * room))
        request.min_velocity, request.max_velocity = backward, forward
        request.target_position = np.clip(wanted.position, limits.lower, limits.upper)
        request.target_velocity = velocity
        request.target_acceleration = np.clip(wanted.acceleration, -_INSIDE * most, _INSIDE * most)

    # --- coming to rest -------------------------------------------------------------------------------------

    def _can_stop(self, state: MotionState) -> npt.NDArray[np.bool_]:
        """Whether each joint's shortest way to rest from ``state`` stays inside the limits."""
        times, jerks = self._way_to_rest(state)
        safe = np.ones(len(state.position), dtype=bool)
        for duration, jerk in zip(times, jerks, strict=True):
            for share in _LOOKS:
                there = _advanced(state, jerk, share * duration)
                backward, forward = self._speed_bounds(there.position)
                safe &= (there.position >= self._limits.lower) & (there.position <= self._limits.upper)
                safe &= (there.velocity >= backward - _DUST) & (there.velocity <= forward + _DUST)
            state = there
        return safe

    def _stopped_by(self, seconds: float) -> MotionState:
        """Where the shortest way to rest leads within ``seconds``."""
        times, jerks = self._way_to_rest(self._state)
        state, left = self._state, np.full(len(self._state.position), seconds)
        for duration, jerk in zip(times, jerks, strict=True):
            step = np.minimum(duration, left)
            state, left = _advanced(state, jerk, step), left - step
        over = left > 0
        return MotionState(state.position, np.where(over, 0.0, state.velocity), np.where(over, 0.0, state.acceleration))

    def _way_to_rest(self, state: MotionState) -> tuple[list[Vector], list[Vector]]:
        """Durations and jerks, each [3][joints], of the phases of the fastest way to rest."""
        velocity, acceleration = state.velocity, state.acceleration
        jerk, most = self._limits.jerk, self._limits.acceleration
        # What the velocity comes to when the acceleration is let go of tells which way to accelerate.
        final = velocity + acceleration * np.abs(acceleration) / (2 * jerk)
        way = np.where(final == 0, np.sign(acceleration), -np.sign(final))
        peak = np.minimum(np.sqrt(np.maximum(acceleration**2 / 2 - way * jerk * velocity, 0.0)), most)
        first, last = (way * peak - acceleration) / jerk, peak / jerk
        rest = velocity + (acceleration + way * peak) / 2 * np.abs(first) + way * peak / 2 * last
        held = np.maximum(-way * rest / np.maximum(peak, _DUST), 0.0) * (peak >= most)
        return [np.abs(first), held, last], [np.sign(first) * jerk, 0.0 * jerk, -way * jerk]


def _chosen(first: npt.NDArray[np.bool_], one: MotionState, other: MotionState) -> MotionState:
    """Of each joint the state in ``one`` where ``first`` says so, else that in ``other``."""
    return MotionState(
        np.where(first, one.position, other.position),
        np.where(first, one.velocity, other.velocity),
        np.where(first, one.acceleration, other.acceleration),
    )


def _advanced(state: MotionState, jerk: Vector, seconds: Vector) -> MotionState:
    """``state`` after ``seconds`` [joints] of constant ``jerk``, each joint for itself."""
    acceleration = state.acceleration + seconds * jerk
    velocity = state.velocity + seconds * (state.acceleration + acceleration) / 2
    position = state.position + seconds * (state.velocity + seconds * (state.acceleration / 2 + seconds * jerk / 6))
    return MotionState(position, velocity, acceleration)


def _without_dust(values: Vector) -> Vector:
    return np.where(np.abs(values) < _DUST, 0.0, values)
