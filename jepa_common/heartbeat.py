"""Signs of life: every node gives them, every node hears the others', and so does whoever started the process.

A node that is stopped or hangs says nothing about it; only its silence does. Beats come from the executor's thread,
because that is what has to be alive: a node whose callbacks no longer run is as good as dead.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from jepa_common.life_signs import AwakeClock, LineToStarter, Sign
from jepa_common.stamps import to_stamp

TOPIC = "heartbeat"
BEAT_SECONDS = 0.2

# A node that has been silent for so long is not coming back under this name, s.
_FORGOTTEN_SECONDS = 60.0
# Whoever makes up names shall not fill the memory, or the log.
_NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]{0,63}){1,4}")
_MOST_PEERS = 16


def heartbeat_qos() -> QoSProfile:
    """A lost beat is followed by the next."""
    return QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class Heartbeat:
    """Beats while the node's executor runs, on a topic and to the starter of this process."""

    def __init__(self, node: Node) -> None:
        """Begins with the first turn of the executor and ends with the node."""
        self._node = node
        self._publisher = node.create_publisher(Header, TOPIC, heartbeat_qos())
        self._starter = LineToStarter(node.get_fully_qualified_name())
        node.create_timer(BEAT_SECONDS, self.beat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def beat(self) -> None:
        """Gives a sign of life now."""
        # The machine's time: simulated time may not have come yet.
        stamp = to_stamp(time.time_ns())
        self._publisher.publish(Header(stamp=stamp, frame_id=self._node.get_fully_qualified_name()))
        self._starter.say(Sign.ALIVE)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """While the block holds the executor's thread up, as loading weights does, the starter waits."""
        self._starter.say(Sign.BUSY)
        try:
            yield
        finally:
            self._starter.say(Sign.ALIVE)

    def end(self) -> None:
        """Says that no more beats come because the node ends, and not because it hangs: one without a stamp."""
        self._starter.say(Sign.BYE)
        self._starter.close()
        if self._node.context.ok():
            self._publisher.publish(Header(frame_id=self._node.get_fully_qualified_name()))


class PeerWatch:
    """Who of the other nodes in this namespace has fallen silent. Threads: the executor's.

    Nodes that never gave a sign of life are not missed.
    """

    def __init__(self, node: Node, silence: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Counts a node as silent after ``silence`` seconds. ``node`` hears beats as long as it lives."""
        self._own_name, self._silence = node.get_fully_qualified_name(), silence
        self._clock = AwakeClock(clock)
        self._heard: dict[str, float] = {}
        node.create_subscription(Header, TOPIC, self.heard, heartbeat_qos())

    def heard(self, beat: Header) -> None:
        """Takes note of one beat."""
        name = beat.frame_id
        if beat.stamp.sec == 0 and beat.stamp.nanosec == 0:
            self._heard.pop(name, None)
        elif name in self._heard or (
            name != self._own_name and len(self._heard) < _MOST_PEERS and _NAME.fullmatch(name)
        ):
            self._heard[name] = self._clock.seconds

    def silent(self) -> dict[str, str]:
        """Why each silent node is taken for hung, by its name without the namespace; to be called every 0.1 s."""
        now = self._clock.advance()
        self._heard = {name: heard for name, heard in self._heard.items() if now - heard < _FORGOTTEN_SECONDS}
        waited = {name: now - heard for name, heard in self._heard.items() if now - heard > self._silence}
        return {
            name.rpartition("/")[2]: f"{name.lstrip('/')}: no sign of life for {seconds:.1f} s: does it hang?"
            for name, seconds in waited.items()
        }
