"""One pass over a bag: stamps of all pictures, without the pictures, and what tells the robot's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_tools.bags.bag_file import BagError, OpenBag
from jepa_tools.bags.settings import BagSettings
from jepa_tools.bags.topics import BagTopics
from jepa_tools.recording.bag_writer import STAMP_BYTES, header_stamp

Array = NDArray[np.float64]
Stamps = NDArray[np.int64]


@dataclass
class _Rows:
    """Rows of numbers with stamps, as they come."""

    stamps: list[int] = field(default_factory=list)
    recorded: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, stamp: int, recorded: int, values: Any = ()) -> None:
        self.stamps.append(stamp or recorded)  # without a stamp of its own the time of recording counts
        self.recorded.append(recorded)
        self.values.append(values)

    def series(self, width: int) -> Series:
        values = np.array(self.values, dtype=np.float64).reshape(len(self.stamps), width)
        return Series(np.array(self.stamps, dtype=np.int64), np.array(self.recorded, dtype=np.int64), values)


@dataclass(frozen=True, eq=False)
class Series:
    """Messages of one kind in order of recording.

    Attributes:
        stamps: ns, [N]; of their headers, or of their recording where those are not set.
        recorded: ns, [N].
        values: [N, ...].
    """

    stamps: Stamps
    recorded: Stamps
    values: Array

    def __len__(self) -> int:
        return len(self.stamps)

    def between(self, first: int, last: int) -> Series:
        """What was recorded from `first` to `last`, ns, by stamp."""
        chosen = np.flatnonzero((self.recorded >= first) & (self.recorded <= last))
        chosen = chosen[np.argsort(self.stamps[chosen], kind="stable")]
        return Series(self.stamps[chosen], self.recorded[chosen], self.values[chosen])


@dataclass(frozen=True, eq=False)
class BagIndex:
    """What a bag holds besides its pixels.

    Attributes:
        frames: stamps of the pictures; no values.
        arm: arm joint positions [N, joints].
        fingers: mean position of the finger joints [N, 1], m or rad.
        poses: tool pose [N, 7]: position, m, and quaternion x y z w.
        commands: last point of the commanded trajectories [N, joints].
        urdf: of the bag; empty if it has none.
        refused: messages that could not be used, with the reason of the first.
        notes: what else is odd about the bag, for people.
    """

    frames: Series
    arm: Series
    fingers: Series
    poses: Series
    commands: Series
    urdf: str
    refused: dict[str, tuple[int, str]]
    notes: tuple[str, ...] = ()

    def refusals(self) -> list[str]:
        """What could not be used and why, for people."""
        return [
            f"{topic}: {count} messages left out, the first because: {reason}"
            for topic, (count, reason) in self.refused.items()
        ]


def index_bag(bag: OpenBag, topics: BagTopics, settings: BagSettings) -> BagIndex:
    """Reads everything once; memory grows with the numbers, not with the pictures.

    Raises:
        BagError: the bag is damaged.
    """
    indexer = _Indexer(bag, topics, settings)
    wanted = (topics.image, topics.joint_states, topics.tool_pose, topics.commands, topics.robot_description)
    came = dict.fromkeys(filter(None, wanted), 0)
    for topic, message_type, recorded, data in bag.raw_messages(came):
        indexer.add(topic, message_type, recorded, data)
        came[topic] += 1
    differing = [(topic, bag.announced(topic), count) for topic, count in came.items() if bag.announced(topic) != count]
    notes = tuple(
        f"{topic}: {announced} messages were announced, {count} came" for topic, announced, count in differing
    )
    return replace(indexer.result(), notes=(*bag.notes, *notes))


class _Indexer:
    def __init__(self, bag: OpenBag, topics: BagTopics, settings: BagSettings) -> None:
        self._bag, self._topics, self._settings = bag, topics, settings
        self._frames, self._arm, self._fingers = _Rows(), _Rows(), _Rows()
        self._poses, self._commands, self._urdf = _Rows(), _Rows(), ""
        self._refused: dict[str, tuple[int, str]] = {}

    def add(self, topic: str, message_type: str, recorded: int, data: bytes) -> None:
        if len(data) < STAMP_BYTES and topic != self._topics.robot_description:
            self._refuse(topic, f"{len(data)} bytes are no {message_type}")
        elif topic == self._topics.image:
            self._frames.add(header_stamp(data), recorded)
        else:
            self._add_message(topic, message_type, recorded, data)

    def _add_message(self, topic: str, message_type: str, recorded: int, data: bytes) -> None:
        try:
            message = self._bag.parse(data, message_type)
        except BagError as error:
            self._refuse(topic, str(error))
            return
        if topic == self._topics.robot_description:
            self._urdf = message.data
            return
        stamp = header_stamp(data)
        if topic == self._topics.joint_states:
            self._add_joints(topic, stamp, recorded, message)
        elif topic == self._topics.tool_pose:
            self._add_pose(topic, stamp, recorded, message.pose)
        else:
            self._add_command(topic, recorded, message)

    def _add_joints(self, topic: str, stamp: int, recorded: int, message: Any) -> None:
        """Takes what is whole: a finger that cannot be used does not spoil the arm."""
        if len(message.name) != len(message.position):
            self._refuse(topic, f"{len(message.name)} names, {len(message.position)} positions")
            return
        needed = (*self._settings.arm_joints, *self._settings.finger_joints)
        if twice := [name for name in needed if message.name.count(name) > 1]:
            self._refuse(topic, f"{', '.join(twice)} more than once")
            return
        positions = dict(zip(message.name, message.position, strict=True))
        arm = self._finite(topic, positions, self._settings.arm_joints)
        if len(arm) == len(self._settings.arm_joints):
            self._arm.add(stamp, recorded, arm)
        fingers = self._finite(f"{topic}, fingers", positions, self._settings.finger_joints)
        if fingers:
            self._fingers.add(stamp, recorded, [sum(fingers) / len(fingers)])

    def _finite(self, topic: str, positions: Mapping[str, float], joints: Sequence[str]) -> list[float]:
        """Positions of those joints that the message has; none if one is not finite."""
        held = [name for name in joints if name in positions]
        if bad := [name for name in held if not np.isfinite(positions[name])]:
            self._refuse(topic, f"the position of {', '.join(bad)} is not finite")
            return []
        return [float(positions[name]) for name in held]

    def _add_pose(self, topic: str, stamp: int, recorded: int, pose: Any) -> None:
        position, turn = pose.position, pose.orientation
        values = [position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w]
        if not np.isfinite(values).all() or not any(values[3:]):
            self._refuse(topic, f"{values} is no pose")
            return
        self._poses.add(stamp, recorded, values)

    def _add_command(self, topic: str, recorded: int, message: Any) -> None:
        """Keeps the last point. A start time in the header may lie ahead, so the time of recording counts."""
        if not message.points:
            return
        positions = dict(zip(message.joint_names, message.points[-1].positions, strict=False))
        arm = [positions.get(name) for name in self._settings.arm_joints]
        if None in arm or not np.isfinite(np.array(arm, dtype=np.float64)).all():
            self._refuse(topic, "a command lacks positions of arm joints")
            return
        self._commands.add(recorded, recorded, arm)

    def _refuse(self, topic: str, reason: str) -> None:
        count, first = self._refused.get(topic, (0, reason))
        self._refused[topic] = count + 1, first

    def result(self) -> BagIndex:
        joints = len(self._settings.arm_joints)
        return BagIndex(
            self._frames.series(0),
            self._arm.series(joints),
            self._fingers.series(1),
            self._poses.series(7),
            self._commands.series(joints),
            self._urdf,
            self._refused,
        )
