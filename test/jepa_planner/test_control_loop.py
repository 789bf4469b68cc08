"""The planner without ROS: it commands on fresh data only, holds with a reason otherwise, and goes on afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from franka import HOME, cautious_limits, kinematics

from jepa_planner.arm_motion import ArmMotion, ArmMotionConfig
from jepa_planner.control_loop import ControlLoop, ControlLoopConfig, LatentStamps, Moment, PlanningError, StepReport
from jepa_planner.cost import Assessment
from jepa_planner.goal_machine import ErrorCode, GoalResult, State
from jepa_planner.goals import GoalConfig, GoalSequence, SubGoal
from jepa_planner.joint_history import JointHistory, JointStateRefusedError
from jepa_planner.motion import Segment
from jepa_planner.mpc import Mpc, MpcConfig
from jepa_planner.safety import ApprovedCommand, SafetyConfig
from jepa_planner.solvers import SolverConfig, make_solver
from jepa_sim.robot_description import ARM_JOINTS, FINGER_JOINTS, HAND

KINEMATICS = kinematics()
START = KINEMATICS.ik([0.5, 0.0, 0.25, np.pi, 0, 0], HOME).positions
GOAL = np.array([0.45, 0.12, 0.2])
TICK = 0.02


class Outputs:
    """Remembers everything that the loop puts out."""

    def __init__(self) -> None:
        self.commands: list[ApprovedCommand | Executed] = []
        self.gripper: list[float] = []
        self.reports: list[StepReport] = []
        self.results: list[tuple[Hashable, GoalResult]] = []

    def send_arm(self, command: ApprovedCommand) -> None:
        self.commands.append(command)

    def send_gripper(self, closedness: float) -> None:
        self.gripper.append(closedness)

    def step_taken(self, report: StepReport) -> None:
        self.reports.append(report)

    def goal_finished(self, goal: Hashable, result: GoalResult) -> None:
        self.results.append((goal, result))

    @property
    def codes(self) -> list[ErrorCode]:
        return [result.code for _, result in self.results]


@dataclass(frozen=True)
class Executed:
    """What the arm's controller holds."""

    segment: Segment


class Table:
    """A loop, an arm that follows its commands exactly, a camera, and a model that measures distances in metres."""

    def __init__(self, config: ControlLoopConfig | None = None, **safety: float) -> None:
        self.outputs = Outputs()
        arm_config = ArmMotionConfig()
        self.arm = ArmMotion(KINEMATICS, cautious_limits(), SafetyConfig(**{"ramp_seconds": 0.0, **safety}), arm_config)
        self.joints = JointHistory(ARM_JOINTS, HAND)
        self.loop = ControlLoop(config or ControlLoopConfig(), self.arm, kinematics(), self.joints, self.outputs)
        self.time = 100.0
        self.start = START
        self.stuck: np.ndarray | None = None
        self.ros_offset = 0.0
        self.camera = self.encoder = self.driver = True
        self.predictor_error = ""
        # A joint state comes with every so many ticks.
        self.slow_driver = 1
        # Whether the arm stands still whatever the loop thinks, like that of a simulator that has just started.
        self.is_new_arm = False
        # By how much, m, a moving arm looks nearer to its goal than it is.
        self.misjudged = 0.0
        # What every picture shows; None: another thing each time.
        self.picture: int | None = None
        self.loop.activate(self.now)

    @property
    def now(self) -> Moment:
        return Moment(self.time + self.ros_offset, self.time)

    @property
    def position(self) -> np.ndarray:
        """Where the arm is: where it was told to be, unless it is stuck."""
        if self.stuck is not None:
            return self.stuck
        told = [command.segment for command in self.outputs.commands if command.segment.start <= self.now.ros]
        return told[-1].sample(self.now.ros).position if told else self.start

    def pursue(self, goal: Hashable = "cup", gripper: float | None = 0.0, **config: float) -> None:
        sequence = GoalSequence(
            [SubGoal(1, gripper=gripper)], GoalConfig(**{"tolerance": 0.01, "plateau_steps": 0, **config})
        )
        solver = make_solver(SolverConfig(iterations=2))
        with self.loop.locked():
            self.loop.machine.announce(goal, self.time, "")
            self.loop.start_goal(sequence, Mpc(MpcConfig(plan_seconds=0), solver))

    def cost(self, observation: LatentStamps, state: np.ndarray, goal: int):
        if self.predictor_error:
            raise PlanningError(self.predictor_error)
        return Distance(state, self.misjudged if self.loop_moving else 0.0)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.time += TICK
            if self.driver and round(self.time / TICK) % self.slow_driver == 0:
                names, fingers = (*ARM_JOINTS, *FINGER_JOINTS), (0.04, 0.04)
                velocity = np.full(7, 0.1 if self.loop_moving and not self.is_new_arm else 0.0)
                self.loop.joint_state(self.now, self.now.ros, names, (*self.position, *fingers), (*velocity, 0, 0))
            if self.camera and round(self.time / TICK) % 5 == 0 and self.encoder:
                picture = self.picture if self.picture is not None else round(self.time / TICK)
                self.loop.latent(self.now, round((self.now.ros - 0.03) * 1e9), picture)
            self.loop.tick(self.now)
            self.plan()

    @property
    def loop_moving(self) -> bool:
        return self.arm.is_moving(self.now.ros)

    def plan(self) -> None:
        job = self.loop.next_job(self.now)
        if job is not None:
            self.loop.conclude(job, self.loop.perform(job, self.cost), self.now, 0.1)

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(KINEMATICS.pose(self.position)[:3] - GOAL))


