"""Bags that are whole are read, whatever stands in them beside what is needed; what is none is called what it is."""

import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from mcap.writer import CompressionType, IndexType
from recorded_bags import (
    START,
    TYPES,
    BagRecipe,
    McapRecipe,
    alter_bag,
    change_metadata,
    picture,
    rewrite_mcap,
    split_bag,
    write_bag,
)

from jepa_tools.bags import BagError, BagSettings, find_bags, read_bag
from jepa_tools.bags.bag_file import open_bag

RECIPE = BagRecipe(frames=16)
IMAGE = "sensor_msgs/msg/Image"
HEADER_IDL = (
    "module std_msgs { module msg { struct Header { builtin_interfaces::msg::Time stamp; string frame_id; }; }; };\n"
)
IMAGE_IDL = (
    "module sensor_msgs { module msg { struct Image { std_msgs::msg::Header header; uint32 height; uint32 width; "
    "string encoding; uint8 is_bigendian; uint32 step; sequence<uint8> data; }; }; };\n"
)
TIME_IDL = "module builtin_interfaces { module msg { struct Time { int32 sec; uint32 nanosec; }; }; };\n"
LINE = "=" * 80


def read(path):
    return read_bag(path, BagSettings(), 4.0)


def assert_whole(path, notes=()):
    """The bag of RECIPE has 8 pictures at 4 Hz, the right ones."""
    bag = read(path)
    assert bag.notes == notes
    (episode,) = bag.episodes
    np.testing.assert_array_equal(list(episode.pictures()), [picture(2 * number) for number in range(8)])
    assert np.ptp(episode.states[:, :3], axis=0).max() > 0.01


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("sound") / "bag", RECIPE)


@pytest.fixture(scope="module")
def sqlite_bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("sqlite") / "bag", RECIPE, storage="sqlite3")


def copied(bag, target):
    target.mkdir(parents=True, exist_ok=True)
    for file in bag.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def channel(schema, encoding, text, message_encoding, data=b"{}", topic="/beside"):
    """Adds a channel with one message; without a schema where its name is empty."""

    def add(writer):
        number = writer.register_schema(schema, encoding, text) if schema else 0
        writer.add_message(writer.register_channel(topic, message_encoding, number), START, data, START)

    return add


@pytest.mark.parametrize(
    "beside",
    [
        channel("diagnostics", "jsonschema", b'{"type": "object"}', "json"),
        channel("foxglove.Log", "protobuf", b"\x0a\xfd\xff\x00", "protobuf"),
        channel("Log", "flatbuffer", b"\x00\xff", "flatbuffer"),
        channel("my_msgs/msg/Odd", "ros2msg", b"string EMPTY=\n", "cdr", bytes(12)),
        channel("my_msgs/msg/Odd", "ros2idl", b"no idl {", "cdr", bytes(12)),
        channel("my_msgs/msg/Odd", "unheard_of", b"", "cdr", bytes(12)),
        channel("my_msgs/msg/Odd", "ros2msg", b"other_msgs/Missing a\n", "cdr", bytes(12)),
        channel("std_msgs/String", "ros1msg", b"string data\n", "ros1", bytes(4)),
        channel("", "", b"", "json"),
        channel("", "", b"", "cdr", bytes(12)),
        channel("sensor_msgs/msg/Image", "jsonschema", b"{}", "json", topic="/web/image"),
        channel("sensor_msgs/msg/Image", "jsonschema", b"{}", "json", topic="/image"),
        lambda writer: writer.register_channel("/never/image", "cdr", writer.register_schema(IMAGE, "ros2msg", b"")),
        lambda writer: writer.add_attachment(START, START, "calibration", "text/plain", b"fx 1"),
        lambda writer: writer.add_metadata("rosbag2", {"serialized_metadata": "version: [", "ROS_DISTRO": "none"}),
    ],
)
@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD])
def test_what_stands_beside_does_not_matter(tmp_path, sound, beside, compression):
    recipe = McapRecipe(beside=beside, options={"compression": compression})
    assert_whole(rewrite_mcap(sound, tmp_path / "b.mcap", recipe))


