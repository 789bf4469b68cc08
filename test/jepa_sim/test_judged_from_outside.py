"""What is seen of a task from outside is judged as the task in process judges it."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_sim.sightings import Sightings
from jepa_sim.tasks import StepBudgets, TaskConfig, make_task

START, PLACE = np.array([0.5, 0.1, 0.04]), np.array([0.5, -0.15, 0.04])


def judge(task: str, *positions: tuple[float, float, float], closedness: float = 0.0) -> str:
    seen = Sightings(START, np.array(positions), seconds=1.0, closedness=closedness)
    return make_task(task).why_failed_from_outside(PLACE, seen)


def lifted(*heights: float) -> str:
    return judge("grasp_cup", *((0.5, 0.1, 0.04 + height) for height in heights), closedness=0.3)


def test_a_grasp_is_an_object_that_stays_5_cm_up():
    assert lifted(0.06, 0.055) == ""
    assert lifted(0.06, 0.04) == "lifted it too little"
    assert lifted(0.06, 0.0) == "lost the object"


@pytest.mark.parametrize(
    ("position", "closedness", "failure"),
    [
        ((0.5, -0.15, 0.04), 0.0, ""),
        ((0.5, -0.11, 0.04), 0.0, ""),
        ((0.5, -0.09, 0.04), 0.0, "the object ended too far away"),
        ((0.5, -0.15, 0.04), 0.3, "did not let go"),
    ],
)
def test_a_placed_object_is_near_its_place_and_let_go(
    position: tuple[float, float, float], closedness: float, failure: str
):
    assert judge("pick_place_cup", position, position, closedness=closedness) == failure


def test_an_object_that_rolls_is_not_placed():
    assert judge("pick_place_cup", (0.5, -0.17, 0.04), (0.5, -0.15, 0.04)) == "the object still moves"


@pytest.mark.parametrize(("away", "failure"), [(0.03, ""), (0.05, "stopped too far away")])
def test_a_tool_is_there_within_4_cm(away: float, failure: str):
    assert judge("reach", (PLACE[0] + away, PLACE[1], PLACE[2])) == failure


def test_tasks_that_nobody_outside_can_begin_or_judge_say_so():
    make_task("grasp_cup").check_runs_through_nodes()
    with pytest.raises(ValueError, match="begins with the object in the gripper"):
        make_task("reach_with_object_cup").check_runs_through_nodes()
    on_the_table = TaskConfig(steps=StepBudgets(lifted=0))
    with pytest.raises(ValueError, match="only in process does the judge lift the hand"):
        make_task("grasp_cup", on_the_table).check_runs_through_nodes()