class Distance:
    """Energy = metres to GOAL."""

    def __init__(self, state: np.ndarray, nearer: float = 0.0) -> None:
        self._away, self._nearer = GOAL - state[:3], nearer

    def assess(self) -> Assessment:
        return Assessment(max(float(np.linalg.norm(self._away)) - self._nearer, 0.0))

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        return np.linalg.norm(self._away - actions[:, :, :3].sum(axis=1), axis=-1)


def moving_table(**safety: float) -> Table:
    table = Table(**safety)
    table.run(0.5)
    table.pursue()
    table.run(0.8)
    while not table.arm.is_certain(table.now.ros):
        table.run(TICK)
    assert table.loop.machine.state is State.PLANNING and table.loop_moving
    return table


def assert_rests_within(table: Table, seconds: float) -> None:
    """From now on; the clock of the arm's controller goes on."""
    assert table.outputs.commands[-1].segment.end <= table.now.ros + seconds


def test_goal_is_reached_and_reported_once() -> None:
    table = Table()
    table.run(0.5)
    table.pursue("cup")
    table.run(6.0)
    assert table.outputs.results[0][0] == "cup" and table.outputs.codes == [ErrorCode.REACHED]
    assert table.distance < 0.012 and table.loop.status(table.now).state is State.REACHED
    assert [report.step for report in table.outputs.reports] == list(range(1, len(table.outputs.reports) + 1))
    assert not table.loop_moving and table.outputs.gripper == [0.0]


def test_plans_follow_each_other_at_the_configured_rate_while_the_arm_moves() -> None:
    table = moving_table()
    table.run(1.2)
    # The first ones begin later, until the arm was seen to follow.
    starts = [command.segment.start for command in table.outputs.commands][3:]
    assert len(starts) >= 3 and min(np.diff(starts)) == pytest.approx(0.2, abs=0.021)


def test_splices_are_continuous_up_to_the_acceleration() -> None:
    table = Table()
    table.run(0.5)
    table.pursue()
    table.run(4.0)
    segments = [command.segment for command in table.outputs.commands]
    assert len(segments) > 5
    for before, after in itertools.pairwise(segments):
        told, continued = before.sample(after.start), after.sample(after.start)
        np.testing.assert_allclose(continued.position, told.position, atol=1e-6)
        np.testing.assert_allclose(continued.velocity, told.velocity, atol=1e-6)
        np.testing.assert_allclose(continued.acceleration, told.acceleration, atol=1e-4)


def test_goal_before_any_image_holds_with_the_reason_and_starts_when_images_come() -> None:
    table = Table()
    table.camera = False
    table.run(0.5)
    table.pursue()
    table.run(1.0)
    status = table.loop.status(table.now)
    assert status.state is State.HOLDING and "camera image" in status.reason and "never came" in status.reason
    assert not table.outputs.commands
    table.camera = True
    table.run(1.0)
    assert table.loop.machine.state is State.PLANNING and table.outputs.commands


