"""Segments keep every limit, splice without a jump, and are what a quintic controller will execute."""

from __future__ import annotations

import numpy as np
import pytest
from franka import HOME, cautious_limits
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_planner.limits import Envelope, JointLimits, fr3_limits
from jepa_planner.motion import CommandedMotion, MotionError, MotionState, Segment, SegmentPlanner, join
from jepa_sim.robot_description import ARM_JOINTS, franka_panda
from jepa_sim.trajectory_controller import TrajectoryController
from jepa_tools.bench.envelope import as_trajectory

FER = cautious_limits()
FR3 = Envelope().apply(fr3_limits(FER.names))
PLANNERS = {"fer": SegmentPlanner(FER), "fr3": SegmentPlanner(FR3)}


def assert_inside(segment: Segment, limits: JointLimits) -> None:
    backward, forward = limits.velocity_bounds(segment.positions, segment.positions)
    assert np.all(segment.positions >= limits.lower - 1e-6) and np.all(segment.positions <= limits.upper + 1e-6)
    assert np.all(segment.velocities >= backward - 1e-3) and np.all(segment.velocities <= forward + 1e-3)
    assert np.all(np.abs(segment.accelerations) <= limits.acceleration + 1e-6)
    assert np.all(np.abs(segment.jerks()) <= limits.jerk * 1.001)


