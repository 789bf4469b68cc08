"""The running ROS graph: who publishes what, whether readers and writers fit, and what really comes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from jepa_common.qos_profiles import camera_qos, joint_states_qos, latched_qos
from jepa_common.stamps import NANOSECONDS_PER_SECOND, to_nanoseconds
from jepa_planner.planner_parameters import SafetyParameters
from jepa_tools.doctor.finding import Finding, ok, problem, unknown, warning
from jepa_tools.doctor.robot import (
    LEAST_CAMERA_HZ,
    LEAST_JOINT_STATES_HZ,
    OLDEST_IMAGE_SECONDS,
    OLDEST_JOINT_STATE_SECONDS,
    Stream,
    judge_joints,
    judge_picture,
    judge_stream,
)
from jepa_tools.operation.ros_client import RosClient, RosTimeoutError

DISCOVERY_SECONDS = 1.5
PARAMETER_SECONDS = 3.0


@dataclass(frozen=True)
class ExpectedTopic:
    """A topic that the loop needs.

    Attributes:
        name: as the nodes call it before remapping.
        type: of its messages.
        needs: which end must be there, "publisher" or "subscription".
        remedy: what to do when it is not.
    """

    name: str
    type: str
    needs: str
    remedy: str


_PUBLISHER, _READER = "publisher", "subscription"

TOPICS = (
    ExpectedTopic(
        "image", "sensor_msgs/msg/Image", _PUBLISHER, "start the camera driver, or say its topic: image_topic:=NAME"
    ),
    ExpectedTopic(
        "joint_states",
        "sensor_msgs/msg/JointState",
        _PUBLISHER,
        "start the arm's driver and joint_state_broadcaster, or say their topic: joint_states_topic:=NAME",
    ),
    ExpectedTopic("robot_description", "std_msgs/msg/String", _PUBLISHER, "start robot_state_publisher"),
    ExpectedTopic("latent", "jepa_ros/msg/Latent", _PUBLISHER, "start the encoder node and activate it"),
    ExpectedTopic("planner_status", "jepa_ros/msg/PlannerStatus", _PUBLISHER, "start the planner node"),
    ExpectedTopic(
        "joint_trajectory",
        "trajectory_msgs/msg/JointTrajectory",
        _READER,
        "start the arm's JointTrajectoryController, or say its topic: joint_trajectory_topic:=NAME",
    ),
)


@dataclass
class Observed:
    """What came on the topics while it was listened to."""

    images: list[tuple[float, Image]] = field(default_factory=list)
    joint_states: list[tuple[float, JointState]] = field(default_factory=list)
    clocks: list[tuple[float, float]] = field(default_factory=list)
    description: str = ""


class GraphExaminer:
    """Looks at the ROS graph through one client. Threads: as the client's."""

    def __init__(self, client: RosClient, namespace: str, image_size: int, remapped: Mapping[str, str]) -> None:
        """``namespace`` of the nodes, "" for none; ``image_size`` that the model sees, pixels, 0 when unknown.

        ``remapped``: names of topics that are called something else here.
        """
        self._client = client
        self._remapped = dict(remapped)
        self._prefix = f"/{namespace.strip('/')}/".replace("//", "/")
        self._image_size = image_size
        self._observed = Observed()

    def examine(self, seconds: float) -> Iterator[Finding]:
        """Listens for ``seconds`` and judges. Says so when nothing of this package runs."""
        self._listen(seconds)
        if not any(self._ends(topic.name) for topic in TOPICS):
            yield unknown(
                "running system",
                f"none of {', '.join(self._topic(topic.name) for topic in TOPICS)} is there",
                "start it (ros2 launch jepa_ros sim.launch.py), in the same ROS_DOMAIN_ID; --namespace if it has one",
            )
            return
        for topic in TOPICS:
            yield from self._judge_topic(topic)
        for name in SafetyParameters().single_publishers:
            yield from self._judge_publishers(name)
        yield from self._judge_clock()
        yield from self._judge_messages()

    # --- listening ------------------------------------------------------------------------------------------

    def _listen(self, seconds: float) -> None:
        observed, topic = self._observed, self._topic
        subscribe = self._client.subscribe
        subscribe(Image, topic("image"), lambda m: observed.images.append((time.time(), m)), camera_qos())
        subscribe(JointState, topic("joint_states"), self._keep_joint_state, joint_states_qos())
        subscribe(String, topic("robot_description"), self._keep_description, latched_qos())
        subscribe(Clock, "/clock", self._keep_clock, joint_states_qos())
        until = time.monotonic() + max(seconds, DISCOVERY_SECONDS)
        while time.monotonic() < until:
            self._client.poll()
            time.sleep(0.002)

    def _keep_joint_state(self, message: JointState) -> None:
        self._observed.joint_states.append((time.time(), message))

    def _keep_description(self, message: String) -> None:
        self._observed.description = message.data

    def _keep_clock(self, message: Clock) -> None:
        self._observed.clocks.append((time.time(), to_nanoseconds(message.clock) / NANOSECONDS_PER_SECOND))

    # --- topics ---------------------------------------------------------------------------------------------

    def _topic(self, name: str) -> str:
        """The topic's full name."""
        used = self._remapped.get(name, name)
        return used if used.startswith("/") else self._prefix + used

    def _ends(self, topic: str) -> list[Any]:
        """Publishers and subscriptions of a topic but this client's own."""
        node, name = self._client.node, self._topic(topic)
        ends = [*node.get_publishers_info_by_topic(name), *node.get_subscriptions_info_by_topic(name)]
        return [end for end in ends if end.node_name != node.get_name()]

    def _judge_topic(self, topic: ExpectedTopic) -> Iterator[Finding]:
        ends = self._ends(topic.name)
        writers = [end for end in ends if end.endpoint_type.name == "PUBLISHER"]
        readers = [end for end in ends if end.endpoint_type.name == "SUBSCRIPTION"]
        name = self._topic(topic.name)
        wrong = {end.topic_type for end in ends} - {topic.type}
        if wrong:
            yield problem(name, f"expected the type {topic.type}, found {sorted(wrong)}", "remap one of both topics")
        elif not (writers if topic.needs == _PUBLISHER else readers):
            yield problem(name, f"no {topic.needs}", topic.remedy)
        else:
            yield ok(name, f"{len(writers)} publisher(s), {len(readers)} subscription(s)")
        yield from _judge_qos(name, writers, readers)

    def _judge_publishers(self, name: str) -> Iterator[Finding]:
        """A second publisher where there may be one: the planner holds the arm."""
        writers = [end for end in self._ends(name) if end.endpoint_type.name == "PUBLISHER"]
        if len(writers) > 1:
            nodes = ", ".join(sorted(f"{end.node_namespace.rstrip('/')}/{end.node_name}" for end in writers))
            yield problem(
                f"{self._topic(name)} publishers",
                f"expected one, there are {len(writers)}: {nodes}",
                "end the others (one that was killed disappears within half a minute), or set safety.single_publishers",
            )

    # --- clock and messages ---------------------------------------------------------------------------------

    def _judge_clock(self) -> Iterator[Finding]:
        wanted = self._parameter("planner", "use_sim_time")
        came = bool(self._observed.clocks)
        if wanted is None:
            yield unknown("clock", f"/clock {'comes' if came else 'does not come'}; the planner does not answer")
        elif wanted and not came:
            yield problem(
                "clock",
                "the planner has use_sim_time:=true, and no /clock comes",
                "start the simulator, or use_sim_time:=false",
            )
        elif came and not wanted:
            yield problem(
                "clock", "/clock comes, and the planner has use_sim_time:=false", "use_sim_time:=true for every node"
            )
        else:
            yield ok("clock", "simulated time from /clock" if came else "the system's")

    def _judge_messages(self) -> Iterator[Finding]:
        seen = self._observed
        images = self._stream(seen.images)
        yield from judge_stream(
            self._topic("image"), images, LEAST_CAMERA_HZ, OLDEST_IMAGE_SECONDS,
            "set the driver's frame rate; look for QoS that does not fit above; raw images need a good network",
        )  # fmt: skip
        if seen.images:
            picture = seen.images[-1][1]
            yield from judge_picture(picture.width, picture.height, picture.encoding, self._image_size)
        yield from judge_stream(
            self._topic("joint_states"), self._stream(seen.joint_states), LEAST_JOINT_STATES_HZ,
            OLDEST_JOINT_STATE_SECONDS,
            "set the rate of the arm's driver or joint_state_broadcaster",
        )  # fmt: skip
        yield from self._judge_robot()

    def _judge_robot(self) -> Iterator[Finding]:
        if not self._observed.description:
            yield unknown("joint names", "no robot_description came", "start robot_state_publisher (transient local)")
            return
        # Of all messages: the fingers' joints may come in messages of their own.
        names = dict.fromkeys(name for _, message in self._observed.joint_states for name in message.name)
        commanded = [
            *(self._parameter("planner", "arm.joints") or ()),
            *(self._parameter("planner", "arm.finger_joints") or ()),
        ]
        yield from judge_joints(self._observed.description, tuple(names), commanded)

    def _stream(self, messages: list[tuple[float, Any]]) -> Stream:
        """Arrivals and stamps, both on the clock that stamps are in: simulated where /clock comes."""
        stamps = [to_nanoseconds(message.header.stamp) / NANOSECONDS_PER_SECOND for _, message in messages]
        return Stream([self._at(arrival) for arrival, _ in messages], stamps)

    def _at(self, arrival: float) -> float:
        clocks = self._observed.clocks
        if not clocks:
            return arrival
        return min(clocks, key=lambda pair: abs(pair[0] - arrival))[1]

    def _parameter(self, node: str, name: str) -> Any:
        """A parameter of a running node; None when it does not answer or has no such parameter."""
        request = GetParameters.Request(names=[name])
        try:
            response = self._client.call(
                GetParameters, f"{self._prefix}{node}/get_parameters", request, PARAMETER_SECONDS
            )
        except RosTimeoutError:
            return None
        return parameter_value_to_python(response.values[0]) if response.values else None


def _judge_qos(name: str, writers: list[Any], readers: list[Any]) -> Iterator[Finding]:
    for writer in writers:
        for reader in readers:
            compatibility, reason = qos_check_compatible(writer.qos_profile, reader.qos_profile)
            pair = f"{writer.node_name} -> {reader.node_name}"
            if compatibility == QoSCompatibility.ERROR:
                remedy = f"change one side; this package's take qos_overrides.{name}.subscription.reliability"
                yield problem(f"{name} QoS", f"{pair} gets nothing: {reason}", remedy)
            elif compatibility == QoSCompatibility.WARNING:
                yield warning(f"{name} QoS", f"{pair}: {reason}", "see `ros2 topic info -v`")
