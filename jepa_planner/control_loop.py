"""The planner without ROS: data come in, a watchdog looks at their age, plans become approved commands.

The planner node is a thin shell around `ControlLoop`; tests drive it with clocks of their own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from jepa_planner.arm_motion import ArmMotion
from jepa_planner.cost import CostFactory
from jepa_planner.goal_machine import ErrorCode, GoalMachine, GoalResult, State
from jepa_planner.goals import GoalSequence, Outcome
from jepa_planner.joint_history import JointHistory, JointSample, JointStateRefusedError
from jepa_planner.kinematics import Kinematics
from jepa_planner.mpc import Action
from jepa_planner.safety import ApprovedCommand, Observation, Verdict
from jepa_planner.solvers.base import SolverError

Vector = npt.NDArray[np.float64]
NANOSECONDS = 1e9


class PlanningError(RuntimeError):
    """A cost could not be asked; raised by costs that live in another process."""


@dataclass(frozen=True)
class Moment:
    """Now, s, on two clocks: ROS time, in which stamps are, and one that never stands still.

    behind: how much later than ``ros`` it may be by the clock of the arm's controller, s; see `moments.Moments`.
    """

    ros: float
    steady: float
    behind: float = 0.0


@dataclass(frozen=True)
class LatentStamps:
    """What is seen now, named by stamps: ns, oldest first, with the states [context, 7] at those times."""

    stamps: tuple[int, ...]
    states: Vector


@dataclass(frozen=True)
class ControlLoopConfig:
    """How the loop runs.

    step_seconds: shortest time between two plans, s.
    context_frames: latents that a plan starts from. context_seconds: time between them, s.
    rest_speed: joints slower than this stand still, rad/s.
    give_up_seconds: a goal that cannot be pursued for so long is aborted, s.
    dry_run: plan and report, but send nothing.
    """

    step_seconds: float = 0.2
    context_frames: int = 1
    context_seconds: float = 0.25
    rest_speed: float = 0.02
    give_up_seconds: float = 15.0
    dry_run: bool = False


@dataclass(frozen=True, eq=False)
class _Picture:
    """What the camera showed: a checksum, the stamp of the first picture that was so, s, and where the arm was then."""

    content: int | None
    time: float
    positions: Vector


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A planned action that the arm could not be told yet, since a steady time, s."""

    job: Job
    action: Action
    plan_seconds: float
    since: float


class Stepper(Protocol):
    """What decides on actions, one at a time: the planner (`Mpc`), or a calibration. One thread steps it."""

    def reset(self, seed: int | None = None) -> None:
        """Forget what was, as a new goal demands."""

    def step(
        self,
        observation: LatentStamps,
        state: Vector,
        goal: GoalSequence[int],
        cost: CostFactory[LatentStamps, int],
    ) -> Action:
        """The next action. Raises PlanningError or SolverError when there is none now."""


@dataclass(frozen=True, eq=False)
class Job:
    """One action to plan, on the planning thread."""

    goal: Hashable
    sequence: GoalSequence[int]
    mpc: Stepper
    observation: LatentStamps
    is_first: bool

    @property
    def state(self) -> Vector:
        """State [7] at the newest image."""
        return self.observation.states[-1]


@dataclass(frozen=True, eq=False)
class StepReport:
    """What one plan came to. action: [7]. plan_seconds: wall time."""

    goal: Hashable
    step: int
    sub_goal: int
    energy: float
    action: Vector
    plan_seconds: float


@dataclass(frozen=True, eq=False)
class Status:
    """A snapshot for people; numbers that are not known are NaN. See jepa_ros/PlannerStatus."""

    state: State
    reason: str
    step: int
    sub_goal: int
    sub_goals: int
    energy: float
    predicted_energy: float
    surprise: float
    plan_seconds: float
    image_age: float
    joint_state_age: float
    action: tuple[float, ...]

    @classmethod
    def idle(cls, state: State, reason: str) -> Status:
        """That of a planner which knows no arm yet."""
        unknown = float("nan")
        return cls(state, reason, 0, 0, 0, unknown, unknown, unknown, unknown, unknown, unknown, ())


