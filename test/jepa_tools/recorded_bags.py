"""Makes bags of all kinds with the plain `rosbags` writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from mcap.writer import Writer as McapWriter
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

URDF = Path(__file__).resolve().parents[2] / "models/franka/panda.urdf"
HOME = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4])
ARM = [f"panda_joint{number}" for number in range(1, 8)]
FINGERS = ["panda_finger_joint1", "panda_finger_joint2"]
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
TYPES = get_typestore(Stores.ROS2_JAZZY)


@dataclass(frozen=True)
class BagRecipe:
    """What is recorded.

    frames, camera_hz, joints_hz: how much. gap_after: frame after which the camera pauses for gap_seconds.
    compressed: "jpg" or "png" instead of raw images. encoding: of raw images. stamped: headers have stamps.
    command: arm positions that are commanded 1.1 s after the start.
    fingers: joints of the gripper, and what they read open and closed. lone_fingers: in messages of their own.
    """

    frames: int = 24
    camera_hz: float = 8.0
    joints_hz: float = 50.0
    gap_after: int = 0
    gap_seconds: float = 2.0
    compressed: str = ""
    encoding: str = "rgb8"
    stamped: bool = True
    urdf: bool = True
    joints: bool = True
    poses: bool = False
    images: bool = True
    second_camera: str = ""
    joint_delay: float = 0.0
    clock_reset_after: int = 0
    command: tuple[float, ...] = ()
    fingers: tuple[str, ...] = tuple(FINGERS)
    finger_ends: tuple[float, float] = (0.04, 0.0)
    lone_fingers: bool = False
    size: tuple[int, int] = (64, 80)


def picture(number: int, size: tuple[int, int] = (64, 80)) -> np.ndarray:
    """A picture with a bright square whose place tells its number."""
    image = np.full((*size, 3), (40, 60, 80), np.uint8)
    cv2.rectangle(image, (2 * number % size[1], 20), (2 * number % size[1] + 12, 40), (250, 200, 30), -1)
    return image


def joints_at(seconds: float) -> np.ndarray:
    """Arm joint positions [7], rad, on a slow swing."""
    return HOME + 0.25 * np.sin(0.8 * seconds + np.arange(7))


def frame_times(recipe: BagRecipe) -> np.ndarray:
    """Seconds of the frames since the start, as the camera's header says."""
    times = np.arange(recipe.frames) / recipe.camera_hz
    if recipe.gap_after:
        times[recipe.gap_after :] += recipe.gap_seconds
    return times


class _Bag:
    def __init__(self, writer: Writer) -> None:
        self._writer, self._connections = writer, {}

    def write(self, topic: str, kind: str, message, recorded: int) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=TYPES)
        self._writer.write(self._connections[topic], recorded, TYPES.serialize_cdr(message, kind))


def header(nanoseconds: int):
    time = TYPES.types["builtin_interfaces/msg/Time"](*divmod(nanoseconds, SECOND))
    return TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id="camera")


def image_message(pixels: np.ndarray, stamp: int, recipe: BagRecipe):
    if recipe.compressed:
        data = cv2.imencode(f".{recipe.compressed}", pixels[:, :, ::-1])[1].reshape(-1)
        return TYPES.types["sensor_msgs/msg/CompressedImage"](header(stamp), recipe.compressed, data)
    pixels = pixels[:, :, ::-1] if recipe.encoding == "bgr8" else pixels
    height, width, _ = pixels.shape
    data = np.ascontiguousarray(pixels).reshape(-1)
    return TYPES.types["sensor_msgs/msg/Image"](header(stamp), height, width, recipe.encoding, 0, width * 3, data)


def joint_messages(seconds: float, stamp: int, recipe: BagRecipe) -> list:
    """Of the arm, and of fingers that are open for 1.5 s and closed from then on."""
    fingers = [recipe.finger_ends[int(seconds >= 1.5)]] * len(recipe.fingers)
    if recipe.lone_fingers:
        return [_joint_message(stamp, ARM, joints_at(seconds)), _joint_message(stamp, recipe.fingers, fingers)]
    return [_joint_message(stamp, [*ARM, *recipe.fingers], [*joints_at(seconds), *fingers])]


