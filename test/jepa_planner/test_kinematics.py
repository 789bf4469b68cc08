"""Forward kinematics agrees with the state's definition; inverse kinematics finds poses inside the limits."""

from __future__ import annotations

import numpy as np
import pytest
from franka import HOME, URDF, cautious_limits, kinematics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from jepa_planner.kinematics import Kinematics
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK, TCP_LINK

KINEMATICS = kinematics()
LIMITS = cautious_limits()
inside = st.tuples(*(st.floats(low, high) for low, high in zip(LIMITS.lower, LIMITS.upper, strict=True)))


def test_home_points_the_gripper_down_in_front_of_the_base() -> None:
    x, y, z, roll, pitch, yaw = KINEMATICS.pose(HOME)
    assert 0.25 < x < 0.6 and y == pytest.approx(0, abs=1e-9) and 0.3 < z < 0.7
    assert (abs(roll), pitch, yaw) == pytest.approx((np.pi, 0, 0), abs=1e-9)


def test_pose_is_extrinsic_xyz_euler() -> None:
    positions = HOME + np.linspace(-0.4, 0.5, 7)
    pose, transform = KINEMATICS.pose(positions), KINEMATICS.transform(positions)
    np.testing.assert_allclose(pose[:3], transform[:3, 3])
    np.testing.assert_allclose(Rotation.from_euler("xyz", pose[3:]).as_matrix(), transform[:3, :3], atol=1e-12)
    np.testing.assert_allclose(KINEMATICS.state(positions, 0.5), [*pose, 0.5])


def test_jacobian_is_the_derivative_of_the_pose() -> None:
    step = 1e-6
    numeric = [
        (KINEMATICS.pose(HOME + step * axis)[:3] - KINEMATICS.pose(HOME - step * axis)[:3]) / (2 * step)
        for axis in np.eye(7)
    ]
    np.testing.assert_allclose(KINEMATICS.jacobian(HOME)[:3], np.transpose(numeric), atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(inside, st.tuples(*(st.floats(-0.06, 0.06),) * 3), st.tuples(*(st.floats(-0.2, 0.2),) * 3))
def test_inverse_kinematics_stays_in_its_limits_and_is_honest(
    positions: tuple[float, ...], shift: tuple[float, ...], turn: tuple[float, ...]
) -> None:
    pose = KINEMATICS.pose(positions)
    pose[:3] += shift
    pose[3:] = (Rotation.from_rotvec(turn) * Rotation.from_euler("xyz", pose[3:])).as_euler("xyz")
    found = KINEMATICS.ik(pose, positions, lower=LIMITS.lower, upper=LIMITS.upper)
    assert np.all(found.positions >= LIMITS.lower) and np.all(found.positions <= LIMITS.upper)
    distance = np.linalg.norm(KINEMATICS.pose(found.positions)[:3] - pose[:3])
    assert distance == pytest.approx(found.position_error, abs=1e-9)
    assert not found.converged or distance < 1e-4


def test_small_steps_over_the_table_converge() -> None:
    generator = np.random.default_rng(0)
    positions, converged = KINEMATICS.ik([0.5, 0, 0.2, np.pi, 0, 0], HOME).positions, 0
    for _ in range(200):
        target = KINEMATICS.pose(positions)
        target[:3] = np.clip(target[:3] + generator.uniform(-0.06, 0.06, 3), [0.32, -0.25, 0.03], [0.62, 0.25, 0.4])
        target[3:] = np.pi, 0, 0
        found = KINEMATICS.ik(target, positions, HOME, LIMITS.lower, LIMITS.upper)
        converged += found.converged
        assert np.max(np.abs(found.positions - positions)) < 0.7
        positions = found.positions
    assert converged == 200


def test_null_space_leans_toward_the_posture() -> None:
    pose = KINEMATICS.pose(HOME)
    seed = KINEMATICS.ik(pose, HOME + np.array([0.5, 0, -0.5, 0, 0.3, 0, 0.2])).positions
    leaned = seed
    for tick in range(100):
        leaned = KINEMATICS.ik(pose + np.sin(tick) * np.array([0, 0, 1e-3, 0, 0, 0]), leaned, HOME).positions
    assert np.linalg.norm(leaned - HOME) < 0.5 * np.linalg.norm(seed - HOME)


def test_unreachable_pose_is_reported_not_raised() -> None:
    found = KINEMATICS.ik([1.5, 0, 0.3, np.pi, 0, 0], HOME)
    assert not found.converged and found.position_error > 0.3 and found.condition > 30


def test_condition_number_grows_toward_the_stretched_arm() -> None:
    stretched = np.array([0, 0.3, 0, -0.1, 0, 1.8, 0.785])
    assert KINEMATICS.condition(stretched) > 3 * KINEMATICS.condition(HOME)


def test_limits_come_from_the_urdf() -> None:
    limits = KINEMATICS.limits()
    assert limits.names == ARM_JOINTS and limits.lower[3] == -3.0718 and limits.velocity[6] == 2.61
    assert np.all(np.isinf(limits.acceleration))


def test_joints_in_another_order_are_still_the_same_arm() -> None:
    reverse = Kinematics.from_urdf(URDF, BASE_LINK, TCP_LINK, ARM_JOINTS[::-1])
    np.testing.assert_allclose(reverse.pose(HOME[::-1]), KINEMATICS.pose(HOME), atol=1e-12)
    np.testing.assert_allclose(reverse.jacobian(HOME[::-1])[:, ::-1], KINEMATICS.jacobian(HOME), atol=1e-12)
    found = reverse.ik(KINEMATICS.pose(HOME), HOME[::-1] + 0.1)
    np.testing.assert_allclose(KINEMATICS.pose(found.positions[::-1])[:3], KINEMATICS.pose(HOME)[:3], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"urdf": "<robot"}, "not a URDF"),
        ({"base_link": "nowhere"}, "no link nowhere"),
        ({"tip_link": "nowhere"}, "no link nowhere"),
        ({"joint_names": ("elbow",)}, "no moving joints"),
        ({"tip_link": "panda_link5"}, "do not move the tip"),
    ],
)
def test_wrong_description_says_what_is_missing(change: dict, message: str) -> None:
    arguments = {
        "urdf": URDF,
        "base_link": BASE_LINK,
        "tip_link": TCP_LINK,
        "joint_names": ARM_JOINTS,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        Kinematics.from_urdf(**arguments)


@pytest.mark.parametrize("positions", [[0.0] * 6, [float("nan")] * 7])
def test_bad_positions_are_refused(positions: list[float]) -> None:
    with pytest.raises(ValueError, match="finite positions of 7 joints"):
        KINEMATICS.pose(positions)