class Outputs(Protocol):
    """Where the loop's results go. Called with the loop's lock held, from any of its threads: must not wait."""

    def send_arm(self, command: ApprovedCommand) -> None:
        """Sends a command to the arm's controller."""

    def send_gripper(self, closedness: float) -> None:
        """Sends the gripper to 0 (open) ... 1 (closed)."""

    def step_taken(self, report: StepReport) -> None:
        """An action was planned and commanded."""

    def goal_finished(self, goal: Hashable, result: GoalResult) -> None:
        """A goal has ended."""


class ControlLoop:
    """Joins data, goals, planning and motion.

    Threads: all methods may be called from any thread; `perform` is slow (it plans) and belongs on a thread of its
    own, everything else returns within milliseconds.
    """

    def __init__(
        self,
        config: ControlLoopConfig,
        arm: ArmMotion,
        kinematics: Kinematics,
        joints: JointHistory,
        outputs: Outputs,
        clock: Callable[[], Moment] | None = None,
    ) -> None:
        """``kinematics`` must not be shared with other threads, except through ``arm``.

        ``clock`` tells how late it is when a command is ready to be sent; without one, making it took no time.
        """
        self._config = config
        self._clock = clock
        self._arm = arm
        self._kinematics = kinematics
        self._joints = joints
        self._outputs = outputs
        self._lock = threading.RLock()
        self.machine: GoalMachine[int] = GoalMachine(config.give_up_seconds, outputs.goal_finished)
        self._mpc: Stepper | None = None
        self._latents: deque[int] = deque(maxlen=64)
        self._latent_received = float("-inf")
        self._joints_received = float("-inf")
        # Why the last joint state was refused; empty after one of the arm that was not.
        self._refused = ""
        self._picture: _Picture | None = None
        self._camera_frozen = False
        self._planning = False
        self._planned_goal: Hashable | None = None
        self._planned_at = float("-inf")
        self._planned_stamp = 0
        self._waiting: _Waiting | None = None
        self._now = Moment(float("-inf"), float("-inf"))
        self._stopping = False
        # Whether the clock has jumped, and nobody knows yet whether this is still the arm that was commanded.
        self._doubtful = False
        self._at_rest_since: float | None = None
        self._stale, self._stale_at = "", float("-inf")
        self._closedness: float | None = None
        self._lost = ""
        self._losses = self._unfollowed = 0
        self._distrust = self._doubt = ""
        self._doubted_since: float | None = None
        self._doubted_at = float("-inf")
        self._settling_since: float | None = None
        self._settles_there = False
        self._stop_wanted: float | None = None
        self._report: tuple[Action, float] | None = None

    # --- what comes in --------------------------------------------------------------------------------------

    def activate(self, now: Moment) -> None:
        """Commands may flow from now on, with growing authority."""
        with self._lock:
            self._arm.forget()
            self._arm.safety.activate(now.ros)
            self._stopping, self._doubtful, self._lost, self._at_rest_since = False, False, "", None
            self._closedness = None
            self.machine.activate()

    def deactivate(self, now: Moment) -> None:
        """Ends the goal and brings the arm to rest."""
        with self._lock:
            self.machine.deactivate()
            self._rest(now)

    def joint_state(
        self,
        now: Moment,
        stamp: float,
        names: Sequence[str],
        positions: Sequence[float],
        velocities: Sequence[float],
    ) -> str:
        """Takes in one joint state of time ``stamp``, s, and returns what of it could not be used.

        Raises JointStateRefusedError; see JointHistory.add.
        """
        with self._lock:
            before = self._joints.newest()
            try:
                left_out = self._joints.add(stamp, names, positions, velocities)
            except JointStateRefusedError as error:
                self._refused = str(error)
                raise
            self._note_doubt(now)
            newest = self._joints.newest()
            if newest is not None and newest is not before:
                self._joints_received, self._refused = now.steady, ""
                self._arm.observe(newest.time, newest.positions)
            return left_out

    def _note_doubt(self, now: Moment) -> None:
        """Remembers for a while that a joint state was not believed: believed ones may come in between."""
        if self._joints.doubt:
            self._doubt, self._doubted_at = self._joints.doubt, now.steady
            self._doubted_since = now.steady if self._doubted_since is None else self._doubted_since
        elif now.steady - self._doubted_at > _DOUBT_SECONDS:
            self._doubt, self._doubted_since = "", None

    def desired_state(
        self, stamp: float, names: Sequence[str], positions: Sequence[float], velocities: Sequence[float] = ()
    ) -> None:
        """Takes in what the arm's controller says that its joints should do at ``stamp``, s; ignores another arm's."""
        wanted = self._column(names, positions)
        if np.all(np.isfinite(wanted)):
            speeds = self._column(names, velocities)
            with self._lock:
                self._arm.report(stamp, wanted, speeds if np.all(np.isfinite(speeds)) else None)

    def _column(self, names: Sequence[str], values: Sequence[float]) -> Vector:
        known = dict(zip(names, values, strict=False))
        return np.array([known.get(name, np.nan) for name in self._kinematics.joint_names], dtype=np.float64)

    def latent(self, now: Moment, stamp: int, content: int | None = None) -> None:
        """Notes that a latent of the image of ``stamp``, ns, can be planned from.

        ``content`` is a checksum of the latent: one that stays the same while the arm moves comes from a frozen camera,
        whatever its stamp says, and counts as no image. None does not tell.
        """
        with self._lock:
            self._camera_frozen = self._is_frozen(stamp, content)
            if self._camera_frozen:
                return
            if self._latents and stamp <= self._latents[-1]:
                if stamp == self._latents[-1]:
                    return
                self._latents.clear()
            self._latents.append(stamp)
            self._latent_received = now.steady

    def _is_frozen(self, stamp: int, content: int | None) -> bool:
        arm = self._joints.at(stamp / NANOSECONDS)
        if content is None or arm is None:
            return False
        if self._picture is None or content != self._picture.content:
            self._picture = _Picture(content, stamp / NANOSECONDS, arm.positions)
            return False
        # A picture may come before the joint states of its moment.
        then = self._joints.recent(self._picture.time)
        if then is not None:
            self._picture = replace(self._picture, positions=then.positions)
        return bool(np.max(np.abs(arm.positions - self._picture.positions)) > _SEEN_MOTION)

    def distrust(self, reason: str) -> None:
        """Holds the arm for ``reason``, such as another node that commands it, until told an empty one."""
        with self._lock:
            self._distrust = reason

    def start_goal(self, sequence: GoalSequence[int], mpc: Stepper) -> None:
        """Begins to pursue the goal that was announced to `machine`; ``mpc`` is not to be used elsewhere."""
        with self._lock:
            self._mpc = mpc
            self._arm.safety.forget()
            self._losses = 0
            self._settling_since = self._waiting = None
            self.machine.start(sequence)

    @property
    def has_goal(self) -> bool:
        """Whether one is announced or pursued."""
        with self._lock:
            return self.machine.goal is not None

    def decline(self, reason: str) -> None:
        """Says why no goal is pursued although one was there."""
        with self._lock:
            self.machine.decline(reason)

    def locked(self) -> threading.RLock:
        """The lock, for `with`, to use `machine` from outside."""
        return self._lock

    # --- the watchdog ---------------------------------------------------------------------------------------

    def tick(self, now: Moment) -> None:
        """To be called every few milliseconds: checks clocks and data, and stops the arm when it has to rest."""
        with self._lock:
            self._check_clock(now)
            self._recognise_arm(now)
            self._synchronise(now)
            self._watch_age(now)
            code, reason = self._why_not_ready(now)
            self._forget_lost_arm(now)
            if reason and self.machine.lets_move:
                self.machine.hold(code, reason, now.steady, abort=self._losses > _LOSSES)
            self._notice_unfollowed(now)
            self._find_unsure_arm(now)
            self._try_again(now)
            if self.machine.must_rest or (self._settling_since is not None and not self._settles_there):
                self._rest(now)

    def why_not_ready(self, now: Moment) -> str:
        """What keeps the arm from being commanded now; empty when nothing does."""
        with self._lock:
            return self._why_not_ready(now)[1]

    def _why_not_ready(self, now: Moment) -> tuple[ErrorCode, str]:
        if self._doubt:
            return ErrorCode.STALE_DATA, f"joint_states: {self._doubt}"
        observation = self._observation(now)
        stale = self._why_stale(observation) or self._why_not_recovered(now)
        if stale:
            return ErrorCode.STALE_DATA, stale
        if self._distrust:
            return ErrorCode.UNSAFE, self._distrust
        if not self._arm.is_synchronised:
            return ErrorCode.UNSAFE, self._lost or "waits for the arm to stand still"
        return ErrorCode.UNSAFE, self._arm.safety.why_astray(observation)

    def _watch_age(self, now: Moment) -> None:
        """Remembers when data were too old: they have to be in order for a while before the arm moves again."""
        stale = self._why_stale(self._observation(now))
        if stale:
            self._stale, self._stale_at = stale, now.steady

    def _why_stale(self, observation: Observation) -> str:
        stale = self._arm.safety.why_stale(observation)
        if stale and self._camera_frozen:
            return f"{stale}: the pictures stay the same although the arm has moved; is the camera frozen?"
        # Joint states are the first of what may be too old.
        why = self._refused or self._joints.why_none()
        old = not observation.joint_state_age <= self._arm.safety.config.max_joint_state_age
        return f"{stale}; {why}" if stale and old and why else stale

    def _why_not_recovered(self, now: Moment) -> str:
        waits = self._arm.safety.config.recovery_seconds
        if now.steady - self._stale_at >= waits:
            return ""
        return f"{self._stale}; it has to be in order for {waits:g} s before the arm moves again"

    def _check_clock(self, now: Moment) -> None:
        before, self._now = self._now, now
        if now.ros >= before.ros - self._arm.safety.config.max_joint_state_age:
            return
        # Stamps belong to a past that no longer exists; what the arm was told goes on, if it is the same arm.
        self._joints.clear()
        self._latents.clear()
        self._arm.shift(now.ros - before.ros - (now.steady - before.steady))
        self._arm.safety.activate(now.ros)
        self._joints_received = self._latent_received = float("-inf")
        self._at_rest_since, self._stopping, self._doubtful = None, False, True

    def _recognise_arm(self, now: Moment) -> None:
        """After a jump of the clock: an arm that moves on as it was told is stopped, any other one is a new one.

        A simulator that starts again sets the clock back, too. To its arm a stop would be a jump.
        """
        newest = self._joints.newest()
        if not self._doubtful or newest is None:
            return
        self._doubtful = False
        observation = self._observation(now)
        if np.max(np.abs(newest.velocities)) <= self._config.rest_speed or self._arm.safety.why_astray(observation):
            self._arm.forget()

    def _forget_lost_arm(self, now: Moment) -> None:
        """An arm that is not where it was commanded has another master, an obstacle, or a new controller.

        What its controller holds is unknown then, and a stop from where it should be would be a jump: it is sent
        nothing, comes to rest at the end of its segment, and is found again there.
        """
        observation = self._observation(now)
        if not self._arm.is_synchronised or self._arm.safety.why_stale(observation):
            return
        astray = self._arm.safety.why_astray(observation)
        if astray:
            self._lost = f"{astray} Waits for it to stand still."
            self._losses += 1
            self._arm.forget()
            self._at_rest_since = None

    def _notice_unfollowed(self, now: Moment) -> None:
        """After a command that had no effect the arm goes on from what it does instead, unless that happens again."""
        before, self._unfollowed = self._unfollowed, self._arm.unfollowed
        if self._unfollowed <= before:
            return
        self._stopping = False
        if self.machine.lets_move:
            self.machine.hold(ErrorCode.UNSAFE, _UNFOLLOWED, now.steady, abort=self._unfollowed > _LOSSES)

    def _find_unsure_arm(self, now: Moment) -> None:
        """An arm that stands still, and not surely where it was told to, is found where it is."""
        newest = self._joints.newest()
        if newest is None or not self._arm.is_synchronised or self._arm.is_moving(now.ros) or self._doubt:
            return
        if not self._arm.is_certain(now.ros) and self._stands_still(newest, now):
            self._arm.forget()

    def _synchronise(self, now: Moment) -> None:
        """Takes over where the arm really is, once it stands still."""
        newest = self._joints.newest()
        if self._arm.is_synchronised or newest is None or not self._stands_still(newest, now):
            return
        self._arm.synchronise(newest.positions)
        self._stopping, self._lost = False, ""

    def _stands_still(self, newest: JointSample, now: Moment) -> bool:
        """Whether fresh joint states have shown no motion for a while."""
        fresh = now.steady - self._joints_received <= self._arm.safety.config.max_joint_state_age
        if not fresh or np.max(np.abs(newest.velocities)) > self._config.rest_speed:
            self._at_rest_since = None
            return False
        if self._at_rest_since is None:
            self._at_rest_since = now.steady
        return now.steady - self._at_rest_since >= _REST_SECONDS

    def _rest(self, now: Moment) -> None:
        if self._stopping or self._doubtful or not self._arm.is_moving(now.ros):
            self._stop_wanted = None
            return
        if self._doubted_since is not None and now.steady - self._doubted_since < _DOUBT_SECONDS:
            return  # To an arm that was put elsewhere a stop would be a jump.
        if self._stop_wanted is None:
            self._stop_wanted = now.steady
        patient = now.steady - self._stop_wanted < _STOP_PATIENCE
        for _ in range(_ATTEMPTS):
            now = self._time(now)
            verdict = self._arm.stop(now.ros, careful=patient)
            if verdict.command is None:
                return
            if self._send(verdict.command, now):
                self._stopping, self._stop_wanted = True, None
                return

    # --- planning -------------------------------------------------------------------------------------------

    def next_job(self, now: Moment) -> Job | None:
        """The next action to plan; None when one is being planned, it is not time, data are stale, or no goal is there.

        Each job has to be given back, to `conclude` or to `abandon`.
        """
        with self._lock:
            sequence = self.machine.sequence
            if (
                self._planning
                or self._waiting is not None
                or not self.machine.wants_step
                or sequence is None
                or self._mpc is None
                or not self._latents
            ):
                return None
            if self._settling_since is not None and not self._shows_rest(self._latents[-1]):
                self._wait_for_rest(now)
                return None
            if now.steady - self._planned_at < self._config.step_seconds or self._latents[-1] == self._planned_stamp:
                return None
            if self._why_not_ready(now)[1]:
                return None
            self._planned_at, self._planned_stamp = now.steady, self._latents[-1]
            goal = self.machine.goal
            is_first, self._planned_goal = goal != self._planned_goal, goal
            self._planning = True
            return Job(goal, sequence, self._mpc, self._context(), is_first)

    def perform(self, job: Job, cost: CostFactory[LatentStamps, int]) -> Action | str:
        """Plans: the action, or why there is none. Takes as long as the solver; holds no lock."""
        if job.is_first:
            job.mpc.reset()
        try:
            return job.mpc.step(job.observation, job.state, job.sequence, cost)
        except (PlanningError, SolverError) as error:
            return str(error)

    def conclude(self, job: Job, action: Action | str, now: Moment, plan_seconds: float) -> None:
        """Turns what `perform` returned into a command, unless the goal has changed meanwhile."""
        with self._lock:
            self._planning = False
            if self.machine.goal != job.goal or not self.machine.wants_step:
                job.sequence.take_back()
                return
            if isinstance(action, str):
                self.machine.hold(ErrorCode.PREDICTOR_FAILED, action, now.steady)
                return
            self._report = action, plan_seconds
            if job.sequence.outcome is Outcome.REACHED and not self._shows_rest(job.observation.stamps[-1]):
                self._settle(job, now)
                return
            self._settling_since = None
            if self.machine.observed(action.progress, action.energy):
                self._command(job, action, now, plan_seconds)

    def _settle(self, job: Job, now: Moment) -> None:
        """The goal seems to be reached, by a picture of a moving arm: it is judged again by one of an arm at rest.

        The arm goes to rest where the picture showed it; it has gone on since then, and might pass the goal.
        """
        job.sequence.reopen()
        if self._settling_since is None:
            self._settling_since = now.steady
        now = self._time(now)
        verdict = self._arm.toward(job.state, np.zeros(len(job.state)), None, self._observation(now))
        self._settles_there = verdict.command is not None and self._send(verdict.command, now)
        if not self._settles_there:
            self._rest(now)

    def _shows_rest(self, stamp: int) -> bool:
        """Whether the arm stood still when the picture of ``stamp``, ns, was taken."""
        time = stamp / NANOSECONDS
        arm = self._joints.at(time)
        still = arm is not None and bool(np.max(np.abs(arm.velocities)) <= self._config.rest_speed)
        return self._config.dry_run or (still and time >= self._arm.rests_from)

    def _wait_for_rest(self, now: Moment) -> None:
        if self._settling_since is not None and now.steady - self._settling_since > _SETTLING_SECONDS:
            reason = "the goal seems to be reached, but the arm does not come to rest, or no picture shows it at rest"
            self.machine.hold(ErrorCode.UNSAFE, reason, now.steady)

    def abandon(self, reason: str) -> None:
        """Gives the goal up because of a fault in the program."""
        with self._lock:
            self._planning = False
            self.machine.abort(ErrorCode.UNSAFE, reason)

    def _command(self, job: Job, action: Action, now: Moment, plan_seconds: float) -> None:
        for _ in range(_ATTEMPTS):
            now = self._time(now)
            observation = self._observation(now, action.energy, action.surprise)
            verdict = self._arm.toward(job.state, action.values, action.closedness, observation)
            if verdict.wait:
                self._waiting = _Waiting(job, action, plan_seconds, now.steady)
                return
            if verdict.command is None:
                self._refuse(job, observation, verdict, now)
                return
            if self._send(verdict.command, now):
                self._stepped(job, action, plan_seconds)
                return
        job.sequence.take_back()
        self.machine.hold(ErrorCode.STALE_DATA, _TOO_LATE, now.steady)

    def _try_again(self, now: Moment) -> None:
        """What the arm could not be told yet it may be told now; after a while that is planned anew."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        wanted = self.machine.goal == waiting.job.goal and self.machine.wants_step and not self._why_not_ready(now)[1]
        if not wanted or now.steady - waiting.since > self._config.step_seconds:
            waiting.job.sequence.take_back()
            return
        self._command(waiting.job, waiting.action, now, waiting.plan_seconds)
        if self._waiting is not None:
            self._waiting = waiting
        else:
            self._planned_at = now.steady

    def _refuse(self, job: Job, observation: Observation, verdict: Verdict, now: Moment) -> None:
        job.sequence.take_back()
        stale = bool(self._arm.safety.why_stale(observation))
        code = ErrorCode.STALE_DATA if stale else ErrorCode.UNSAFE
        self.machine.hold(code, verdict.reason, now.steady, verdict.abort)

    def _stepped(self, job: Job, action: Action, plan_seconds: float) -> None:
        self._stopping, self._stop_wanted = False, None
        self.machine.stepped()
        progress = action.progress
        self._outputs.step_taken(
            StepReport(job.goal, self.machine.steps, progress.sub_goal, action.energy, action.values, plan_seconds)
        )

    def _time(self, now: Moment) -> Moment:
        """What the clock says; ``now`` without one."""
        return now if self._clock is None else self._clock()

    def _send(self, command: ApprovedCommand, now: Moment) -> bool:
        """Sends what was made at ``now``; false when that took so long that it would begin before it is there."""
        if self._config.dry_run:
            return True
        after = self._time(now)
        # A process that gets no time hears nothing of simulated time either, perhaps since before ``now``.
        took = max(after.ros + after.behind - now.ros, after.steady - now.steady)
        self._arm.prepared(took)
        if command.segment.start - now.ros - took < _LEAST_LEAD:
            return False
        self._outputs.send_arm(command)
        self._arm.commit(command, now.ros)
        if command.closedness is not None and command.closedness != self._closedness:
            self._closedness = command.closedness
            self._outputs.send_gripper(command.closedness)
        return True

    def _context(self) -> LatentStamps:
        """The newest latent and, for models that want more, those nearest to whole control periods before it."""
        newest, known = self._latents[-1], list(self._latents)
        wanted = [
            newest - round(index * self._config.context_seconds * NANOSECONDS)
            for index in range(self._config.context_frames)
        ]
        stamps = tuple(sorted({_nearest(known, time) for time in wanted}))
        return LatentStamps(stamps, np.array([self._state_at(stamp / NANOSECONDS) for stamp in stamps]))

    def _state_at(self, time: float) -> Vector:
        sample = self._joints.at(time)
        if sample is None:
            raise PlanningError("joint_states: none came yet")
        return self._kinematics.state(sample.positions, sample.closedness)

    def _observation(self, now: Moment, energy: float = float("nan"), surprise: float = float("nan")) -> Observation:
        newest = self._joints.newest()
        nowhere = np.full(len(self._kinematics.joint_names), np.nan)
        measured = nowhere if newest is None else newest.positions
        known = newest is not None and self._arm.is_synchronised
        desired = self._arm.desired(newest.time).position if known and newest is not None else measured
        return Observation(
            now.ros,
            measured,
            desired,
            self._image_age(now),
            now.steady - self._latent_received,
            self._joint_state_age(now),
            energy,
            surprise,
        )

    def _image_age(self, now: Moment) -> float:
        return now.ros - self._latents[-1] / NANOSECONDS if self._latents else float("inf")

    def _joint_state_age(self, now: Moment) -> float:
        newest = self._joints.newest()
        if newest is None:
            return float("inf")
        # The older of both: simulated time that stands still, and stamps that do.
        return max(now.ros - newest.time, now.steady - self._joints_received)

    # --- what is seen ---------------------------------------------------------------------------------------

    def status(self, now: Moment) -> Status:
        """What goes on."""
        with self._lock:
            action, plan_seconds = self._report or (None, float("nan"))
            sequence = self.machine.sequence
            machine = self.machine
            return Status(
                state=machine.state,
                # Also before there is a goal: what would keep the arm from moving toward it.
                reason=machine.reason or (self._why_not_ready(now)[1] if machine.state is State.IDLE else ""),
                step=machine.steps,
                sub_goal=sequence.index if sequence else 0,
                sub_goals=len(sequence.goals) if sequence else 0,
                energy=action.energy if action else float("nan"),
                predicted_energy=action.predicted_energy if action else float("nan"),
                surprise=action.surprise if action else float("nan"),
                plan_seconds=plan_seconds,
                image_age=_known(self._image_age(now)),
                joint_state_age=_known(self._joint_state_age(now)),
                action=tuple(action.values) if action and action.outcome is Outcome.PURSUING else (),
            )


# An arm that is lost more often while one goal is pursued is blocked, and so is one that does not follow more commands.
_LOSSES = 3
_UNFOLLOWED = (
    "the arm did not do what it was told last: was the command lost, late, or refused by the controller, or is "
    "something in its way? Goes on from what it does"
)
# A command that is ready with less than this left until it begins, s, is not sent but made again, so many times.
_LEAST_LEAD = 0.015
_ATTEMPTS = 3
_TOO_LATE = "making a command took longer than the time until it was to begin: is the machine overloaded?"
# So long a joint state that was not believed is remembered, s: until an arm that was put there would be believed.
_DOUBT_SECONDS = 0.2
# So long a stop waits until it is seen whether the last command was followed, s.
_STOP_PATIENCE = 0.15
# An arm comes to rest, and a picture of that comes, within this, s.
_SETTLING_SECONDS = 3.0
# A camera that works sees a joint move by so much, rad.
_SEEN_MOTION = 0.1
# An arm that has not moved for so long stands still, s.
_REST_SECONDS = 0.2


def _nearest(stamps: Sequence[int], wanted: int) -> int:
    return min(stamps, key=lambda stamp: abs(stamp - wanted))


def _known(age: float) -> float:
    return age if np.isfinite(age) else float("nan")
