"""What no node should ever be sent, sent by a node called `hostile`: seeded nonsense at a bounded rate."""

from __future__ import annotations

import array
import random
import time
from collections.abc import Callable
from typing import Any

from jepa_ros.msg import Latent
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header, String

from jepa_common.heartbeat import heartbeat_qos
from jepa_common.qos_profiles import camera_qos, joint_states_qos, latched_qos, latest_qos
from jepa_common.stamps import to_nanoseconds, to_stamp
from jepa_tools.operation.ros_client import RosClient

FRAME = "hostile"
"""The judge of motion ignores messages with this frame_id."""

_NUMBERS = (float("nan"), float("inf"), -float("inf"), 1e308, 1e6, -1e6, 1e-320, 3.0, -3.0, 0.0)
_MOST = 20  # messages between two looks at other things


class HostileNode:
    """Publishes nonsense of one kind. Threads: the one that polls.

    `messages` counts what was sent.
    """

    def __init__(self, kind: str, rate: float, seed: int, joint_state: Callable[[], JointState | None]) -> None:
        """``kind``: one of `KINDS`; ``rate`` in Hz; ``joint_state`` returns the newest of the real arm."""
        self._client = RosClient("hostile")
        self._random = random.Random(seed)
        self._make, message_type, topic, qos = KINDS[kind]
        self._publisher = self._client.node.create_publisher(message_type, topic, qos())
        self._rate, self._joint_state = rate, joint_state
        self._due = time.monotonic()
        self.messages = 0

    def poll(self) -> None:
        """Sends what is due now."""
        for _ in range(_MOST):
            if time.monotonic() < self._due:
                return
            self._due = max(self._due + 1.0 / self._rate, time.monotonic() - 0.1)
            message = self._make(self._random, self._joint_state())
            if message is not None:
                self._publisher.publish(message)
                self.messages += 1

    def close(self) -> None:
        """Leaves the graph."""
        self._client.__exit__(None, None, None)


def _stamp(chance: random.Random, real: JointState | None) -> Any:
    """Now, in a moment, long ago, never."""
    now = to_nanoseconds(real.header.stamp) if real is not None else time.time_ns()
    return to_stamp(max(0, now + chance.choice((0, 10**7, 10**8, 10**11, -(10**11), -now))))


def _joint_state(chance: random.Random, real: JointState | None) -> JointState | None:
    if real is None:
        return None
    names, positions, velocities = list(real.name), list(real.position), list(real.velocity)
    index = chance.randrange(len(names))
    change = chance.randrange(8)
    if change == 0:
        positions[index] = chance.choice(_NUMBERS)
    elif change == 1:
        velocities[index] = chance.choice(_NUMBERS)
    elif change == 2:
        positions = positions[:index]
    elif change == 3:
        names = [names[0]] * len(names)
    elif change == 4:
        names, positions, velocities = names * 200, positions * 200, velocities * 200
    elif change == 5:
        positions = [position + chance.uniform(-0.5, 0.5) for position in positions]
        velocities = [0.0] * len(velocities)
    elif change == 6:
        names, positions, velocities = [], [], []
    message = JointState(header=Header(stamp=_stamp(chance, real), frame_id=FRAME), name=names)
    message.position, message.velocity = array.array("d", positions), array.array("d", velocities)
    return message


def _latent(chance: random.Random, real: JointState | None) -> Latent:
    shape = chance.choice(((1, 36, 192), (1, 1, 1), (0, 0, 0), (2**31, 2**31, 2**31), (36,)))
    message = Latent(header=Header(stamp=_stamp(chance, real), frame_id=FRAME), shape=array.array("I", shape))
    message.model = chance.choice(("", "franka-table-small@000000000000", "x" * 10000))
    message.dtype = chance.choice(("float32", "float16", "", "complex128"))
    message.data = array.array("B", chance.randbytes(chance.choice((0, 4, 4 * 36 * 192))))
    return message


def _image(chance: random.Random, real: JointState | None) -> Image:
    height, width = chance.choice(((64, 64), (0, 0), (2**32 - 1, 2**32 - 1), (1, 10**6)))
    message = Image(header=Header(stamp=_stamp(chance, real), frame_id=FRAME), height=height, width=width)
    message.encoding = chance.choice(("rgb8", "32FC1", "", "bayer_rggb8", "x" * 1000))
    message.step = chance.choice((0, 192, 2**32 - 1))
    message.data = array.array("B", chance.randbytes(chance.choice((0, 1, 64 * 64 * 3))))
    return message


def _description(chance: random.Random, _: JointState | None) -> String:
    links = chance.choice((1, 100, 3000))
    chain = "".join(
        f'<link name="l{i}"/><joint name="j{i}" type="fixed"><parent link="l{i}"/><child link="l{i + 1}"/></joint>'
        for i in range(links)
    )
    return String(data=chance.choice(("", "<robot", f'<robot name="x">{chain}</robot>', "\0" * 100)))


def _clock(chance: random.Random, real: JointState | None) -> Clock:
    return Clock(clock=_stamp(chance, real))


def _heartbeat(chance: random.Random, _: JointState | None) -> Header:
    return Header(frame_id=chance.choice((f"/{chance.random()}", "", "x" * 10000)), stamp=to_stamp(time.time_ns()))


def _clock_qos() -> QoSProfile:
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


KINDS: dict[str, tuple[Callable[[random.Random, JointState | None], Any], type, str, Callable[[], QoSProfile]]] = {
    "joint_states": (_joint_state, JointState, "joint_states", joint_states_qos),
    "latent": (_latent, Latent, "latent", latest_qos),
    "image": (_image, Image, "image", camera_qos),
    "goal_image": (_image, Image, "goal_image", latched_qos),
    "goal_latent": (_latent, Latent, "goal_latent", latched_qos),
    "robot_description": (_description, String, "robot_description", latched_qos),
    "clock": (_clock, Clock, "/clock", _clock_qos),
    "heartbeat": (_heartbeat, Header, "heartbeat", heartbeat_qos),
}
"""How a message is made, its type, topic and quality of service, by kind."""
