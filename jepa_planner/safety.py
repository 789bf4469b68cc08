"""The safety filter: the last word on every command, and the only maker of commands that may be published.

It trusts nobody: neither the plan, nor the kinematics, nor the trajectory generator before it. What it lets
through is finite, inside the joint limits with their derivatives up to the jerk, continuous with what the arm
executes, slow enough at the tool, and inside the workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jepa_planner.joining import Joining
from jepa_planner.kinematics import Kinematics
from jepa_planner.limits import LONGEST_STEP, JointLimits
from jepa_planner.motion import CommandedMotion, MotionState, Segment

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """An axis-parallel box in the base frame, m."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not np.all(np.asarray(self.low) < np.asarray(self.high)):
            raise ValueError(f"a box needs low < high in x, y and z, got {self.low} and {self.high}")

    def depth_outside(self, points: Vector) -> Vector:
        """How far points [..., 3] lie outside, m; 0 inside."""
        beyond = np.maximum(np.asarray(self.low) - points, points - np.asarray(self.high))
        return np.maximum(beyond.max(axis=-1), 0.0)

    def depth_inside(self, points: Vector) -> Vector:
        """How far points [..., 3] are from the nearest face from within, m; 0 outside."""
        within = np.minimum(points - np.asarray(self.low), np.asarray(self.high) - points)
        return np.maximum(within.min(axis=-1), 0.0)


def boxes_from_numbers(numbers: Sequence[float]) -> tuple[Box, ...]:
    """Boxes from a flat list: x y z of the low corner, x y z of the high corner, and so on."""
    if len(numbers) % 6:
        raise ValueError(f"boxes take six numbers each (low corner, high corner), got {len(numbers)} numbers")
    rows = np.asarray(numbers, dtype=np.float64).reshape(-1, 2, 3)
    return tuple(Box(tuple(low), tuple(high)) for low, high in rows)


@dataclass(frozen=True)
class SafetyConfig:
    """Bounds on what is commanded and on what it is based on.

    max_step (m), max_rotation (rad): longest action; longer ones are shortened.
    workspace: where the tool centre may be. keep_out: where tool, fingertips and hand may not be.
    finger_floor: lowest height of either fingertip, m. finger_travel (m), hand_length (m): of the gripper.
    max_tool_speed: m/s.
    max_image_age, max_latent_age, max_joint_state_age: s.
    max_tracking_error: largest distance of a joint from where it was commanded, rad.
    max_energy, max_surprise: latent distances that may be exceeded for fewer than ``persistence`` steps.
    max_refusals: so many refusals in a row abort the goal.
    recovery_seconds: data that were too old have to be in order for so long before the arm moves again, s. It keeps an
        arm from stopping and starting with every message of a source that is too slow.
    ramp_seconds: after activation the arm's authority grows from ``initial_authority`` to 1 in this time.
    slow_condition, stop_condition: condition numbers from which the arm slows down and beyond which it may
        not go.
    """

    max_step: float = LONGEST_STEP
    max_rotation: float = 0.5
    workspace: Box = field(default_factory=lambda: Box((0.25, -0.40, 0.0), (0.75, 0.40, 0.60)))
    keep_out: tuple[Box, ...] = ()
    finger_floor: float = 0.005
    finger_travel: float = 0.04
    hand_length: float = 0.10
    max_tool_speed: float = 0.6
    max_image_age: float = 0.5
    max_latent_age: float = 0.5
    max_joint_state_age: float = 0.1
    max_tracking_error: float = 0.15
    max_energy: float = float("inf")
    max_surprise: float = float("inf")
    persistence: int = 5
    max_refusals: int = 12
    recovery_seconds: float = 0.3
    ramp_seconds: float = 1.0
    initial_authority: float = 0.2
    slow_condition: float = 17.0
    stop_condition: float = 30.0

    def __post_init__(self) -> None:
        positive = (
            self.max_step, self.max_tool_speed, self.max_image_age, self.max_latent_age,
            self.max_joint_state_age, self.max_tracking_error, self.max_energy, self.max_surprise,
            self.persistence, self.max_refusals,
        )  # fmt: skip
        if not min(positive) > 0 or not min(self.max_rotation, self.ramp_seconds, self.recovery_seconds) >= 0:
            raise ValueError(f"bounds of the safety filter must be positive: {self}")
        if not 0 < self.initial_authority <= 1 or not 1 <= self.slow_condition < self.stop_condition:
            raise ValueError(
                "0 < initial_authority <= 1 and 1 <= slow_condition < stop_condition are needed, got "
                f"{self.initial_authority}, {self.slow_condition}, {self.stop_condition}"
            )


