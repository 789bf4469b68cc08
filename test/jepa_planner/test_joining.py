"""Whatever the controller does when a command arrives, its way there is gentle; doubts about it end soon."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from franka import HOME

from jepa_planner.following import Following, ServoLag
from jepa_planner.joining import Joining
from jepa_planner.limits import Envelope, fer_limits
from jepa_planner.motion import CommandedMotion, MotionState, Segment, SegmentPlanner
from jepa_sim.robot_description import ARM_JOINTS, franka_panda
from jepa_sim.trajectory_controller import Trajectory, TrajectoryController, TrajectoryPoint

LIMITS = Envelope().apply(fer_limits(ARM_JOINTS))
TARGET = np.array(HOME) + np.array([0.2, -0.1, 0.15, 0.1, -0.2, 0.1, 0.3])
OTHER = np.array(HOME) + np.array([-0.1, 0.1, 0.1, -0.1, 0.2, 0.2, -0.2])
NOW = 10.32  # in the middle of the motion


def moving() -> CommandedMotion:
    """On the way to TARGET since 10 s."""
    motion = CommandedMotion(HOME)
    motion.append(SegmentPlanner(LIMITS).to_target(10.0, MotionState.at_rest(HOME), TARGET, 1.0, 0.5))
    return motion


def beside(motion: CommandedMotion, time: float, off: float) -> MotionState:
    """What a controller does that is ``off`` rad away in every joint."""
    told = motion.sample(time)
    return MotionState(told.position + off, told.velocity, told.acceleration)


def test_certain_controller_is_led_through_every_change_of_jerk() -> None:
    motion = moving()
    join = Joining(LIMITS).best(NOW + 0.1, NOW, motion, [])
    assert join.first == min(time for time in motion.knots(NOW, 11.0) if time > NOW) and join.is_gentle


@pytest.mark.parametrize("off", [1e-4, 1e-3])
def test_controller_that_follows_stays_in_the_envelope_although_that_is_not_certain(off: float) -> None:
    motion, planner, joining, sent = moving(), SegmentPlanner(LIMITS), Joining(LIMITS), 0
    for now in np.arange(10.02, 10.5, 0.02):
        starts = [float(now + lead) for lead in np.linspace(0.04, 0.3, 6)]
        joins = [joining.best(start, now, motion, [beside(motion, now, off)]) for start in starts]
        gentle = next(((start, join) for start, join in zip(starts, joins, strict=True) if join.is_gentle), None)
        if gentle is None:
            continue
        sent += 1
        start, join = gentle
        command = motion.lead_in(join.first, planner.to_target(start, motion.sample(start), OTHER, 1.0, 0.3))
        controller = TrajectoryController(ARM_JOINTS, franka_panda().limits(ARM_JOINTS))
        controller.reset(HOME, 0.0)
        controller.accept(_trajectory(motion.lead_in(10.0, _resting(motion))), 9.9)
        controller.accept(_trajectory(command), now)
        accelerations = np.array([controller.sample(time).accelerations for time in np.arange(now, start + 0.1, 0.001)])
        assert np.all(np.abs(accelerations) <= LIMITS.acceleration * 1.02)
        assert np.all(np.abs(np.diff(accelerations, axis=0)) <= LIMITS.jerk * 0.001 * 1.05)
    assert sent > 8, "a small doubt must not keep commands from being sent for long"


def _resting(motion: CommandedMotion) -> Segment:
    """Stands still where ``motion`` ends."""
    return SegmentPlanner(LIMITS).to_target(motion.end, motion.sample(motion.end), TARGET, 1.0, 0.3)


def _trajectory(segment: Segment) -> Trajectory:
    rows = zip(segment.times, segment.positions, segment.velocities, segment.accelerations, strict=True)
    return Trajectory(segment.start, ARM_JOINTS, [TrajectoryPoint(float(time), *row) for time, *row in rows])


def test_controller_that_may_be_far_away_gets_more_time() -> None:
    motion, joining = moving(), Joining(LIMITS)
    shares = [joining.best(NOW + 0.2, NOW, motion, [beside(motion, NOW, off)]) for off in (0.0, 0.01, 0.05)]
    assert all(before.first <= after.first for before, after in itertools.pairwise(shares))
    assert "catch up" in joining.why_bad(NOW + 0.05, NOW, motion, [beside(motion, NOW, 0.1)])


def reports_needed(with_speeds: bool) -> int:
    """Reports at 100 Hz until the controller is known to follow its newest command."""
    following, planner = Following(HOME, ServoLag()), SegmentPlanner(LIMITS)
    following.sent(planner.to_target(10.0, MotionState.at_rest(HOME), TARGET, 1.0, 0.5))
    for time in np.arange(10.01, 10.2, 0.01):
        following.reported(time, following.commanded.sample(time).position)
    following.sent(planner.to_target(10.2, following.commanded.sample(10.2), OTHER, 1.0, 0.5))
    for count in itertools.count(1):
        time = 10.2 + 0.01 * count
        state = following.commanded.sample(time)
        following.reported(time, state.position, state.velocity if with_speeds else None)
        if following.is_certain(time):
            return count
    raise AssertionError("unreachable")


def test_controller_that_also_says_how_fast_it_goes_is_believed_sooner() -> None:
    assert reports_needed(with_speeds=True) < reports_needed(with_speeds=False) <= 6


def test_command_that_changes_nothing_leaves_no_doubt_once_the_arm_rests() -> None:
    following, planner = Following(HOME, ServoLag()), SegmentPlanner(LIMITS)
    for start in (10.0, 10.1):
        following.sent(planner.to_target(start, MotionState.at_rest(HOME), np.array(HOME), 1.0, 0.25))
    for time in np.arange(10.0, 10.5, 0.01):
        following.measured(time, np.array(HOME))
    assert following.is_certain(10.5)
