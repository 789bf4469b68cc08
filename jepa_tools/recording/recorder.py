"""Records topics to a bag without rosbag2: `jepa record`, and the demo's recording."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tyro
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from jepa_tools.bring_up.process_runner import terminate_as_interrupt
from jepa_tools.operation.ros_client import RosClient, RosTimeoutError
from jepa_tools.recording.bag_writer import header_stamp
from jepa_tools.recording.episode_bags import STATUS_TYPE, BagSink, EpisodeBags
from jepa_tools.recording.message_types import MessageTypes, UnknownMessageTypeError
from jepa_tools.recording.recorded_bag import RecordedBag

DISCOVERY_SECONDS = 0.25
POLL_SECONDS = 0.02
QUEUE_DEPTH = 200
"""Messages of one topic that may come between two polls; at 0.02 s that is 10 kHz."""

CLOCK = "/clock"
CONFIGURED_NODES = ("encoder", "predictor", "planner")
"""Nodes whose parameters are kept in the bag's metadata."""

PARAMETER_SECONDS = 2.0


class RecordingError(RuntimeError):
    """The recording ended too early; the message says why, and what is left."""


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

    Messages without a stamp of their own are filed under the time of `/clock` once that has been heard, if
    `use_sim_time`, else under the machine's time.

    Threads: one thread makes, enters and leaves it; a thread of its own records. What goes wrong there is raised
    when the block ends.
    """

    def __init__(
        self,
        path: Path,
        topics: TopicChoice | None = None,
        metadata: Mapping[str, str] | None = None,
        use_sim_time: bool = False,
        per_episode: bool = False,
    ) -> None:
        """Takes the ROS domain from the environment. Raises `bag_writer.BagExistsError` when `path` exists.

        Args:
            path: the bag, or with `per_episode` a folder with a bag for each goal that is pursued.
            topics: which ones; None is all.
            metadata: kept in the bag, beside the model and the nodes' parameters.
            use_sim_time: see above.
            per_episode: see `path`.
        """
        self._topics, self._use_sim_time = topics or TopicChoice(), use_sim_time
        self._metadata = dict(metadata or {})
        self._types = MessageTypes()
        kind = EpisodeBags if per_episode else RecordedBag
        self._writer: BagSink = kind(path, self._types, self._metadata)
        self._seen: set[str] = set()
        self._asked: set[str] = set()
        self._model = ""
        self._simulated_now = 0
        self._pool = ThreadPoolExecutor(1, "recorder")
        self._ending = threading.Event()
        self._recording: Future[None] | None = None

    def __enter__(self) -> Self:
        self._writer.__enter__()
        self._recording = self._pool.submit(self._record_until_told)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._pool.shutdown()
        failure = self._recording.exception() if self._recording else None
        if kind is not None or failure is None:
            self._finish(kind, error, trace)
            return
        self._writer.__exit__(type(failure), failure, failure.__traceback__)
        kept = "what came before is kept" if self.message_count else "nothing came before"
        raise RecordingError(f"recording to {self._writer.path} failed, {kept}: {failure}") from failure

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for key, value in self._metadata.items():
            self._writer.set_metadata(key, value)
        self._writer.__exit__(kind, error, trace)

    def set_metadata(self, key: str, value: str) -> None:
        """Adds something to the bag's metadata that was not known when the recording began."""
        self._metadata[key] = value

    @property
    def message_count(self) -> int:
        """Messages recorded so far."""
        return self._writer.message_count

    @property
    def counts(self) -> dict[str, int]:
        """Messages recorded so far, by topic."""
        return dict(self._writer.counts)

    def wait_for(self, topics: Collection[str], seconds: float) -> None:
        """Returns when each of these topics, with * as a wildcard, has been recorded: from then on nothing is missed.

        Raises:
            RecordingError: one did not come within `seconds`, or the recording failed.
        """
        deadline = time.monotonic() + seconds
        while silent := [pattern for pattern in topics if not self._has_recorded(pattern)]:
            if time.monotonic() > deadline or self.has_failed:
                raise RecordingError(f"waited {seconds:g} s for messages on {', '.join(silent)}, which did not come")
            time.sleep(POLL_SECONDS)

    def _has_recorded(self, pattern: str) -> bool:
        return any(count and fnmatch(topic, pattern) for topic, count in self.counts.items())

    @property
    def has_failed(self) -> bool:
        """Whether the recording has ended too early; leaving the block tells why."""
        return self._recording is not None and self._recording.done()

    # --- the recorder's own thread --------------------------------------------------------------------------

    def _record_until_told(self) -> None:
        with RosClient("recorder") as client:
            discovery = 0.0
            while not self._ending.wait(POLL_SECONDS):
                if time.monotonic() >= discovery:
                    self._discover(client)
                    self._note_parameters(client)
                    discovery = time.monotonic() + DISCOVERY_SECONDS
                client.poll()

    def _discover(self, client: RosClient) -> None:
        for topic, types in client.node.get_topic_names_and_types():
            if topic not in self._seen and self._topics.takes(topic):
                publishers = client.node.get_publishers_info_by_topic(topic)
                if publishers:
                    self._seen.add(topic)
                    self._subscribe(client, topic, types[0], [item.qos_profile for item in publishers])

    def _subscribe(self, client: RosClient, topic: str, type_name: str, offered: list[QoSProfile]) -> None:
        try:
            message_type = message_class(type_name)
            self._writer.add_topic(topic, type_name, [_bag_qos(profile) for profile in offered])
        except (ImportError, UnknownMessageTypeError) as error:
            client.node.get_logger().warning(f"{topic} is not recorded: {error}")
            return
        write = self._write_status if type_name == STATUS_TYPE else self._write
        if topic == CLOCK and self._use_sim_time:
            write = self._write_clock
        client.subscribe(message_type, topic, partial(write, topic), matching_qos(offered), raw=True)

    def _write(self, topic: str, data: bytes) -> None:
        self._writer.write(topic, data, self._simulated_now or time.time_ns())

    def _write_status(self, topic: str, data: bytes) -> None:
        self._write(topic, data)
        model = self._types.store.deserialize_cdr(data, STATUS_TYPE).model  # type: ignore[attr-defined]
        if model and model != self._model:
            self._model = model
            self._writer.set_metadata("model", model)

    def _note_parameters(self, client: RosClient) -> None:
        """Asks each of our nodes once for its parameters."""
        for name, namespace in client.node.get_node_names_and_namespaces():
            full_name = f"{namespace.rstrip('/')}/{name}"
            if name in CONFIGURED_NODES and full_name not in self._asked:
                self._asked.add(full_name)
                try:
                    parameters = json.dumps(node_parameters(client, full_name), sort_keys=True)
                except RosTimeoutError as error:
                    client.node.get_logger().warning(f"the parameters of {full_name} are not recorded: {error}")
                    continue
                self._writer.set_metadata(f"parameters {full_name}", parameters)

    def _write_clock(self, topic: str, data: bytes) -> None:
        self._simulated_now = header_stamp(data)  # a clock message is a stamp
        self._write(topic, data)


