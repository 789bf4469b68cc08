"""Limits: the stricter wins, the envelope leaves room to stop, FR3 slows down near its ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from franka import kinematics

from jepa_planner.limits import Envelope, JointLimits, fer_limits, fr3_limits

NAMES = tuple(f"joint{index}" for index in range(1, 8))


def test_stricter_limit_wins_for_every_joint() -> None:
    wide = fer_limits(NAMES)
    narrow = replace(wide, upper=wide.upper - np.array([1, 0, 0, 0, 0, 0, 0]), velocity=wide.velocity * 2)
    joined = wide.stricter(narrow)
    assert joined.upper[0] == pytest.approx(1.8973) and joined.upper[1] == wide.upper[1]
    np.testing.assert_array_equal(joined.velocity, wide.velocity)


def test_limits_of_different_joints_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="cannot be joined"):
        fer_limits(NAMES).stricter(fer_limits(NAMES[::-1]))


def test_envelope_takes_a_quarter_of_the_acceleration_and_caps_the_jerk() -> None:
    limits = Envelope().apply(fer_limits(NAMES))
    np.testing.assert_allclose(limits.acceleration, fer_limits(NAMES).acceleration / 4)
    np.testing.assert_array_equal(limits.jerk, 300.0)
    assert limits.lower[0] == pytest.approx(-2.8973 + 0.05)


def test_urdf_alone_is_not_enough_for_motion() -> None:
    with pytest.raises(ValueError, match="no acceleration limits"):
        Envelope().apply(kinematics().limits())


def test_fr3_may_move_away_from_an_end_but_only_slowly_toward_it() -> None:
    limits = fr3_limits(NAMES)
    near_the_end = limits.upper - 0.05
    backward, forward = limits.velocity_bounds(near_the_end, near_the_end)
    assert np.all(forward < 0.4 * limits.velocity)
    np.testing.assert_array_equal(backward, -limits.velocity)
    expected = -0.30 + np.sqrt(12.0 * (2.7501 - near_the_end[0]))
    assert forward[0] == pytest.approx(expected)


def test_fr3_is_symmetric_about_the_middle_of_the_first_joint() -> None:
    limits = fr3_limits(NAMES)
    at_low, at_high = (
        limits.velocity_bounds(limits.lower, limits.lower),
        limits.velocity_bounds(limits.upper, limits.upper),
    )
    assert at_low[0][0] == pytest.approx(-at_high[1][0])


@pytest.mark.parametrize("table", [fer_limits, fr3_limits])
def test_tables_are_for_seven_joints(table: object) -> None:
    with pytest.raises(ValueError, match="7 joints"):
        table(NAMES[:6])


def test_senseless_limits_are_refused() -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match="empty"):
        JointLimits(("a",), one, -one, one, one, one)
    with pytest.raises(ValueError, match="positive"):
        JointLimits(("a",), -one, one, one, -one, one)
    with pytest.raises(ValueError, match="number for each"):
        JointLimits(("a",), -one, one * np.nan, one, one, one)


def test_stop_time_that_no_speed_allows_is_refused() -> None:
    with pytest.raises(ValueError, match="no speed"):
        Envelope(stop_seconds=0.01).apply(fer_limits(NAMES))
