"""The robot behind its controllers, without ROS."""

from collections.abc import Iterator

import numpy as np
import pytest

from jepa_sim.controlled_simulation import JOINT_NAMES, ControlledSimulation
from jepa_sim.robot_description import ARM_JOINTS, FINGER_JOINTS, HOME_POSITIONS
from jepa_sim.trajectory_controller import Trajectory, TrajectoryPoint, TrajectoryRefusedError


@pytest.fixture(scope="module")
def shared() -> Iterator[ControlledSimulation]:
    made = ControlledSimulation()
    yield made
    made.close()


@pytest.fixture
def robot(shared: ControlledSimulation) -> ControlledSimulation:
    shared.reset(3, joint_positions=HOME_POSITIONS)
    return shared


def seconds(robot: ControlledSimulation, duration: float) -> int:
    return round(duration / robot.timestep)


def toward(positions: np.ndarray, duration: float, names: tuple[str, ...] = ARM_JOINTS) -> Trajectory:
    still = np.zeros(len(positions))
    return Trajectory(0.0, names, [TrajectoryPoint(duration, positions, still, still)])


def test_the_arm_follows_a_trajectory_and_stays(robot: ControlledSimulation):
    target = np.array(HOME_POSITIONS) + 0.1
    robot.follow_arm(toward(target, 0.5))
    moving = robot.advance(seconds(robot, 0.25))
    assert np.abs(moving.velocities[:7]).min() > 0.05
    readings = robot.advance(seconds(robot, 1.75))
    assert np.allclose(readings.positions[:7], target, atol=1e-3)
    assert np.allclose(readings.velocities[:7], 0.0, atol=1e-3)


def test_the_fingers_follow_theirs(robot: ControlledSimulation):
    for opening in (0.01, 0.04):
        robot.follow_gripper(toward(np.full(2, opening), 0.5, FINGER_JOINTS))
        readings = robot.advance(seconds(robot, 1.0))
        assert np.allclose(readings.positions[7:], opening, atol=1e-3)
    assert robot.state()[6] == pytest.approx(0.0, abs=0.03)


def test_a_refused_trajectory_changes_nothing(robot: ControlledSimulation):
    with pytest.raises(TrajectoryRefusedError):
        robot.follow_arm(toward(np.full(7, np.nan), 0.5))
    readings = robot.advance(seconds(robot, 0.5))
    assert np.allclose(readings.positions[:7], HOME_POSITIONS, atol=1e-4)


def test_the_clock_counts_steps_and_goes_on_at_a_reset(robot: ControlledSimulation):
    before = robot.time_ns
    readings = robot.advance(200)
    assert readings.time_ns == robot.time_ns == before + round(200 * robot.timestep * 1e9)
    robot.reset(4)
    assert robot.time_ns == readings.time_ns


def test_a_reset_ends_the_motion_and_names_the_scene(robot: ControlledSimulation):
    robot.follow_arm(toward(np.array(HOME_POSITIONS) + 0.3, 1.0))
    robot.advance(20)
    robot.reset(7)
    first = robot.advance(1)
    assert np.allclose(robot.advance(100).positions[:7], first.positions[:7], atol=1e-3)
    robot.reset(7)
    assert np.array_equal(robot.advance(1).positions, first.positions)
    robot.reset(8)
    assert not np.allclose(robot.advance(1).positions, first.positions, atol=1e-2)


@pytest.mark.parametrize(
    ("task", "joints", "hint"),
    [("juggle", (), "juggle"), ("reach", (0.0,) * 6, "7 joint positions"), ("reach", (9.0,) * 7, "panda_joint1")],
)
def test_a_reset_that_cannot_be_is_refused(
    robot: ControlledSimulation, task: str, joints: tuple[float, ...], hint: str
):
    before = robot.advance(1).positions
    with pytest.raises(ValueError, match=hint):
        robot.reset(0, task, joints)
    assert np.allclose(robot.advance(1).positions, before, atol=1e-4)


def test_pictures_are_stamped_with_the_clock(robot: ControlledSimulation):
    robot.advance(10)
    picture = robot.picture(64, 48)
    assert picture.time_ns == robot.time_ns
    assert picture.image.shape == (48, 64, 3)


def test_every_joint_has_a_reading(robot: ControlledSimulation):
    readings = robot.advance(1)
    assert len(JOINT_NAMES) == len(readings.positions) == len(readings.velocities) == 9