@pytest.mark.parametrize("profile", ["", "ros2", "px4"])
@pytest.mark.parametrize("qos", ["", "- depth: 5\n", "- reliability: 1\n  durability: 2\n", "none", "- [", "{}"])
def test_profile_and_qos_do_not_matter(tmp_path, sound, profile, qos):
    assert_whole(rewrite_mcap(sound, tmp_path / "b.mcap", McapRecipe(profile=profile, qos=qos)))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("", ""),
        ("ros2msg", ""),
        ("ros2msg", "string EMPTY=\n"),
        ("unheard_of", "?"),
        ("ros2idl", "no idl {"),
        ("ros2idl", f"{LINE}\nIDL: {IMAGE}\n{IMAGE_IDL}{LINE}\nIDL: std_msgs/msg/Header\n{HEADER_IDL}"),
        ("omgidl", f"{TIME_IDL}{HEADER_IDL}{IMAGE_IDL}"),
        ("ros2msg", TYPES.generate_msgdef(IMAGE, ros_version=2)[0].replace("\n", "\r\n")),
        ("ros2msg", TYPES.generate_msgdef(IMAGE, ros_version=2)[0].split(LINE)[0]),
    ],
    ids=["none", "empty", "odd", "other", "no idl", "idl", "one idl", "windows", "without what it holds"],
)
def test_definitions_of_standard_types_may_be_missing_or_odd(tmp_path, sound, encoding, text):
    recipe = McapRecipe(definitions={IMAGE: (encoding, text)})
    assert_whole(rewrite_mcap(sound, tmp_path / "b.mcap", recipe))


def test_a_definition_in_the_bag_counts(tmp_path, sound):
    text = TYPES.generate_msgdef(IMAGE, ros_version=2)[0].replace(
        "uint32 height\nuint32 width", "uint32 width\nuint32 height"
    )
    file = rewrite_mcap(sound, tmp_path / "b.mcap", McapRecipe(definitions={IMAGE: ("ros2msg", text)}))
    with open_bag(file) as bag:
        _, message_type, _, data = next(bag.raw_messages(["/image"]))
        assert (bag.parse(data, message_type).height, bag.parse(data, message_type).width) == (80, 64)


def test_a_standard_type_that_the_bag_defines_without_a_field_is_named(tmp_path, sound):
    text = TYPES.generate_msgdef(IMAGE, ros_version=2)[0].replace("uint32 height\n", "")
    file = rewrite_mcap(sound, tmp_path / "b.mcap", McapRecipe(definitions={IMAGE: ("ros2msg", text)}))
    with pytest.raises(BagError, match=r"16 messages left out.*the bag defines sensor_msgs/msg/Image without height"):
        read(file)


def test_a_database_whose_messages_are_no_bytes_is_damaged(tmp_path, sqlite_bag):
    bag = copied(sqlite_bag, tmp_path / "copy")
    (file,) = bag.glob("*.db3")
    with sqlite3.connect(file) as database:
        database.execute("UPDATE messages SET data = 7 WHERE id = 9")
    with pytest.raises(BagError, match=r"damaged or was cut off .expected bytes of a message, got int"):
        read(bag)


@pytest.mark.parametrize(
    "options",
    [
        {"use_chunking": False},
        {"compression": CompressionType.LZ4},
        {"chunk_size": 20_000},
        {"use_statistics": False},
        {"repeat_channels": False},
        {"repeat_schemas": False},
        {"index_types": IndexType.NONE},
        {"index_types": IndexType.CHUNK},
        {"use_summary_offsets": False},
        {"enable_crcs": False},
        {"use_statistics": False, "repeat_channels": False, "repeat_schemas": False, "index_types": IndexType.NONE},
        {"use_chunking": False, "use_statistics": False, "repeat_channels": False, "repeat_schemas": False},
    ],
    ids=str,
)
def test_mcap_files_need_neither_chunks_nor_index_nor_summary(tmp_path, sound, options):
    assert_whole(rewrite_mcap(sound, tmp_path / "b.mcap", McapRecipe(options=options)))


