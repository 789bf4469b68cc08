"""An independent judge of what an arm is told and of what it does.

It shares no code with the planner and its safety filter: the arm's limits, its kinematics and the controller's
interpolation are written down here a second time. Feed it what goes over the topics, in the order of arrival, and read
`violations`; `judge_node.py` beside this does so with running nodes.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ArmRules:
    """What a Franka Emika Robot may do, from its maker's published tables, and where the tool may be, m.

    Each of lower, upper (rad), velocity (rad/s) and acceleration (rad/s^2) has one number for each joint.
    """

    joints: tuple[str, ...] = tuple(f"panda_joint{index}" for index in range(1, 8))
    lower: tuple[float, ...] = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)
    upper: tuple[float, ...] = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)
    velocity: tuple[float, ...] = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
    acceleration: tuple[float, ...] = (15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0)
    workspace_low: tuple[float, ...] = (0.25, -0.40, 0.0)
    workspace_high: tuple[float, ...] = (0.75, 0.40, 0.60)
    tool_speed: float = 0.65
    distance: float = 0.16


@dataclass(frozen=True)
class Violation:
    """One broken rule. kind: a few words that are the same for the same rule. detail: numbers. time: s, of the arm."""

    kind: str
    detail: str
    time: float


@dataclass(frozen=True, eq=False)
class TrajectoryCommand:
    """A command as it was sent: start, s; times [points] from it, s; the rest [points, joints], rad and s."""

    start: float
    joints: tuple[str, ...]
    times: Vector
    positions: Vector
    velocities: Vector
    accelerations: Vector


@dataclass(eq=False)
class MotionJudge:
    """Judges commands and joint states as they come. Not thread-safe.

    Attributes:
        rules: what is allowed.
        violations: what was not, in order.
        peaks: the largest value seen of each quantity, as a share of what is allowed or in its own unit.
        commands, states: how many were judged.
    """

    rules: ArmRules = field(default_factory=ArmRules)
    violations: list[Violation] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    commands: int = 0
    states: int = 0

    def __post_init__(self) -> None:
        self._measured: deque[tuple[float, Vector, Vector]] = deque(maxlen=64)
        self._followed: deque[tuple[float, Vector]] = deque(maxlen=64)
        self._placed_at = float("-inf")

    @property
    def counts(self) -> Counter[str]:
        """How often each rule was broken."""
        return Counter(violation.kind for violation in self.violations)

    def placed(self, time: float) -> None:
        """A simulator has put the arm elsewhere at ``time``, s: the jump is not the arm's."""
        self._placed_at = time
        self._measured.clear()
        self._followed.clear()

    # --- the arm --------------------------------------------------------------------------------------------

    def joint_state(self, time: float, positions: Sequence[float], velocities: Sequence[float]) -> None:
        """The measured joints [7] at ``time``, s."""
        where, speed = np.asarray(positions, dtype=np.float64), np.asarray(velocities, dtype=np.float64)
        self.states += 1
        if not (np.all(np.isfinite(where)) and np.all(np.isfinite(speed))):
            self._break("the arm: values that are not finite", f"{positions} {velocities}", time)
            return
        self._check_range("the arm", where, 1e-3, time)
        self._check_share("the arm: velocity", speed, self.rules.velocity, time)
        before = self._earlier(self._measured, time)
        if before is not None:
            self._check_share(
                "the arm: acceleration", (speed - before[2]) / (time - before[0]), self.rules.acceleration, time
            )
            tool_speed = float(np.linalg.norm(tool(where) - tool(before[1]))) / (time - before[0])
            self._check_bound("the arm: tool speed", tool_speed, self.rules.tool_speed, time)
        self._check_bound("the arm: outside the workspace", self._outside(where), 0.01, time)
        self._measured.append((time, where, speed))

    def followed(self, time: float, positions: Sequence[float]) -> None:
        """Where the controller wants the joints [7] to be at ``time``, s: what it makes of the commands."""
        where = np.asarray(positions, dtype=np.float64)
        self._followed.append((time, where))
        spaced = [self._followed[index] for index in _every(self._followed, _SPACING)]
        if len(spaced) < 3:
            return
        (first, a), (second, b), (third, c) = spaced[-3:]
        after, before = (c - b) / (third - second), (b - a) / (second - first)
        self._check_share("the controller: velocity", after, self.rules.velocity, time)
        acceleration = (after - before) / ((third - first) / 2)
        self._check_share("the controller: acceleration", acceleration, self.rules.acceleration, time)

    def _earlier(self, known: deque[tuple[float, Vector, Vector]], time: float) -> tuple[float, Vector, Vector] | None:
        found = (entry for entry in reversed(known) if time - entry[0] >= _SPACING)
        entry = next(found, None)
        return entry if entry is not None and time - entry[0] < 10 * _SPACING else None

    # --- commands -------------------------------------------------------------------------------------------

    def command(self, arrived: float, command: TrajectoryCommand) -> None:
        """A command for the arm that came at ``arrived``, s, of the arm's clock."""
        self.commands += 1
        reason = self._malformed(command)
        if reason:
            self._break(f"a command: {reason}", "", arrived)
            return
        times, positions, velocities, accelerations = _interpolated(command)
        self._check_range("a command", positions, 1e-6, arrived)
        self._check_share("a command: velocity", velocities, self.rules.velocity, arrived)
        self._check_share("a command: acceleration", accelerations, self.rules.acceleration, arrived)
        outside = [self._outside(where) for where in positions[::4]]
        self._check_bound("a command: outside the workspace", max(outside) - max(outside[0], 0.0), 0.002, arrived)
        late = arrived - command.start - float(command.times[-1])
        self._check_bound("a command: in the past", late, 0.0, arrived)
        self._check_against_arm(arrived, command.start + times, positions)

    def _malformed(self, command: TrajectoryCommand) -> str:
        shape = (len(command.times), len(self.rules.joints))
        motions = (command.positions, command.velocities, command.accelerations)
        if len(command.times) == 0 or any(values.shape != shape for values in motions):
            return "without points, or with points of another shape"
        if not all(np.all(np.isfinite(values)) for values in (command.times, *motions)):
            return "values that are not finite"
        if np.any(np.diff(command.times) <= 0) or command.times[0] < 0:
            return "times that do not increase"
        if command.joints != self.rules.joints:
            return "other joints"
        return "" if np.max(np.abs(command.velocities[-1])) == 0.0 else "motion at its end"

    def _check_against_arm(self, arrived: float, times: Vector, positions: Vector) -> None:
        """Where the command wants the arm to be now, or first, against where it is."""
        if not self._measured or self._measured[-1][0] < self._placed_at:
            return
        wanted = np.array([np.interp(arrived, times, column) for column in positions.T])
        distance = float(np.max(np.abs(wanted - self._measured[-1][1])))
        self._check_bound("a command: far from the arm", distance, self.rules.distance, arrived)

    # --- rules ----------------------------------------------------------------------------------------------

    def _outside(self, positions: Vector) -> float:
        place = tool(positions)
        beyond = np.maximum(np.subtract(self.rules.workspace_low, place), np.subtract(place, self.rules.workspace_high))
        return float(np.max(beyond))

    def _check_range(self, who: str, positions: Vector, tolerance: float, time: float) -> None:
        beyond = np.maximum(np.subtract(self.rules.lower, positions), np.subtract(positions, self.rules.upper))
        self._check_bound(f"{who}: position", float(np.max(beyond)), tolerance, time)

    def _check_share(self, kind: str, values: Vector, limits: Sequence[float], time: float) -> None:
        shares = np.abs(values) / np.asarray(limits)
        joint = int(np.unravel_index(int(np.argmax(shares)), shares.shape)[-1])
        share = float(np.max(shares))
        self.peaks[kind] = max(self.peaks.get(kind, 0.0), share)
        if not share <= 1.0:
            self._break(kind, f"joint {joint + 1} at {share:.2f} times its limit", time)

    def _check_bound(self, kind: str, value: float, bound: float, time: float) -> None:
        self.peaks[kind] = max(self.peaks.get(kind, -math.inf), value)
        if not value <= bound:
            self._break(kind, f"{value:.4f}, allowed {bound:.4f}", time)

    def _break(self, kind: str, detail: str, time: float) -> None:
        self.violations.append(Violation(kind, detail, time))