@pytest.mark.parametrize(
    ("part", "word"), [("camera", "camera image"), ("encoder", "camera image"), ("driver", "joint_states")]
)
def test_data_that_stop_coming_bring_the_arm_to_rest_and_back_again(part: str, word: str) -> None:
    table = moving_table()
    setattr(table, part, False)
    table.run(0.7)
    held = len(table.outputs.commands)
    assert table.loop.machine.state is State.HOLDING and word in table.loop.machine.reason
    assert not table.loop_moving
    table.run(1.0)
    assert len(table.outputs.commands) == held
    setattr(table, part, True)
    table.run(6.0)
    assert table.outputs.codes == [ErrorCode.REACHED]


def test_stop_begins_at_once_and_takes_less_than_0_3_s() -> None:
    table = moving_table()
    with table.loop.locked():
        table.loop.machine.cancel("enough")
    before = len(table.outputs.commands)
    table.loop.tick(table.now)
    assert len(table.outputs.commands) == before + 1
    assert_rests_within(table, 0.3)
    assert table.outputs.codes == [ErrorCode.CANCELED]


def test_data_that_do_not_come_back_give_the_goal_up() -> None:
    table = Table(ControlLoopConfig(give_up_seconds=2.0))
    table.run(0.5)
    table.pursue()
    table.run(1.0)
    table.camera = False
    table.run(3.0)
    assert table.outputs.codes == [ErrorCode.STALE_DATA]
    assert table.loop.status(table.now).state is State.ABORTED


def test_predictor_that_fails_holds_and_gives_up_with_its_own_code() -> None:
    table = Table(ControlLoopConfig(give_up_seconds=2.0))
    table.run(0.5)
    table.predictor_error = "service score_actions is not there"
    table.pursue()
    table.run(1.0)
    assert table.loop.machine.reason == table.predictor_error and not table.outputs.commands
    table.run(2.0)
    assert table.outputs.codes == [ErrorCode.PREDICTOR_FAILED]


def test_simulated_time_that_stands_still_is_noticed() -> None:
    table = moving_table()
    table.driver = table.camera = False
    for _ in range(20):
        table.time += TICK
        table.ros_offset -= TICK
        table.loop.tick(table.now)
    assert table.loop.machine.state is State.HOLDING and "joint_states" in table.loop.machine.reason


def test_clock_that_starts_again_with_a_new_arm_sends_that_one_no_stop_and_goes_on() -> None:
    table = moving_table()
    where = table.position
    table.outputs.commands.clear()
    table.ros_offset, table.is_new_arm = -90.0, True
    table.start = where
    table.run(0.3)
    assert table.loop.machine.state is State.HOLDING and not table.outputs.commands
    table.run(0.4)
    table.is_new_arm = False
    table.run(6.0)
    assert table.outputs.codes == [ErrorCode.REACHED]


def test_clock_that_jumps_back_under_a_moving_arm_stops_it_within_0_3_s() -> None:
    table = moving_table()
    jump = -90.0
    told = [command.segment for command in table.outputs.commands]
    # The arm's controller has a clock of its own, and goes on as it was told.
    table.outputs.commands = [Executed(replace(segment, start=segment.start + jump)) for segment in told]
    table.ros_offset = jump
    before = len(told)
    table.run(0.06)
    assert len(table.outputs.commands) == before + 1
    stop = table.outputs.commands[-1].segment
    np.testing.assert_allclose(
        stop.positions[0], table.outputs.commands[-2].segment.sample(stop.start).position, atol=1e-3
    )
    assert_rests_within(table, 0.3)
    table.run(6.0)
    assert table.outputs.codes == [ErrorCode.REACHED]


def test_frozen_camera_is_noticed_although_its_stamps_go_on() -> None:
    table = moving_table()
    table.picture = 7
    table.run(2.5)
    assert table.loop.machine.state is State.HOLDING and "is the camera frozen" in table.loop.machine.reason
    assert not table.loop_moving
    table.picture = None
    table.run(6.0)
    assert table.outputs.codes == [ErrorCode.REACHED]


