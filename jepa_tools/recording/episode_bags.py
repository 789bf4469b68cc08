"""One bag per pursued goal, cut by what the planner says about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rosbags.interfaces import Qos, QosDurability

from jepa_tools.recording.bag_writer import BagExistsError
from jepa_tools.recording.message_types import MessageTypes
from jepa_tools.recording.recorded_bag import RecordedBag

STATUS_TYPE = "jepa_ros/msg/PlannerStatus"
_PURSUED = ("PLANNING", "HOLDING", "PAUSED")


class BagSink(Protocol):
    """Where a recorder puts messages: one bag, or one after the other. As `BagWriter`, which see."""

    path: Path
    counts: dict[str, int]

    def __enter__(self) -> Self:
        """Begins."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Completes the bag."""

    @property
    def message_count(self) -> int:
        """Messages written so far."""

    def set_metadata(self, key: str, value: str) -> None:
        """Adds to the bag's metadata, or changes it."""

    def add_topic(self, topic: str, message_type: str, offered_qos: Sequence[Qos] = ()) -> None:
        """Announces a topic."""

    def write(self, topic: str, data: bytes, now: int) -> None:
        """Writes one message."""


class EpisodeBags:
    """A folder of bags `episode_000`, `episode_001`, ...: one from each goal's first plan on.

    What was published between goals is left out, but for the newest message of latched topics, which each bag begins
    with: the robot's description and the goal image are published before the plan. Not thread-safe.
    """

    def __init__(self, path: Path, types: MessageTypes, metadata: Mapping[str, str] | None = None) -> None:
        """Nothing is written before the block begins. Raises `BagExistsError` when `path` exists."""
        if path.exists():
            raise BagExistsError(f"{path} exists already: remove it or choose another name")
        self.path, self._types, self._metadata = path, types, dict(metadata or {})
        self._topics: dict[str, tuple[str, Sequence[Qos]]] = {}
        self._latched: dict[str, tuple[bytes, int]] = {}
        self._bag: RecordedBag | None = None
        self._episodes = 0
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_episode(kind, error, trace)

    @property
    def message_count(self) -> int:
        """Messages written so far, in all bags."""
        return sum(self.counts.values())

    def set_metadata(self, key: str, value: str) -> None:
        """Adds to the metadata of this bag and all that follow."""
        self._metadata[key] = value
        if self._bag is not None:
            self._bag.set_metadata(key, value)

    def add_topic(self, topic: str, message_type: str, offered_qos: Sequence[Qos] = ()) -> None:
        """As `BagWriter.add_topic`; for this bag and all that follow."""
        self._types.require(message_type)
        self._topics[topic] = message_type, offered_qos
        self.counts[topic] = 0
        if self._bag is not None:
            self._bag.add_topic(topic, message_type, offered_qos)

    def write(self, topic: str, data: bytes, now: int) -> None:
        """Writes one message into the bag of the goal that is pursued; without a goal only a latched one is kept."""
        message_type, offered_qos = self._topics[topic]
        if any(qos.durability == QosDurability.TRANSIENT_LOCAL for qos in offered_qos):
            self._latched[topic] = data, now
        pursued = message_type != STATUS_TYPE or self._is_pursued(data)
        if message_type == STATUS_TYPE and pursued and self._bag is None:
            self._begin_episode()
        if self._bag is not None:
            self._put(self._bag, topic, data, now)
            if not pursued:
                self._end_episode(None, None, None)

    def _put(self, bag: RecordedBag, topic: str, data: bytes, now: int) -> None:
        bag.write(topic, data, now)
        self.counts[topic] += 1

    def _is_pursued(self, data: bytes) -> bool:
        status = self._types.store.deserialize_cdr(data, STATUS_TYPE)
        return any(status.state == getattr(status, name) for name in _PURSUED)  # type: ignore[attr-defined]

    def _begin_episode(self) -> None:
        bag = RecordedBag(self.path / f"episode_{self._episodes:03d}", self._types, self._metadata)
        self._bag = bag.__enter__()
        for topic, (message_type, offered_qos) in self._topics.items():
            bag.add_topic(topic, message_type, offered_qos)
        for topic, (data, now) in self._latched.items():
            self._put(bag, topic, data, now)

    def _end_episode(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bag is not None:
            bag, self._bag = self._bag, None
            bag.__exit__(kind, error, trace)
            self._episodes += 1
