"""From an action to an approved command: target pose, inverse kinematics, segment, safety filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jepa_planner.following import Following, ServoLag
from jepa_planner.kinematics import POSE_DIM, IkResult, Kinematics
from jepa_planner.limits import JointLimits
from jepa_planner.motion import CommandedMotion, MotionError, MotionState, Segment, SegmentPlanner
from jepa_planner.safety import ApprovedCommand, Command, Observation, SafetyConfig, SafetyFilter, Verdict
from jepa_world_model.poses import integrate

Vector = npt.NDArray[np.float64]
# m and rad; keeps the arithmetic far from overflow.
_NO_ARM_IS_LARGER = 1e3
_UNSEEN = (
    "it is not seen yet whether the arm does what it was told last, and it cannot be told more so safely: was the "
    "command lost, late, or refused by the controller, or is something in the arm's way?"
)
# Leads that are tried, from the shortest to the longest, when it is not certain what the controller follows.
_LEADS = 6
# Share of an earlier preparation time that still counts at the next command, and the longest that is planned for, s.
_FORGETS = 0.8
_LONGEST_PREPARATION = 0.2


class TooSoonError(MotionError):
    """The controller is on its way to the last command, which goes on: nothing is wrong, and the next plan may do."""


@dataclass(frozen=True)
class ArmMotionConfig:
    """How actions become segments.

    lead_seconds: a segment starts so far ahead of now, that it reaches the controller before it begins.
    first_lead_seconds: the same for the first segment of an arm that was found at rest: its controller may want it
        to be a little elsewhere, and takes this time to get to the segment's first point.
    action_seconds: a segment takes at least so long: the time between two actions.
    posture: joint positions that the null space leans toward; empty: where the arm was first seen.
    position_tolerance: m by which inverse kinematics may miss the target.
    point_spacing: longest time between two points of a trajectory, s.
    """

    lead_seconds: float = 0.04
    first_lead_seconds: float = 0.3
    action_seconds: float = 0.25
    posture: tuple[float, ...] = ()
    position_tolerance: float = 0.005
    point_spacing: float = 0.05

    def __post_init__(self) -> None:
        times = (self.lead_seconds, self.first_lead_seconds, self.action_seconds, self.point_spacing)
        if not min(*times, self.position_tolerance) > 0:
            raise ValueError(f"times and tolerances of the arm's motion must be positive: {self}")


class ArmMotion:
    """Mirrors what the arm follows, and continues it. Not thread-safe: callers hold a lock.

    Every approved command that is published is also passed to `commit`. Whether the arm's controller follows it is seen
    from what `observe` and `report` take in: a command that had no effect is taken out of the mirror again, and as long
    as that is open, the next one begins so late that it is harmless either way.
    """

    def __init__(
        self, kinematics: Kinematics, limits: JointLimits, safety: SafetyConfig, config: ArmMotionConfig
    ) -> None:
        """``limits`` already have the envelope applied."""
        self._kinematics = kinematics
        self._limits = limits
        self._config = config
        self._planner = SegmentPlanner(limits, config.point_spacing)
        self._following: Following | None = None
        self._first_start: float | None = None
        self._preparation = 0.0
        self._lag = ServoLag()
        self._posture = np.asarray(config.posture, dtype=np.float64)
        self.safety = SafetyFilter(safety, limits, kinematics)

    @property
    def is_synchronised(self) -> bool:
        """Whether it is known where the arm was commanded to be."""
        return self._following is not None

    def synchronise(self, positions: Sequence[float] | Vector) -> None:
        """Begins anew with an arm at rest at ``positions`` [joints]."""
        self._following = Following(positions, self._lag)
        self._first_start = None
        if not self._posture.size:
            self._posture = np.array(positions, dtype=np.float64)

    def forget(self) -> None:
        """The arm may be anywhere: no command before the next `synchronise`."""
        self._following = None

    def observe(self, time: float, positions: Vector) -> None:
        """Takes in where the joints [joints] are at ``time``, s: whether they do what they were told."""
        if self._following is not None:
            self._following.measured(time, positions)

    def report(self, time: float, positions: Vector, velocities: Vector | None = None) -> None:
        """Takes in where the arm's controller says that the joints [joints] should be at ``time``, s, and how fast."""
        if self._following is not None:
            self._following.reported(time, positions, velocities)

    def is_certain(self, now: float) -> bool:
        """Whether the arm is seen to follow what it was told."""
        return self._following is not None and self._following.is_certain(now)

    @property
    def unfollowed(self) -> int:
        """Commands in a row that the arm was seen not to follow."""
        return 0 if self._following is None else self._following.unfollowed

    def prepared(self, seconds: float) -> None:
        """Notes how long a command took to make, s: the next ones begin so much later."""
        self._preparation = min(max(seconds, _FORGETS * self._preparation), _LONGEST_PREPARATION)

    def shift(self, seconds: float) -> None:
        """The clock was set by ``seconds``: what the arm was told goes on in the new time."""
        if self._following is not None:
            self._following.shift(seconds)
        if self._first_start is not None:
            self._first_start += seconds

    def desired(self, time: float) -> MotionState:
        """What the arm was commanded to do at ``time``, s. Raises MotionError before `synchronise`."""
        return self._mirror().sample(time)

    def is_moving(self, now: float) -> bool:
        """Whether a commanded motion is not over yet."""
        return self._following is not None and now < self._following.commanded.end

    @property
    def rests_from(self) -> float:
        """When all that was commanded is over, s; minus infinity when nothing was."""
        return float("-inf") if self._following is None else self._following.commanded.end

    def toward(self, state: Vector, values: Vector, closedness: float | None, observation: Observation) -> Verdict:
        """The command for the action ``values`` [7], planned from ``state`` [7]; nothing is committed.

        ``closedness``: where the gripper should go; None leaves it.
        """
        stale = self.safety.why_stale(observation)
        if stale:
            return self.safety.refuse(stale)
        if np.all(np.isfinite(observation.measured)):
            self.observe(observation.now - observation.joint_state_age, observation.measured)
        try:
            others = self._followed().possible(observation.now)
            segment = self._segment_toward(state, values, observation, others)
        except TooSoonError as error:
            return Verdict(None, str(error), wait=True)
        except MotionError as error:
            return self.safety.refuse(str(error))
        return self.safety.check(Command(segment, closedness), observation, self._mirror(), others)

    def stop(self, now: float, careful: bool = False) -> Verdict:
        """The command that brings the arm to rest as soon as the limits allow; nothing is committed.

        ``careful``: refused as long as it is open whether the arm follows its last commands, and a stop from where they
        lead would be a jerk if it did not. Otherwise it begins when that jerk is least.
        """
        try:
            commanded = self._mirror()
            others = self._followed().undecided(now)
            start = self._starts(now)[0] if careful or not others else self._least_bad_start(now, others)
            is_safe = self.safety.joining.best(start, now, commanded, others).is_safe
            if careful and (now < self._followed().joins_until or not is_safe):
                return Verdict(None, _UNSEEN)
            state = commanded.sample(start)
            stops = [self._planner.to_rest(start, state, together) for together in (False, True)]
        except MotionError as error:
            return Verdict(None, str(error))
        # The shortest one, unless the other keeps clearer of the table and of what else is to be kept out of.
        return self.safety.check_stop(min(stops, key=self.safety.intrusion), now, commanded, others)

    def commit(self, command: ApprovedCommand, now: float) -> None:
        """Notes that ``command`` was sent to the arm."""
        following = self._followed()
        following.sent(command.segment, command.sent.start if command.joins else float("-inf"))
        if self._first_start is None:
            self._first_start = command.segment.start
        # Images and joint states up to this old are still compared with what was commanded for their time.
        oldest = max(self.safety.config.max_image_age, self.safety.config.max_joint_state_age)
        following.forget_before(now - 2 * oldest)

    def _start(self, now: float, others: Sequence[MotionState]) -> float:
        """When the next segment may begin, s, with a controller that may also be in one of the ``others`` now."""
        if now < self._followed().joins_until:
            raise TooSoonError(_UNSEEN)
        for start in self._starts(now):
            if not self.safety.joining.why_bad(start, now, self._mirror(), others):
                return start
        raise TooSoonError(_UNSEEN)

    def _least_bad_start(self, now: float, others: Sequence[MotionState]) -> float:
        joins = [(start, self.safety.joining.best(start, now, self._mirror(), others)) for start in self._starts(now)]
        return min(joins, key=lambda known: known[1].roughness)[0]

    def _starts(self, now: float) -> list[float]:
        """When a segment could begin, s, from the earliest on."""
        if self._first_start is None:
            return [now + self._config.first_lead_seconds]
        lead = self._config.lead_seconds + self._preparation
        leads = np.linspace(lead, max(self._config.first_lead_seconds, lead), _LEADS)
        earliest = max(self._first_start, self._followed().joins_until)
        return [max(now + float(lead), earliest) for lead in leads]

    def _followed(self) -> Following:
        if self._following is None:
            raise MotionError("joint_states: none came yet, so it is not known where the arm is")
        return self._following

    def _mirror(self) -> CommandedMotion:
        return self._followed().commanded

    def _segment_toward(
        self, state: Vector, values: Vector, observation: Observation, others: Sequence[MotionState]
    ) -> Segment:
        now = observation.now
        self._mirror()
        # Written so that NaN is refused, too.
        if not np.all(np.abs([*state, *values]) < _NO_ARM_IS_LARGER):
            raise MotionError(f"the plan holds values that are not finite: action {values} from state {state}")
        start = self._start(now, others)
        target = self._target(state, values, now)
        at_image = self._mirror().sample(now - observation.image_age)
        tool = self._kinematics.pose(at_image.position)[:3]
        found = self._reachable(self.safety.limit_target(target, tool))
        speed = self.safety.authority(now) * self.safety.singularity_scale(found.condition)
        return self._slow_enough(start, found.positions, max(speed, 0.05))

    def _target(self, state: Vector, values: Vector, now: float) -> Vector:
        limited = self.safety.limit_action(values, now)
        target = integrate(state, limited)
        if not np.any(limited[3:POSE_DIM]):
            # Measured orientation wobbles while the arm moves; an action that does not rotate must not add it
            # up.
            target[3:POSE_DIM] = self._kinematics.pose(self._last_target())[3:]
        return target

    def _last_target(self) -> Vector:
        commanded = self._mirror()
        return commanded.sample(max(commanded.end, 0.0)).position

    def _reachable(self, target: Vector) -> IkResult:
        """Inverse kinematics of the target, or of a nearer one on the way there when it is out of reach."""
        seed = self._last_target()
        here = self._kinematics.pose(seed)
        before = self._kinematics.condition(seed)
        for share in (1.0, 0.5, 0.25):
            pose = np.concatenate([here[:3] + share * (target[:3] - here[:3]), target[3:POSE_DIM]])
            found = self._kinematics.ik(pose, seed, self._posture, self._limits.lower, self._limits.upper)
            tame = found.condition <= max(self.safety.config.stop_condition, before)
            if found.position_error <= self._config.position_tolerance and tame:
                return found
        raise MotionError(
            f"the target {np.round(target[:3], 3)} is out of reach: inverse kinematics misses it by "
            f"{found.position_error:.3f} m, condition number {found.condition:.0f}"
        )

    def _slow_enough(self, start: float, target: Vector, speed: float) -> Segment:
        state = self._mirror().sample(start)
        for _ in range(3):
            segment = self._planner.to_target(start, state, target, speed, self._config.action_seconds)
            fastest = self.safety.tool_speed(segment)
            if fastest <= self.safety.config.max_tool_speed:
                break
            speed *= 0.9 * self.safety.config.max_tool_speed / fastest
        return segment