def test_picture_that_comes_before_its_joint_states_is_not_one_of_a_frozen_camera() -> None:
    table = moving_table()
    loop, elsewhere = table.loop, START + 0.2

    def tell(seconds: float, positions: np.ndarray) -> None:
        loop.joint_state(Moment(seconds, seconds), seconds, ARM_JOINTS, positions, np.full(7, 5.0))

    tell(100.0, START)
    loop.latent(Moment(100.05, 100.05), round(100.03e9), content=1)
    for tick in range(3, 30):
        seconds = 100.0 + 0.01 * tick
        tell(seconds, elsewhere)
        loop.latent(Moment(seconds, seconds), round(seconds * 1e9), content=1)
    assert loop._latents[-1] == round(100.29e9)


def test_arm_that_was_moved_elsewhere_is_sent_nothing_until_it_stands_still() -> None:
    table = moving_table()
    before = len(table.outputs.commands)
    table.outputs.commands.clear()
    table.start = START + np.array([0.5, 0, 0, 0, 0, 0, 0])
    table.run(0.12)
    # At first nobody believes it.
    assert before and not table.outputs.commands
    assert "further than it can" in table.loop.machine.reason
    table.run(0.28)
    assert not table.outputs.commands and table.loop.machine.state is State.HOLDING
    table.run(0.8)
    assert table.outputs.commands and table.outputs.commands[0].segment.positions[0, 0] == pytest.approx(START[0] + 0.5)


def test_blocked_arm_gives_the_goal_up() -> None:
    table = Table(max_tracking_error=0.02)
    table.run(0.5)
    table.stuck = START
    table.pursue()
    table.run(12.0)
    assert (
        table.outputs.codes == [ErrorCode.UNSAFE] and "is something in its way" in table.outputs.results[0][1].message
    )


def test_newer_goal_takes_over_without_a_stop() -> None:
    table = moving_table()
    table.pursue("box")
    table.run(0.3)
    assert table.outputs.codes == [ErrorCode.REPLACED] and table.loop.machine.state is State.PLANNING
    table.run(6.0)
    assert table.outputs.codes == [ErrorCode.REPLACED, ErrorCode.REACHED]


def test_plan_for_a_goal_that_is_gone_is_dropped() -> None:
    table = moving_table()
    table.time += 0.3
    table.loop.joint_state(table.now, table.now.ros, ARM_JOINTS, table.position, ())
    table.loop.latent(table.now, round(table.now.ros * 1e9))
    job = table.loop.next_job(table.now)
    action = table.loop.perform(job, table.cost)
    with table.loop.locked():
        table.loop.machine.cancel("enough")
    before = len(table.outputs.commands)
    table.loop.conclude(job, action, table.now, 0.1)
    assert len(table.outputs.commands) == before


@pytest.mark.parametrize("pause", [False, True])
def test_plan_that_comes_too_late_spends_no_budget(pause: bool) -> None:
    table = moving_table()
    table.time += 0.3
    table.loop.joint_state(table.now, table.now.ros, ARM_JOINTS, table.position, ())
    table.loop.latent(table.now, round(table.now.ros * 1e9))
    job = table.loop.next_job(table.now)
    counted, commanded = job.sequence.steps, len(table.outputs.commands)
    action = table.loop.perform(job, table.cost)
    if pause:
        with table.loop.locked():
            table.loop.machine.pause()
    else:
        table.time += 5.0  # what it was planned from is too old by now
    table.loop.conclude(job, action, table.now, 0.1)
    assert job.sequence.steps == counted and len(table.outputs.commands) == commanded


def test_paused_arm_rests_and_resumes() -> None:
    table = moving_table()
    with table.loop.locked():
        table.loop.machine.pause()
    table.run(0.4)
    assert not table.loop_moving and table.loop.machine.state is State.PAUSED
    held = len(table.outputs.commands)
    table.run(20.0)
    assert len(table.outputs.commands) == held and not table.outputs.results
    with table.loop.locked():
        table.loop.machine.resume(table.time)
    table.run(6.0)
    assert table.outputs.codes == [ErrorCode.REACHED]


