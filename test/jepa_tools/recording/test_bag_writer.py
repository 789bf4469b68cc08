"""Bags are complete or absent, and two independent libraries read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from jepa_tools.recording.bag_writer import BagExistsError, BagWriter, header_stamp
from jepa_tools.recording.message_types import MessageTypes, UnknownMessageTypeError

REPOSITORY = Path(__file__).resolve().parents[3]
STORE = get_typestore(Stores.ROS2_JAZZY)
IMAGE, TEXT = "sensor_msgs/msg/Image", "std_msgs/msg/String"
LATENT = "jepa_ros/msg/Latent"


def share_folder(package: str) -> Path:
    """This repository as the only installed package."""
    if package == "jepa_ros":
        return REPOSITORY
    raise LookupError(f"package {package} not found")


def text(value: str) -> bytes:
    return bytes(STORE.serialize_cdr(STORE.types[TEXT](data=value), TEXT))


def image(stamp: int, pixels: np.ndarray) -> bytes:
    types = STORE.types
    seconds, nanoseconds = divmod(stamp, 10**9)
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds), frame_id="camera"
    )
    height, width, _ = pixels.shape
    message = types[IMAGE](header, height, width, "rgb8", 0, width * 3, pixels.reshape(-1))
    return bytes(STORE.serialize_cdr(message, IMAGE))


def write_bag(path: Path) -> None:
    with BagWriter(path, MessageTypes(share_folder), {"model": "tiny@0123"}) as bag:
        bag.add_topic("/image", IMAGE)
        bag.add_topic("/text", TEXT)
        bag.add_topic("/latent", LATENT)
        for index in range(20):
            bag.write("/image", image((index + 1) * 10**9, np.full((8, 8, 3), index, np.uint8)), now=5)
            bag.write("/text", text(f"line {index}"), now=index * 10**9 + 7)


def test_rosbags_reads_what_was_written(tmp_path: Path):
    write_bag(tmp_path / "bag")
    with Reader(tmp_path / "bag") as reader:
        images = [
            (stamp, STORE.deserialize_cdr(data, connection.msgtype))
            for connection, stamp, data in reader.messages()
            if connection.topic == "/image"
        ]
    assert [stamp for stamp, _ in images] == [(index + 1) * 10**9 for index in range(20)]
    assert [int(message.data[0]) for _, message in images] == list(range(20))


def test_the_reference_library_reads_it_with_definitions_and_metadata(tmp_path: Path):
    write_bag(tmp_path / "bag")
    with (tmp_path / "bag" / "bag.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        lines = [data.data[8:-1].decode() for _, _, data in reader.iter_messages(topics=["/text"])]
        recorded = [record.metadata for record in reader.iter_metadata()]
    assert summary is not None
    schemas = {schema.name: schema.data.decode() for schema in summary.schemas.values()}
    assert "std_msgs/Header header" in schemas[LATENT]
    assert "MSG: builtin_interfaces/Time" in schemas[LATENT]
    assert lines == [f"line {index}" for index in range(20)]
    assert "tiny@0123" in recorded[0]["serialized_metadata"]


def test_a_message_without_a_stamp_of_its_own_gets_the_callers(tmp_path: Path):
    write_bag(tmp_path / "bag")
    with Reader(tmp_path / "bag") as reader:
        stamps = [stamp for connection, stamp, _ in reader.messages() if connection.topic == "/text"]
    assert stamps == [index * 10**9 + 7 for index in range(20)]


def test_nothing_is_left_when_the_block_fails_or_nothing_came(tmp_path: Path):
    with pytest.raises(KeyError), BagWriter(tmp_path / "bag", MessageTypes(share_folder)) as bag:
        bag.add_topic("/text", TEXT)
        bag.write("/text", text("kept?"), now=1)
        raise KeyError("anything")
    with BagWriter(tmp_path / "bag", MessageTypes(share_folder)) as bag:
        bag.add_topic("/text", TEXT)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bag_is_not_overwritten(tmp_path: Path):
    write_bag(tmp_path / "bag")
    with pytest.raises(BagExistsError, match="exists already"):
        write_bag(tmp_path / "bag")


def test_what_a_killed_recording_left_does_not_disturb_the_next(tmp_path: Path):
    (tmp_path / ".bag.partial" / "bag").mkdir(parents=True)
    write_bag(tmp_path / "bag")
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_an_unknown_type_is_named(tmp_path: Path):
    with pytest.raises(UnknownMessageTypeError, match="jepa_ros/msg/Nothing"):
        MessageTypes(share_folder).require("jepa_ros/msg/Nothing")


def test_the_header_stamp_is_read_in_either_byte_order():
    assert header_stamp(bytes([0, 1, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0])) == 2 * 10**9 + 5
    assert header_stamp(bytes([0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 5])) == 2 * 10**9 + 5
