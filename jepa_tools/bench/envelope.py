"""`jepa envelope`: what the planner's motion asks of the joints, recorded on the simulated arm and drawn.

Episodes run without ROS and in simulated time: the same control loop, motion and safety filter as in the planner node
lead the arm to random places. The goal's distance is taken from the simulation instead of a world model, because this
measures motion: how fast, how hard and how jerkily the joints are driven, and how well they follow.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_common.whole_files import write_whole
from jepa_planner.arm_motion import ArmMotion, ArmMotionConfig
from jepa_planner.control_loop import ControlLoop, ControlLoopConfig, Job, LatentStamps, Moment, StepReport
from jepa_planner.cost import Assessment
from jepa_planner.goal_machine import GoalResult
from jepa_planner.goals import GoalConfig, GoalSequence, SubGoal
from jepa_planner.joint_history import JointHistory
from jepa_planner.kinematics import Kinematics
from jepa_planner.limits import LONGEST_STEP, Envelope, JointLimits, fer_limits
from jepa_planner.motion import Segment
from jepa_planner.mpc import Action, Mpc, MpcConfig
from jepa_planner.safety import ApprovedCommand, SafetyConfig
from jepa_planner.solvers import SolverConfig, make_solver
from jepa_sim.controlled_simulation import JOINT_NAMES, ControlledSimulation
from jepa_sim.reset import Workspace
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK, HAND, TCP_LINK, franka_panda
from jepa_sim.trajectory_controller import Trajectory, TrajectoryController, TrajectoryPoint

Vector = NDArray[np.float64]
QUANTITIES = {"velocity": "rad/s", "acceleration": "rad/s²", "jerk": "rad/s³"}

_TICK, _IMAGE, _PLAN = 0.02, 0.1, 0.12  # s between ticks and images, and that a plan takes
_ROUNDING = 1.01  # a jerk from differences of accelerations is exact to about this


@dataclass(frozen=True)
class EnvelopeConfig:
    """Records what the planner's motion asks of the simulated arm's joints.

    Attributes:
        episodes: How many, each to another goal.
        seed: Of starts and goals.
        seconds: Simulated time of an episode.
        out: Folder for envelope.json and envelope.png.
        envelope: Shares of the limits that may be used.
        max_step: Longest step, m.
    """

    episodes: int = 10
    seed: int = 0
    seconds: float = 8.0
    out: Path = Path("out/envelope")
    envelope: Envelope = field(default_factory=Envelope)
    max_step: float = LONGEST_STEP

    def __post_init__(self) -> None:
        if self.episodes < 1 or not self.seconds > 0 or not self.max_step > 0:
            raise ValueError(f"episodes, seconds and max_step must be positive, got {self}")


@dataclass(frozen=True, eq=False)
class Recording:
    """One episode at the physics rate: times [T], s; what was commanded and measured, each [T, joints].

    reached: seconds from the start to the goal, NaN when it was not reached.
    """

    times: Vector
    positions: Vector
    velocities: Vector
    accelerations: Vector
    measured: Vector
    reached: float

    @property
    def jerks(self) -> Vector:
        """Change of the commanded acceleration [T - 1, joints], rad/s^3."""
        return np.diff(self.accelerations, axis=0) / np.diff(self.times)[:, None]

    @property
    def tracking_error(self) -> float:
        """Largest distance of a joint from where it was commanded, rad."""
        return float(np.abs(self.measured - self.positions).max())


class DrivenArm:
    """The simulated arm behind the planner's control loop, in simulated time. One thread uses it."""

    def __init__(self, config: EnvelopeConfig) -> None:
        """Builds both; raises ValueError for an envelope that leaves no motion."""
        self._config = config
        urdf = franka_panda().to_urdf()
        self._kinematics = Kinematics.from_urdf(urdf, BASE_LINK, TCP_LINK, ARM_JOINTS)
        self.limits = config.envelope.apply(self._kinematics.limits().stricter(fer_limits(ARM_JOINTS)))
        self._simulation = ControlledSimulation()
        # Executes the same trajectories at the same time as the simulation's own, and can be asked what it does.
        self._twin = TrajectoryController(ARM_JOINTS, franka_panda().limits(ARM_JOINTS))
        self._goal = np.zeros(3)
        self._reached = False

    def close(self) -> None:
        """Frees the simulation."""
        self._simulation.close()

    # --- what the control loop puts out ---------------------------------------------------------------------

    def send_arm(self, command: ApprovedCommand) -> None:
        """Hands a command to both controllers."""
        trajectory = as_trajectory(command.sent)
        self._simulation.follow_arm(trajectory)
        self._twin.accept(trajectory, self._time)

    def send_gripper(self, closedness: float) -> None:
        """The gripper stays."""

    def step_taken(self, report: StepReport) -> None:
        """Nothing to report."""

    def goal_finished(self, goal: Hashable, result: GoalResult) -> None:  # noqa: ARG002
        """The recording goes on to its end, so that the arm is seen to come to rest."""
        self._reached = True

    # --- an episode -----------------------------------------------------------------------------------------

    def run(self, seed: int) -> Recording:
        """Leads the arm from where ``seed`` puts it to where ``seed`` says."""
        generator = np.random.default_rng((seed, 1))
        self._goal, self._reached = Workspace().draw(generator, (0.05, 0.05, 0.05)), False
        self._simulation.reset(seed)
        positions = self._simulation.advance(1).positions[: len(ARM_JOINTS)]
        self._twin.reset(positions, self._time)
        loop = self._make_loop()
        return self._record(loop, self._make_mpc(seed))

    @property
    def _time(self) -> float:
        return self._simulation.time_ns * 1e-9

    def _make_loop(self) -> ControlLoop:
        safety = SafetyConfig(max_step=max(self._config.max_step, 0.01))
        arm = ArmMotion(self._kinematics, self.limits, safety, ArmMotionConfig())
        loop = ControlLoop(ControlLoopConfig(), arm, self._kinematics, JointHistory(ARM_JOINTS, HAND), self)
        loop.activate(Moment(self._time, self._time))
        return loop

    def _make_mpc(self, seed: int) -> Mpc[LatentStamps, int]:
        solver = make_solver(SolverConfig(max_step=self._config.max_step, seed=seed))
        mpc = MpcConfig(plan_seconds=0.0, energy_per_meter=1.0, longest_step=self._config.max_step)
        return Mpc(mpc, solver)

    def _record(self, loop: ControlLoop, mpc: Mpc[LatentStamps, int]) -> Recording:
        sequence = GoalSequence([SubGoal(0)], GoalConfig(tolerance=0.01, plateau_steps=0, max_steps=1000))
        start = self._time
        with loop.locked():
            loop.machine.announce("episode", start, "")
            loop.start_goal(sequence, mpc)
        nodes = _Nodes(loop, self)
        rows, reached = [], float("nan")
        for _ in range(round(self._config.seconds / self._simulation.timestep)):
            readings = self._simulation.advance(1)
            nodes.spin(self._time, readings.positions, readings.velocities)
            desired = self._twin.sample(self._time)
            measured = readings.positions[: len(ARM_JOINTS)]
            rows.append((desired.positions, desired.velocities, desired.accelerations, measured))
            reached = self._time - start if self._reached and np.isnan(reached) else reached
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        times = self._simulation.timestep * np.arange(len(rows), dtype=np.float64)
        return Recording(times, columns[0], columns[1], columns[2], columns[3], reached)

    def cost(self, observation: LatentStamps, state: NDArray[np.floating], goal: int) -> _Distance:  # noqa: ARG002
        """The cost of acting from ``state`` [7]."""
        return _Distance(self._goal - state[:3])


