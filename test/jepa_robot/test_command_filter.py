"""The filter before libfranka: inside the limits whatever goes in, and out of the way of what is inside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_planner.limits import fer_limits, fr3_limits
from jepa_planner.motion import MotionState, SegmentPlanner
from jepa_robot.command_filter import PERIOD, CommandFilter, Margins

NAMES = tuple(f"joint{index}" for index in range(7))
TABLES = {"fr3": fr3_limits(NAMES), "fer": fer_limits(NAMES)}
HOME = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])


def make_filter(robot: str = "fr3") -> CommandFilter:
    made = CommandFilter(Margins().apply(TABLES[robot]))
    made.rest_at(HOME)
    return made


def differences(positions: np.ndarray) -> list[np.ndarray]:
    """Velocities, accelerations and jerks as FCI takes them: from one command to the next."""
    rates = [positions]
    for _ in range(3):
        rates.append(np.diff(rates[-1], axis=0) / PERIOD)
    return rates[1:]


def assert_inside(positions: np.ndarray, robot: str) -> None:
    limits = TABLES[robot]
    velocities, accelerations, jerks = differences(positions)
    assert np.all(positions >= limits.lower) and np.all(positions <= limits.upper)
    backward, forward = limits.velocity_bounds(positions.T[:, 1:].T, positions.T[:, 1:].T)
    assert np.all(velocities <= forward) and np.all(velocities >= backward)
    assert np.all(np.abs(accelerations) <= limits.acceleration)
    assert np.all(np.abs(jerks) <= limits.jerk)


# What a broken, hasty or hostile sender may want: places beyond the ends, with rates that do not belong to them.
wild = st.lists(
    st.tuples(
        st.lists(st.floats(-4, 4), min_size=7, max_size=7),
        st.floats(-8, 8),
        st.floats(-60, 60),
        st.integers(1, 250),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("robot", TABLES)
@settings(max_examples=15)
@given(wild)
def test_any_input_stays_inside_the_limits(robot, wishes):
    filtered = make_filter(robot)
    commands = [HOME] * 4
    for position, velocity, acceleration, periods in wishes:
        wanted = MotionState(np.array(position), np.full(7, velocity), np.full(7, acceleration))
        commands += [filtered.follow(wanted) for _ in range(periods)]
    while not filtered.rests:
        commands.append(filtered.brake())
    assert_inside(np.array(commands), robot)


@pytest.mark.parametrize("robot", TABLES)
def test_it_reaches_the_ends_of_the_range_and_stops_there(robot):
    limits = Margins().apply(TABLES[robot])
    filtered = make_filter(robot)
    for end in (limits.upper, limits.lower):
        commands = [filtered.follow(MotionState.at_rest(end)) for _ in range(4000)]
        assert_inside(np.array(commands), robot)
        assert np.abs(commands[-1] - end).max() < 0.03


def test_a_smooth_trajectory_passes_unchanged():
    filtered = make_filter()
    gentle = Margins(0.5, 0.25, 0.06, 0.05).apply(TABLES["fr3"])
    segment = SegmentPlanner(gentle).to_target(0.0, MotionState.at_rest(HOME), HOME + 0.3)
    wanted = [segment.sample(period * PERIOD) for period in range(1, round(segment.duration / PERIOD) + 50)]
    commands = np.array([filtered.follow(state) for state in wanted])
    early = commands - [state.position for state in wanted]
    assert np.all(np.abs(early) <= 1e-6 + PERIOD / 2 * np.abs([state.velocity for state in wanted]))
    assert np.abs(differences(commands)[2]).max() < 1.05 * np.abs(segment.jerks()).max()
    assert filtered.rests


def test_it_catches_up_with_a_motion_that_began_without_it():
    filtered = make_filter()
    gentle = Margins(0.5, 0.25, 0.06, 0.05).apply(TABLES["fr3"])
    segment = SegmentPlanner(gentle).to_target(0.0, MotionState.at_rest(HOME), HOME + 0.3)
    late = 150
    wanted = [segment.sample(period * PERIOD) for period in range(late, late + 600)]
    commands = [HOME] * 4 + [filtered.follow(state) for state in wanted]
    assert_inside(np.array(commands), "fr3")
    assert np.abs(commands[-1] - wanted[-1].position).max() < PERIOD / 2


@settings(max_examples=12)
@given(st.lists(st.tuples(st.integers(3, 60), st.integers(1, 19)), min_size=1, max_size=8))
def test_it_continues_without_a_jump_what_the_arm_made_up_for_lost_commands(losses):
    """While commands are lost, the arm keeps its acceleration; what comes next has to continue that."""
    filtered = make_filter()
    gentle = Margins(0.5, 0.25, 0.06, 0.05).apply(TABLES["fr3"])
    segment = SegmentPlanner(gentle).to_target(0.0, MotionState.at_rest(HOME), HOME + 0.4)
    commands, time = [HOME] * 4, 0.0
    for heard, lost in losses:
        for _ in range(heard):
            time += PERIOD
            commands.append(filtered.follow(segment.sample(time)))
        velocity = (commands[-1] - commands[-2]) / PERIOD
        acceleration = (velocity - (commands[-2] - commands[-3]) / PERIOD) / PERIOD
        for _ in range(lost):
            time += PERIOD
            velocity = velocity + acceleration * PERIOD
            commands.append(commands[-1] + velocity * PERIOD)
        filtered.continue_from(commands[-1], velocity, acceleration)
    commands += [filtered.follow(segment.sample(time + period * PERIOD)) for period in range(1, 400)]
    assert_inside(np.array(commands), "fr3")


def test_braking_ends_at_rest_and_is_short():
    filtered = make_filter()
    far = MotionState.at_rest(HOME + 1.0)
    commands = [HOME] * 4 + [filtered.follow(far) for _ in range(300)]
    braking = []
    while not filtered.rests:
        braking.append(filtered.brake())
    assert_inside(np.array(commands + braking + [braking[-1]] * 4), "fr3")
    assert len(braking) < 500
