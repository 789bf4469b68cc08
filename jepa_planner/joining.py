"""How the arm's controller gets from what it does now to the first point of a new command.

A controller that takes a trajectory over on its arrival goes to the first point that lies ahead by one polynomial. From
the commanded motion to a point before its next change of jerk, that polynomial is the motion itself. From anywhere else
it is a catch-up, gentle only if there is time for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jepa_planner.limits import JointLimits
from jepa_planner.motion import CommandedMotion, MotionState, join

Vector = npt.NDArray[np.float64]

# How long a command is on its way to the controller, s, and the share of the arm's own limits that the controller may
# take to get from where it may be to where the command begins.
_ON_THE_WAY = 0.01
_JOINING = 0.7
# Jerks and accelerations of polynomials are looked at in samples, and rounded in messages.
_ROUNDING = 1.005


@dataclass(frozen=True, eq=False)
class Join:
    """The way to a command whose first point is at ``first``, s.

    catch_up: shares [joints] of the arm's own limits of speed and acceleration that it takes if the commands before had
        no effect that may still have had one.
    followed: the share of the envelope that it takes if they had it.
    """

    first: float
    catch_up: Vector
    followed: float

    @property
    def is_safe(self) -> bool:
        """Whether it is far inside the arm's own limits, whatever became of the commands before."""
        return bool(np.all(self.catch_up <= _JOINING))

    @property
    def is_gentle(self) -> bool:
        """Whether it also stays inside the envelope, if they were followed."""
        return self.is_safe and self.followed <= _ROUNDING

    @property
    def roughness(self) -> tuple[bool, float]:
        """Grows from the best to the worst."""
        return (False, self.followed) if self.is_safe else (True, float(np.max(self.catch_up)))


class Joining:
    """Chooses the first point of commands."""

    def __init__(self, limits: JointLimits) -> None:
        """``limits`` have the envelope applied, and know the arm's own."""
        self._limits = limits

    def best(self, start: float, now: float, commanded: CommandedMotion, others: Sequence[MotionState]) -> Join:
        """The way that is gentle with most of the commanded motion before ``start``, s, or the least rough one.

        ``others``: states that the controller may be in at ``now``, s, beside that of ``commanded``.
        """
        firsts = [time for time in commanded.knots(now, start) if time > now] + [start]
        if not others:
            return Join(firsts[0], np.zeros(len(self._limits.names)), 0.0)
        joins = [self._join(first, firsts[0], now, commanded, others) for first in firsts]
        gentle = (found for found in joins if found.is_gentle)
        return next(gentle, None) or min(joins, key=lambda found: found.roughness)

    def why_bad(self, start: float, now: float, commanded: CommandedMotion, others: Sequence[MotionState]) -> str:
        """Why the controller may break a limit on its way to a command that begins at ``start``, s; empty if not."""
        found = self.best(start, now, commanded, others)
        if found.is_gentle:
            return ""
        joint, share = int(np.argmax(found.catch_up)), float(np.max(found.catch_up))
        if share <= _JOINING:
            return f"the way to its first point would take {found.followed:.2f} times the envelope"
        return (
            f"{self._limits.names[joint]} would have to catch up at {share:.1f} times its limits: the arm may not be "
            "where it was told to be"
        )

    def _join(
        self, first: float, knot: float, now: float, commanded: CommandedMotion, others: Sequence[MotionState]
    ) -> Join:
        seconds, after = max(first - now - _ON_THE_WAY, 1e-3), commanded.sample(first)
        catch_up = np.max([self._catch_up(state, after, seconds) for state in others], axis=0)
        arrivals = (now, now + _ON_THE_WAY) if first > knot else ()
        followed = [self._followed(commanded.sample(time), after, first - time) for time in arrivals if time < first]
        return Join(first, catch_up, max(followed, default=0.0))

    def _catch_up(self, before: MotionState, after: MotionState, seconds: float) -> Vector:
        own = self._limits.arm or self._limits
        speeds, accelerations, _ = join(before, after, seconds)
        return np.maximum(speeds / own.velocity, accelerations / own.acceleration)

    def _followed(self, before: MotionState, after: MotionState, seconds: float) -> float:
        speeds, accelerations, jerks = join(before, after, seconds)
        limits = self._limits
        return float(np.max([speeds / limits.velocity, accelerations / limits.acceleration, jerks / limits.jerk]))
