"""A recording can be read at any moment: two independent libraries open what a killed or a full recorder left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from jepa_tools.bags.bag_file import open_bag
from jepa_tools.recording.message_types import MessageTypes
from jepa_tools.recording.recorded_bag import RecordedBag

TEXT = "std_msgs/msg/String"
# Writes numbered messages until it ends; `saves` often, so that many kills find it at that.
WRITER = """
import resource, signal, sys, time
from pathlib import Path
from jepa_tools.recording import recorded_bag
from jepa_tools.recording.message_types import MessageTypes
recorded_bag.SAVE_SECONDS = 0.02
recorded_bag.METADATA_SECONDS = 0.2
path, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
types = MessageTypes()
with recorded_bag.RecordedBag(path, types, {"seed": "3"}) as bag:
    bag.add_topic("/text", "std_msgs/msg/String")
    number = 0
    while True:
        text = types.store.types["std_msgs/msg/String"](data=f"{number:08d}" + "x" * 2000)
        bag.write("/text", bytes(types.store.serialize_cdr(text, "std_msgs/msg/String")), now=number)
        number += 1
        time.sleep(0.001)
        if number == 1:
            print("writing", flush=True)
"""


def texts(bag: Path) -> list[int]:
    """The numbers in a bag, read by rosbags; mcap's own reader must find as many."""
    with Reader(bag) as reader:
        numbers = [int(data[8:16]) for _, _, data in reader.messages()]
    with (bag / f"{bag.name}.mcap").open("rb") as file:
        assert sum(1 for _ in make_reader(file, validate_crcs=True).iter_messages()) == len(numbers)
    return numbers


def started(path: Path, limit: int = 0) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(limit)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    return process


def test_what_kill_9_leaves_opens_up_to_then(tmp_path: Path):
    process = started(tmp_path / "bag")
    time.sleep(0.7)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    numbers = texts(tmp_path / "bag")
    assert len(numbers) > 10 and numbers == list(range(len(numbers)))
    with open_bag(tmp_path / "bag") as bag:
        assert bag.metadata == {"seed": "3"}


def test_a_full_disk_ends_the_recording_and_leaves_what_came_before(tmp_path: Path):
    process = started(tmp_path / "bag", limit=300_000)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "File too large" in errors
    numbers = texts(tmp_path / "bag")
    assert len(numbers) > 10 and numbers == list(range(len(numbers)))
    assert sorted(path.name for path in (tmp_path / "bag").iterdir()) == ["bag.mcap", "metadata.yaml"]


def test_a_bag_can_be_opened_while_it_is_written_and_before_anything_came(tmp_path: Path):
    types = MessageTypes()
    with RecordedBag(tmp_path / "bag", types) as bag:
        assert texts(tmp_path / "bag") == []
        bag.add_topic("/text", TEXT)
        for number in range(3):
            message = types.store.types[TEXT](data=f"{number:08d}")
            bag.write("/text", bytes(types.store.serialize_cdr(message, TEXT)), now=number)
            bag.save()
            assert texts(tmp_path / "bag") == list(range(number + 1))


def test_a_failed_save_undoes_itself_and_a_later_one_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    types = MessageTypes()
    bag = RecordedBag(tmp_path / "bag", types)
    with pytest.raises(OSError, match="No space"), bag:
        bag.add_topic("/text", TEXT)
        message = types.store.types[TEXT](data="00000000")
        bag.write("/text", bytes(types.store.serialize_cdr(message, TEXT)), now=0)
        bag.save()
        put, failures = bag._lasting.lasting._put, [OSError(28, "No space left on device")]

        def full(start: int, data: bytes) -> None:
            put(start, data[: len(data) // 2])  # a part of it fits
            if failures:
                raise failures.pop()
            put(start, data)

        monkeypatch.setattr(bag._lasting.lasting, "_put", full)
        bag.write("/text", bytes(types.store.serialize_cdr(message, TEXT)), now=1)
        bag.save()
    assert texts(tmp_path / "bag") == [0, 0]


def test_nothing_is_left_when_nothing_came(tmp_path: Path):
    with RecordedBag(tmp_path / "bag", MessageTypes()) as bag:
        bag.add_topic("/text", TEXT)
    assert list(tmp_path.iterdir()) == []
