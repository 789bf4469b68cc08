"""The trajectory controller: what it follows, when, and what it refuses."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_sim.robot_description import JointLimits
from jepa_sim.trajectory_controller import (
    Replacement,
    Trajectory,
    TrajectoryController,
    TrajectoryControllerConfig,
    TrajectoryPoint,
    TrajectoryRefusedError,
)

NAMES = ("shoulder", "elbow")
LIMITS = (JointLimits(-2.0, 2.0, 3.0, 10.0, 100.0, 80.0), JointLimits(-1.0, 1.0, 2.0, 10.0, 100.0, 80.0))
ZERO = (0.0, 0.0)


def controller(replacement: Replacement = Replacement.ON_ARRIVAL, start: float = 10.0) -> TrajectoryController:
    made = TrajectoryController(NAMES, LIMITS, TrajectoryControllerConfig(replacement))
    made.reset(ZERO, start)
    return made


def to(
    positions: Sequence[float],
    seconds: float = 1.0,
    start: float = 0.0,
    names: Sequence[str] = NAMES,
    **values: Sequence[float],
) -> Trajectory:
    return Trajectory(start, names, [TrajectoryPoint(seconds, positions, **values)])


def refusal(trajectory: Trajectory, now: float = 10.0) -> str:
    made = controller()
    with pytest.raises(TrajectoryRefusedError) as caught:
        made.accept(trajectory, now)
    for time in (now, now + 0.5, now + 100.0):
        assert np.array_equal(made.sample(time).positions, ZERO), "a refused trajectory must change nothing"
    return str(caught.value)


def test_holds_where_it_was_reset():
    made = controller()
    made.reset((0.5, -0.5), 12.0)
    state = made.sample(1000.0)
    assert np.array_equal(state.positions, (0.5, -0.5))
    assert not state.velocities.any() and not state.accelerations.any()


def test_positions_alone_are_interpolated_linearly():
    made = controller()
    made.accept(to((1.0, -0.5)), 10.0)
    state = made.sample(10.25)
    assert np.allclose(state.positions, (0.25, -0.125))
    assert np.allclose(state.velocities, (1.0, -0.5))


def test_velocities_make_it_cubic():
    made = controller()
    made.accept(to((1.0, -0.5), velocities=ZERO), 10.0)
    for share in (0.1, 0.5, 0.9):
        state = made.sample(10.0 + share)
        assert math.isclose(state.positions[0], 3 * share**2 - 2 * share**3)
        assert math.isclose(state.velocities[0], 6 * share - 6 * share**2)
        assert math.isclose(state.accelerations[0], 6 - 12 * share, abs_tol=1e-9)


def test_velocities_and_accelerations_make_it_quintic():
    made = controller()
    made.accept(to((1.0, -0.5), velocities=ZERO, accelerations=ZERO), 10.0)
    for share in (0.1, 0.5, 0.9):
        expected = 10 * share**3 - 15 * share**4 + 6 * share**5
        assert math.isclose(made.sample(10.0 + share).positions[0], expected)


def test_the_end_is_held_at_rest():
    made = controller()
    made.accept(to((1.0, -0.5)), 10.0)
    state = made.sample(11.0)
    assert np.array_equal(state.positions, (1.0, -0.5)) and not state.velocities.any()
    assert np.array_equal(made.sample(500.0).positions, (1.0, -0.5))
    assert made.end() == 11.0


def test_joint_names_come_in_any_order():
    made = controller()
    made.accept(to((-0.5, 1.0), names=("elbow", "shoulder")), 10.0)
    assert np.allclose(made.sample(11.0).positions, (1.0, -0.5))


def test_a_start_in_the_future_is_when_the_points_are_counted_from():
    made = controller()
    made.accept(to((1.0, 0.0), seconds=0.5, start=10.5), 10.0)
    # Until then it is one movement from the desired state, as ros2_control does it.
    assert np.allclose(made.sample(10.5).positions, (0.5, 0.0))
    assert np.allclose(made.sample(11.0).positions, (1.0, 0.0))


def test_points_in_the_past_are_dropped():
    made = controller()
    points = [TrajectoryPoint(t, (p, 0.0)) for t, p in ((0.0, -1.9), (0.5, 0.0), (1.5, 0.5))]
    made.accept(Trajectory(9.5, NAMES, points), 10.0)
    assert np.allclose(made.sample(10.0).positions, ZERO)
    assert np.allclose(made.sample(10.5).positions, (0.25, 0.0))


def test_a_new_trajectory_starts_from_the_desired_state_of_the_old_one():
    made = controller()
    made.accept(to((1.0, 0.5), velocities=ZERO, accelerations=ZERO), 10.0)
    before = made.sample(10.4)
    made.accept(to((0.0, 0.0), velocities=ZERO, accelerations=ZERO), 10.4)
    after = made.sample(10.4)
    assert np.allclose(before.positions, after.positions)
    assert np.allclose(before.velocities, after.velocities)
    assert np.allclose(before.accelerations, after.accelerations)
    assert np.allclose(made.sample(11.4).positions, ZERO)


def test_at_start_keeps_the_old_trajectory_until_the_new_one_begins():
    made, alone = controller(Replacement.AT_START), controller()
    old = to((1.0, 0.5), velocities=ZERO, accelerations=ZERO)
    made.accept(old, 10.0)
    alone.accept(old, 10.0)
    made.accept(to((0.0, 0.0), start=10.6, velocities=ZERO, accelerations=ZERO), 10.2)
    for time in (10.2, 10.4, 10.5999):
        assert np.allclose(made.sample(time).positions, alone.sample(time).positions)
    assert np.allclose(made.sample(11.6).positions, ZERO)


def test_at_start_a_newer_trajectory_discards_one_that_begins_later():
    made = controller(Replacement.AT_START)
    made.accept(to((1.0, 0.5), start=12.0), 10.0)
    made.accept(to((0.2, 0.0), start=11.0), 10.1)
    assert np.allclose(made.sample(14.0).positions, (0.2, 0.0))


def test_a_jump_is_refused_with_the_distance():
    assert "would jump" in refusal(Trajectory(0.0, NAMES, [TrajectoryPoint(t, (1.0, 0.0)) for t in (0.0, 1.0)]))


def test_a_difference_as_small_as_servo_noise_is_no_jump():
    made = controller()
    made.accept(Trajectory(0.0, NAMES, [TrajectoryPoint(t, (0.001, 0.0)) for t in (0.0, 1.0)]), 10.0)
    made.accept(to((0.002, 0.0), seconds=1e-4), 10.5)
    assert np.allclose(made.sample(12.0).positions, (0.002, 0.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["positions", "velocities", "accelerations"])
def test_values_that_are_not_finite_are_refused(bad: float, field: str):
    values = {"positions": ZERO, field: (bad, 0.0)}
    assert f"finite {field}" in refusal(Trajectory(0.0, NAMES, [TrajectoryPoint(1.0, **values)]))


@pytest.mark.parametrize("time", [math.nan, math.inf, -0.1])
def test_bad_times_are_refused(time: float):
    assert "time_from_start" in refusal(to(ZERO, seconds=time))


def test_times_that_do_not_increase_are_refused():
    points = [TrajectoryPoint(t, ZERO) for t in (0.5, 0.5)]
    assert "point 1: expected a time_from_start above 0.5" in refusal(Trajectory(0.0, NAMES, points))


@pytest.mark.parametrize("start", [math.nan, math.inf, -1.0])
def test_a_bad_start_is_refused(start: float):
    assert "start" in refusal(to(ZERO, start=start))


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (("shoulder",), "missing: ['elbow']"),
        (("shoulder", "wrist"), "unknown: ['wrist']"),
        (("shoulder", "shoulder"), "missing"),
        (("shoulder", "elbow", "elbow"), "once"),
    ],
)
def test_other_joints_are_refused_by_name(names: Sequence[str], hint: str):
    assert hint in refusal(to([0.0] * len(names), names=names))


def test_wrong_counts_of_values_are_refused():
    assert "2 positions" in refusal(to((0.0, 0.0, 0.0)))
    assert "2 velocities" in refusal(to(ZERO, velocities=(0.0,)))
    assert "expected positions" in refusal(to((), velocities=ZERO))
    assert "no efforts" in refusal(to(ZERO, efforts=ZERO))


def test_an_empty_trajectory_and_one_in_the_past_are_refused():
    assert "empty" in refusal(Trajectory(0.0, NAMES, []))
    assert "ends after now" in refusal(to(ZERO, start=5.0))


def test_positions_outside_the_limits_are_refused_also_between_points():
    assert "elbow: expected positions from -1.0 to 1.0" in refusal(to((0.0, 1.2), seconds=5.0))
    points = [
        TrajectoryPoint(1.0, (0.0, 0.9), velocities=(0.0, 1.5)),
        TrajectoryPoint(2.0, (0.0, 0.9), velocities=ZERO),
    ]
    assert "elbow: expected positions" in refusal(Trajectory(0.0, NAMES, points))


def test_velocities_above_the_limits_are_refused_also_between_points():
    assert "shoulder: expected velocities up to 3.0" in refusal(to((1.0, 0.0), seconds=0.2))
    assert "shoulder: expected velocities" in refusal(to((1.8, 0.0), seconds=0.8, velocities=ZERO))


def test_a_last_point_that_still_moves_is_refused():
    assert "at rest" in refusal(to((0.5, 0.0), velocities=(0.1, 0.0)))


def test_limits_must_match_the_joints():
    with pytest.raises(ValueError, match="limits for 1 joints"):
        TrajectoryController(("shoulder",), LIMITS)


position = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.3, 0.3))


@st.composite
def commands(draw: st.DrawFn):
    """Trajectories that end at rest, with the time at which each arrives."""
    now, made = 10.0, []
    for _ in range(draw(st.integers(1, 4))):
        now += draw(st.floats(0.0, 1.5))
        times = np.cumsum(draw(st.lists(st.floats(0.8, 2.0), min_size=1, max_size=3)))
        points = [TrajectoryPoint(float(t), draw(position), velocities=ZERO, accelerations=ZERO) for t in times]
        made.append((now, Trajectory(draw(st.sampled_from((0.0, now + 0.2))), NAMES, points)))
    return made


@settings(max_examples=40)
@given(commands(), st.sampled_from(list(Replacement)))
def test_the_desired_motion_is_smooth_whatever_arrives_when(
    arriving: list[tuple[float, Trajectory]], replacement: Replacement
):
    made, step, time = controller(replacement), 0.01, 9.9
    before = made.sample(time)
    for now, trajectory in [*arriving, (arriving[-1][0] + 7.0, None)]:
        while time + step < now:
            time += step
            state = made.sample(time)
            assert np.abs(state.positions - before.positions).max() <= 1.1 * step * 3.0
            # Quintics of this length and distance stay below these accelerations and jerks.
            assert np.abs(state.velocities - before.velocities).max() <= step * 40.0
            assert np.abs(state.accelerations - before.accelerations).max() <= step * 1000.0
            before = state
        if trajectory is not None:
            expected = made.sample(now)
            try:
                made.accept(trajectory, now)
            except TrajectoryRefusedError as error:
                assert "velocities" in str(error) or "positions" in str(error)
            found = made.sample(now)
            assert np.allclose(found.positions, expected.positions, atol=1e-9)
            assert np.allclose(found.velocities, expected.velocities, atol=1e-9)
            assert np.allclose(found.accelerations, expected.accelerations, atol=1e-6)
    assert not made.sample(time).velocities.any()
