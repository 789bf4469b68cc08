"""The `sim` node on real topics."""

import math
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros.srv import ResetSimulation
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import Marker, MarkerArray

from jepa_common.qos_profiles import camera_qos, joint_states_qos, latched_qos, latest_qos
from jepa_common.stamps import to_nanoseconds
from jepa_sim.camera_view import turned
from jepa_sim.environment import EnvironmentConfig, TableEnvironment
from jepa_sim.meshes import mesh_folder
from jepa_sim.robot_description import ARM_JOINTS, FINGER_JOINTS, HOME_POSITIONS, franka_panda
from jepa_sim.scene import CameraConfig, SceneConfig
from jepa_sim.sim_node import SimNode

# Two cores, shared with everything else that runs: a process may take half a minute to start.
PATIENCE = 100.0


def reset(nodes: Any, seed: int = 0, task: str = "", joint_positions: tuple[float, ...] = ()) -> Any:
    request = ResetSimulation.Request(seed=seed, task=task)
    request.joint_positions = list(joint_positions)
    return nodes.call(ResetSimulation, "reset_simulation", request)


def trajectory(names: tuple[str, ...], positions: list[float], nanoseconds: int = 400_000_000) -> JointTrajectory:
    point = JointTrajectoryPoint(time_from_start=Duration(nanosec=nanoseconds))
    point.positions = list(positions)
    point.velocities = [0.0] * len(positions)
    point.accelerations = [0.0] * len(positions)
    return JointTrajectory(joint_names=list(names), points=[point])


def last_positions(received: list[JointState]) -> dict[str, float]:
    return dict(zip(received[-1].name, received[-1].position, strict=True)) if received else {}


def test_it_publishes_what_a_robot_with_a_camera_publishes(nodes: Any):
    clocks = nodes.collect(Clock, "/clock", joint_states_qos())
    joints = nodes.collect(JointState, "joint_states", joint_states_qos())
    images = nodes.collect(Image, "image", camera_qos())
    infos = nodes.collect(CameraInfo, "camera_info", camera_qos())
    nodes.make(SimNode, camera_width=96, camera_height=64)
    descriptions = nodes.collect(String, "robot_description", latched_qos())
    nodes.wait_until(
        lambda: images and infos and descriptions and len(clocks) > 10, "pictures and a description", PATIENCE
    )
    assert descriptions[0].data == franka_panda().to_urdf(mesh_folder())

    stamps = [to_nanoseconds(message.clock) for message in clocks]
    assert set(np.diff(stamps)) <= {10_000_000 * lost for lost in range(1, 100)}
    assert list(joints[0].name) == [*ARM_JOINTS, *FINGER_JOINTS]
    assert len(joints[0].position) == len(joints[0].velocity) == 9

    image, info = images[-1], infos[-1]
    assert (image.encoding, image.width, image.height, image.step) == ("rgb8", 96, 64, 288)
    assert image.header.frame_id == info.header.frame_id == "camera_optical_frame"
    assert to_nanoseconds(image.header.stamp) > 0
    assert np.frombuffer(image.data, np.uint8).reshape(64, 96, 3).std() > 20
    assert info.k[0] == pytest.approx(32 / math.tan(math.radians(CameraConfig().vertical_fov) / 2))


def test_its_camera_stands_where_the_parameter_turns_it(nodes: Any):
    images = nodes.collect(Image, "image", camera_qos())
    nodes.make(SimNode, camera_width=64, camera_height=64, camera_turn=40.0)
    nodes.wait_until(lambda: images, "a picture", PATIENCE)
    seen = np.frombuffer(images[-1].data, np.uint8).reshape(64, 64, 3).astype(float)
    error = {}
    for degrees in (0.0, 40.0):
        scene = SceneConfig(camera=turned(CameraConfig(), degrees))
        with TableEnvironment(EnvironmentConfig(scene=scene)) as environment:
            environment.reset(0)
            error[degrees] = float(np.mean(np.abs(environment.render(64, 64) - seen)))
    assert error[40.0] < 2.0 < 10.0 < error[0.0]


def test_it_says_where_the_objects_are(nodes: Any):
    received = nodes.collect(MarkerArray, "objects", joint_states_qos())
    nodes.make(SimNode)
    assert reset(nodes, seed=4, task="grasp_cup").success
    with TableEnvironment() as environment:
        environment.reset(4, "grasp_cup")
        expected = environment.object_positions()
    nodes.wait_until(lambda: received and distances(received[-1], expected).max() < 1e-3, "the objects", PATIENCE)
    assert {marker.ns: marker.type for marker in received[-1].markers} == {"cup": Marker.CYLINDER, "box": Marker.CUBE}


def distances(message: MarkerArray, expected: dict[str, np.ndarray]) -> np.ndarray:
    found = {marker.ns: marker.pose.position for marker in message.markers}
    pairs = ((found[name], position) for name, position in expected.items())
    return np.array([np.linalg.norm(position - (point.x, point.y, point.z)) for point, position in pairs])


