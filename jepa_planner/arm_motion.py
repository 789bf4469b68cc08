"""From an action to an approved command: target pose, inverse kinematics, segment, safety filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jepa_planner.kinematics import POSE_DIM, IkResult, Kinematics
from jepa_planner.limits import JointLimits
from jepa_planner.motion import CommandedMotion, MotionError, MotionState, Segment, SegmentPlanner
from jepa_planner.safety import ApprovedCommand, Command, Observation, SafetyConfig, SafetyFilter, Verdict
from jepa_world_model.poses import integrate

Vector = npt.NDArray[np.float64]
# m and rad; keeps the arithmetic far from overflow.
_NO_ARM_IS_LARGER = 1e3


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
    """Mirrors what the arm was told, and continues it. Not thread-safe: callers hold a lock.

    The mirror follows the controller's desired state as long as every approved command that is published is
    also passed to `commit`.
    """

    def __init__(
        self, kinematics: Kinematics, limits: JointLimits, safety: SafetyConfig, config: ArmMotionConfig
    ) -> None:
        """``limits`` already have the envelope applied."""
        self._kinematics = kinematics
        self._limits = limits
        self._config = config
        self._planner = SegmentPlanner(limits, config.point_spacing)
        self._commanded: CommandedMotion | None = None
        self._first_start: float | None = None
        self._posture = np.asarray(config.posture, dtype=np.float64)
        self.safety = SafetyFilter(safety, limits, kinematics)

    @property
    def is_synchronised(self) -> bool:
        """Whether it is known where the arm was commanded to be."""
        return self._commanded is not None

    def synchronise(self, positions: Sequence[float] | Vector) -> None:
        """Begins anew with an arm at rest at ``positions`` [joints]."""
        self._commanded = CommandedMotion(positions)
        self._first_start = None
        if not self._posture.size:
            self._posture = np.array(positions, dtype=np.float64)

    def forget(self) -> None:
        """The arm may be anywhere: no command before the next `synchronise`."""
        self._commanded = None

    def shift(self, seconds: float) -> None:
        """The clock was set by ``seconds``: what the arm was told goes on in the new time."""
        if self._commanded is not None:
            self._commanded.shift(seconds)
        if self._first_start is not None:
            self._first_start += seconds

    def desired(self, time: float) -> MotionState:
        """What the arm was commanded to do at ``time``, s. Raises MotionError before `synchronise`."""
        return self._mirror().sample(time)

    def is_moving(self, now: float) -> bool:
        """Whether a commanded motion is not over yet."""
        return self._commanded is not None and now < self._commanded.end

    def toward(self, state: Vector, values: Vector, closedness: float | None, observation: Observation) -> Verdict:
        """The command for the action ``values`` [7], planned from ``state`` [7]; nothing is committed.

        ``closedness``: where the gripper should go; None leaves it.
        """
        stale = self.safety.why_stale(observation)
        if stale:
            return self.safety.refuse(stale)
        try:
            segment = self._segment_toward(state, values, observation)
        except MotionError as error:
            return self.safety.refuse(str(error))
        return self.safety.check(Command(segment, closedness), observation, self._mirror())

    def stop(self, now: float) -> Verdict:
        """The command that brings the arm to rest as soon as the limits allow; nothing is committed."""
        try:
            commanded = self._mirror()
            start = self._start(now)
            state = commanded.sample(start)
            stops = [self._planner.to_rest(start, state, together) for together in (False, True)]
        except MotionError as error:
            return Verdict(None, str(error))
        # The shortest one, unless the other keeps clearer of the table and of what else is to be kept out of.
        return self.safety.check_stop(min(stops, key=self.safety.intrusion), now, commanded)

    def commit(self, command: ApprovedCommand, now: float) -> None:
        """Notes that ``command`` was sent to the arm."""
        commanded = self._mirror()
        commanded.append(command.segment)
        if self._first_start is None:
            self._first_start = command.segment.start
        # Images and joint states up to this old are still compared with what was commanded for their time.
        oldest = max(self.safety.config.max_image_age, self.safety.config.max_joint_state_age)
        commanded.forget_before(now - 2 * oldest)

    def _start(self, now: float) -> float:
        if self._first_start is None:
            return now + self._config.first_lead_seconds
        return max(now + self._config.lead_seconds, self._first_start)

    def _mirror(self) -> CommandedMotion:
        if self._commanded is None:
            raise MotionError("joint_states: none came yet, so it is not known where the arm is")
        return self._commanded

    def _segment_toward(self, state: Vector, values: Vector, observation: Observation) -> Segment:
        now = observation.now
        self._mirror()
        # Written so that NaN is refused, too.
        if not np.all(np.abs([*state, *values]) < _NO_ARM_IS_LARGER):
            raise MotionError(f"the plan holds values that are not finite: action {values} from state {state}")
        start = self._start(now)
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
