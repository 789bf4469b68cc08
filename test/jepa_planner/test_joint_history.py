"""Joint states are paired with image stamps, and bad ones do not get in."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_planner.joint_history import JointHistory, JointStateRefusedError

ARM, FINGERS = ("a", "b"), ("f1", "f2")


def history() -> JointHistory:
    return JointHistory(ARM, FINGERS, seconds=1.0)


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


def test_messages_about_other_joints_are_ignored_and_fingers_alone_change_nothing() -> None:
    joints = history()
    joints.add(1.0, FINGERS, (0.0, 0.0), ())
    assert joints.newest() is None


def test_fingers_stay_as_they_were_when_a_message_has_none() -> None:
    joints = history()
    joints.add(1.0, (*ARM, *FINGERS), (0.0, 0.0, 0.01, 0.01), ())
    joints.add(1.1, ARM, (0.0, 0.0), ())
    assert joints.newest().closedness == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("names", "positions", "velocities", "message"),
    [
        (ARM, (float("nan"), 0.0), (), "position of a is not finite"),
        (ARM, (0.0, 0.0), (0.0, float("inf")), "velocity of b is not finite"),
        (ARM, (0.0,), (), "2 names but 1 position"),
        (("a",), (0.0,), (), "b missing"),
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
