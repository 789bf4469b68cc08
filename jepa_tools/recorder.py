"""Records topics to a bag without rosbag2: `jepa record`, and the demo's recording."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tyro
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from jepa_tools.bag_writer import BagWriter
from jepa_tools.message_types import MessageTypes, UnknownMessageTypeError
from jepa_tools.process_runner import terminate_as_interrupt
from jepa_tools.ros_client import RosClient

DISCOVERY_SECONDS = 0.25
QUEUE_DEPTH = 200


class RecordingError(RuntimeError):
    """The recording ended without a bag; the message says why."""


@dataclass(frozen=True)
class TopicChoice:
    """Which topics are recorded; patterns as of file names, such as `/camera/*`.

    Attributes:
        include: empty takes all.
        exclude: not even if included. Topics with a part that begins with an underscore are hidden and always left.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, topic: str) -> bool:
        """Whether `topic` is to be recorded."""
        if "/_" in topic or any(fnmatch(topic, pattern) for pattern in self.exclude):
            return False
        return not self.include or any(fnmatch(topic, pattern) for pattern in self.include)


class TopicRecorder:
    """Records what is published while the `with` block runs, topics that appear later included.

    Messages without a stamp of their own are filed under the time of the node's clock.

    Threads: made, entered and left by one thread, while another one spins `node`. What goes wrong in between is
    raised when the block ends.
    """

    def __init__(
        self,
        node: Node,
        path: Path,
        topics: TopicChoice | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Raises `bag_writer.BagExistsError` when `path` exists."""
        self._node, self._topics = node, topics or TopicChoice()
        self._types = MessageTypes()
        self._writer = BagWriter(path, self._types, metadata)
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._writer)
            clock = Clock(clock_type=ClockType.STEADY_TIME)
            timer = self._node.create_timer(DISCOVERY_SECONDS, self._discover, clock=clock)
            stack.callback(self._node.destroy_timer, timer)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            failure, self._failure = self._failure, self._failure or RecordingError("closed")
        if failure is None or kind is not None:
            self._open.__exit__(kind, error, trace)
            return
        self._open.__exit__(type(failure), failure, failure.__traceback__)
        raise RecordingError(f"recording to {self._writer.path} failed, nothing is kept: {failure}") from failure

    def set_metadata(self, key: str, value: str) -> None:
        """Adds something to the bag's metadata that was not known when the recording began."""
        with self._lock:
            self._writer.set_metadata(key, value)

    @property
    def message_count(self) -> int:
        """Messages recorded so far."""
        return self._writer.message_count

    @property
    def counts(self) -> dict[str, int]:
        """Messages recorded so far, by topic."""
        return dict(self._writer.counts)

    def _discover(self) -> None:
        for topic, types in self._node.get_topic_names_and_types():
            if topic not in self._seen and self._topics.takes(topic):
                publishers = self._node.get_publishers_info_by_topic(topic)
                if publishers:
                    self._seen.add(topic)
                    self._subscribe(topic, types[0], [publisher.qos_profile for publisher in publishers])

    def _subscribe(self, topic: str, type_name: str, offered: list[QoSProfile]) -> None:
        def record(data: bytes) -> None:
            self._record(topic, data)

        with self._lock:
            if self._failure is not None:
                return
            try:
                message_type = message_class(type_name)
                self._writer.add_topic(topic, type_name, [_bag_qos(profile) for profile in offered])
            except (ImportError, UnknownMessageTypeError) as error:
                self._node.get_logger().warning(f"{topic} is not recorded: {error}")
                return
            qos = matching_qos(offered)
            subscription = self._node.create_subscription(message_type, topic, record, qos, raw=True)
            self._open.callback(self._node.destroy_subscription, subscription)

    def _record(self, topic: str, data: bytes) -> None:
        with self._lock:
            if self._failure is not None:
                return
            try:
                self._writer.write(topic, data, self._node.get_clock().now().nanoseconds)
            except OSError as error:
                self._failure = error
                self._node.get_logger().error(f"recording has stopped: {error}")


def message_class(type_name: str) -> type:
    """The Python class of a message type such as "sensor_msgs/msg/Image".

    Raises:
        ImportError: its package is not installed here, or has no such message.
    """
    package, *_, name = type_name.split("/")
    messages = importlib.import_module(f"{package}.msg")
    if not hasattr(messages, name):
        raise ImportError(f"the installed package {package} has no message {name}")
    return getattr(messages, name)  # type: ignore[no-any-return]


def matching_qos(offered: list[QoSProfile]) -> QoSProfile:
    """A profile that all these publishers satisfy: as reliable and as durable as the weakest of them."""
    reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in offered)
    durable = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=QUEUE_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if durable else DurabilityPolicy.VOLATILE,
    )


def _bag_qos(profile: QoSProfile) -> Qos:
    """The profile in the form in which a bag stores it; the values of the enumerations are rmw's in both."""
    return Qos(
        history=QosHistory(int(profile.history)),
        depth=profile.depth,
        reliability=QosReliability(int(profile.reliability)),
        durability=QosDurability(int(profile.durability)),
        deadline=_bag_duration(profile.deadline),
        lifespan=_bag_duration(profile.lifespan),
        liveliness=QosLiveliness(int(profile.liveliness)),
        liveliness_lease_duration=_bag_duration(profile.liveliness_lease_duration),
        avoid_ros_namespace_conventions=profile.avoid_ros_namespace_conventions,
    )


def _bag_duration(duration: Any) -> QosTime:
    return QosTime(*divmod(duration.nanoseconds, 1_000_000_000))


def _default_bag() -> Path:
    return Path(datetime.now().astimezone().strftime("bag_%Y%m%d_%H%M%S"))


@dataclass(frozen=True)
class RecordConfig:
    """Records topics to a bag (MCAP) until Ctrl-C.

    Attributes:
        out: Folder to make; named after the time when left out.
        topics: Topics to record, with * as a wildcard; all when left out.
        exclude: Topics to leave out, with * as a wildcard.
        duration: Seconds to record; 0 records until Ctrl-C.
        use_sim_time: File messages without a stamp under the time of /clock.
    """

    out: Path | None = None
    topics: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    duration: float = 0.0
    use_sim_time: bool = False


def record(config: RecordConfig) -> int:
    """Records; the exit code is 0 when a bag with messages was left."""
    path = config.out or _default_bag()
    choice = TopicChoice(config.topics, config.exclude)
    with RosClient("recorder", config.use_sim_time) as client:
        recorder = TopicRecorder(client.node, path, choice)
        with recorder:
            _wait(recorder, config.duration)
    for topic, count in sorted(recorder.counts.items()):
        print(f"{count:8d}  {topic}")
    if not recorder.message_count:
        print("nothing was published, so there is no bag: is ROS_DOMAIN_ID that of the nodes?", file=sys.stderr)
        return 1
    print(f"{path}: {recorder.message_count} messages")
    return 0


def _wait(recorder: TopicRecorder, duration: float) -> None:
    """Returns after `duration` seconds, or on Ctrl-C or SIGTERM; shows that something is being recorded."""
    deadline = time.monotonic() + duration if duration else float("inf")
    try:
        with terminate_as_interrupt():
            while time.monotonic() < deadline:
                time.sleep(0.2)
                if sys.stderr.isatty():
                    print(f"\r{recorder.message_count} messages (Ctrl-C ends)", end="", file=sys.stderr)
    except KeyboardInterrupt:
        print(file=sys.stderr)


def main() -> int:
    """`ros2 run jepa_ros record`."""
    return record(tyro.cli(RecordConfig, prog="record"))


if __name__ == "__main__":
    sys.exit(main())
