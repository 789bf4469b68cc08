"""One bag per pursued goal, each with what was published once for all."""

from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

from jepa_tools.bags.bag_file import open_bag
from jepa_tools.recording.bag_writer import BagExistsError
from jepa_tools.recording.episode_bags import STATUS_TYPE, EpisodeBags
from jepa_tools.recording.message_types import MessageTypes

TIME = QosTime(0, 0)
LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, TIME, TIME,
    QosLiveliness.AUTOMATIC, TIME, False,
)  # fmt: skip
IDLE, PLANNING, HOLDING, REACHED = 2, 3, 4, 6


@pytest.fixture(scope="module")
def types():
    return MessageTypes()


class Recording:
    """Writes statuses and texts into episode bags."""

    def __init__(self, bags: EpisodeBags, types: MessageTypes) -> None:
        self.bags, self._types, self._now = bags, types, 0
        bags.add_topic("/robot_description", "std_msgs/msg/String", [LATCHED])
        bags.add_topic("/text", "std_msgs/msg/String")
        bags.add_topic("/planner_status", STATUS_TYPE)

    def text(self, topic: str, text: str) -> None:
        self._write(topic, "std_msgs/msg/String", data=text)

    def status(self, state: int) -> None:
        self._types.require(STATUS_TYPE)
        fields = {name: 0 for name, _ in self._types.store.fielddefs[STATUS_TYPE][1]}
        time = self._types.store.types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
        header = self._types.store.types["std_msgs/msg/Header"](stamp=time, frame_id="")
        fields |= {"header": header, "state": state, "reason": "", "model": "tiny@1", "action": np.zeros(0)}
        self._write("/planner_status", STATUS_TYPE, **fields)

    def _write(self, topic: str, kind: str, **fields: object) -> None:
        self._now += 1
        data = self._types.store.serialize_cdr(self._types.store.types[kind](**fields), kind)
        self.bags.write(topic, bytes(data), self._now)


def texts(bag: Path, topic: str) -> list[str]:
    with AnyReader([bag]) as reader:
        chosen = [item for item in reader.connections if item.topic == topic]
        return [reader.deserialize(data, item.msgtype).data for item, _, data in reader.messages(chosen)]


def test_each_goal_has_a_bag_with_what_came_meanwhile_and_what_is_latched(tmp_path, types):
    with EpisodeBags(tmp_path / "run", types, {"seed": "3"}) as bags:
        recording = Recording(bags, types)
        recording.text("/robot_description", "<robot/>")
        for goal in range(2):
            recording.text("/text", "between")
            recording.status(IDLE)
            for state in (PLANNING, HOLDING, REACHED):
                recording.status(state)
                recording.text("/text", f"goal {goal}, state {state}")
        bags.set_metadata("model", "tiny@1")
    first, second = (tmp_path / "run" / f"episode_00{number}" for number in range(2))
    assert texts(first, "/text") == ["goal 0, state 3", "goal 0, state 4"]
    assert texts(second, "/text") == ["goal 1, state 3", "goal 1, state 4"]
    assert texts(first, "/robot_description") == texts(second, "/robot_description") == ["<robot/>"]
    with open_bag(first) as bag:
        assert bag.metadata == {"seed": "3"}


def test_metadata_reaches_the_bag_in_work_and_those_that_follow(tmp_path, types):
    with EpisodeBags(tmp_path / "run", types) as bags:
        recording = Recording(bags, types)
        for state in (PLANNING, REACHED, PLANNING):
            recording.status(state)
            bags.set_metadata("model", "tiny@1")
    for number in range(2):
        with open_bag(tmp_path / "run" / f"episode_00{number}") as bag:
            assert bag.metadata == {"model": "tiny@1"}


def test_without_a_goal_nothing_is_left(tmp_path, types):
    with EpisodeBags(tmp_path / "run", types) as bags:
        Recording(bags, types).status(IDLE)
    assert not (tmp_path / "run").exists()


def test_a_failure_keeps_the_bag_in_work_and_those_before(tmp_path, types):
    with pytest.raises(OSError, match="full"), EpisodeBags(tmp_path / "run", types) as bags:
        recording = Recording(bags, types)
        for state in (PLANNING, REACHED, PLANNING):
            recording.status(state)
        raise OSError("full")
    assert sorted(item.name for item in (tmp_path / "run").iterdir()) == ["episode_000", "episode_001"]


def test_an_existing_folder_is_not_recorded_over(tmp_path, types):
    with pytest.raises(BagExistsError):
        EpisodeBags(tmp_path, types)
