"""Real nodes fail while the arm moves: it comes to rest, the status says why, and all goes on when the part is back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jepa_ros.action import ReachGoal
from jepa_ros.msg import PlannerStatus

sys.path.insert(0, str(Path(__file__).parent))
from table_of_nodes import TableOfNodes

REST_SECONDS = 0.3
CONTROL_PERIOD = 0.25


@pytest.fixture(scope="module")
def running(lasting_nodes, lasting_processes, tiny_model) -> Iterator[TableOfNodes]:
    made = TableOfNodes(lasting_nodes, lasting_processes, str(tiny_model.path))
    # A reason says what is still missing, such as the arm's description.
    made.wait_for(lambda: made.status.state == PlannerStatus.IDLE and not made.status.reason, "an idle planner")
    made.wait_for(lambda: made.image, "a picture")
    yield made
    ended = lasting_nodes.client.executor.create_task(made.actions.destroy)
    lasting_nodes.wait_until(ended.done, "the end of the action client")


@pytest.fixture
def table(running) -> Iterator[TableOfNodes]:
    yield running
    running.jump(-running.offset)
    running.slowest_joint_states, running.frozen = 0.0, None


@pytest.mark.parametrize(("part", "word"), [("encoder", "camera image"), ("predictor", "predictor")])
def test_model_that_is_killed_mid_motion_holds_the_arm_until_it_is_back(table, part: str, word: str) -> None:
    table.start_moving(seed=1)
    table.kill(part)
    table.wait_for_hold(word)
    table.assert_rests_within(REST_SECONDS, table.time)
    table.start(part)
    table.wait_for_motion()


def test_simulator_that_is_killed_mid_motion_is_missed_and_its_successor_is_driven_on(table) -> None:
    table.start_moving(seed=2)
    table.kill("sim")
    table.wait_for_hold("joint_states")
    commands, steps = len(table.ends), table.status.step
    table.speeds.clear()
    table.start("sim")
    table.wait_for(lambda: table.speeds, "the new simulator")
    table.wait_for_motion()
    assert table.status.step > steps
    # Its clock starts again, and so do the commands.
    assert table.ends[-1] < table.ends[commands - 1]


def test_camera_that_freezes_is_noticed_although_its_stamps_go_on(table) -> None:
    table.start_moving(seed=3)
    table.frozen = table.image
    table.wait_for_hold("is the camera frozen")
    table.assert_rests_within(REST_SECONDS, table.time)
    table.frozen = None
    table.wait_for_motion()


def test_joint_states_at_5_hz_hold_the_arm(table) -> None:
    table.start_moving(seed=4)
    table.slowest_joint_states = 0.2
    table.wait_for_hold("joint_states")
    table.assert_rests_within(REST_SECONDS, table.time)
    table.slowest_joint_states = 0.0
    table.wait_for_motion()


def test_clock_that_jumps_back_stops_the_arm_before_it_goes_on(table) -> None:
    table.start_moving(seed=5)
    commanded = table.ends[-1]
    table.jump(-table.time / 2)
    table.wait_for(lambda: table.status.state == PlannerStatus.HOLDING and not table.moves, "a hold, at rest")
    # One more command may have been under way. Nothing later may lengthen the motion.
    assert table.time <= commanded + CONTROL_PERIOD + REST_SECONDS
    table.wait_for_motion()


def test_goal_that_is_replaced_mid_motion_ends_and_the_new_one_is_pursued(table) -> None:
    first = table.start_moving(seed=6)
    second = table.send_goal(budget=3)
    assert table.result(first).error_code == ReachGoal.Result.REPLACED
    assert table.result(second).error_code == ReachGoal.Result.BUDGET_SPENT
    table.assert_rests_within(REST_SECONDS, table.time)


def test_two_goals_at_once_end_with_the_newer_one_and_never_both(table) -> None:
    handles = [table.send_goal(budget=2), table.send_goal(budget=2)]
    codes = [table.result(handle).error_code for handle in handles]
    assert codes == [ReachGoal.Result.REPLACED, ReachGoal.Result.BUDGET_SPENT]


def test_goal_that_is_cancelled_mid_motion_stops_the_arm(table) -> None:
    handle = table.start_moving(seed=7)
    handle.cancel_goal_async()
    assert table.result(handle).error_code == ReachGoal.Result.CANCELED
    table.assert_rests_within(REST_SECONDS, table.time)
    assert table.status.state == PlannerStatus.IDLE and "canceled" in table.status.reason