def _joint_message(stamp: int, names, positions):
    empty = np.zeros(0)
    kind = TYPES.types["sensor_msgs/msg/JointState"]
    return kind(header(stamp), list(names), np.array(positions, dtype=np.float64), empty, empty)


def pose_message(seconds: float, stamp: int):
    kinds = TYPES.types
    position = kinds["geometry_msgs/msg/Point"](0.5 + 0.1 * np.sin(seconds), 0.1 * seconds, 0.3)
    turn = kinds["geometry_msgs/msg/Quaternion"](1.0, 0.0, 0.0, 0.0)
    return kinds["geometry_msgs/msg/PoseStamped"](header(stamp), kinds["geometry_msgs/msg/Pose"](position, turn))


def command_message(positions: tuple[float, ...]):
    """A trajectory of one point."""
    kinds, empty = TYPES.types, np.zeros(0)
    duration = kinds["builtin_interfaces/msg/Duration"](0, 0)
    point = kinds["trajectory_msgs/msg/JointTrajectoryPoint"](np.array(positions), empty, empty, empty, duration)
    return kinds["trajectory_msgs/msg/JointTrajectory"](header(0), ARM, [point])


def write_bag(
    path: Path, recipe: BagRecipe | None = None, storage: str = "mcap", version: int = 9, compression: str = "none"
) -> Path:
    """Writes a bag and returns its path. compression: none, file, message or storage."""
    recipe = recipe or BagRecipe()
    writer = Writer(path, version=version, storage_plugin=StoragePlugin[storage.upper()])
    if compression != "none":
        writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    with writer:
        bag = _Bag(writer)
        if recipe.urdf:
            text = TYPES.types["std_msgs/msg/String"](URDF.read_text())
            bag.write("/robot_description", "std_msgs/msg/String", text, START)
        _write_states(bag, recipe)
        if recipe.images:
            _write_images(bag, recipe)
        if recipe.command:
            message = command_message(recipe.command)
            bag.write("/joint_trajectory", "trajectory_msgs/msg/JointTrajectory", message, START + 11 * SECOND // 10)
    return path


def _write_states(bag: _Bag, recipe: BagRecipe) -> None:
    for seconds in np.arange(0, frame_times(recipe)[-1] + 0.1, 1 / recipe.joints_hz):
        recorded = START + round(seconds * SECOND)
        stamp = recorded + round(recipe.joint_delay * SECOND) if recipe.stamped else 0
        if recipe.joints:
            for message in joint_messages(seconds, stamp, recipe):
                bag.write("/joint_states", "sensor_msgs/msg/JointState", message, recorded)
        if recipe.poses:
            bag.write("/tool_pose", "geometry_msgs/msg/PoseStamped", pose_message(seconds, stamp), recorded)


def _write_images(bag: _Bag, recipe: BagRecipe) -> None:
    kind = "sensor_msgs/msg/CompressedImage" if recipe.compressed else "sensor_msgs/msg/Image"
    topic = "/image/compressed" if recipe.compressed else "/image"
    for number, seconds in enumerate(frame_times(recipe)):
        recorded = START + round(seconds * SECOND)
        reset = recipe.clock_reset_after and number >= recipe.clock_reset_after
        stamp = 0 if not recipe.stamped else recorded - 1000 * SECOND * bool(reset)
        message = image_message(picture(number, recipe.size), stamp, recipe)
        bag.write(topic, kind, message, recorded)
        if recipe.second_camera:
            bag.write(recipe.second_camera, kind, message, recorded)


def write_pose_bag(path: Path, pictures: np.ndarray, states: np.ndarray, period: float = 0.25) -> Path:
    """Writes pictures uint8 [T, H, W, 3] and states [T, 7] as images, tool poses and finger positions."""
    kinds, empty = TYPES.types, np.zeros(0)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        bag = _Bag(writer)
        for number, (pixels, state) in enumerate(zip(pictures, states, strict=True)):
            stamp = START + round(number * period * SECOND)
            position = kinds["geometry_msgs/msg/Point"](*map(float, state[:3]))
            turn = kinds["geometry_msgs/msg/Quaternion"](*Rotation.from_euler("xyz", state[3:6]).as_quat())
            pose = kinds["geometry_msgs/msg/Pose"](position, turn)
            stamped = kinds["geometry_msgs/msg/PoseStamped"](header(stamp), pose)
            fingers = np.full(2, 0.04 * (1 - float(state[6])))
            joints = kinds["sensor_msgs/msg/JointState"](header(stamp), FINGERS, fingers, empty, empty)
            bag.write("/tool_pose", "geometry_msgs/msg/PoseStamped", stamped, stamp)
            bag.write("/joint_states", "sensor_msgs/msg/JointState", joints, stamp)
            bag.write("/image", "sensor_msgs/msg/Image", image_message(pixels, stamp, BagRecipe()), stamp)
    return path


def split_bag(source: Path, target: Path) -> Path:
    """The same bag in two files, as a recorder leaves it that begins a new file after some time."""
    target.mkdir()
    with AnyReader([source]) as reader:
        messages, halves = list(reader.messages()), []
        for number in range(2):
            half = messages[number * len(messages) // 2 : (number + 1) * len(messages) // 2]
            halves.append(_write_messages(target.parent / f"half_{number}", half, reader.typestore))
    metadata = [yaml.safe_load((half / "metadata.yaml").read_text()) for half in halves]
    whole, second = (item["rosbag2_bagfile_information"] for item in metadata)
    for half in halves:
        (file,) = half.glob("*.mcap")
        file.rename(target / file.name)
    whole["relative_file_paths"] += second["relative_file_paths"]
    whole["message_count"] += second["message_count"]
    known = {item["topic_metadata"]["name"]: item for item in whole["topics_with_message_count"]}
    for item in second["topics_with_message_count"]:
        if (name := item["topic_metadata"]["name"]) in known:
            known[name]["message_count"] += item["message_count"]
        else:
            whole["topics_with_message_count"].append(item)
    (target / "metadata.yaml").write_text(yaml.safe_dump(metadata[0]))
    return target


def alter_bag(source: Path, target: Path, topic: str, change: Callable[[int, Any], Any]) -> Path:
    """The same bag, with what `change` makes of each message of a topic and its number; bytes are written as such."""
    with AnyReader([source]) as reader:
        messages, number = [], 0
        for item, stamp, data in reader.messages():
            if item.topic == topic:
                message = change(number, reader.deserialize(data, item.msgtype))
                plain = isinstance(message, bytes)
                data, number = message if plain else TYPES.serialize_cdr(message, item.msgtype), number + 1
            messages.append((item, stamp, data))
        return _write_messages(target, messages, reader.typestore)


def _write_messages(path: Path, messages: list, types) -> Path:
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for source, stamp, data in messages:
            if source.topic not in connections:
                connections[source.topic] = writer.add_connection(source.topic, source.msgtype, typestore=types)
            writer.write(connections[source.topic], stamp, bytes(data))
    return path


@dataclass(frozen=True)
class McapRecipe:
    """How another program would have written a bag's MCAP file.

    definitions: encoding and text of each type's definition, instead of its own. beside: adds what it likes.
    """

    profile: str = "ros2"
    qos: str = ""
    definitions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    beside: Callable[[McapWriter], None] = lambda writer: None
    options: Mapping[str, object] = field(default_factory=dict)


def rewrite_mcap(source: Path, target: Path, recipe: McapRecipe) -> Path:
    """Writes a bag's messages as one MCAP file."""
    with AnyReader([source]) as reader, target.open("wb") as stream:
        writer = McapWriter(stream, **recipe.options)
        writer.start(profile=recipe.profile, library="another")
        channels = {}
        for item in reader.connections:
            encoding, text = recipe.definitions.get(item.msgtype, ("ros2msg", item.msgdef.data))
            schema = writer.register_schema(item.msgtype, encoding, text.encode())
            channels[item.topic] = writer.register_channel(
                item.topic, "cdr", schema, {"offered_qos_profiles": recipe.qos}
            )
        for item, recorded, data in reader.messages():
            writer.add_message(channels[item.topic], recorded, bytes(data), recorded)
        recipe.beside(writer)
        writer.finish()
    return target


def change_metadata(bag: Path, change: Callable[[dict], None]) -> Path:
    """Edits the metadata of a bag."""
    file = bag / "metadata.yaml"
    metadata = yaml.safe_load(file.read_text())
    change(metadata["rosbag2_bagfile_information"])
    file.write_text(yaml.safe_dump(metadata))
    return bag
