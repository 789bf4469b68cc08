"""The files for Gazebo say what the MuJoCo scene says; Gazebo's own parser reads them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mujoco
import numpy as np
import pinocchio
import pytest
import yaml
from scipy.spatial.transform import Rotation
from sdformat_parser import LIBRARIES, as_parsed, complaints

from jepa_common.resources import find_resource
from jepa_sim.gazebo_files import CAMERA_TOPIC, IMAGE_SIZE, Gazebo, camera_pose, files, moments, world_sdf
from jepa_sim.meshes import mesh_folder
from jepa_sim.robot_description import ARM_JOINTS, FINGER_JOINTS, HOME_POSITIONS, TCP_LINK, franka_panda
from jepa_sim.scene import BOX, CAMERA_NAME, CUP, SceneConfig, build_model, build_spec

xacro = pytest.importorskip("xacro")

WORLDS = {"table.sdf": Gazebo.SIM, "table_classic.world": Gazebo.CLASSIC}
HARDWARE = {
    "mock": "mock_components/GenericSystem",
    "gz": "gz_ros2_control/GazeboSimSystem",
    "gazebo_classic": "gazebo_ros2_control/GazeboSystem",
}
needs_parser = pytest.mark.skipif(
    not LIBRARIES, reason="Gazebo's SDF parser is not installed: apt-get install libsdformat12-12"
)


def urdf(hardware: str = "mock", meshes: str = "") -> str:
    path = find_resource("models", "franka", "panda.urdf.xacro")
    arguments = {"hardware": hardware, "meshes": meshes or str(mesh_folder()), "controllers": "/controllers.yaml"}
    return xacro.process_file(str(path), mappings=arguments).toxml()


def world(name: str) -> ElementTree.Element:
    """A world as Gazebo's parser understands it, or as it is written where the parser is not installed."""
    path = find_resource("models", "worlds", name)
    found = ElementTree.fromstring(as_parsed(path) if LIBRARIES else path.read_text()).find("world")
    assert found is not None
    return found


def numbers(element: ElementTree.Element, path: str) -> np.ndarray:
    text = element.findtext(path)
    assert text is not None, path
    return np.array([float(word) for word in text.split()])


# --- the arm ------------------------------------------------------------------------------------------------


def test_the_shipped_files_are_the_generated_ones():
    for path, text in files().items():
        assert path.read_text() == text, f"write {path} again: python -m jepa_sim.gazebo_files"


def pinocchio_poses(text: str, joint_positions: np.ndarray) -> np.ndarray:
    """Tool poses [N, 4, 4] in the base frame."""
    model = pinocchio.buildModelFromXML(text)
    data, frame = model.createData(), model.getFrameId(TCP_LINK)
    addresses = [model.joints[model.getJointId(name)].idx_q for name in ARM_JOINTS]
    full, poses = np.zeros(model.nq), []
    for positions in joint_positions:
        full[addresses] = positions
        pinocchio.framesForwardKinematics(model, data, full)
        poses.append(data.oMf[frame].homogeneous)
    return np.array(poses)


def mujoco_poses(model: mujoco.MjModel, joint_positions: np.ndarray) -> np.ndarray:
    """Tool poses [N, 4, 4] in the base frame."""
    data, poses = mujoco.MjData(model), np.tile(np.eye(4), (len(joint_positions), 1, 1))
    addresses = [model.joint(name).qposadr[0] for name in ARM_JOINTS]
    tool = model.body(TCP_LINK).id
    for pose, positions in zip(poses, joint_positions, strict=True):
        data.qpos[addresses] = positions
        mujoco.mj_kinematics(model, data)
        pose[:3, :3], pose[:3, 3] = data.xmat[tool].reshape(3, 3), data.xpos[tool]
    return poses


def urdf_in_mujoco(text: str) -> mujoco.MjModel:
    """MuJoCo's own reading of URDF; frames without a body are kept."""
    extension = '<mujoco><compiler fusestatic="false" discardvisual="true"/></mujoco>'
    assets = {path.name: path.read_bytes() for path in mesh_folder().glob("*.stl")}
    return mujoco.MjSpec.from_string(text.replace("</robot>", extension + "</robot>"), assets=assets).compile()