def test_messages_of_a_machine_with_the_other_byte_order_are_read(tmp_path, sound):
    def swap(_, message):
        return bytes(TYPES.serialize_cdr(message, message.__msgtype__, little_endian=False))

    pictures = alter_bag(sound, tmp_path / "pictures", "/image", swap)
    assert_whole(alter_bag(pictures, tmp_path / "both", "/joint_states", swap))


def test_a_damaged_chunk_is_not_taken_for_sound(tmp_path, sound):
    file = rewrite_mcap(sound, tmp_path / "b.mcap", McapRecipe(options={"compression": CompressionType.NONE}))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(BagError, match="damaged"):
        read(file)


def without(*names):
    def change(metadata):
        for name in names:
            del metadata[name]

    return change


def topics_get(**values):
    return lambda metadata: [item["topic_metadata"].update(values) for item in metadata["topics_with_message_count"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda metadata: metadata.update(storage_identifier=""),
        lambda metadata: metadata.update(storage_identifier="rosbag_v2"),
        lambda metadata: metadata.update(version=99),
        lambda metadata: metadata.update(
            relative_file_paths=[f"bag/{name}" for name in metadata["relative_file_paths"]]
        ),
        lambda metadata: metadata.update(custom_data=[1]),
        lambda metadata: metadata.update(topics_with_message_count=None),
        topics_get(offered_qos_profiles="- depth: 5"),
        topics_get(offered_qos_profiles=[{"reliability": "best_effort"}]),
        topics_get(type_description_hash="RIHS01_0"),
        topics_get(serialization_format=""),
        without("version", "storage_identifier", "duration", "starting_time", "message_count"),
        without("compression_format", "compression_mode"),
    ],
)
@pytest.mark.parametrize("kind", ["sound", "sqlite_bag"])
def test_metadata_may_say_what_it_likes_beside_the_files(tmp_path, change, kind, request):
    assert_whole(change_metadata(copied(request.getfixturevalue(kind), tmp_path / "copy"), change))


@pytest.mark.parametrize(
    "text", ["", "rosbag2_bagfile_information: {version: 9", "- a", "rosbag2_bagfile_information:"]
)
def test_metadata_that_cannot_be_read_is_replaced_by_the_files_beside_it(tmp_path, sound, text):
    bag = copied(sound, tmp_path / "copy")
    (bag / "metadata.yaml").write_text(text)
    (note,) = read(bag).notes
    assert "metadata.yaml cannot be read" in note and read(bag).episodes[0].length == 8


def test_messages_that_were_announced_and_did_not_come_are_noted(tmp_path, sound):
    def announce(metadata):
        for item in metadata["topics_with_message_count"]:
            item["message_count"] += 5 * (item["topic_metadata"]["name"] == "/image")

    bag = change_metadata(copied(sound, tmp_path / "copy"), announce)
    assert_whole(bag, notes=("/image: 21 messages were announced, 16 came",))


def test_a_file_that_the_metadata_names_and_that_is_not_there_is_named(tmp_path, sound):
    bag = change_metadata(
        copied(sound, tmp_path / "copy"), lambda metadata: metadata["relative_file_paths"].append("bag_1.mcap")
    )
    with pytest.raises(BagError, match=r"names bag_1\.mcap, which is not there: copy the whole folder$"):
        read(bag)
    (file,) = bag.glob("*.mcap")
    file.rename(bag / "renamed.mcap")
    with pytest.raises(BagError, match=r"which is not there: .*; renamed\.mcap is: name that file itself"):
        read(bag)