@dataclass(frozen=True, eq=False)
class Observation:
    """What a command is judged against.

    now: s. measured: joint positions [joints], and desired: where they were commanded to be at that moment.
    image_age, latent_age, joint_state_age: s, infinity when nothing ever came.
    energy, surprise: of now, NaN when unknown.
    """

    now: float
    measured: Vector
    desired: Vector
    image_age: float
    latent_age: float
    joint_state_age: float
    energy: float = float("nan")
    surprise: float = float("nan")


@dataclass(frozen=True, eq=False)
class Command:
    """What somebody would like the arm to do: a segment, and where the gripper should go (None: nowhere)."""

    segment: Segment
    closedness: float | None = None


_FILTERED = object()


class ApprovedCommand:
    """A command that passed the filter; publishers accept nothing else and nobody else can make one.

    segment: what the arm does from its start on. sent: the same after the rest of what the arm was told before, which
    makes a controller that takes over on arrival follow exactly that until then. joins: the controller may be
    elsewhere, and gets to the first point of `sent` in its own way; see `joining`.
    """

    def __init__(self, command: Command, sent: Segment, seal: object, joins: bool = False) -> None:
        """Raises ValueError unless the safety filter makes it."""
        if seal is not _FILTERED:
            raise ValueError("only SafetyFilter approves commands")
        self.segment = command.segment
        self.sent = sent
        self.joins = joins
        self.closedness = None if command.closedness is None else float(np.clip(command.closedness, 0.0, 1.0))


@dataclass(frozen=True)
class Verdict:
    """The filter's answer: an approved command, or None and why.

    abort: it has refused too long. wait: nothing is wrong; what the arm was told goes on until the next plan.
    """

    command: ApprovedCommand | None
    reason: str = ""
    abort: bool = False
    wait: bool = False


