"""One description of a gripper, whichever way its joints move."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_common.gripper_description import GripperDescription

SLIDING = GripperDescription(("finger_1", "finger_2"), open=0.04, closed=0.0)
TURNING = GripperDescription(("knuckle",), open=0.0, closed=0.8)
PERCENT = GripperDescription(("grip",), open=100.0, closed=0.0)


@pytest.mark.parametrize(
    ("gripper", "positions", "closedness"),
    [
        (SLIDING, [0.04, 0.02, 0.0], [0.0, 0.5, 1.0]),
        (TURNING, [0.0, 0.2, 0.8], [0.0, 0.25, 1.0]),
        (PERCENT, [100.0, 25.0, 0.0], [0.0, 0.75, 1.0]),
        (GripperDescription(("g",), open=-1.0, closed=1.0), [-1.0, 0.0, 1.0], [0.0, 0.5, 1.0]),
        (GripperDescription(("g",), open=0.0, closed=-0.7), [0.0, -0.35, -0.7], [0.0, 0.5, 1.0]),
    ],
)
def test_closedness_grows_from_the_open_to_the_closed_end_and_back(gripper, positions, closedness):
    np.testing.assert_allclose(gripper.closedness(positions), closedness, atol=1e-12)
    np.testing.assert_allclose(gripper.value(closedness), positions, atol=1e-12)


def test_what_lies_beyond_an_end_is_clipped_and_can_be_asked_for():
    np.testing.assert_array_equal(TURNING.closedness([-0.4, 0.4, 1.6]), [0.0, 0.5, 1.0])
    np.testing.assert_allclose(TURNING.excess([-0.4, 0.4, 1.6]), [0.5, 0.0, 1.0])
    np.testing.assert_allclose(SLIDING.excess([0.06, 0.02, -0.04]), [0.5, 0.0, 1.0])


def test_no_end_is_overshot_by_a_command_and_a_number_stays_a_number():
    np.testing.assert_array_equal(SLIDING.value([-3.0, 2.0]), [0.04, 0.0])
    assert float(TURNING.value(1.5)) == 0.8
    assert float(TURNING.closedness(0.4)) == 0.5


def test_what_is_not_known_stays_so():
    assert np.isnan(SLIDING.closedness(np.nan))
    assert np.isnan(SLIDING.excess(np.nan))


@pytest.mark.parametrize(
    ("end", "other"), [(0.04, 0.04), (float("nan"), 0.0), (0.0, float("inf")), (-1.7e308, 1.7e308)]
)
def test_ends_that_tell_nothing_are_refused(end, other):
    with pytest.raises(ValueError, match="two different finite positions, open and closed"):
        GripperDescription(("g",), open=end, closed=other)


def test_a_joint_named_twice_is_refused():
    with pytest.raises(ValueError, match="must differ, got a, a"):
        GripperDescription(("a", "a"), open=0.0, closed=1.0)
