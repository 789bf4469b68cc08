"""The planner's parameters describe any gripper, and say what is missing of one."""

from __future__ import annotations

import pytest

from jepa_planner.planner_messages import gripper_message
from jepa_planner.planner_parameters import ArmParameters, GoalParameters, SafetyParameters
from jepa_world_model.model_card import ModelCard

TURNING = ArmParameters(finger_joints=("knuckle",), finger_open=0.0, finger_closed=0.8, finger_reach=0.043)


def sent(arm: ArmParameters, closedness: float) -> list[float]:
    return list(gripper_message(closedness, arm.gripper(), 0.5).points[0].positions)


def test_commands_go_to_the_end_that_they_name_whichever_way_the_joints_move() -> None:
    sliding = ArmParameters()
    assert [sent(sliding, value) for value in (0.0, 0.5, 1.0)] == [[0.04] * 2, [0.02] * 2, [0.0] * 2]
    assert [sent(TURNING, value) for value in (0.0, 0.5, 1.0)] == [pytest.approx([value]) for value in (0.0, 0.4, 0.8)]
    message = gripper_message(1.0, TURNING.gripper(), 0.5)
    assert message.joint_names == ["knuckle"] and message.points[0].time_from_start.nanosec == 500_000_000


def test_fingertips_are_as_far_out_as_sliding_fingers_travel() -> None:
    assert SafetyParameters().config(ArmParameters()).finger_travel == 0.04
    wide = ArmParameters(finger_open=0.0, finger_closed=0.07)
    assert SafetyParameters().config(wide).finger_travel == pytest.approx(0.07)
    assert SafetyParameters().config(TURNING).finger_travel == 0.043


def test_turning_fingers_need_their_reach() -> None:
    turning = ArmParameters(finger_joints=("knuckle",), finger_open=0.0, finger_closed=0.8)
    with pytest.raises(ValueError, match=r"arm.finger_reach: finger joints that travel 0.8 turn"):
        SafetyParameters().config(turning)


def test_ends_that_tell_nothing_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"arm.finger_open, arm.finger_closed: a gripper needs two different"):
        ArmParameters(finger_open=0.0).gripper()


def test_what_a_model_was_calibrated_for_does_not_count_by_another_distance() -> None:
    card = ModelCard(
        name="any", distance="metric", reach_energy=0.05, reach_tolerance_m=0.04, energy_per_meter=1.0, version="1"
    )
    assert GoalParameters().config(card).tolerance == 0.05
    other = card.measured_by("l1")
    assert GoalParameters().config(other).tolerance == 0.0
    with pytest.raises(ValueError, match="not calibrated"):
        GoalParameters(tolerance_m=0.04).config(other)


def test_fingers_that_others_move_are_still_kept_clear() -> None:
    bare = ArmParameters(finger_joints=())
    assert bare.gripper().joints == () and SafetyParameters().config(bare).finger_travel == 0.04