def test_single_step_moves_once() -> None:
    table = Table()
    table.run(0.5)
    with table.loop.locked():
        table.loop.machine.pause()
    table.pursue()
    table.run(0.5)
    with table.loop.locked():
        assert table.loop.machine.step(table.time)
    table.run(2.0)
    assert len(table.outputs.reports) == 1 and table.loop.machine.state is State.PAUSED
    # It is carried out to its end, not stopped by the pause that goes on.
    assert len(table.outputs.commands) == 1 and not table.loop_moving
    np.testing.assert_allclose(table.position, table.outputs.commands[0].segment.target)


@pytest.mark.parametrize("fault", ["pause", "camera"])
def test_single_step_is_stopped_by_a_pause_and_by_stale_data(fault: str) -> None:
    table = Table(max_image_age=0.15)
    table.run(0.5)
    with table.loop.locked():
        table.loop.machine.pause()
    table.pursue(gripper=None)
    table.run(0.5)
    with table.loop.locked():
        assert table.loop.machine.step(table.time)
    table.run(0.2)
    assert table.loop_moving and len(table.outputs.commands) == 1
    table.camera = fault != "camera"
    table.run(0.18)
    if fault == "pause":
        with table.loop.locked():
            table.loop.machine.pause()
    table.run(0.1)
    assert len(table.outputs.commands) == 2
    assert table.outputs.commands[1].segment.end < table.outputs.commands[0].segment.end


def test_joint_states_that_come_too_slowly_hold_the_arm_instead_of_jerking_it() -> None:
    table = moving_table()
    table.slow_driver = 10
    before = len(table.outputs.commands)
    table.run(4.0)
    assert table.loop.machine.state is State.HOLDING and "joint_states" in table.loop.machine.reason
    # One stop, and perhaps one more action before the first gap was noticed.
    assert len(table.outputs.commands) <= before + 2 and not table.loop_moving
    table.slow_driver = 1
    table.run(6.0)
    assert table.outputs.codes == [ErrorCode.REACHED]


def test_dry_run_plans_and_sends_nothing() -> None:
    table = Table(ControlLoopConfig(dry_run=True))
    table.run(0.5)
    table.pursue()
    table.run(2.0)
    assert table.outputs.reports and not table.outputs.commands and not table.outputs.gripper
    assert np.isfinite(table.loop.status(table.now).energy)


def test_inactive_loop_answers_goals_and_commands_nothing() -> None:
    table = moving_table()
    table.loop.deactivate(table.now)
    assert table.outputs.codes == [ErrorCode.NOT_ACTIVE]
    assert_rests_within(table, 0.3)
    before = len(table.outputs.commands)
    table.pursue("box")
    table.run(1.0)
    assert table.outputs.codes[-1] is ErrorCode.NOT_ACTIVE and len(table.outputs.commands) == before


def test_joint_state_that_is_not_finite_counts_as_none() -> None:
    table = moving_table()
    table.driver = False
    for _ in range(10):
        table.time += TICK
        with pytest.raises(JointStateRefusedError):
            table.loop.joint_state(table.now, table.now.ros, ARM_JOINTS, [float("nan")] * 7, ())
        table.loop.tick(table.now)
    assert table.loop.machine.state is State.HOLDING and "joint_states" in table.loop.machine.reason


def test_context_takes_frames_one_control_period_apart() -> None:
    table = Table(ControlLoopConfig(context_frames=3))
    table.run(1.5)
    table.pursue()
    table.run(0.1)
    table.time += 0.3
    table.loop.joint_state(table.now, table.now.ros, ARM_JOINTS, table.position, ())
    table.loop.latent(table.now, round(table.now.ros * 1e9))
    job = table.loop.next_job(table.now)
    gaps = np.diff(job.observation.stamps) / 1e9
    assert len(gaps) == 2 and np.all(np.abs(gaps - 0.25) < 0.11)
    assert job.observation.states.shape == (3, 7)


def test_goal_is_declared_reached_when_the_arm_rests_there() -> None:
    table = Table()
    table.run(0.5)
    table.pursue("cup", tolerance=0.05)
    stopped_at = float("nan")
    while not table.outputs.codes:
        table.run(0.02)
        if table.loop._settling_since is not None and not np.isfinite(stopped_at):
            stopped_at = table.distance
    declared = table.distance
    table.run(1.0)
    assert table.outputs.codes == [ErrorCode.REACHED] and stopped_at < 0.06
    assert table.distance == pytest.approx(declared, abs=1e-6) and table.distance < 0.05


