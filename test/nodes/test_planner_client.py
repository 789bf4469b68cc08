"""The Python client and `send_goal`, against a real planner node."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from jepa_ros.action import ReachGoal

from jepa_planner.client import JepaPlanner, PlannerClientError, goal_message, image_message
from jepa_planner.goal_machine import ErrorCode

sys.path.insert(0, str(Path(__file__).parent))
from table_rig import Rig

PICTURE = np.full((8, 10, 3), 7, dtype=np.uint8)


@pytest.fixture
def make_rig(nodes, tiny_model) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(**settings) -> Rig:
        rigs.append(Rig(nodes, tiny_model, **settings))
        return rigs[-1]

    yield make
    for made in rigs:
        made.close()


@pytest.fixture
def rig(make_rig) -> Rig:
    return make_rig()


def test_blocking_reach_returns_the_result(rig) -> None:
    with JepaPlanner(wait_seconds=20.0) as planner:
        result = planner.reach([PICTURE, PICTURE], gripper=[0.0, None], max_steps=[40, 0], timeout=60.0)
    assert result.reached and result.steps == len(result.energies) == len(planner.feedback)
    assert planner.is_done and len(planner.feedback[0].action) == 7


def test_goal_can_be_watched_and_cancelled(rig) -> None:
    with JepaPlanner(wait_seconds=20.0) as planner:
        assert planner.reach([PICTURE], block=False) is None
        rig.wait_for(lambda: planner.feedback, "feedback")
        assert not planner.is_done
        planner.cancel()
        assert planner.result(timeout=20.0).code is ErrorCode.CANCELED


def test_client_on_a_node_that_is_spun_already(rig) -> None:
    planner = JepaPlanner(rig.client, wait_seconds=20.0)
    assert planner.reach([PICTURE], timeout=60.0).reached
    planner.close()


def test_send_goal_reports_steps_and_exits_with_zero(rig, tmp_path) -> None:
    path = tmp_path / "goal.png"
    cv2.imwrite(str(path), PICTURE)
    command = [sys.executable, "-m", "jepa_planner.send_goal", str(path), "--timeout", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "step   1" in done.stdout and "reached after" in done.stdout


def test_send_goal_says_what_is_wrong_with_a_file(tmp_path) -> None:
    command = [sys.executable, "-m", "jepa_planner.send_goal", str(tmp_path / "none.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "none.png: expected a picture file" in done.stderr


def test_without_a_planner_the_client_says_so(nodes) -> None:
    planner = JepaPlanner(nodes.client, wait_seconds=0.2)
    with pytest.raises(PlannerClientError, match="no planner"):
        planner.reach([PICTURE])
    with pytest.raises(PlannerClientError, match="no goal was sent"):
        planner.result()
    planner.close()


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="gripper: expected a value for each of the 1"):
        goal_message([PICTURE], gripper=[0.0, 1.0])


def test_pictures_become_rgb_messages() -> None:
    message = image_message(PICTURE)
    assert (message.height, message.width, message.step, message.encoding) == (8, 10, 30, "rgb8")
    assert image_message(message) is message
    with pytest.raises(ValueError, match="uint8"):
        image_message(PICTURE.astype(float))
    assert isinstance(goal_message([PICTURE]), ReachGoal.Goal)
