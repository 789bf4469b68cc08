"""A planned gripper acts on planned changes: it grasps what is there, keeps what it holds, and lets go when told."""

from __future__ import annotations

import pytest

from jepa_planner.gripper import GripperConfig, HeldFingers, PlannedGripper


def think(gripper: PlannedGripper, closedness: float, change: float, length: float = 0.0) -> bool:
    """One step in which a plan is made; whether the gripper begins to move."""
    gripper.observe(closedness)
    assert not gripper.moves
    return gripper.decide(change, length)


def holding(config: GripperConfig) -> PlannedGripper:
    """A gripper that has closed on a cup, whose wall stopped it at 0.3."""
    gripper = PlannedGripper(config)
    assert think(gripper, 0.0, 0.3)
    gripper.rest()
    for closedness in (0.3, 0.3):
        gripper.observe(closedness)
        gripper.rest()
    gripper.observe(0.3)
    assert gripper.command == 1.0 and gripper.holds and not gripper.moves
    return gripper


def test_fingers_that_stopped_are_not_expected_to_close_on() -> None:
    fingers = HeldFingers()
    measured = (0.0, 0.2, 0.275, 0.276, 0.275)
    expected = [fingers.change(1.0, closedness) for closedness in measured]
    assert expected == pytest.approx([1.0, 0.8, 0.725, 0.0, 0.0])
    assert fingers.change(0.0, 0.275) == pytest.approx(-0.275), "another command moves them again"
    assert fingers.change(None, 0.275) is None


def test_fingers_in_a_picture_of_a_grasp_close_though_they_stand_at_three_tenths() -> None:
    gripper = PlannedGripper(GripperConfig())
    assert think(gripper, 0.0, change=0.3)
    assert gripper.command == 1.0


def test_small_changes_are_noise() -> None:
    gripper = PlannedGripper(GripperConfig(close_change=0.15, open_change=0.18))
    assert not any(think(gripper, 0.5, change) for change in (0.14, -0.17, 0.1, -0.1, 0.14))
    assert gripper.command is None and gripper.settled


def test_it_does_not_close_on_the_way() -> None:
    gripper = PlannedGripper(GripperConfig(near=0.03))
    assert not think(gripper, 0.0, change=0.3, length=0.05)
    assert not gripper.settled, "it wants to, and the goal is not reached before"
    assert think(gripper, 0.0, change=0.3, length=0.02)


def test_what_is_held_is_not_dropped_for_one_plan() -> None:
    gripper = holding(GripperConfig(plans=2, open_change=0.18, dwell_steps=0))
    assert not any(think(gripper, 0.3, change) for change in (-0.3, 0.0, -0.1, -0.3))
    assert think(gripper, 0.3, change=-0.3), "by now the mean is -0.2"
    assert gripper.command == 0.0


def test_a_picture_of_an_open_hand_opens_after_two_plans() -> None:
    gripper = holding(GripperConfig(plans=2, dwell_steps=0))
    assert [think(gripper, 0.3, change=-0.3) for _ in range(2)] == [False, True]


def test_one_plan_closes_and_does_not_wait_for_a_mean() -> None:
    gripper = PlannedGripper(GripperConfig(plans=3, close_change=0.15))
    assert not any(think(gripper, 0.0, change) for change in (-0.1, 0.0))
    assert think(gripper, 0.0, change=0.2)


def test_nothing_is_settled_by_one_plan_or_from_afar() -> None:
    gripper = PlannedGripper(GripperConfig(plans=2, near=0.03))
    settled = []
    for length in (0.2, 0.1, 0.05, 0.01):
        think(gripper, 0.0, change=0.0, length=length)
        settled.append(gripper.settled)
    assert settled == [False, False, False, True]


def test_it_lets_go_of_nothing_on_the_way() -> None:
    gripper = holding(GripperConfig(plans=1, dwell_steps=0))
    assert not think(gripper, 0.3, change=-0.3, length=0.04)
    assert gripper.command == 1.0


def test_fingers_stay_shut_on_a_cup_while_pictures_show_them_as_they_are() -> None:
    gripper = holding(GripperConfig())
    assert not any(think(gripper, 0.3, change) for change in (0.1, -0.07, 0.05, -0.03, 0.2, 0.3))
    assert gripper.command == 1.0


def test_the_arm_rests_until_the_fingers_have_stopped() -> None:
    gripper = PlannedGripper(GripperConfig(rest_steps=6))
    assert think(gripper, 0.0, change=0.3)
    rests = 0
    for closedness in (0.1, 0.2, 0.3, 0.3, 0.3):
        gripper.rest()
        gripper.observe(closedness)
        if not gripper.moves:
            break
        rests += 1
    assert rests == 3, "moving at 0.1, 0.2 and 0.3, at rest at the second 0.3"


def test_the_arm_does_not_wait_for_ever_for_fingers_that_creep() -> None:
    gripper = PlannedGripper(GripperConfig(rest_steps=3))
    assert think(gripper, 0.0, change=0.3)
    moving = []
    for closedness in (0.05, 0.1, 0.15, 0.2):
        gripper.rest()
        gripper.observe(closedness)
        moving.append(gripper.moves)
    assert moving == [True, True, False, False]


def test_it_waits_between_two_changes_of_mind() -> None:
    gripper = PlannedGripper(GripperConfig(dwell_steps=4, rest_steps=2, plans=1))
    assert think(gripper, 0.0, change=0.3)
    for closedness in (1.0, 1.0):
        gripper.rest()
        gripper.observe(closedness)
    decided = [gripper.decide(-0.5, 0.0)]
    decided += [think(gripper, 1.0, change=-0.5) for _ in range(3)]
    assert decided == [False, False, False, True], "four steps lie between"


def test_a_command_that_changes_nothing_is_none() -> None:
    gripper = PlannedGripper(GripperConfig())
    assert not think(gripper, 0.01, change=-0.5), "open already"
    assert not think(gripper, 0.99, change=0.5), "shut already"
    assert gripper.command is None


def test_a_new_sub_goal_keeps_the_grasp_and_a_new_goal_forgets_the_command() -> None:
    gripper = holding(GripperConfig())
    for _ in range(2):
        think(gripper, 0.3, change=0.0)
    assert gripper.settled
    gripper.begin_sub_goal()
    assert gripper.command == 1.0 and not gripper.settled
    gripper.reset()
    assert gripper.command is None and not gripper.moves


def test_what_to_weigh_begins_with_the_fingers_as_they_are_and_squeezes_nothing_that_is_held() -> None:
    changes = holding(GripperConfig()).changes()
    assert changes[0] == 0.0 and changes.min() == pytest.approx(-0.3) and changes.max() == pytest.approx(0.0)
    gripper = PlannedGripper(GripperConfig())
    gripper.observe(0.0)
    assert gripper.changes().max() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "values",
    [
        {"close_change": 0.0},
        {"open_change": 1.5},
        {"near": 0.0},
        {"plans": 0},
        {"rest_steps": 1},
        {"dwell_steps": -1},
    ],
)
def test_senseless_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        GripperConfig(**values)