def test_goal_that_an_arm_at_rest_has_not_reached_is_pursued_on() -> None:
    table = Table()
    table.misjudged = 0.08
    table.run(0.5)
    table.pursue("cup", tolerance=0.02)
    rested_short = 0
    for _ in range(400):
        table.run(0.02)
        settling = table.loop._settling_since is not None
        rested_short += settling and table.distance > 0.02 and not table.loop_moving
    assert rested_short and table.outputs.codes == [ErrorCode.REACHED] and table.distance < 0.02


def test_plan_while_the_controller_joins_the_last_command_waits_and_holds_nothing() -> None:
    table = moving_table()
    following = table.loop._arm._following
    assert following is not None
    before, following.joins_until = len(table.outputs.commands), table.now.ros + 0.2
    table.run(0.18)
    assert len(table.outputs.commands) == before, "no command replaces one that the controller is on its way to"
    assert table.loop.machine.state is State.PLANNING and not table.loop.machine.reason
    table.run(0.4)
    assert len(table.outputs.commands) > before


def test_second_arm_on_joint_states_holds_the_first_one() -> None:
    table = moving_table()
    real = table.loop.joint_state

    def both(now: Moment, stamp: float, names: tuple, positions: tuple, velocities: tuple) -> None:
        real(now, stamp, names, positions, velocities)
        real(now, stamp + 0.001, names, np.add(positions, 0.4), np.zeros(len(velocities)))

    table.loop.joint_state = both
    table.run(0.6)
    assert table.loop.machine.state is State.HOLDING and "another node" in table.loop.machine.reason
    assert not table.loop_moving
    table.loop.joint_state = real
    table.run(6.0)
    assert table.outputs.codes == [ErrorCode.REACHED]


def test_arm_is_held_as_long_as_somebody_else_may_command_it() -> None:
    table = moving_table()
    table.loop.distrust("joint_trajectory: expected one publisher, there are 2")
    table.run(0.5)
    assert table.loop.machine.state is State.HOLDING and "one publisher" in table.loop.machine.reason
    assert not table.loop_moving
    table.loop.distrust("")
    table.run(6.0)
    assert table.outputs.codes == [ErrorCode.REACHED]


def test_command_begins_after_what_the_controllers_clock_may_say_by_now() -> None:
    table = moving_table()
    table.time += 0.3
    table.loop.joint_state(table.now, table.now.ros, ARM_JOINTS, table.position, ())
    table.loop.latent(table.now, round(table.now.ros * 1e9))
    job = table.loop.next_job(table.now)
    action = table.loop.perform(job, table.cost)
    before = len(table.outputs.commands)
    table.loop._clock = lambda: replace(table.now, behind=0.18)
    table.loop.conclude(job, action, table.now, 0.1)
    (made,) = table.outputs.commands[before:]
    assert made.segment.start > table.now.ros + 0.18 + 0.01


@pytest.mark.parametrize(("delays", "sent"), [([0.01], True), ([0.06, 0.01], True), ([0.3] * 9, False)])
def test_command_that_takes_too_long_to_make_is_made_again_or_not_sent(delays: list[float], sent: bool) -> None:
    table = moving_table()
    table.camera = False
    table.run(0.34)  # the arm is seen to follow
    table.loop.latent(table.now, round(table.now.ros * 1e9))
    job = table.loop.next_job(table.now)
    action = table.loop.perform(job, table.cost)
    before, readings = len(table.outputs.commands), 0

    def clock() -> Moment:
        """Read when a command is begun, and when it is ready."""
        nonlocal readings
        readings += 1
        if readings % 2 == 0 and delays:
            table.time += delays.pop(0)
        return table.now

    table.loop._clock = clock
    table.loop.conclude(job, action, table.now, 0.1)
    made = table.outputs.commands[before:]
    assert len(made) == sent
    if sent:
        assert made[0].segment.start > table.now.ros + 0.01 and not delays
    else:
        assert table.loop.machine.state is State.HOLDING