def quintic(segment: Segment, index: int, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Position and jerk of the quintic through two neighbouring points, as controllers interpolate."""
    span = segment.times[index + 1] - segment.times[index]
    rows, right = [], []
    for moment, point in ((0.0, index), (span, index + 1)):
        powers = moment ** np.arange(6)
        first = np.array([power * moment ** max(power - 1, 0) for power in range(6)])
        second = np.array([power * (power - 1) * moment ** max(power - 2, 0) for power in range(6)])
        rows += [powers, first, second]
        right += [segment.positions[point], segment.velocities[point], segment.accelerations[point]]
    factors = np.linalg.solve(np.array(rows), np.array(right))
    third = np.array([0, 0, 0, 6, 24 * time, 60 * time**2])
    return (time ** np.arange(6)) @ factors, third @ factors


targets = st.lists(st.floats(0, 1), min_size=7, max_size=7)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["fer", "fr3"]),
    st.lists(st.tuples(targets, st.floats(0.01, 0.6)), min_size=1, max_size=6),
)
def test_chains_of_replanned_segments_keep_all_limits_and_can_always_stop(
    arm: str, plans: list[tuple[list[float], float]]
) -> None:
    planner, time = PLANNERS[arm], 0.0
    limits = planner.limits
    state = MotionState.at_rest((limits.lower + limits.upper) / 2)
    for shares, executed in plans:
        target = limits.lower + np.asarray(shares) * (limits.upper - limits.lower)
        segment = planner.to_target(time, state, target)
        assert_inside(segment, limits)
        np.testing.assert_allclose(segment.target, target, atol=1e-6)
        time += executed
        state = segment.sample(time)
        stop = planner.to_rest(time, state)
        assert_inside(stop, limits)
        assert stop.duration <= 0.25 + 1e-6


@settings(max_examples=40, deadline=None)
@given(targets, st.floats(0.0, 0.5))
def test_controller_quintics_are_the_planned_motion(shares: list[float], executed: float) -> None:
    first = PLANNERS["fer"].to_target(0.0, MotionState.at_rest(HOME), HOME + 0.2 * (np.asarray(shares) - 0.5))
    target = HOME - 0.2 * (np.asarray(shares) - 0.5)
    segment = PLANNERS["fer"].to_target(executed, first.sample(executed), target)
    for index, span in enumerate(np.diff(segment.times)):
        for share in (0.25, 0.75):
            position, jerk = quintic(segment, index, share * span)
            planned = segment.sample(segment.start + segment.times[index] + share * span).position
            # Points nearer than _CLOSEST are one, which costs a millionth of a radian.
            np.testing.assert_allclose(position, planned, atol=5e-6)
            if span > 1e-3:
                assert np.all(np.abs(jerk) <= FER.jerk * 1.05)


def test_segment_takes_as_long_as_asked_and_slower_with_less_authority() -> None:
    planner, rest = PLANNERS["fer"], MotionState.at_rest(HOME)
    near = HOME + 0.001
    assert planner.to_target(0.0, rest, near, duration=0.25).duration == pytest.approx(0.25, abs=1e-6)
    far = HOME + 0.3
    assert planner.to_target(0.0, rest, far, speed=0.2).duration > planner.to_target(0.0, rest, far).duration


def test_arm_at_its_target_gets_a_segment_that_holds_it() -> None:
    segment = PLANNERS["fer"].to_target(1.0, MotionState.at_rest(HOME), HOME)
    assert len(segment.times) >= 2 and segment.duration > 0
    np.testing.assert_allclose(segment.positions, np.tile(HOME, (len(segment.times), 1)), atol=1e-12)


def test_points_are_never_further_apart_than_the_spacing() -> None:
    segment = SegmentPlanner(FER, spacing=0.02).to_target(0.0, MotionState.at_rest(HOME), HOME + 0.3)
    assert np.max(np.diff(segment.times)) <= 0.025


@pytest.mark.parametrize("bad", [np.full(7, np.nan), np.zeros(6)])
def test_bad_state_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(MotionError, match="finite"):
        PLANNERS["fer"].to_target(0.0, MotionState.at_rest(bad), HOME)


def test_commanded_motion_follows_the_newest_segment_from_its_start_on() -> None:
    planner, commanded = PLANNERS["fer"], CommandedMotion(HOME)
    first = planner.to_target(10.0, commanded.sample(10.0), HOME + 0.2)
    commanded.append(first)
    second = planner.to_target(10.2, commanded.sample(10.2), HOME - 0.2)
    commanded.append(second)
    np.testing.assert_array_equal(commanded.sample(9.0).position, HOME)
    np.testing.assert_allclose(commanded.sample(10.1).position, first.sample(10.1).position)
    np.testing.assert_allclose(commanded.sample(10.2).velocity, first.sample(10.2).velocity, atol=1e-9)
    np.testing.assert_allclose(commanded.sample(99.0).position, HOME - 0.2, atol=1e-9)
    assert commanded.end == second.end


def test_controller_that_takes_over_on_arrival_keeps_every_limit_until_the_splice() -> None:
    description = franka_panda()
    controller = TrajectoryController(ARM_JOINTS, description.limits(ARM_JOINTS))
    controller.reset(HOME, 10.0)
    commanded, goals = CommandedMotion(HOME), np.random.default_rng(0).uniform(-0.3, 0.3, (12, 7))
    executed: list[np.ndarray] = []
    for step, goal in enumerate(goals):
        now = 10.0 + 0.2 * step
        made = PLANNERS["fer"].to_target(now + 0.04, commanded.sample(now + 0.04), HOME + goal)
        # Messages take their time.
        controller.accept(as_trajectory(commanded.lead_in(now, made)), now + 0.013)
        commanded.append(made)
        times = np.arange(now + 0.013, now + 0.213, 1e-3)
        executed += [controller.sample(time).accelerations for time in times]
        told = [commanded.sample(time).acceleration for time in times]
        np.testing.assert_allclose(executed[-len(times) :], told, atol=0.05)
    assert np.all(np.abs(executed) <= FER.acceleration * 1.001)
    assert np.all(np.abs(np.diff(executed, axis=0)) <= FER.jerk * 1e-3 * 1.02)


def test_replaced_motion_is_forgotten() -> None:
    planner, commanded = PLANNERS["fer"], CommandedMotion(HOME)
    for start in (1.0, 2.0, 3.0):
        commanded.append(planner.to_target(start, commanded.sample(start), HOME + 0.01 * start))
    before = commanded.sample(2.5).position
    commanded.forget_before(2.5)
    np.testing.assert_array_equal(commanded.sample(2.5).position, before)
    early = planner.to_target(2.7, commanded.sample(2.7), HOME)
    commanded.append(early)
    np.testing.assert_allclose(commanded.sample(50.0).position, HOME, atol=1e-9)


def test_way_by_which_a_controller_joins_a_trajectory_has_the_peaks_of_its_quintic() -> None:
    generator, seconds = np.random.default_rng(3), 0.3
    before, after = (MotionState(*generator.normal(size=(3, 4))) for _ in range(2))
    rows = [
        [np.prod(range(power - order + 1, power + 1)) * time ** max(power - order, 0) for power in range(6)]
        for time in (0.0, seconds)
        for order in range(3)
    ]
    ends = [before.position, before.velocity, before.acceleration, after.position, after.velocity, after.acceleration]
    coefficients = np.linalg.solve(np.array(rows, dtype=float), np.array(ends))
    times = np.linspace(0.0, seconds, 21)[:, None]
    velocities = sum(power * times ** (power - 1) * coefficients[power] for power in range(1, 6))
    accelerations = sum(power * (power - 1) * times ** (power - 2) * coefficients[power] for power in range(2, 6))
    found = join(before, after, seconds)
    np.testing.assert_allclose(found[0], np.abs(velocities).max(axis=0))
    np.testing.assert_allclose(found[1], np.abs(accelerations).max(axis=0))