def node_parameters(client: RosClient, node: str) -> dict[str, Any]:
    """Values of a node's parameters by name.

    Raises:
        RosTimeoutError: the node does not answer.
    """
    request = ListParameters.Request()
    names = client.call(ListParameters, f"{node}/list_parameters", request, PARAMETER_SECONDS).result.names

    def values_of(asked: list[str]) -> dict[str, Any]:
        request = GetParameters.Request(names=asked)
        values = client.call(GetParameters, f"{node}/get_parameters", request, PARAMETER_SECONDS).values
        # One parameter that holds nothing, and the answer is empty.
        known = zip(asked, values, strict=True) if len(values) == len(asked) else ()
        return {name: _plain_value(parameter_value_to_python(value)) for name, value in known}

    parameters = values_of(names)
    for name in () if parameters else names:
        parameters |= values_of([name])
    return parameters


def _plain_value(value: Any) -> Any:
    """A parameter's value as JSON can hold it."""
    return list(value) if hasattr(value, "tolist") or isinstance(value, tuple) else value


def message_class(type_name: str) -> type:
    """The Python class of a message type such as "sensor_msgs/msg/Image".

    Raises:
        ImportError: its package is not installed here, or has no such message.
    """
    package, *_, name = type_name.split("/")
    messages = importlib.import_module(f"{package}.msg")
    if not hasattr(messages, name):
        raise ImportError(f"the installed package {package} has no message {name}")
    return getattr(messages, name)


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
        per_episode: Make a folder with a bag for each goal that the planner pursues.
    """

    out: Path | None = None
    topics: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    duration: float = 0.0
    use_sim_time: bool = False
    per_episode: bool = False


def record(config: RecordConfig) -> int:
    """Records; the exit code is 0 when a bag with messages was left."""
    path = config.out or _default_bag()
    choice = TopicChoice(config.topics, config.exclude)
    recorder = TopicRecorder(path, choice, use_sim_time=config.use_sim_time, per_episode=config.per_episode)
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
            while time.monotonic() < deadline and not recorder.has_failed:
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
