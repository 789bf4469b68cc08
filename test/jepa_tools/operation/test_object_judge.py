"""What is seen of an object from outside is judged as the task in process judges it."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_sim.tasks import TaskConfig
from jepa_tools.operation.object_judge import ObjectSightings, object_of, why_object_failed

START, PLACE = np.array([0.5, 0.1, 0.04]), np.array([0.5, -0.15, 0.04])


def judge(task: str, *positions: tuple[float, float, float], closedness: float = 0.0) -> str:
    seen = ObjectSightings(START, np.array(positions), seconds=1.0, closedness=closedness)
    return why_object_failed(task, PLACE, seen, TaskConfig())


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


def test_the_object_is_the_last_word_of_the_task():
    assert object_of("pick_place_box") == "box"