# Differences are taken over at least so long, s.
_SPACING = 0.009


def _every(entries: deque[tuple[float, Vector]], spacing: float) -> list[int]:
    """Indices of the newest entry and of those at least ``spacing`` s before each other, oldest first."""
    chosen: list[int] = []
    for index in range(len(entries) - 1, -1, -1):
        if not chosen or entries[chosen[-1]][0] - entries[index][0] >= spacing:
            chosen.append(index)
        if len(chosen) == 3:
            break
    return chosen[::-1]


# Denavit-Hartenberg parameters of the arm (modified convention): a (m), d (m), alpha (rad); then flange and hand.
_CHAIN = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -math.pi / 2),
    (0.0, 0.316, math.pi / 2),
    (0.0825, 0.0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2),
    (0.0, 0.0, math.pi / 2),
    (0.088, 0.0, math.pi / 2),
)
_TIP = 0.107 + 0.1034


def tool(positions: Vector) -> Vector:
    """Tool centre [3] in the arm's base frame, m, at joint positions [7], rad."""
    transform = np.eye(4)
    for (a, d, alpha), angle in zip(_CHAIN, positions, strict=True):
        c, s, ca, sa = math.cos(angle), math.sin(angle), math.cos(alpha), math.sin(alpha)
        transform = transform @ np.array(
            [[c, -s, 0, a], [s * ca, c * ca, -sa, -d * sa], [s * sa, c * sa, ca, d * ca], [0, 0, 0, 1]]
        )
    return np.asarray(transform[:3, 3] + _TIP * transform[:3, 2])


def _interpolated(command: TrajectoryCommand, spacing: float = 0.005) -> tuple[Vector, Vector, Vector, Vector]:
    """Times from the start, positions, velocities and accelerations of the quintics between the command's points."""
    pieces: list[tuple[Vector, Vector, Vector, Vector]] = []
    for index in range(len(command.times) - 1):
        first, last = float(command.times[index]), float(command.times[index + 1])
        inside = np.linspace(0.0, last - first, max(3, int((last - first) / spacing) + 1))
        coefficients = _quintic(command, index, last - first)
        motions = [
            sum(
                math.perm(power, order) * inside[:, None] ** (power - order) * coefficients[power]
                for power in range(order, 6)
            )
            for order in range(3)
        ]
        pieces.append((first + inside, motions[0], motions[1], motions[2]))
    if not pieces:
        return command.times, command.positions, command.velocities, command.accelerations
    times, positions, velocities, accelerations = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return times, positions, velocities, accelerations


def _quintic(command: TrajectoryCommand, index: int, seconds: float) -> Vector:
    """Coefficients [6, joints] by rising power of the time since point ``index``."""
    rows, values = [], []
    for time, point in ((0.0, index), (seconds, index + 1)):
        for order, motion in enumerate((command.positions, command.velocities, command.accelerations)):
            rows.append([math.perm(power, order) * time ** max(power - order, 0) for power in range(6)])
            values.append(motion[point])
    return np.linalg.solve(np.array(rows, dtype=np.float64), np.array(values))