def test_urdf_xacro_and_scene_agree_about_a_thousand_poses_in_both_libraries():
    limits = franka_panda().limits(ARM_JOINTS)
    lower, upper = ([getattr(limit, side) for limit in limits] for side in ("lower", "upper"))
    positions = np.random.default_rng(0).uniform(lower, upper, (1000, len(ARM_JOINTS)))
    plain = find_resource("models", "franka", "panda.urdf").read_text()
    expected = mujoco_poses(build_model(), positions)
    for text in (plain, urdf()):
        assert np.abs(pinocchio_poses(text, positions) - expected).max() < 1e-4
        assert np.abs(mujoco_poses(urdf_in_mujoco(text), positions) - expected).max() < 1e-4


def test_the_limits_are_the_published_ones():
    """Franka's table for the FER: positions, velocities, accelerations, jerks; efforts from the same manual."""
    published = (
        (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
        (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
        (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
        (15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0),
        (7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
        (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0),
    )
    names = ("lower", "upper", "velocity", "acceleration", "jerk", "effort")
    for name, row in zip(names, published, strict=True):
        assert tuple(getattr(limit, name) for limit in franka_panda().limits(ARM_JOINTS)) == row, name
    for text in (find_resource("models", "franka", "panda.urdf").read_text(), urdf()):
        model = pinocchio.buildModelFromXML(text)
        joints = [model.joints[model.getJointId(name)] for name in ARM_JOINTS]
        found = [
            [limit[joint.idx_q] for joint in joints] for limit in (model.lowerPositionLimit, model.upperPositionLimit)
        ]
        found += [[limit[joint.idx_v] for joint in joints] for limit in (model.velocityLimit,)]
        assert np.allclose(found, published[:3])
        assert np.allclose([model.effortLimit[joint.idx_v] for joint in joints], published[5])


@pytest.mark.parametrize("hardware", HARDWARE)
def test_ros2_control_moves_every_joint_and_starts_at_home(hardware: str):
    root = ElementTree.fromstring(urdf(hardware))
    assert root.findtext("ros2_control/hardware/plugin") == HARDWARE[hardware]
    joints = {joint.get("name"): joint for joint in root.findall("ros2_control/joint")}
    assert set(joints) == {*ARM_JOINTS, *FINGER_JOINTS}
    for joint in joints.values():
        assert [interface.get("name") for interface in joint.findall("command_interface")] == ["position"]
        assert {interface.get("name") for interface in joint.findall("state_interface")} == {"position", "velocity"}
    initial = [float(joints[name].findtext("state_interface/param") or "nan") for name in ARM_JOINTS]
    assert np.allclose(initial, HOME_POSITIONS)
    plugins = root.findall("gazebo/plugin")
    assert len(plugins) == (0 if hardware == "mock" else 1)
    assert all(plugin.findtext("parameters") == "/controllers.yaml" for plugin in plugins)


def test_every_mesh_of_the_arm_is_there():
    names = [mesh.get("filename") or "" for mesh in ElementTree.fromstring(urdf()).iter("mesh")]
    assert names and all(Path(name).is_file() for name in names)


@needs_parser
def test_gazebo_understands_the_arm(tmp_path: Path):
    path = tmp_path / "panda.urdf"
    path.write_text(urdf("gz", meshes=f"file://{mesh_folder()}"))
    model = ElementTree.fromstring(as_parsed(path)).find("model")
    assert model is not None
    moving = {joint.get("name") for joint in model.findall("joint") if joint.get("type") != "fixed"}
    assert moving == {*ARM_JOINTS, *FINGER_JOINTS}
    finger = model.find("link[@name='panda_leftfinger']")
    assert finger is not None
    colors = [numbers(visual, "material/diffuse") for visual in finger.findall("visual")]
    assert colors and all(np.allclose(color, SceneConfig().left_finger_color, atol=1e-3) for color in colors)
    assert [plugin.get("name") for plugin in model.findall("plugin")] == ["gz_ros2_control::GazeboSimROS2ControlPlugin"]


# --- the world ----------------------------------------------------------------------------------------------


@needs_parser
@pytest.mark.parametrize("name", WORLDS)
def test_gazebos_parser_accepts_the_world(name: str):
    assert complaints(find_resource("models", "worlds", name)) == ""


@needs_parser
def test_gazebos_parser_refuses_a_world_that_is_wrong(tmp_path: Path):
    path = tmp_path / "wrong.sdf"
    path.write_text(world_sdf(Gazebo.SIM).replace("<radius>", "<radius>wide"))
    assert "invalid" in complaints(path)


def pixels(points: np.ndarray, position: np.ndarray, axes: np.ndarray, focal: float) -> np.ndarray:
    """Where points [N, 3] are in the picture, from its centre; `axes` are right, down and forward in columns."""
    seen = (points - position) @ axes
    return focal * seen[:, :2] / seen[:, 2:]


@pytest.mark.parametrize("name", WORLDS)
def test_the_camera_sees_what_mujocos_sees(name: str):
    points = np.random.default_rng(0).uniform((0.2, -0.4, 0.0), (0.8, 0.4, 0.6), (50, 3))
    model = build_model()
    data = mujoco.MjData(model)
    mujoco.mj_camlight(model, data) if hasattr(mujoco, "mj_camlight") else None
    mujoco.mj_forward(model, data)
    camera = model.camera(CAMERA_NAME).id
    right, up, backward = data.cam_xmat[camera].reshape(3, 3).T
    focal = IMAGE_SIZE / 2 / np.tan(np.radians(model.cam_fovy[camera]) / 2)
    expected = pixels(points, data.cam_xpos[camera], np.column_stack((right, -up, -backward)), focal)

    element = world(name).find(f"model[@name='{CAMERA_NAME}']")
    assert element is not None
    pose = numbers(element, "pose")
    forward, left, up = Rotation.from_euler("xyz", pose[3:]).as_matrix().T
    sensor = element.find("link/sensor/camera")
    assert sensor is not None
    width = numbers(sensor, "image/width")[0]
    assert width == numbers(sensor, "image/height")[0] == IMAGE_SIZE
    focal = width / 2 / np.tan(numbers(sensor, "horizontal_fov")[0] / 2)
    found = pixels(points, pose[:3], np.column_stack((-left, -up, forward)), focal)
    assert np.abs(found - expected).max() < 0.05
    assert np.abs(found).max() < IMAGE_SIZE, "the table is in view"


@pytest.mark.parametrize("name", WORLDS)
def test_table_cup_and_box_are_where_and_what_they_are_in_mujoco(name: str):
    parsed, spec = world(name), build_spec()
    bodies = {CUP: spec.body(CUP), BOX: spec.body(BOX)}
    for entity, body in bodies.items():
        model = parsed.find(f"model[@name='{entity}']")
        assert model is not None
        assert np.allclose(numbers(model, "pose")[:3], body.pos)
        assert np.isclose(numbers(model, "link/inertial/mass")[0], body.geoms[0].mass)
        assert np.allclose(numbers(model, "link/visual/material/diffuse"), body.geoms[0].rgba, atol=1e-3)
        assert len(model.findall("link/visual")) == len(body.geoms)
    config = SceneConfig()
    assert np.allclose(numbers(parsed, f"model[@name='{BOX}']/link/collision/geometry/box/size"), config.box_size)
    cup = f"model[@name='{CUP}']/link/collision/geometry/cylinder"
    assert np.isclose(numbers(parsed, f"{cup}/radius")[0], config.cup_radius)
    assert np.isclose(numbers(parsed, f"{cup}/length")[0], config.cup_height)
    table = parsed.find("model[@name='table']")
    assert table is not None and table.findtext("static") in ("true", "1")
    top = numbers(table, "pose")[2] + numbers(table, "link/collision/geometry/box/size")[2] / 2
    assert np.isclose(top, 0.0), "the table top is z = 0"


def test_moments_of_inertia_are_those_that_mujoco_computes():
    model, spec = build_model(), build_spec()
    for name in (CUP, BOX):
        expected = sorted(model.body(name).inertia)
        assert np.allclose(sorted(moments(spec.body(name).geoms[0])), expected, rtol=1e-6)


def test_a_camera_elsewhere_moves_in_the_world_too():
    moved = SceneConfig().camera.__class__(position=(1.0, 0.0, 1.0), target=(0.0, 0.0, 0.0))
    assert np.allclose(camera_pose(moved), (1.0, 0.0, 1.0, 0.0, np.pi / 4, np.pi), atol=1e-9)


def test_the_bridge_carries_the_worlds_camera():
    bridge = yaml.safe_load(find_resource("config", "gazebo_bridge.yaml").read_text())
    names = {entry["gz_topic_name"]: entry for entry in bridge}
    topic = world("table.sdf").findtext(f"model[@name='{CAMERA_NAME}']/link/sensor/topic")
    assert topic == CAMERA_TOPIC
    assert names[f"/{topic}"]["ros_topic_name"] == "image"
    assert names["/" + topic.replace("image", "camera_info")]["ros_topic_name"] == "camera_info"
    assert {entry["direction"] for entry in bridge} == {"GZ_TO_ROS"}