def test_a_file_that_the_metadata_does_not_name_is_left_out_with_a_note(tmp_path, sound):
    bag = copied(sound, tmp_path / "copy")
    rewrite_mcap(sound, bag / "another.mcap", McapRecipe())
    assert_whole(bag, notes=("another.mcap left out: not named in metadata.yaml",))


def test_a_compressed_file_may_have_the_name_of_the_plain_one_in_the_metadata(tmp_path):
    bag = write_bag(tmp_path / "bag", RECIPE, storage="sqlite3", compression="file")
    assert_whole(change_metadata(bag, lambda metadata: metadata.update(relative_file_paths=["bag.db3"])))


def test_metadata_of_another_program_does_not_hide_the_bags_below(tmp_path, sound):
    copied(sound, tmp_path / "bags" / "one")
    (tmp_path / "bags" / "metadata.yaml").write_text("title: bags\n")
    assert find_bags([tmp_path / "bags"]) == [tmp_path / "bags" / "one"]


def test_files_of_a_bag_are_read_in_the_order_of_recording(tmp_path, sound):
    bag = split_bag(sound, tmp_path / "split")
    change_metadata(bag, lambda metadata: metadata["relative_file_paths"].reverse())
    assert_whole(bag)


def test_files_of_one_recording_are_one_bag_without_their_metadata(tmp_path, sound):
    bag = split_bag(sound, tmp_path / "split")
    (bag / "metadata.yaml").unlink()
    for number, file in enumerate(sorted(bag.glob("*.mcap"))):
        file.rename(bag / f"split_{number}.mcap")
    assert find_bags([tmp_path / "split"]) == [bag]
    (note,) = read(bag).notes
    assert "metadata.yaml cannot be read" in note and read(bag).episodes[0].length == 8
    bag.rename(tmp_path / "others")  # files of another name may be bags of their own
    assert len(find_bags([tmp_path / "others"])) == 2
    with pytest.raises(BagError, match=r"metadata\.yaml is missing"):
        read(tmp_path / "others")


def test_files_of_a_bag_that_overlap_are_read_side_by_side(tmp_path):
    cameras = write_bag(tmp_path / "a", replace(RECIPE, joints=False, urdf=False))
    joints = write_bag(tmp_path / "b", replace(RECIPE, images=False))
    (file,) = joints.glob("*.mcap")
    file.rename(cameras / file.name)
    change_metadata(cameras, lambda metadata: metadata["relative_file_paths"].append(file.name))
    assert_whole(cameras)
    with open_bag(cameras) as bag:
        recorded = [moment for _, _, moment, _ in bag.raw_messages(["/image", "/joint_states"])]
    assert recorded == sorted(recorded)


@pytest.mark.parametrize("folder", ["q?uest#hash", "100%41done", "2026-11-27T10:30:00", "with space & más"])
@pytest.mark.parametrize("kind", ["sound", "sqlite_bag"])
def test_paths_may_hold_what_means_something_elsewhere(tmp_path, folder, kind, request, monkeypatch):
    copied(request.getfixturevalue(kind), tmp_path / folder / "bag")
    monkeypatch.chdir(tmp_path)
    (bag,) = find_bags([(tmp_path / folder).relative_to(tmp_path)])
    assert_whole(bag)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_compressed_files_are_read_without_their_metadata(tmp_path, storage):
    bag = write_bag(
        tmp_path / "bag", RECIPE, storage=storage, compression="file" if storage == "sqlite3" else "storage"
    )
    (bag / "metadata.yaml").unlink()
    (file,) = find_bags([bag])
    assert_whole(file)


def test_compressed_messages_are_read_without_their_metadata(tmp_path):
    bag = write_bag(tmp_path / "bag", RECIPE, storage="sqlite3", compression="message")
    (bag / "metadata.yaml").unlink()
    (file,) = find_bags([bag])
    assert_whole(file)


