"""The `sim` node: a simulated Franka behind the topics of a real one."""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Duration
from jepa_ros.srv import ResetSimulation
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Header, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import MarkerArray

from jepa_common.diagnostics import DiagnosticsPublisher
from jepa_common.health import Level, Report
from jepa_common.heartbeat import Heartbeat
from jepa_common.managed_node import NodeStartError
from jepa_common.parameters import declare_parameters, parameter, read_parameters
from jepa_common.qos_profiles import OVERRIDABLE, camera_qos, latched_qos, latest_qos
from jepa_common.run_node import run_node
from jepa_common.stamps import to_nanoseconds, to_stamp
from jepa_sim.backends.available import serve_backends
from jepa_sim.backends.own_simulator import OwnSimulator
from jepa_sim.camera_view import turned
from jepa_sim.controlled_simulation import (
    JOINT_NAMES,
    ControlledSimulation,
    ControlledSimulationConfig,
    JointReadings,
    Picture,
)
from jepa_sim.meshes import SceneError, mesh_folder
from jepa_sim.object_markers import object_markers
from jepa_sim.real_time import PaceConfig, RealTimePace
from jepa_sim.robot_description import ARM_JOINTS, franka_panda
from jepa_sim.scene import OBJECTS, CameraConfig, SceneConfig
from jepa_sim.task_names import REACH, TASK_NAMES
from jepa_sim.trajectory_controller import (
    Replacement,
    Trajectory,
    TrajectoryControllerConfig,
    TrajectoryPoint,
    TrajectoryRefusedError,
)


@dataclass(frozen=True)
class SimParameters:
    """What a deployment can change about the simulated robot."""

    seed: int = parameter(0, "Names the scene at the start: arm, gripper and objects", minimum=0)
    task: str = parameter(REACH, "Names the scene together with the seed", choices=TASK_NAMES)
    real_time_factor: float = parameter(1.0, "Simulated seconds per second", minimum=0.01, maximum=100.0)
    joint_state_rate: float = parameter(100.0, "Rate of joint_states and /clock, Hz", minimum=1.0, maximum=1000.0)
    camera_rate: float = parameter(10.0, "Rate of the camera, Hz", minimum=0.1, maximum=100.0)
    camera_width: int = parameter(256, "Width of the image, pixels", minimum=16, maximum=1280)
    camera_height: int = parameter(256, "Height of the image, pixels", minimum=16, maximum=1280)
    camera_turn: float = parameter(
        0.0, "Degrees by which the camera is turned around the table, to try a calibration", minimum=-180, maximum=180
    )
    camera_frame: str = parameter("camera_optical_frame", "Frame of the images")
    compressed: bool = parameter(False, "Also publish image/compressed (JPEG)")
    trajectory_replacement: str = parameter(
        Replacement.ON_ARRIVAL.value,
        "When a new trajectory takes over: on_arrival like the controllers of Jazzy and Kilted, or at_start",
        choices=tuple(choice.value for choice in Replacement),
    )


