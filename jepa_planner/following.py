"""What the arm's controller really follows, judged by what is measured: commands may be lost, refused, or come late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jepa_planner.motion import CommandedMotion, MotionState, Segment

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FollowingConfig:
    """How closely an arm is taken to follow.

    tolerance: rad by which a joint may miss what its controller follows, once the servo's lag is taken out.
    reported_tolerance: the same for what the controller itself says that it follows, rad.
    reported_seconds: for so long after such a word the measured state decides nothing, s.
    speed_seconds: a difference of speeds counts as the difference of positions that it makes in this time, s.
    """

    tolerance: float = 0.008
    reported_tolerance: float = 0.003
    reported_seconds: float = 0.1
    speed_seconds: float = 0.02

    def __post_init__(self) -> None:
        if not min(self.tolerance, self.reported_tolerance, self.reported_seconds, self.speed_seconds) > 0:
            raise ValueError(f"tolerances and times must be positive: {self}")


@dataclass(eq=False)
class _Alternative:
    """What the controller follows if a command had no effect: the motion before, and that command's segment.

    refuted: how often in a row the arm did something else.
    """

    motion: CommandedMotion
    segment: Segment
    refuted: int = 0

    @property
    def parts_at(self) -> float:
        """When both part, s."""
        return self.segment.start


class Misses:
    """How far what the controller follows usually seems to be from what it was told, rad."""

    def __init__(self, tolerance: float) -> None:
        """``tolerance``: how far it may be, rad."""
        self.tolerance = tolerance
        self._miss = tolerance / (2 * _UNUSUAL)

    def learn(self, miss: float) -> None:
        """One sample, rad, while it is certain what is followed: more counts at once, less gradually."""
        self._miss = max(miss, _FORGETTING * self._miss)

    @property
    def unusual(self) -> float:
        """What is not followed is further away, rad."""
        return min(max(_UNUSUAL * self._miss, _LEAST_MISS), self.tolerance / 2)


# Share of an earlier miss that still counts at the next sample.
_FORGETTING = 0.97
# How much more than usual is unusual, and the least that a joint has to be elsewhere to be seen there, rad.
_UNUSUAL = 3.0
_LEAST_MISS = 3e-4


class ServoLag:
    """How far a position servo is behind, s: least squares from its rates and its errors. Not thread-safe."""

    def __init__(self, longest: float = 0.15) -> None:
        """``longest``: that it may be, s."""
        self._longest = longest
        self.misses = Misses(FollowingConfig.tolerance)
        """How far it usually is from what it was told, once the lag is taken out."""
        self._product = self._square = 0.0

    def learn(self, rate: Vector, behind: Vector) -> None:
        """One sample: rate [joints], rad/s, and how far the joints are behind, rad."""
        self._product = _MEMORY * self._product + float(rate @ behind)
        self._square = _MEMORY * self._square + float(rate @ rate)

    def error(self, positions: Vector, rate: Vector, wanted: Vector) -> Vector:
        """How far what the servo seems to be told is from ``wanted``, rad: from positions and rates, each [joints].

        While the arm has not moved enough to tell the lag, it is the one that fits best.
        """
        behind = wanted - positions
        product, square = self._product, self._square
        if square < _ENOUGH_MOTION:
            product, square = float(rate @ behind), max(float(rate @ rate), 1e-12)
        return float(np.clip(product / square, -self._longest / 5, self._longest)) * rate - behind


# Share of earlier samples that is kept with each new one, and the sum of squared rates (rad/s)^2 that tells the lag.
_MEMORY = 0.995
_ENOUGH_MOTION = 0.3


class Following:
    """The motion that the controller is taken to follow, and what else it may follow. Not thread-safe.

    A command that was sent counts as followed until the arm is seen to do what it would do without it. A position
    servo trails what it is told by its lag, so that measured position + lag x measured rate is what it is told; the
    lag is estimated while the arm moves as commanded. Where the controller says what it follows, that counts instead.
    """

    def __init__(
        self, position: Sequence[float] | Vector, lag: ServoLag, config: FollowingConfig = FollowingConfig()
    ) -> None:
        """Begins at rest at ``position`` [joints]; what is learned of the servo's ``lag`` outlives this."""
        self._config = config
        self.commanded = CommandedMotion(position)
        self._alternatives: list[_Alternative] = []
        self._contradictions = 0
        self._measured: deque[tuple[float, Vector]] = deque(maxlen=64)
        self._reported_at = float("-inf")
        self._lag = lag
        self._deviation = np.zeros_like(np.asarray(position, dtype=np.float64))
        self._reported_misses = Misses(config.reported_tolerance)
        self.unfollowed = 0
        """Commands in a row that the arm was seen not to follow."""
        self.joins_until = float("-inf")
        """Until then, s, the controller may be on its way to a command that did not continue what it does."""

    def sent(self, segment: Segment, joins_until: float = float("-inf")) -> None:
        """Takes ``segment`` for followed from its start on, until the arm shows something else.

        ``joins_until``: until then, s, the controller gets there in its own way, if it was elsewhere.
        """
        known = self._alternatives[1 - _ALTERNATIVES :]
        self._alternatives = [*known, _Alternative(self.commanded.copy(), segment)]
        self.commanded.append(segment)
        self._contradictions = 0
        self.joins_until = max(self.joins_until, joins_until)

    def shift(self, seconds: float) -> None:
        """Moves everything by ``seconds``, as a clock that was set demands."""
        self.commanded.shift(seconds)
        for alternative in self._alternatives:
            alternative.motion.shift(seconds)
            alternative.segment = replace(alternative.segment, start=alternative.segment.start + seconds)
        self.joins_until += seconds
        self._measured.clear()
        self._reported_at = float("-inf")

    def forget_before(self, time: float) -> None:
        """Drops what was over at ``time``, s."""
        for motion in (self.commanded, *(known.motion for known in self._alternatives)):
            motion.forget_before(time)

    # --- what is seen ---------------------------------------------------------------------------------------

    def reported(self, time: float, positions: Vector, velocities: Vector | None = None) -> None:
        """Takes in where the controller says that its joints should be at ``time``, s, and how fast: each [joints]."""
        self._reported_at = time

        def error(wanted: MotionState) -> Vector:
            off = positions - wanted.position
            if velocities is None:
                return off
            ahead = self._config.speed_seconds * (velocities - wanted.velocity)
            return off + np.where(off < 0, -1, 1) * np.abs(ahead)

        self._judge(time, error, self._reported_misses)

    def measured(self, time: float, positions: Vector) -> None:
        """Takes in where the joints are at ``time``, s: [joints]. Anything not newer than before is ignored."""
        if self._measured and time <= self._measured[-1][0]:
            return
        self._measured.append((time, positions))
        rate = self._rate()
        if not self._contradictions:
            self._lag.learn(rate, self.commanded.sample(time).position - positions)
        if time - self._reported_at > self._config.reported_seconds:
            self._judge(time, lambda wanted: self._lag.error(positions, rate, wanted.position), self._lag.misses)

    def _rate(self) -> Vector:
        """Velocities [joints] from the last positions; zeros when there are too few."""
        time, positions = self._measured[-1]
        for before, then in reversed(self._measured):
            if time - before >= _RATE_SECONDS:
                return (positions - then) / (time - before) if time - before < 10 * _RATE_SECONDS else 0 * positions
        return 0 * positions

    def _judge(self, time: float, error: Callable[[MotionState], Vector], usual: Misses) -> None:
        """Compares what the controller seems to be told with each motion that it may follow.

        ``error`` gives the difference [joints] to where a motion wants the joints to be, rad.
        """
        self._deviation = error(self.commanded.sample(time))
        miss, tolerance = _largest(self._deviation), usual.tolerance
        parted = [known for known in self._alternatives if time > known.parts_at]
        misses = [_largest(error(known.motion.sample(time))) for known in parted]
        if miss > tolerance and misses and min(misses) <= min(tolerance, miss / 2):
            self._contradict(parted[int(np.argmin(misses))], error, time)
            return
        self._contradictions = 0
        if not parted:
            usual.learn(miss)
        for known, other in zip(parted, misses, strict=True):
            known.refuted = known.refuted + 1 if other > max(2 * miss, usual.unusual) and miss <= tolerance else 0
            if known.refuted >= _SEEN or known.motion.rests_as(self.commanded, time):
                self._alternatives.remove(known)
                self.unfollowed = 0

    def _contradict(self, alternative: _Alternative, error: Callable[[MotionState], Vector], time: float) -> None:
        """The arm does what it would do without a command: seen once it may be an error, seen twice it is so."""
        self._contradictions += 1
        if self._contradictions < _SEEN:
            return
        index = self._alternatives.index(alternative)
        later = [known.segment for known in self._alternatives[index + 1 :] if known.parts_at > time]
        self._alternatives = self._alternatives[:index]
        self.commanded = alternative.motion
        for segment in later:
            # Sent in the belief that the other was followed: the controller may be on its way there.
            self.sent(segment, joins_until=segment.start)
        self._deviation = error(self.commanded.sample(time))
        self._contradictions = 0
        self.unfollowed += 1

    # --- what follows from it -------------------------------------------------------------------------------

    @property
    def _deviates(self) -> bool:
        return _largest(self._deviation) > self._config.tolerance

    def is_certain(self, time: float) -> bool:
        """Whether the controller follows `commanded` at ``time``, s, and nothing else, as far as can be seen."""
        return not self._deviates and not self.undecided(time)

    def undecided(self, time: float) -> list[MotionState]:
        """Where the controller is at ``time``, s, if commands had no effect that may still have had one."""
        states = [known.motion.sample(time) for known in self._alternatives if time > known.parts_at]
        # On its way to a command that did not continue what it does, it is in neither.
        return [*states, self.commanded.sample(time)] if time < self.joins_until else states

    def possible(self, time: float) -> list[MotionState]:
        """Every state that the controller may be in at ``time``, s, beside that of `commanded`."""
        states = self.undecided(time)
        if self._deviates:
            told = self.commanded.sample(time)
            states.append(MotionState(told.position + self._deviation, told.velocity, told.acceleration))
        return states


# Commands that may all be without an effect that is seen yet.
_ALTERNATIVES = 4
# Joint states in a row that have to say that a command is followed, or that it is not.
_SEEN = 2
# Rates are taken over at least so long, s.
_RATE_SECONDS = 0.01


def _largest(difference: Vector) -> float:
    return float(np.max(np.abs(difference)))
