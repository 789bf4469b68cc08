"""The planner's segments in the simulator's controller: the desired motion is the planned one."""

import numpy as np
import pytest

from jepa_planner.limits import Envelope, fer_limits
from jepa_planner.motion import CommandedMotion, Segment, SegmentPlanner
from jepa_sim.robot_description import ARM_JOINTS, HOME_POSITIONS, franka_panda
from jepa_sim.trajectory_controller import (
    Replacement,
    Trajectory,
    TrajectoryController,
    TrajectoryControllerConfig,
    TrajectoryPoint,
)

PERIOD, LEAD = 0.25, 0.04


def as_trajectory(segment: Segment) -> Trajectory:
    rows = zip(segment.times, segment.positions, segment.velocities, segment.accelerations, strict=True)
    return Trajectory(segment.start, ARM_JOINTS, [TrajectoryPoint(float(time), *values) for time, *values in rows])


@pytest.mark.parametrize("replacement", list(Replacement))
@pytest.mark.parametrize("latest_arrival", [0.9 * LEAD, 1.5 * LEAD], ids=["in time", "some late"])
def test_segments_replanned_at_the_control_rate_are_executed_as_planned(
    replacement: Replacement, latest_arrival: float
):
    generator = np.random.default_rng(0)
    made = TrajectoryController(ARM_JOINTS, franka_panda().limits(ARM_JOINTS), TrajectoryControllerConfig(replacement))
    made.reset(HOME_POSITIONS, 1.0)
    planner, mirror = SegmentPlanner(Envelope().apply(fer_limits(ARM_JOINTS))), CommandedMotion(HOME_POSITIONS)
    checked = 1.0
    for step in range(40):
        now = 1.0 + step * PERIOD
        target = np.array(HOME_POSITIONS) + generator.uniform(-0.3, 0.3, len(ARM_JOINTS))
        segment = planner.to_target(now + LEAD, mirror.sample(now + LEAD), target, 1.0, PERIOD)
        arrival = now + generator.uniform(0.0, latest_arrival)
        while checked < arrival:
            assert np.allclose(made.sample(checked).positions, mirror.sample(checked).position, atol=2e-3)
            checked += 0.005
        mirror.append(segment)
        made.accept(as_trajectory(segment), arrival)
    assert np.allclose(made.sample(made.end()).positions, mirror.sample(mirror.end).position)