class _Nodes:
    """What the nodes around a control loop do, by simulated time: joint states, images, ticks and plans."""

    def __init__(self, loop: ControlLoop, arm: DrivenArm) -> None:
        self._loop, self._arm = loop, arm
        self._next_tick = self._next_image = float("-inf")
        self._planned: tuple[float, Job, Action | str] | None = None

    def spin(self, time: float, positions: Vector, velocities: Vector) -> None:
        now = Moment(time, time)
        self._loop.joint_state(now, time, JOINT_NAMES, positions.tolist(), velocities.tolist())
        if time >= self._next_image:
            self._next_image = time + _IMAGE
            self._loop.latent(now, round((time - 0.03) * 1e9))
        if time >= self._next_tick:
            self._next_tick = time + _TICK
            self._loop.tick(now)
        self._plan(now)

    def _plan(self, now: Moment) -> None:
        if self._planned is not None and now.ros >= self._planned[0]:
            (_, job, action), self._planned = self._planned, None
            self._loop.conclude(job, action, now, _PLAN)
        job_due = self._loop.next_job(now)
        if job_due is not None:
            self._planned = now.ros + _PLAN, job_due, self._loop.perform(job_due, self._arm.cost)


class _Distance:
    """Energy: metres to go."""

    def __init__(self, away: NDArray[np.floating]) -> None:
        self._away = away

    def assess(self) -> Assessment:
        return Assessment(float(np.linalg.norm(self._away)))

    def __call__(self, actions: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(np.linalg.norm(self._away - actions[..., :3].sum(axis=1), axis=-1))


def as_trajectory(segment: Segment) -> Trajectory:
    """A segment as the simulation's controller takes it."""
    rows = zip(segment.times, segment.positions, segment.velocities, segment.accelerations, strict=True)
    points = [TrajectoryPoint(float(time), *(values.tolist() for values in motion)) for time, *motion in rows]
    points[-1] = TrajectoryPoint(
        points[-1].time_from_start, points[-1].positions, (0.0,) * len(ARM_JOINTS), points[-1].accelerations
    )
    return Trajectory(segment.start, ARM_JOINTS, points)


@dataclass(frozen=True)
class EnvelopeReport:
    """Peaks over all episodes, per joint, with the limits that they have to keep."""

    joints: tuple[str, ...]
    velocity: tuple[float, ...]
    velocity_limit: tuple[float, ...]
    acceleration: tuple[float, ...]
    acceleration_limit: tuple[float, ...]
    jerk: tuple[float, ...]
    jerk_limit: tuple[float, ...]
    tracking_error: float
    episodes: int
    reached: int
    seconds_to_goal: float

    @classmethod
    def of(cls, recordings: Sequence[Recording], limits: JointLimits) -> EnvelopeReport:
        """The report of some episodes that were driven inside ``limits``."""
        seconds = [recording.reached for recording in recordings if np.isfinite(recording.reached)]
        return cls(
            limits.names,
            _peaks([recording.velocities for recording in recordings]),
            tuple(limits.velocity),
            _peaks([recording.accelerations for recording in recordings]),
            tuple(limits.acceleration),
            _peaks([recording.jerks for recording in recordings]),
            tuple(limits.jerk),
            max(recording.tracking_error for recording in recordings),
            len(recordings),
            len(seconds),
            float(np.median(seconds)) if seconds else float("nan"),
        )

    @property
    def is_inside(self) -> bool:
        """Whether no joint was ever asked for more than its limits."""
        return all(
            peak <= limit * _ROUNDING
            for name in QUANTITIES
            for peak, limit in zip(getattr(self, name), getattr(self, f"{name}_limit"), strict=True)
        )

    def text(self) -> str:
        """A table for the terminal: peak / limit."""
        head = f"{'':14s}" + "".join(f"{f'{name}, {unit}':>24s}" for name, unit in QUANTITIES.items())
        rows = [
            f"{joint:14s}"
            + "".join(
                f"{getattr(self, name)[index]:12.2f} / {getattr(self, f'{name}_limit')[index]:9.2f}"
                for name in QUANTITIES
            )
            for index, joint in enumerate(self.joints)
        ]
        verdict = "inside the envelope" if self.is_inside else "OUTSIDE the envelope"
        return "\n".join(
            [
                head,
                *rows,
                f"largest tracking error {self.tracking_error:.3f} rad",
                f"{self.reached} of {self.episodes} goals reached, median {self.seconds_to_goal:.1f} s",
                verdict,
            ]
        )


def _peaks(values: Sequence[Vector]) -> tuple[float, ...]:
    return tuple(float(peak) for peak in np.max([np.abs(rows).max(axis=0) for rows in values], axis=0))


def record(config: EnvelopeConfig) -> tuple[list[Recording], JointLimits]:
    """Runs the episodes; returns their recordings and the limits that they were driven with."""
    arm = DrivenArm(config)
    try:
        seeds = range(config.seed, config.seed + config.episodes)
        return [arm.run(seed) for seed in tqdm(seeds, desc="envelope")], arm.limits
    finally:
        arm.close()


def envelope(config: EnvelopeConfig) -> int:
    """Records, prints the table, and writes the report. Returns 0 when all motion was inside the envelope."""
    recordings, limits = record(config)
    report = EnvelopeReport.of(recordings, limits)
    print(report.text())
    config.out.mkdir(parents=True, exist_ok=True)
    write_whole(config.out / "envelope.json", json.dumps(asdict(report), indent=2) + "\n")
    envelope_figure(recordings, limits).savefig(config.out / "envelope.png", dpi=110, facecolor="white")
    print(config.out / "envelope.png")
    return 0 if report.is_inside else 1


def envelope_figure(recordings: Sequence[Recording], limits: JointLimits) -> Figure:
    """Velocities, accelerations and jerks of all joints over the time of all episodes, as shares of their limits."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    for axis, quantity in zip(figure.subplots(len(QUANTITIES), 1, sharex=True), QUANTITIES, strict=True):
        bound = getattr(limits, quantity)
        for joint, name in enumerate(limits.names):
            for start, recording in zip(_starts(recordings), recordings, strict=True):
                values = _values(recording, quantity)[:, joint] / bound[joint]
                times = start + recording.times[: len(values)]
                axis.plot(times, values, color=f"C{joint}", linewidth=0.6, label=name if start == 0 else None)
        axis.axhline(1.0, color="black", linewidth=0.8, linestyle="--")
        axis.axhline(-1.0, color="black", linewidth=0.8, linestyle="--")
        axis.set_ylabel(f"{quantity} / limit")
    axis.set_xlabel("simulated time of all episodes, s")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=len(limits.names), fontsize=8)
    return figure


def _values(recording: Recording, quantity: str) -> Vector:
    columns = {
        "velocity": recording.velocities,
        "acceleration": recording.accelerations,
        "jerk": recording.jerks,
    }
    return columns[quantity]


def _starts(recordings: Sequence[Recording]) -> list[float]:
    lengths = [float(recording.times[-1]) for recording in recordings]
    return [0.0, *itertools.accumulate(lengths[:-1])]
