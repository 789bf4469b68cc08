"""The recorder takes what real publishers send, also those that come late or are best effort."""

from __future__ import annotations

import array
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from jepa_ros.msg import Latent
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header, String

from jepa_planner.planner_node import PlannerNode
from jepa_tools.bags.bag_file import open_bag
from jepa_tools.recording.recorder import RecordingError, TopicChoice, TopicRecorder, matching_qos

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def image(stamp: int) -> Image:
    header = Header(frame_id="camera")
    header.stamp.sec = stamp
    return Image(header=header, height=2, width=2, encoding="rgb8", step=6, data=bytes(range(12)))


def test_messages_come_back_as_they_were_sent(nodes: Any, tmp_path: Path):
    node = nodes.client
    latched = node.create_publisher(String, "robot_description", LATCHED)
    latched.publish(String(data="<robot/>"))
    images = node.create_publisher(Image, "image", BEST_EFFORT)
    latents = node.create_publisher(Latent, "latent", 1)
    latent = Latent(model="tiny@0123", shape=[1, 1, 2], dtype="float32", data=array.array("B", bytes(8)))
    latent.header.stamp.sec = 12
    with TopicRecorder(tmp_path / "bag", metadata={"seed": "3"}) as recorder:
        nodes.wait_until(lambda: images.get_subscription_count() == 1, "the recorder")
        nodes.wait_until(lambda: latents.get_subscription_count() == 1, "the recorder")
        images.publish(image(11))
        latents.publish(latent)
        nodes.wait_until(
            lambda: (
                {"/image", "/latent", "/robot_description"}
                <= {topic for topic, count in recorder.counts.items() if count}
            ),
            "all three topics",
        )
    with AnyReader([tmp_path / "bag"]) as reader:
        recorded = {connection.topic: (stamp, data) for connection, stamp, data in reader.messages()}
        connections = {connection.topic: connection for connection in reader.connections}
        message = reader.deserialize(recorded["/latent"][1], connections["/latent"].msgtype)
    # Not the bytes: what pads them is left as it was in memory.
    assert recorded["/image"][0] == 11 * 10**9
    assert deserialize_message(recorded["/image"][1], Image) == image(11)
    assert recorded["/latent"][0] == 12 * 10**9
    assert message.model == "tiny@0123"
    assert "/robot_description" in recorded


def test_messages_without_a_stamp_are_filed_under_simulated_time(nodes: Any, tmp_path: Path):
    clock = nodes.client.create_publisher(Clock, "/clock", 1)
    texts = nodes.client.create_publisher(String, "text", 1)
    with TopicRecorder(tmp_path / "bag", TopicChoice(("/clock", "/text")), use_sim_time=True) as recorder:
        nodes.wait_until(lambda: clock.get_subscription_count() == 1, "the recorder")
        nodes.wait_until(lambda: texts.get_subscription_count() == 1, "the recorder")
        clock.publish(Clock(clock=Time(sec=42)))
        nodes.wait_until(lambda: recorder.message_count == 1, "the clock")
        texts.publish(String(data="now"))
        nodes.wait_until(lambda: recorder.message_count == 2, "the text")
    with AnyReader([tmp_path / "bag"]) as reader:
        assert {(connection.topic, stamp) for connection, stamp, _ in reader.messages()} == {
            ("/clock", 42 * 10**9),
            ("/text", 42 * 10**9),
        }


def test_topics_are_chosen_by_pattern():
    choice = TopicChoice(include=("/camera/*", "/joint_states"), exclude=("*/compressed",))
    assert choice.takes("/camera/image")
    assert choice.takes("/joint_states")
    assert not choice.takes("/camera/image/compressed")
    assert not choice.takes("/clock")
    assert TopicChoice().takes("/clock")
    assert not TopicChoice().takes("/reach_goal/_action/status")


def test_a_topic_without_a_definition_is_left_out_and_the_others_recorded(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def only_joint_states(type_name: str) -> type:
        if type_name != "sensor_msgs/msg/JointState":
            raise ImportError(f"no package for {type_name}")
        return JointState

    monkeypatch.setattr("jepa_tools.recording.recorder.message_class", only_joint_states)
    nodes.client.create_publisher(String, "a_text", 1)
    states = nodes.client.create_publisher(JointState, "joint_states", 1)
    with TopicRecorder(tmp_path / "bag", TopicChoice(("/a_text", "/joint_states"))) as recorder:
        nodes.wait_until(lambda: states.get_subscription_count() == 1, "the recorder")
        states.publish(JointState(name=["a"], position=[1.0]))
        nodes.wait_until(lambda: recorder.message_count == 1, "a message")
    assert recorder.counts == {"/joint_states": 1}


def test_a_full_disk_ends_the_recording_with_a_message_and_leaves_what_came_before(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    states = nodes.client.create_publisher(JointState, "joint_states", 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    recorder = TopicRecorder(tmp_path / "bag", TopicChoice(("/joint_states",)))
    with pytest.raises(RecordingError, match=r"what came before is kept: .*No space left"), recorder:
        nodes.wait_until(lambda: states.get_subscription_count() == 1, "the recorder")
        states.publish(JointState())
        nodes.wait_until(lambda: recorder.message_count == 1, "a message")
        monkeypatch.setattr(recorder._writer, "write", full)
        states.publish(JointState())
        nodes.wait_until(lambda: recorder.has_failed, "the failure")
    with AnyReader([tmp_path / "bag"]) as reader:
        assert reader.topics["/joint_states"].msgcount == 1


def test_the_weakest_publisher_decides_the_subscription():
    reliable = QoSProfile(depth=1)
    assert matching_qos([LATCHED]).durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert matching_qos([LATCHED, reliable]).durability == DurabilityPolicy.VOLATILE
    assert matching_qos([reliable]).reliability == ReliabilityPolicy.RELIABLE
    assert matching_qos([reliable, BEST_EFFORT]).reliability == ReliabilityPolicy.BEST_EFFORT


def test_parameters_of_the_nodes_are_kept_also_of_one_that_has_some_without_a_value(nodes: Any, tmp_path: Path):
    nodes.make(PlannerNode)
    other = nodes.make(lambda **options: Node("encoder", **options))
    other.declare_parameter("objects", Parameter.Type.STRING_ARRAY)
    other.declare_parameter("seed", 7)
    nodes.client.create_publisher(String, "robot_description", LATCHED).publish(String(data="<robot/>"))
    with TopicRecorder(tmp_path / "bag") as recorder:
        recorder.wait_for(["/robot_description"], 60.0)
        nodes.wait_until(lambda: {"/planner", "/encoder"} <= recorder._asked, "the nodes' parameters")
    with open_bag(tmp_path / "bag") as bag:
        planner, encoder = (json.loads(bag.metadata[f"parameters {node}"]) for node in ("/planner", "/encoder"))
    assert planner["solver.samples"] == 64 and planner["safety.keep_out"] == []
    assert encoder["seed"] == 7 and "objects" not in encoder


def test_jepa_record_leaves_a_whole_bag_on_an_interrupt(nodes: Any, tmp_path: Path):
    states = nodes.client.create_publisher(JointState, "joint_states", 1)
    command = [sys.executable, "-m", "jepa_tools.cli", "record", "--out", str(tmp_path / "bag")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    nodes.wait_until(lambda: states.get_subscription_count() == 1, "the recorder", timeout=60.0)
    for _ in range(5):
        states.publish(JointState(name=["a"], position=[1.0]))
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0, output
    with AnyReader([tmp_path / "bag"]) as reader:
        assert reader.topics["/joint_states"].msgcount == 5
