"""Commands that are lost, late or refused: what the arm's controller makes of the others stays inside its limits."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import Literal

import numpy as np
import pytest
from motion_judge import MotionJudge, TrajectoryCommand

from jepa_planner.arm_motion import ArmMotion, ArmMotionConfig
from jepa_planner.control_loop import ControlLoop, ControlLoopConfig, LatentStamps, Moment, StepReport
from jepa_planner.cost import Assessment
from jepa_planner.goal_machine import ErrorCode, GoalResult
from jepa_planner.goals import GoalConfig, GoalSequence, SubGoal
from jepa_planner.joint_history import JointHistory
from jepa_planner.kinematics import Kinematics
from jepa_planner.limits import Envelope, fer_limits
from jepa_planner.mpc import Mpc, MpcConfig
from jepa_planner.safety import ApprovedCommand, SafetyConfig
from jepa_planner.solvers import SolverConfig, make_solver
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK, HAND, HOME_POSITIONS, TCP_LINK, franka_panda
from jepa_sim.trajectory_controller import Trajectory, TrajectoryController, TrajectoryPoint, TrajectoryRefusedError

TICK = 0.005
PLAN_SECONDS = 0.12
URDF = franka_panda().to_urdf()


def kinematics() -> Kinematics:
    return Kinematics.from_urdf(URDF, BASE_LINK, TCP_LINK, ARM_JOINTS)


class Distance:
    """Energy: metres to the goal."""

    def __init__(self, away: np.ndarray) -> None:
        self._away = away

    def assess(self) -> Assessment:
        return Assessment(float(np.linalg.norm(self._away)))

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        return np.linalg.norm(self._away - actions[..., :3].sum(axis=1), axis=-1)


class Arm:
    """A servo with a lag behind a trajectory controller, a line to it that loses and delays, and the judge of both."""

    def __init__(self, seed: int, lag: float, loss: float, delay: float, reports: bool) -> None:
        self.judge = MotionJudge()
        self.time, self.lag, self.loss, self.delay, self.reports = 50.0, lag, loss, delay, reports
        self.sent = self.lost = 0
        self.results: list[GoalResult] = []
        self._random = np.random.default_rng(seed)
        self._line: list[tuple[float, ApprovedCommand]] = []
        self._kinematics = kinematics()
        limits = Envelope().apply(self._kinematics.limits().stricter(fer_limits(ARM_JOINTS)))
        motion = ArmMotion(self._kinematics, limits, SafetyConfig(), ArmMotionConfig())
        joints = JointHistory(ARM_JOINTS, HAND)
        self.loop = ControlLoop(ControlLoopConfig(), motion, self._kinematics, joints, self)
        self.positions = self._kinematics.ik([0.5, 0.0, 0.3, np.pi, 0, 0], HOME_POSITIONS).positions
        self.velocities = np.zeros(7)
        self._controller = TrajectoryController(ARM_JOINTS, franka_panda().limits(ARM_JOINTS))
        self._controller.reset(self.positions, self.time)
        self._goal, self._planned = np.zeros(3), None
        self.loop.activate(self.now)

    @property
    def now(self) -> Moment:
        return Moment(self.time, self.time)

    # --- what the loop puts out -----------------------------------------------------------------------------

    def send_arm(self, command: ApprovedCommand) -> None:
        self.sent += 1
        if self._random.uniform() < self.loss:
            self.lost += 1
        else:
            self._line.append((self.time + self._random.uniform(0, self.delay), command))

    def send_gripper(self, closedness: float) -> None:
        """The gripper stays."""

    def step_taken(self, report: StepReport) -> None:
        """Nothing to report."""

    def goal_finished(self, goal: Hashable, result: GoalResult) -> None:
        self.results.append(result)

    # --- what happens ---------------------------------------------------------------------------------------

    def pursue(self, goal: np.ndarray, seconds: float) -> None:
        """Until it is reached or given up, at most ``seconds``."""
        self._goal, ended = goal, len(self.results)
        sequence = GoalSequence([SubGoal(0)], GoalConfig(tolerance=0.01, plateau_steps=0, max_steps=100))
        solver = make_solver(SolverConfig(samples=32, iterations=2, max_step=0.075))
        with self.loop.locked():
            self.loop.machine.announce(str(goal), self.time, "")
            self.loop.start_goal(sequence, Mpc(MpcConfig(plan_seconds=0.0, energy_per_meter=1.0), solver))
        end = self.time + seconds
        while self.time < end and len(self.results) == ended:
            self.step()

    def step(self) -> None:
        self.time += TICK
        self._deliver()
        wanted = self._controller.sample(self.time)
        share = 1.0 if self.lag == 0 else TICK / self.lag
        moved = self.positions + share * (wanted.positions - self.positions)
        self.velocities, self.positions = (moved - self.positions) / TICK, moved
        self.judge.joint_state(self.time, self.positions, self.velocities)
        self.judge.followed(self.time, wanted.positions)
        self._tell(wanted.positions)
        self._plan()

    def _deliver(self) -> None:
        due = [command for at, command in self._line if at <= self.time]
        self._line = [(at, command) for at, command in self._line if at > self.time]
        for command in due:
            sent = command.sent
            motions = zip(sent.times, sent.positions, sent.velocities, sent.accelerations, strict=True)
            points = [TrajectoryPoint(float(time), *(row.tolist() for row in rows)) for time, *rows in motions]
            points[-1] = TrajectoryPoint(points[-1].time_from_start, points[-1].positions, (0.0,) * 7, (0.0,) * 7)
            velocities = np.vstack([sent.velocities[:-1], np.zeros(7)])
            self.judge.command(
                self.time,
                TrajectoryCommand(sent.start, ARM_JOINTS, sent.times, sent.positions, velocities, sent.accelerations),
            )
            try:
                self._controller.accept(Trajectory(sent.start, ARM_JOINTS, points), self.time)
            except TrajectoryRefusedError:
                self.lost += 1

    def _tell(self, wanted: np.ndarray) -> None:
        """What the loop hears: joint states and ticks at 50 Hz, pictures at 10 Hz."""
        count = round(self.time / TICK)
        if count % 4 == 0:
            if self.reports:
                self.loop.desired_state(self.time, ARM_JOINTS, wanted)
            self.loop.joint_state(self.now, self.time, ARM_JOINTS, self.positions, self.velocities)
            self.loop.tick(self.now)
        if count % 20 == 0:
            self.loop.latent(self.now, round((self.time - 0.03) * 1e9), count)

    def _plan(self) -> None:
        if self._planned is not None and self.time >= self._planned[0]:
            (_, job, action), self._planned = self._planned, None
            self.loop.conclude(job, action, self.now, PLAN_SECONDS)
        job = self.loop.next_job(self.now)
        if job is not None:
            self._planned = self.time + PLAN_SECONDS, job, self.loop.perform(job, self._cost)

    def _cost(self, observation: LatentStamps, state: np.ndarray, goal: int) -> Distance:
        return Distance(self._goal - state[:3])

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self._kinematics.pose(self.positions)[:3] - self._goal))


Fault = Literal["lost", "late", "none"]
FAULTS: dict[Fault, tuple[float, float]] = {"none": (0.0, 0.005), "lost": (0.25, 0.005), "late": (0.0, 0.03)}


@pytest.mark.parametrize(("lag", "reports"), [(0.0, False), (0.1, False), (0.1, True)])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_limit_is_broken_whatever_becomes_of_commands(fault: Fault, lag: float, reports: bool) -> None:
    loss, delay = FAULTS[fault]
    arm = Arm(1, lag, loss, delay, reports)
    for _ in range(60):
        arm.step()
    for goal in itertools.islice(np.random.default_rng(2).uniform((0.4, -0.2, 0.15), (0.6, 0.2, 0.4), (99, 3)), 4):
        arm.pursue(goal, 15.0)
    assert not arm.judge.violations, arm.judge.violations[:5]
    assert arm.sent > 20 and (fault != "lost" or arm.lost > 4)
    if fault == "none":
        assert [result.code for result in arm.results] == [ErrorCode.REACHED] * 4


def test_goal_is_reached_although_commands_are_lost() -> None:
    arm = Arm(3, 0.1, 0.1, 0.005, reports=False)
    for _ in range(60):
        arm.step()
    arm.pursue(np.array([0.45, 0.15, 0.25]), 30.0)
    assert arm.lost > 0 and arm.results[0].code is ErrorCode.REACHED and arm.distance < 0.015