OLD_TABLES = {
    "Foxy": (
        "id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT",
        "id, name, type, serialization_format",
    ),
    "Humble": (
        "id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT, offered_qos_profiles TEXT",
        "id, name, type, serialization_format, '- depth: 5'",
    ),
}


@pytest.mark.parametrize("distribution", OLD_TABLES)
def test_databases_of_older_distributions_are_read(tmp_path, sqlite_bag, distribution):
    bag = copied(sqlite_bag, tmp_path / "copy")
    (file,) = bag.glob("*.db3")
    columns, values = OLD_TABLES[distribution]
    with sqlite3.connect(file) as database:
        database.executescript(
            f"CREATE TABLE old({columns}); INSERT INTO old SELECT {values} FROM topics; DROP TABLE topics; "
            "ALTER TABLE old RENAME TO topics; DROP TABLE message_definitions; DROP TABLE schema; DROP TABLE metadata"
        )
    assert_whole(bag)


def test_what_a_killed_recorder_left_beside_the_database_is_read(tmp_path, sqlite_bag):
    bag, killed = copied(sqlite_bag, tmp_path / "copy"), tmp_path / "killed"
    (file,) = bag.glob("*.db3")
    with sqlite3.connect(file) as database:
        (rows,) = (database.execute("SELECT id FROM messages WHERE id > 20").fetchall(),)
        kept = database.execute("SELECT * FROM messages WHERE id > 20").fetchall()
        database.execute("DELETE FROM messages WHERE id > 20")
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode = WAL")
    database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", kept)
    database.commit()
    copied(bag, killed)  # with the log of what is not yet in the database
    database.close()
    assert len(rows) == len(kept) and (killed / f"{file.name}-wal").stat().st_size
    assert_whole(killed)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (
            "b.mcap",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n",
            "a Git LFS pointer of 68 bytes",
        ),
        ("b.db3", b"<!DOCTYPE html><html><head><title>Not found</title></head></html>", 'title "Not found"'),
        ("b.mcap", b"\x00\x01\x02\x03 something else", "neither MCAP nor SQLite"),
        ("b.mcap", b"#ROSBAG V2.0\n\x00\x00", "is a bag of ROS 1: `rosbags-convert"),
    ],
)
def test_a_file_that_is_no_storage_is_called_what_it_is(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BagError) as error:
        read(tmp_path / name)
    assert words in str(error.value) and "damaged" not in str(error.value)


def test_bags_of_ros_1_are_named(tmp_path, sound):
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    for path in (tmp_path / "old.bag", tmp_path):
        with pytest.raises(BagError, match="ROS 1: `rosbags-convert"):
            find_bags([path])
    recorded = McapRecipe(beside=channel("std_msgs/String", "ros1msg", b"string data\n", "ros1", bytes(4)))
    file = tmp_path / "b.mcap"
    rewrite_mcap(sound, file, recorded)
    with open_bag(file) as bag:
        assert bag.other_encodings() == ["ros1"] and "/beside" not in bag.topics


def test_a_channel_without_a_schema_has_its_type_in_the_metadata(tmp_path, sound):
    bag = copied(sound, tmp_path / "copy")
    (file,) = bag.glob("*.mcap")

    def add(writer):
        number = writer.register_channel("/untyped", "cdr", 0)
        writer.add_message(number, START, bytes(12), START)

    rewrite_mcap(sound, file, McapRecipe(beside=add))
    described = {"name": "/untyped", "type": "std_msgs/msg/Empty", "serialization_format": "cdr"}
    change_metadata(
        bag,
        lambda metadata: metadata["topics_with_message_count"].append(
            {"topic_metadata": described, "message_count": 1}
        ),
    )
    with open_bag(bag) as opened:
        assert opened.topics_of("std_msgs/msg/Empty") == ["/untyped"]