class SafetyFilter:
    """Checks commands against limits, workspace and the age of the data behind them. Not thread-safe."""

    def __init__(self, config: SafetyConfig, limits: JointLimits, kinematics: Kinematics) -> None:
        """``limits`` already have the envelope applied: exactly they are enforced."""
        self._config = config
        self._limits = limits
        self._kinematics = kinematics
        self.joining = Joining(limits)
        self._activated_at: float | None = None
        self._refusals = 0
        self._strange_steps = 0

    @property
    def config(self) -> SafetyConfig:
        """The bounds."""
        return self._config

    def activate(self, now: float) -> None:
        """Starts the ramp-up of authority at ``now``, s, and forgets earlier refusals."""
        self._activated_at = now
        self.forget()

    def forget(self) -> None:
        """Forgets earlier refusals, as a new goal demands."""
        self._refusals = 0
        self._strange_steps = 0

    def authority(self, now: float) -> float:
        """Share of speed and step size that may be used at ``now``; 0 before `activate`."""
        if self._activated_at is None:
            return 0.0
        if self._config.ramp_seconds == 0:
            return 1.0
        grown = (now - self._activated_at) / self._config.ramp_seconds
        return float(np.clip(grown, self._config.initial_authority, 1.0))

    def singularity_scale(self, condition: float) -> float:
        """Share of the speed that is left at a condition number: 1 up to slow, 0.1 at stop and beyond."""
        slow, stop = self._config.slow_condition, self._config.stop_condition
        return float(np.clip(1 - (condition - slow) / (stop - slow), 0.1, 1.0))

    def limit_action(self, values: Vector, now: float) -> Vector:
        """The action [7] shortened to the longest step that the authority at ``now`` allows."""
        authority = self.authority(now)
        limited = np.array(values, dtype=np.float64)
        limited[:3] = _shorten(limited[:3], self._config.max_step * authority)
        limited[3:6] = _shorten(limited[3:6], self._config.max_rotation * authority)
        return limited

    def limit_target(self, state: Vector, tool: Vector) -> Vector:
        """The target state [7] moved into the workspace, above the floor, and to within one step of ``tool`` [3]."""
        limited = np.array(state, dtype=np.float64)
        workspace = self._config.workspace
        limited[:3] = np.clip(limited[:3], workspace.low, workspace.high)
        limited[2] = max(limited[2], self._config.finger_floor)
        limited[:3] = tool + _shorten(limited[:3] - tool, self._config.max_step)
        return limited

    def why_stale(self, observation: Observation) -> str:
        """Which of the data are too old (or from the future) to act on; empty when none."""
        config = self._config
        for name, age, bound in (
            ("joint_states", observation.joint_state_age, config.max_joint_state_age),
            ("camera image", observation.image_age, config.max_image_age),
            ("latent", observation.latent_age, config.max_latent_age),
        ):
            # Written so that NaN is stale, too.
            if not age <= bound:
                came = f"is {age:.2f} s old" if np.isfinite(age) else "never came"
                return f"{name}: expected one younger than {bound:g} s, the newest {came}"
            if age < -bound:
                return f"{name}: its stamp lies {-age:.2f} s in the future; check the clocks"
        return ""

    def why_astray(self, observation: Observation) -> str:
        """Why the arm is not where it was told to be; empty when it is."""
        error = np.abs(observation.measured - observation.desired)
        if np.all(error <= self._config.max_tracking_error):
            return ""
        # NaN sorts as the largest, as it should.
        joint = int(np.argmax(np.where(np.isfinite(error), error, np.inf)))
        return (
            f"{self._limits.names[joint]} is {error[joint]:.3f} rad from where it was commanded, more than "
            f"{self._config.max_tracking_error:g}: is something in its way, or does another node command it?"
        )

    def why_strange(self, observation: Observation) -> str:
        """Why the world model cannot be trusted now; counts one step. Empty until it has lasted."""
        config = self._config
        strange = observation.energy > config.max_energy or observation.surprise > config.max_surprise
        self._strange_steps = self._strange_steps + 1 if strange else 0
        if self._strange_steps < config.persistence:
            return ""
        return (
            f"for {self._strange_steps} steps energy or surprise were too high: {observation.energy:.3g} of "
            f"at most {config.max_energy:g}, {observation.surprise:.3g} of at most {config.max_surprise:g}; "
            "the camera sees what the model does not know"
        )

    def check(
        self,
        command: Command,
        observation: Observation,
        commanded: CommandedMotion,
        others: Sequence[MotionState] = (),
    ) -> Verdict:
        """Approves ``command``, or refuses it with a reason.

        ``commanded`` is what the arm executes now, ``others`` are states that it may be in now instead.
        """
        reason = (
            self._why_not_active()
            or self.why_stale(observation)
            or self.why_astray(observation)
            or self.why_strange(observation)
            or self._why_bad_motion(command.segment, observation.now, commanded)
            or self.joining.why_bad(command.segment.start, observation.now, commanded, others)
            or _why_bad_gripper(command.closedness)
            or self._why_bad_places(command)
            or self._why_too_far(command.segment, commanded.sample(observation.now - observation.image_age))
        )
        if reason:
            return self.refuse(reason)
        self._refusals = 0
        return Verdict(self._approve(command, observation.now, commanded, others))

    def check_stop(
        self, segment: Segment, now: float, commanded: CommandedMotion, others: Sequence[MotionState] = ()
    ) -> Verdict:
        """Approves a segment that brings the arm to rest; see `check`.

        A stop depends on no camera and may end anywhere: it is checked as a motion only. See `intrusion`.
        """
        reason = self._why_bad_motion(segment, now, commanded)
        return Verdict(None if reason else self._approve(Command(segment), now, commanded, others), reason)

    def intrusion(self, segment: Segment) -> float:
        """How much deeper than at its start ``segment`` takes the gripper to where it may not be, m."""
        places = np.array([self._places(state, None) for state in _samples(segment)])
        depths = (self._depth_outside(places), self._depth_below(places), *self._depths_inside(places))
        return max(_deepening(depth) for depth in depths)

    def refuse(self, reason: str) -> Verdict:
        """Counts a command that was given up before it came here."""
        self._refusals += 1
        return Verdict(None, reason, self._refusals >= self._config.max_refusals)

    def _approve(
        self, command: Command, now: float, commanded: CommandedMotion, others: Sequence[MotionState]
    ) -> ApprovedCommand:
        join = self.joining.best(command.segment.start, now, commanded, others)
        sent = commanded.lead_in(join.first, command.segment)
        return ApprovedCommand(command, sent, _FILTERED, joins=bool(others))

    def _why_not_active(self) -> str:
        return "" if self._activated_at is not None else "the safety filter was not activated"

    def _why_bad_motion(self, segment: Segment, now: float, commanded: CommandedMotion) -> str:
        return (
            _why_not_finite(segment)
            or _why_bad_times(segment, now)
            or _why_discontinuous(segment, commanded.sample(segment.start))
            or self._why_out_of_limits(segment)
        )

    def _why_out_of_limits(self, segment: Segment) -> str:
        limits, start = self._limits, segment.positions[0]
        # An arm that stands beyond a margin may move back from there, but no further out.
        low, high = np.minimum(limits.lower, start), np.maximum(limits.upper, start)
        backward, forward = limits.velocity_bounds(segment.positions, segment.positions)
        checks = (
            ("position", segment.positions, low, high, 1e-6),
            ("velocity", segment.velocities, backward, forward, 1e-4),
            ("acceleration", segment.accelerations, -limits.acceleration, limits.acceleration, 1e-3),
            ("jerk", segment.jerks(), -limits.jerk, limits.jerk, 1e-3 * float(limits.jerk.max())),
        )
        return next((why for check in checks if (why := self._why_outside(*check))), "")

    def _why_outside(self, quantity: str, values: Vector, low: Vector, high: Vector, tolerance: float) -> str:
        excess = np.maximum(low - values, values - high)
        if np.all(excess <= tolerance):
            return ""
        point, joint = np.unravel_index(int(np.argmax(excess)), excess.shape)
        value = values[point, joint]
        name = self._limits.names[joint]
        return f"{quantity} of {name} would be {value:.4g}, beyond its limit by {excess.max():.3g}"

    def _why_bad_places(self, command: Command) -> str:
        states = _samples(command.segment)
        places = np.array([self._places(state, command.closedness) for state in states])
        return (
            self._why_outside_workspace(places)
            or self._why_kept_out(places)
            or self._why_too_fast([self._tool_speed(state) for state in states])
            or self._why_singular([self._kinematics.condition(state.position) for state in states])
        )

    def _why_too_far(self, segment: Segment, at_image: MotionState) -> str:
        before, after = (self._kinematics.pose(place)[:3] for place in (at_image.position, segment.target))
        way = float(np.linalg.norm(after - before))
        if way <= self._config.max_step + _MISS:
            return ""
        return f"the tool would go {way:.3f} m from where the image showed it, more than {self._config.max_step:g}"

    def _places(self, state: MotionState, closedness: float | None) -> Vector:
        """Tool centre, both fingertips and the hand [4, 3]; open fingers where the gripper is not known."""
        transform = self._kinematics.transform(state.position)
        center, across, along = transform[:3, 3], transform[:3, 1], transform[:3, 2]
        opening = self._config.finger_travel * float(np.clip(1 - (closedness or 0.0), 0.0, 1.0))
        offsets = (center, center + opening * across, center - opening * across)
        return np.array([*offsets, center - self._config.hand_length * along])

    def _why_outside_workspace(self, places: Vector) -> str:
        outside, below = self._depth_outside(places), self._depth_below(places)
        if _deepening(outside) > 0:
            return f"the tool would leave the workspace by {outside.max():.3f} m"
        if _deepening(below) > 0:
            return f"a fingertip would be {below.max():.3f} m below its floor"
        return ""

    def _why_kept_out(self, places: Vector) -> str:
        for box, depth in zip(self._config.keep_out, self._depths_inside(places), strict=True):
            if _deepening(depth) > 0:
                return f"the gripper would enter the keep-out box {box.low} to {box.high} by {depth.max():.3f} m"
        return ""

    def _depth_outside(self, places: Vector) -> Vector:
        return self._config.workspace.depth_outside(places[:, 0])

    def _depth_below(self, places: Vector) -> Vector:
        lowest_fingertip: Vector = places[:, 1:3, 2].min(axis=1)
        return np.maximum(self._config.finger_floor - lowest_fingertip, 0.0)

    def _depths_inside(self, places: Vector) -> list[Vector]:
        return [box.depth_inside(places).max(axis=1) for box in self._config.keep_out]

    def tool_speed(self, segment: Segment) -> float:
        """Highest speed of the tool centre during ``segment``, m/s."""
        return max(self._tool_speed(state) for state in _samples(segment))

    def _tool_speed(self, state: MotionState) -> float:
        return float(np.linalg.norm(self._kinematics.jacobian(state.position)[:3] @ state.velocity))

    def _why_too_fast(self, speeds: Sequence[float]) -> str:
        # While braking from a faster start the start is the bound.
        bound = max(self._config.max_tool_speed, speeds[0])
        fastest = max(speeds)
        if fastest <= bound * 1.001:
            return ""
        return f"the tool would move at {fastest:.2f} m/s, more than {self._config.max_tool_speed:g}"

    def _why_singular(self, conditions: Sequence[float]) -> str:
        # From beyond the bound the arm may come back, with a little play for the way out.
        worst, bound = max(conditions), max(self._config.stop_condition, conditions[0] * 1.01)
        if worst <= bound:
            return ""
        return f"the arm would come too close to a singularity: condition number {worst:.0f}"


