"""The robot's URDF: what other programs make of it."""

import math

import numpy as np
import pinocchio
import pytest

from jepa_common.resources import find_resource
from jepa_sim.robot_description import ARM_JOINTS, FINGER_JOINTS, HOME_POSITIONS, TCP_LINK, franka_panda
from jepa_sim.scene import build_model


def pose_in_pinocchio(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    model = pinocchio.buildModelFromXML(franka_panda().to_urdf())
    data = model.createData()
    full = np.zeros(model.nq)
    full[[model.joints[model.getJointId(name)].idx_q for name in ARM_JOINTS]] = positions
    pinocchio.framesForwardKinematics(model, data, full)
    frame = data.oMf[model.getFrameId(TCP_LINK)]
    return frame.translation, frame.rotation


def pose_in_mujoco(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import mujoco

    model = build_model()
    data = mujoco.MjData(model)
    for name, position in zip(ARM_JOINTS, positions, strict=True):
        data.joint(name).qpos = position
    mujoco.mj_kinematics(model, data)
    return data.body(TCP_LINK).xpos, data.body(TCP_LINK).xmat.reshape(3, 3)


def test_the_shipped_urdf_is_the_generated_one():
    path = find_resource("models", "franka", "panda.urdf")
    assert path.read_text() == franka_panda().to_urdf(), f"write franka_panda().to_urdf() to {path} again"


def test_home_points_the_gripper_down_where_the_manufacturer_says():
    position, rotation = pose_in_pinocchio(np.array(HOME_POSITIONS))
    assert np.allclose(position, (0.3069, 0.0, 0.4869), atol=1e-4)
    assert np.allclose(rotation, np.diag((1.0, -1.0, -1.0)), atol=1e-9)


def test_urdf_and_simulation_have_the_same_kinematics():
    limits = franka_panda().limits(ARM_JOINTS)
    generator = np.random.default_rng(0)
    for _ in range(5):
        positions = generator.uniform([limit.lower for limit in limits], [limit.upper for limit in limits])
        for expected, found in zip(pose_in_pinocchio(positions), pose_in_mujoco(positions), strict=True):
            assert np.allclose(expected, found, atol=1e-6)


def test_the_urdf_carries_the_published_limits():
    model = pinocchio.buildModelFromXML(franka_panda().to_urdf())
    elbow = model.joints[model.getJointId("panda_joint4")]
    assert model.lowerPositionLimit[elbow.idx_q] == -3.0718
    assert model.upperPositionLimit[elbow.idx_q] == -0.0698
    assert model.velocityLimit[elbow.idx_v] == 2.175
    assert model.effortLimit[elbow.idx_v] == 87.0
    finger = model.joints[model.getJointId(FINGER_JOINTS[0])]
    assert model.upperPositionLimit[finger.idx_q] == 0.04


def test_every_moving_link_has_a_sound_inertia():
    model = pinocchio.buildModelFromXML(franka_panda().to_urdf())
    for inertia in list(model.inertias)[1:]:
        assert inertia.mass > 0
        assert np.linalg.eigvalsh(inertia.inertia).min() > 0
    assert math.isclose(sum(inertia.mass for inertia in list(model.inertias)[1:]), 16.822, abs_tol=0.01)


def test_an_unknown_joint_is_named():
    with pytest.raises(KeyError, match="panda_joint9"):
        franka_panda().joint("panda_joint9")
    with pytest.raises(KeyError, match="fixed"):
        franka_panda().limits(("panda_joint8",))