def test_arm_and_gripper_follow_trajectories(nodes: Any):
    joints = nodes.collect(JointState, "joint_states", joint_states_qos())
    nodes.make(SimNode, camera_rate=0.1)
    arm = nodes.publisher(JointTrajectory, "joint_trajectory", latest_qos())
    gripper = nodes.publisher(JointTrajectory, "gripper_trajectory", latest_qos())
    assert reset(nodes, joint_positions=HOME_POSITIONS).success
    target = dict(zip(reversed(ARM_JOINTS), [value + 0.1 for value in reversed(HOME_POSITIONS)], strict=True))
    arm.publish(trajectory(tuple(target), list(target.values())))
    gripper.publish(trajectory(FINGER_JOINTS, [0.02, 0.02]))
    target |= dict.fromkeys(FINGER_JOINTS, 0.02)
    nodes.wait_until(
        lambda: joints and all(abs(last_positions(joints)[name] - target[name]) < 2e-3 for name in target),
        "the arm at its target",
        PATIENCE,
    )


def test_what_cannot_be_executed_is_refused_with_a_reason_and_the_arm_held(nodes: Any):
    joints = nodes.collect(JointState, "joint_states", joint_states_qos())
    reports = nodes.collect(DiagnosticArray, "/diagnostics", latest_qos())
    nodes.make(SimNode, camera_rate=0.1)
    arm = nodes.publisher(JointTrajectory, "joint_trajectory", latest_qos())
    assert reset(nodes, joint_positions=HOME_POSITIONS).success
    arm.publish(trajectory(ARM_JOINTS, [math.nan] * 7))
    nodes.wait_until(
        lambda: any(
            "joint_trajectory refused: point 0: expected finite positions" in str(report) for report in reports
        ),
        "the reason on /diagnostics",
        PATIENCE,
    )
    assert np.allclose([last_positions(joints)[name] for name in ARM_JOINTS], HOME_POSITIONS, atol=1e-3)


def test_a_reset_puts_the_robot_where_the_seed_says(nodes: Any):
    joints = nodes.collect(JointState, "joint_states", joint_states_qos())
    nodes.make(SimNode, camera_rate=0.1)
    answers = [reset(nodes, seed) for seed in (5, 6, 5)]
    assert all(answer.success for answer in answers)
    assert answers[0].message == answers[2].message != answers[1].message
    assert reset(nodes, joint_positions=HOME_POSITIONS).success
    nodes.wait_until(
        lambda: joints and abs(last_positions(joints)["panda_joint4"] - HOME_POSITIONS[3]) < 1e-3,
        "the arm at home",
        PATIENCE,
    )


def test_a_reset_that_cannot_be_is_answered_with_the_reason(nodes: Any):
    nodes.make(SimNode, camera_rate=0.1)
    answer = reset(nodes, task="juggle")
    assert not answer.success and "juggle" in answer.message
    answer = reset(nodes, joint_positions=(0.0,) * 3)
    assert not answer.success and "7 joint positions" in answer.message
    answer = reset(nodes, joint_positions=(math.nan,) * 7)
    assert not answer.success and "panda_joint1" in answer.message
    assert reset(nodes).success


def test_the_compressed_picture_is_the_same_picture(nodes: Any):
    images = nodes.collect(CompressedImage, "image/compressed", camera_qos())
    nodes.make(SimNode, compressed=True, camera_width=64, camera_height=64)
    nodes.wait_until(lambda: bool(images), "a compressed picture", PATIENCE)
    assert "jpeg" in images[0].format
    assert cv2.imdecode(np.frombuffer(images[0].data, np.uint8), cv2.IMREAD_COLOR).shape == (64, 64, 3)


def test_it_says_when_it_falls_behind(nodes: Any):
    reports = nodes.collect(DiagnosticArray, "/diagnostics", latest_qos())
    nodes.make(SimNode, real_time_factor=100.0)
    nodes.wait_until(lambda: any("falling behind" in str(report) for report in reports), "a warning", PATIENCE)
    status = next(status for report in reports for status in report.status if "behind" in status.message)
    assert status.level == b"\x01"
    assert float({value.key: value.value for value in status.values}["real_time_factor"]) < 97.0


def test_its_parameters_are_described_and_checked(nodes: Any):
    node = nodes.make(SimNode, camera_rate=0.1)
    descriptor = node.describe_parameter("camera_rate")
    assert "Hz" in descriptor.description and descriptor.floating_point_range[0].to_value == 100.0
    (result,) = node.set_parameters([Parameter("task", value="juggle")])
    assert not result.successful and "juggle" in result.reason


def test_the_process_ends_cleanly_when_interrupted(processes: Any, nodes: Any):
    import signal

    clocks = nodes.collect(Clock, "/clock", joint_states_qos())
    process = processes.start("jepa_sim.sim_node", ros_parameters={"camera_rate": 1.0})
    nodes.wait_until(lambda: bool(clocks) or process.poll() is not None, "a clock", PATIENCE)
    assert clocks, processes.output(process)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0, processes.output(process)
    assert "Traceback" not in processes.output(process)


def test_a_bad_parameter_ends_the_process_with_its_name(processes: Any):
    process = processes.start("jepa_sim.sim_node", ros_parameters={"camera_rate": -1.0})
    assert process.wait(PATIENCE) == 2
    assert "camera_rate" in processes.output(process)