class SimNode(Node):
    """Publishes clock, joints, camera and description of a simulated Franka that follows trajectories.

    Where `gazebo_msgs` or `simulation_interfaces` is installed it can be driven with their services as well, below
    `gazebo/` and `gzserver/`.

    Threads: a thread of its own simulates, renders and publishes; the executor's thread takes trajectories,
    resets, services and diagnostics. They meet in `ControlledSimulation`, which locks.
    """

    def __init__(self, **options: Any) -> None:
        """`options` go to `rclpy.node.Node`. Raises NodeStartError when the scene cannot be built."""
        super().__init__("sim", **options)
        declare_parameters(self, SimParameters)
        self._settings = read_parameters(self, SimParameters)
        self._simulation = self._build_simulation()
        self._own = OwnSimulator(self._simulation, self._settings.seed, self._settings.task)
        self._pace = RealTimePace(PaceConfig(factor=self._settings.real_time_factor))
        self._refusals, self._last_refusal = 0, ""
        self._frame_due_ns = 0
        self._camera_info = camera_info(self._settings, self._simulation.vertical_fov)
        self._open_topics()
        self._diagnostics = DiagnosticsPublisher(self, self._report)
        self._heartbeat = Heartbeat(self)
        self._thread = ThreadPoolExecutor(1, "simulation")
        self._running = self._thread.submit(self._run)

    def destroy_node(self) -> None:
        """Ends the simulation's thread first: it publishes."""
        self._pace.stop()
        self._thread.shutdown()
        self._heartbeat.end()
        super().destroy_node()

    def _build_simulation(self) -> ControlledSimulation:
        replacement = Replacement(self._settings.trajectory_replacement)
        scene = SceneConfig(camera=turned(CameraConfig(), self._settings.camera_turn))
        try:
            simulation = ControlledSimulation(
                ControlledSimulationConfig(scene, TrajectoryControllerConfig(replacement))
            )
        except SceneError as error:
            self.get_logger().fatal(str(error))
            raise NodeStartError(str(error)) from error
        simulation.reset(self._settings.seed, self._settings.task)
        return simulation

    def _open_topics(self) -> None:
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._clock_topic = self._publisher(Clock, "/clock", best_effort)
        self._joint_states = self._publisher(JointState, "joint_states", QoSProfile(depth=10))
        self._desired = self._publisher(JointState, "desired_joint_states", QoSProfile(depth=10))
        self._image = self._publisher(Image, "image", camera_qos())
        self._compressed = self._publisher(CompressedImage, "image/compressed", camera_qos())
        self._camera_info_topic = self._publisher(CameraInfo, "camera_info", camera_qos())
        self._objects = self._publisher(MarkerArray, "objects", best_effort)
        self._description = self._publisher(String, "robot_description", latched_qos())
        self._description.publish(String(data=franka_panda().to_urdf(mesh_folder())))
        self._follow("joint_trajectory", self._simulation.follow_arm)
        self._follow("gripper_trajectory", self._simulation.follow_gripper)
        self.create_service(ResetSimulation, "reset_simulation", self._on_reset)
        self._backend_services = serve_backends(self, self._own)

    def _publisher(self, message_type: type, topic: str, qos: QoSProfile) -> Publisher:
        return self.create_publisher(message_type, topic, qos, qos_overriding_options=OVERRIDABLE)

    def _follow(self, topic: str, follow: Callable[[Trajectory], None]) -> None:
        """Hands the trajectories of `topic` to a controller."""

        def hand_over(message: JointTrajectory) -> None:
            try:
                follow(trajectory_from_message(message))
            except TrajectoryRefusedError as error:
                self._refuse(topic, error)

        self.create_subscription(JointTrajectory, topic, hand_over, latest_qos(), qos_overriding_options=OVERRIDABLE)

    # --- executor's thread ----------------------------------------------------------------------------------

    def _refuse(self, topic: str, error: TrajectoryRefusedError) -> None:
        self._refusals += 1
        self._last_refusal = f"{topic} refused: {error}"
        self.get_logger().warning(self._last_refusal, throttle_duration_sec=1.0)

    def _on_reset(
        self, request: ResetSimulation.Request, response: ResetSimulation.Response
    ) -> ResetSimulation.Response:
        task = request.task or REACH
        try:
            self._simulation.reset(request.seed, task, request.joint_positions)
        except ValueError as error:
            response.message = f"not reset: {error}"
            return response
        self._own.choose_scene(request.seed, task)
        self._frame_due_ns = 0
        x, y, z = self._simulation.state()[:3]
        response.success = True
        response.message = f"scene {request.seed} of {task}: tool at ({x:.3f}, {y:.3f}, {z:.3f}) m"
        return response

    def _report(self) -> Report:
        if self._running.done():
            self._running.result()  # raises what ended the thread, and with it ends the node
        values = {
            "real_time_factor": f"{self._pace.achieved:.3f}",
            "simulated_seconds": f"{self._simulation.time_ns * 1e-9:.3f}",
            "refused_trajectories": str(self._refusals),
            "last_refusal": self._last_refusal,
            "simulator_services": " ".join(self._backend_services),
        }
        if self._own.paused:
            return Report(Level.OK, "paused", values)
        if not self._pace.is_behind:
            return Report(Level.OK, "simulating", values)
        message = (
            f"falling behind: {self._pace.achieved:.2f} simulated seconds per second, expected "
            f"{self._settings.real_time_factor:.2f}; lower camera_rate or real_time_factor, or free a core"
        )
        self.get_logger().warning(message, throttle_duration_sec=5.0)
        return Report(Level.WARN, message, values)

    # --- simulation's thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        timestep = self._simulation.timestep
        steps = max(1, round(1.0 / (timestep * self._settings.joint_state_rate)))
        try:
            while not self._pace.stopped:
                readings = self._simulation.advance(0 if self._own.paused else steps)
                self._clock_topic.publish(Clock(clock=to_stamp(readings.time_ns)))
                self._joint_states.publish(joint_state_message(readings))
                self._publish_desired()
                self._photograph_when_due(readings.time_ns)
                self._pace.wait(steps * timestep)
        finally:
            self._simulation.close()

    def _publish_desired(self) -> None:
        """What the arm's controller follows, for those who want to know what became of their commands."""
        if self._desired.get_subscription_count() > 0:
            time_ns, positions = self._simulation.desired_arm()
            message = JointState(name=list(ARM_JOINTS), position=array.array("d", positions))
            message.header.stamp = to_stamp(time_ns)
            self._desired.publish(message)

    def _photograph_when_due(self, time_ns: int) -> None:
        if time_ns < self._frame_due_ns:
            return
        period = round(1e9 / self._settings.camera_rate)
        self._frame_due_ns = max(self._frame_due_ns + period, time_ns + period // 2)
        compress = self._settings.compressed and self._compressed.get_subscription_count() > 0
        if compress or self._image.get_subscription_count() > 0:
            picture = self._simulation.picture(self._settings.camera_width, self._settings.camera_height)
            self._publish_picture(picture, compress)
        if self._objects.get_subscription_count() > 0:
            self._publish_objects(time_ns)
        self._camera_info.header.stamp = to_stamp(time_ns)
        self._camera_info_topic.publish(self._camera_info)

    def _publish_objects(self, time_ns: int) -> None:
        states = {name: self._simulation.entity_state(name) for name in OBJECTS}
        self._objects.publish(object_markers(states, SceneConfig(), to_stamp(time_ns)))

    def _publish_picture(self, picture: Picture, compress: bool) -> None:
        header = Header(stamp=to_stamp(picture.time_ns), frame_id=self._settings.camera_frame)
        self._image.publish(image_message(picture.image, header))
        if compress:
            self._compressed.publish(compressed_message(picture.image, header))


def trajectory_from_message(message: JointTrajectory) -> Trajectory:
    """The message's content; whether it makes sense is the controller's to judge."""
    return Trajectory(
        start=to_nanoseconds(message.header.stamp) * 1e-9,
        joint_names=tuple(message.joint_names),
        points=tuple(_point_from_message(point) for point in message.points),
    )


def _point_from_message(point: JointTrajectoryPoint) -> TrajectoryPoint:
    return TrajectoryPoint(
        _seconds(point.time_from_start), point.positions, point.velocities, point.accelerations, point.effort
    )


def _seconds(duration: Duration) -> float:
    return float(duration.sec + duration.nanosec * 1e-9)


def joint_state_message(readings: JointReadings) -> JointState:
    """The message form of `readings`."""
    message = JointState(name=list(JOINT_NAMES))
    message.header.stamp = to_stamp(readings.time_ns)
    message.position = array.array("d", readings.positions)
    message.velocity = array.array("d", readings.velocities)
    return message


def image_message(image: NDArray[np.uint8], header: Header) -> Image:
    """An rgb8 message of an RGB image [height, width, 3]."""
    height, width, channels = image.shape
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=width * channels)
    # rclpy copies an array of bytes in one go, and any other sequence one element at a time.
    message.data = array.array("B", image.tobytes())
    return message


def compressed_message(image: NDArray[np.uint8], header: Header, quality: int = 90) -> CompressedImage:
    """A JPEG message of an RGB image [height, width, 3]."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    message = CompressedImage(header=header, format="rgb8; jpeg compressed bgr8")
    message.data = array.array("B", data.tobytes())
    return message


def camera_info(settings: SimParameters, vertical_fov: float) -> CameraInfo:
    """The pinhole camera's calibration; `vertical_fov` in degrees. Square pixels, no distortion."""
    width, height = settings.camera_width, settings.camera_height
    focal = height / 2 / math.tan(math.radians(vertical_fov) / 2)
    center = ((width - 1) / 2, (height - 1) / 2)
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.frame_id = settings.camera_frame
    message.k = [focal, 0.0, center[0], 0.0, focal, center[1], 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [focal, 0.0, center[0], 0.0, 0.0, focal, center[1], 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def main() -> int:
    """Runs the node until it is told to end; returns the exit code."""
    return run_node(SimNode)


if __name__ == "__main__":
    sys.exit(main())