def _shorten(vector: Vector, longest: float) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)


# Depths of violation below this are rounding, m.
_NOTHING = 1e-4


def _deepening(depth: Vector) -> float:
    """How much a violation grows beyond that of the first sample: it may be left, not entered."""
    grown = float(np.max(depth)) - max(float(depth[0]), 0.0)
    return grown if grown > _NOTHING else 0.0


# Inverse kinematics may miss its target by so much, m.
_MISS = 0.01


def _samples(segment: Segment, spacing: float = 0.025) -> list[MotionState]:
    count = int(np.ceil(segment.duration / spacing)) + 1
    return [segment.sample(segment.start + time) for time in np.linspace(0.0, segment.duration, count)]


LONGEST_SEGMENT = 60.0


def _why_not_finite(segment: Segment) -> str:
    arrays = (segment.times, segment.positions, segment.velocities, segment.accelerations)
    if np.isfinite(segment.start) and all(np.all(np.isfinite(values)) for values in arrays):
        return ""
    return "the trajectory holds values that are not finite"


def _why_bad_gripper(closedness: float | None) -> str:
    if closedness is None or np.isfinite(closedness):
        return ""
    return f"the gripper's closedness must be a number from 0 to 1, got {closedness}"


def _why_bad_times(segment: Segment, now: float) -> str:
    shape = (len(segment.times), segment.positions.shape[-1])
    motions = (segment.positions, segment.velocities, segment.accelerations)
    if len(segment.times) < 2 or any(values.shape != shape for values in motions):
        return f"the trajectory's arrays do not match: {len(segment.times)} times"
    if segment.times[0] != 0 or np.any(np.diff(segment.times) <= 0) or segment.duration > LONGEST_SEGMENT:
        return f"the trajectory's times must increase from 0 to at most {LONGEST_SEGMENT:g} s"
    if segment.start <= now:
        return f"the trajectory would start {now - segment.start:.3f} s ago"
    return ""


def _why_discontinuous(segment: Segment, desired: MotionState) -> str:
    """Jumps at the splice, or points that no constant jerk connects, or motion left at the end."""
    step = np.diff(segment.times)[:, None]
    position, velocity, acceleration = segment.positions, segment.velocities, segment.accelerations
    before, after = acceleration[:-1], acceleration[1:]
    jumps = (
        ("position at the splice", position[0] - desired.position, 1e-5),
        ("velocity at the splice", velocity[0] - desired.velocity, 1e-4),
        ("acceleration at the splice", acceleration[0] - desired.acceleration, 1e-2),
        ("velocity between points", np.diff(velocity, axis=0) - step * (before + after) / 2, 1e-3),
        (
            "position between points",
            np.diff(position, axis=0) - step * (velocity[:-1] + step * (2 * before + after) / 6),
            1e-4,
        ),
        ("velocity at the end", velocity[-1], 1e-4),
        ("acceleration at the end", acceleration[-1], 1e-2),
    )
    for what, jump, tolerance in jumps:
        if np.any(np.abs(jump) > tolerance):
            return f"the trajectory jumps: {what} is off by {np.abs(jump).max():.3g}"
    return ""
