"""Joint states are paired with image stamps, and bad ones do not get in."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_common.gripper_description import GripperDescription
from jepa_planner.joint_history import JointHistory, JointStateRefusedError

ARM, FINGERS = ("a", "b"), ("f1", "f2")
NAN = float("nan")


def history(gripper: GripperDescription | None = None) -> JointHistory:
    return JointHistory(ARM, gripper or GripperDescription(FINGERS, open=0.04, closed=0.0), seconds=1.0)


def test_state_at_a_stamp_is_interpolated() -> None:
    joints = history()
    joints.add(1.0, ("b", "a", "f1", "f2"), (0.0, 1.0, 0.04, 0.04), ())
    joints.add(1.1, ("b", "a", "f1", "f2"), (1.0, 2.0, 0.0, 0.0), (10.0, 10.0, 0.0, 0.0))
    middle = joints.at(1.05)
    np.testing.assert_allclose(middle.positions, (1.5, 0.5))
    np.testing.assert_allclose(middle.velocities, (5.0, 5.0))
    assert middle.closedness == pytest.approx(0.5)


def test_outside_what_is_known_the_nearest_state_holds() -> None:
    joints = history()
    assert joints.at(1.0) is None and joints.newest() is None
    joints.add(1.0, ARM, (1.0, 2.0), ())
    joints.add(1.1, ARM, (3.0, 4.0), ())
    assert joints.at(0.0).positions[0] == 1.0 and joints.at(9.0).positions[0] == 3.0


def test_messages_about_other_joints_are_ignored_and_named_until_the_arm_comes() -> None:
    joints = history()
    assert joints.why_none() == ""
    assert joints.add(1.0, ("wheel", "mast"), (0.0, NAN), ()) == "" and joints.newest() is None
    assert joints.why_none() == "messages with wheel, mast came, none with a, b: check arm.joints"
    joints.add(1.0, ARM, (0.0, 0.0), ())
    assert joints.why_none() == ""


def test_fingers_in_messages_of_their_own_count_at_their_own_times() -> None:
    joints = history()
    joints.add(0.95, FINGERS, (0.04, 0.04), ())
    assert joints.newest() is None and not joints.gripper_is_unknown
    for tick, opening in enumerate((0.04, 0.02, 0.0)):
        joints.add(1.0 + 0.1 * tick, ARM, (0.1 * tick, 0.0), ())
        joints.add(1.05 + 0.1 * tick, FINGERS, (opening, opening), ())
    # Fingers: closed by 0, 0.5 and 1 at 1.05, 1.15 and 1.25 s.
    closed = [joints.at(time).closedness for time in (0.9, 1.0, 1.1, 1.15, 1.2, 1.25, 2.0)]
    np.testing.assert_allclose(closed, (0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0), atol=1e-9)
    np.testing.assert_allclose(joints.at(1.15).positions, (0.15, 0.0))


def test_fingers_alone_are_no_news_of_the_arm() -> None:
    joints = history()
    joints.add(1.0, ARM, (0.0, 0.0), ())
    newest = joints.newest()
    joints.add(1.1, FINGERS, (0.0, 0.0), ())
    assert joints.newest() is newest


def test_gripper_without_a_word_counts_as_open() -> None:
    joints = history()
    joints.add(1.0, ARM, (0.0, 0.0), ())
    assert joints.gripper_is_unknown and joints.at(1.0).closedness == 0.0
    no_gripper = JointHistory(ARM, GripperDescription((), open=0.04, closed=0.0))
    no_gripper.add(1.0, (*ARM, *FINGERS), (0.0, 0.0, 0.0, 0.0), ())
    assert not no_gripper.gripper_is_unknown and no_gripper.at(1.0).closedness == 0.0


def test_gripper_whose_joint_grows_as_it_closes() -> None:
    joints = history(GripperDescription(("knuckle",), open=0.0, closed=0.8))
    for tick, angle in enumerate((0.0, 0.2, 0.8)):
        assert joints.add(1.0 + 0.1 * tick, (*ARM, "knuckle"), (0.0, 0.0, angle), ()) == ""
    assert [joints.at(time).closedness for time in (1.0, 1.1, 1.2)] == pytest.approx([0.0, 0.25, 1.0])


def test_fingers_far_beyond_their_ends_are_told() -> None:
    joints = history()
    assert joints.add(1.0, FINGERS, (0.0405, 0.0405), ()) == ""
    assert "f1, f2 at 0.8 lie beyond 0.04 (open) to 0 (closed)" in joints.add(1.1, FINGERS, (0.8, 0.8), ())


@pytest.mark.parametrize(
    ("fingers", "closedness", "named"),
    [((NAN, NAN), 0.75, "f1, f2"), ((0.0, NAN), 1.0, "f2"), ((float("inf"), 0.02), 0.5, "f1")],
)
def test_finger_that_is_no_number_leaves_the_arm_alone_and_is_told(
    fingers: tuple[float, float], closedness: float, named: str
) -> None:
    joints = history()
    joints.add(1.0, FINGERS, (0.01, 0.01), ())
    told = joints.add(1.1, (*ARM, *FINGERS), (1.0, 2.0, *fingers), ())
    assert f"the position of {named} is not finite" in told
    assert joints.at(1.1).positions[1] == 2.0 and joints.at(1.1).closedness == pytest.approx(closedness)


def test_velocity_that_is_no_number_counts_as_none() -> None:
    joints = history()
    told = joints.add(1.0, (*ARM, *FINGERS), (1.0, 2.0, 0.0, 0.0), (NAN, 3.0, float("inf"), 0.0))
    assert told == "joint_states: the velocity of a, f1 is not finite and counts as 0"
    np.testing.assert_array_equal(joints.newest().velocities, (0.0, 3.0))


def test_arm_that_is_no_number_is_refused_and_its_fingers_count() -> None:
    joints = history()
    joints.add(1.0, ARM, (0.0, 0.0), ())
    with pytest.raises(JointStateRefusedError, match="position of b is not finite"):
        joints.add(1.1, (*ARM, *FINGERS), (0.0, NAN, 0.0, 0.0), ())
    assert joints.newest().time == 1.0 and joints.at(1.1).closedness == 1.0


def test_finger_messages_of_another_length_are_refused_and_change_nothing() -> None:
    joints = history()
    with pytest.raises(JointStateRefusedError, match="2 names but 1 position"):
        joints.add(1.0, FINGERS, (0.0,), ())
    assert joints.gripper_is_unknown


def test_late_finger_message_takes_its_place_in_time() -> None:
    joints = history()
    joints.add(1.0, ARM, (0.0, 0.0), ())
    for time, opening in ((1.0, 0.04), (1.2, 0.0), (1.1, 0.04)):
        joints.add(time, FINGERS, (opening, opening), ())
    assert [joints.at(time).closedness for time in (1.1, 1.15, 1.2)] == pytest.approx([0.0, 0.5, 1.0])


def test_clock_that_is_set_back_by_a_little_forgets_fingers_of_the_future() -> None:
    joints = JointHistory(ARM, GripperDescription(FINGERS, open=0.04, closed=0.0), seconds=2.0)
    for time in (10.0, 11.5):
        joints.add(time, (*ARM, *FINGERS), (0.0, 0.0, 0.04, 0.04), ())
    joints.add(10.2, (*ARM, *FINGERS), (0.0, 0.0, 0.0, 0.0), ())
    assert [joints.at(time).closedness for time in (10.2, 11.5, 12.0)] == [1.0, 1.0, 1.0]


def test_arm_that_comes_late_with_its_fingers_is_not_the_newest_and_its_fingers_count() -> None:
    joints = history()
    for time in (10.0, 10.5):
        joints.add(time, (*ARM, *FINGERS), (0.0, 0.0, 0.04, 0.04), ())
    joints.add(10.2, (*ARM, *FINGERS), (0.0, 0.0, 0.0, 0.0), ())
    assert joints.newest().time == 10.5
    assert [joints.at(time).closedness for time in (10.0, 10.2, 10.5)] == [0.0, 1.0, 0.0]


def test_fingers_of_an_arm_that_is_not_believed_do_not_count() -> None:
    joints = history()
    joints.add(1.0, (*ARM, *FINGERS), (0.0, 0.0, 0.04, 0.04), (0.0, 0.0, 0.0, 0.0))
    joints.add(1.01, (*ARM, *FINGERS), (0.5, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0))
    assert joints.doubt and joints.at(1.01).closedness == 0.0


def test_arm_whose_speeds_are_no_numbers_is_believed_as_one_that_says_nothing_of_them() -> None:
    joints = history()
    for tick in range(10):
        joints.add(0.1 * tick, ARM, (0.1 * tick, 0.0), (NAN, 0.0))
        assert not joints.doubt
    assert joints.newest().positions[0] == pytest.approx(0.9)


def test_clock_that_is_set_back_by_much_starts_the_fingers_anew() -> None:
    joints = history()
    joints.add(100.0, ARM, (0.0, 0.0), ())
    joints.add(100.0, FINGERS, (0.0, 0.0), ())
    joints.add(5.0, FINGERS, (0.04, 0.04), ())
    joints.add(5.0, ARM, (0.0, 0.0), ())
    assert joints.at(5.0).closedness == 0.0 and joints.at(99.0).closedness == 0.0


def test_stamps_that_stand_still_do_not_pile_up() -> None:
    joints = history()
    for _ in range(50):
        joints.add(0.0, ARM, (1.0, 1.0), ())
        joints.add(0.0, FINGERS, (0.0, 0.0), ())
    assert len(joints._samples) == len(joints._fingers) == 1


def test_fingers_stay_as_they_were_when_a_message_has_none() -> None:
    joints = history()
    joints.add(1.0, (*ARM, *FINGERS), (0.0, 0.0, 0.01, 0.01), ())
    joints.add(1.1, ARM, (0.0, 0.0), ())
    assert joints.newest().closedness == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("names", "positions", "velocities", "message"),
    [
        (ARM, (NAN, 0.0), (), "position of a is not finite"),
        (ARM, (0.0, 0.0), (0.0,), "2 names but 1 velocity"),
        (ARM, (0.0,), (), "2 names but 1 position"),
        (("a",), (0.0,), (), "b missing"),
        (("a", "b", "a"), (0.0, 0.0, 1.0), (), "a more than once"),
        ((*ARM, "f1", "f1"), (0.0, 0.0, 0.0, 1.0), (), "f1 more than once"),
    ],
)
def test_unusable_joint_state_is_refused_and_not_kept(
    names: tuple, positions: tuple, velocities: tuple, message: str
) -> None:
    joints = history()
    with pytest.raises(JointStateRefusedError, match=message):
        joints.add(1.0, names, positions, velocities)
    assert joints.newest() is None


def test_clock_that_jumps_back_starts_anew() -> None:
    joints = history()
    joints.add(100.0, ARM, (1.0, 1.0), ())
    joints.add(1.0, ARM, (2.0, 2.0), ())
    assert joints.at(100.0).positions[0] == 2.0


def test_old_states_are_dropped() -> None:
    joints = history()
    for tick in range(100):
        joints.add(0.1 * tick, ARM, (tick, tick), ())
    assert joints.at(0.0).positions[0] > 80


def test_arm_that_a_simulator_puts_elsewhere_was_never_in_between() -> None:
    joints = history()
    joints.add(1.00, ARM, (0.0, 0.0), ())
    for tick in range(1, 11):
        joints.add(1.0 + 0.02 * tick, ARM, (1.0, 0.0), (0.0, 0.0))
    assert not joints.doubt and joints.at(1.1).positions[0] == 1.0
    joints.add(1.22, ARM, (1.01, 0.0), (0.5, 0.0))
    assert joints.at(1.21).positions[0] == pytest.approx(1.005)


@pytest.mark.parametrize("offset", [0.1, 0.5, -2.0])
@pytest.mark.parametrize("ahead", [0.0, 0.003, 0.09])
def test_arm_that_rests_where_it_cannot_be_is_not_believed(offset: float, ahead: float) -> None:
    joints = history()
    for tick in range(100):
        time = 1.0 + 0.01 * tick
        joints.add(time, ARM, (0.001 * tick, 0.0), (0.1, 0.0))
        assert not joints.doubt
        # Another publisher's, in between.
        joints.add(time + ahead + 0.002, ARM, (0.001 * tick + offset, 0.0), (0.0, 0.0))
        assert "does another node publish them" in joints.doubt
    np.testing.assert_allclose(
        [joints.at(1.0 + 0.01 * tick).positions[0] for tick in range(100)], 0.001 * np.arange(100)
    )


def test_fast_arm_is_believed_by_the_speeds_that_it_claims() -> None:
    joints = history()
    for tick in range(50):
        time = 0.033 * tick
        joints.add(time, ARM, (2.6 * time, 0.0), (2.6, 0.0))
        assert not joints.doubt
    # A message or two may be missing.
    joints.add(time + 0.1, ARM, (2.6 * (time + 0.1), 0.0), (2.6, 0.0))
    assert not joints.doubt


def test_joint_state_that_comes_late_is_not_the_newest() -> None:
    joints = history()
    joints.add(1.0, ARM, (0.0, 0.0), ())
    joints.add(1.1, ARM, (0.1, 0.0), ())
    joints.add(1.05, ARM, (0.3, 0.0), ())
    assert joints.newest().time == 1.1 and joints.at(1.05).positions[0] == pytest.approx(0.05)


def test_what_is_recent_has_come_and_is_not_dropped() -> None:
    joints = history()
    assert joints.recent(1.0) is None
    joints.add(9.0, ARM, (0.0, 0.0), ())
    joints.add(10.0, ARM, (0.1, 0.0), ())
    assert joints.recent(9.5).positions[0] == pytest.approx(0.05)
    assert joints.recent(10.5) is None and joints.recent(1.0) is None
