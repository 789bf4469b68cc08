"""The demo from start to end on real nodes: it reaches the goal, leaves its files, and no process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import cv2
import psutil
import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

REPOSITORY = Path(__file__).resolve().parents[2]
MARK = "JEPA_DEMO_TEST_MARK"
FILES = {
    "bag",
    "demo.mp4",
    "energy.png",
    "goal.png",
    "nodes.log",
    "reached.png",
    "result.json",
    "side_by_side.png",
}
TOPICS = {
    "/clock",
    "/diagnostics",
    "/goal_image",
    "/goal_latent",
    "/image",
    "/joint_states",
    "/joint_trajectory",
    "/latent",
    "/planner_status",
    "/robot_description",
}


class Demo:
    """A demo process whose descendants can be found after it has ended."""

    def __init__(self, out: Path, *arguments: str) -> None:
        self.out, self._mark = out, uuid.uuid4().hex
        self._output = out.parent / "output.txt"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jepa_tools.cli", "demo", "--out", str(out), *arguments],
                cwd=REPOSITORY,
                env=os.environ | {MARK: self._mark},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """The demo and all that it has started, also what was orphaned."""
        return [process for process in psutil.process_iter() if self._is_marked(process)]

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self._mark
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False

    def close(self) -> None:
        for process in self.processes():
            process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    """A demo that has run to its end."""
    demo = Demo(tmp_path_factory.mktemp("demo") / "out", "--seed", "1")
    try:
        demo.process.wait(420)
        yield demo
    finally:
        demo.close()


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def test_the_arm_reaches_the_goal(finished: Demo):
    assert finished.process.returncode == 0, finished.output
    result = json.loads((finished.out / "result.json").read_text())
    assert result["reached"] is True
    assert result["distance_m"] <= 0.04 < result["initial_distance_m"]
    assert result["steps"] > 0
    assert result["plan_ms"] > 0
    assert result["encode_ms"] > 0
    assert result["seed"] == 1
    assert result["model"].startswith("franka-table-small@")


def test_all_files_are_there_and_can_be_read(finished: Demo):
    assert {path.name for path in finished.out.iterdir()} == FILES
    for name in ("goal.png", "reached.png", "side_by_side.png", "energy.png"):
        assert cv2.imread(str(finished.out / name)) is not None, name
    video = cv2.VideoCapture(str(finished.out / "demo.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) > 5
    assert video.read()[0]


def test_the_bag_holds_every_topic_for_both_readers(finished: Demo):
    with AnyReader([finished.out / "bag"]) as reader:
        counts = {topic: info.msgcount for topic, info in reader.topics.items()}
    assert {topic for topic in TOPICS if not counts.get(topic)} == set()
    with (finished.out / "bag" / "bag.mcap").open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == sum(counts.values())


def test_no_process_is_left(finished: Demo):
    wait_until(lambda: not finished.processes(), "the last process to end", 10.0)


def test_a_task_that_no_reset_can_begin_is_refused_at_once(tmp_path: Path):
    demo = Demo(tmp_path / "out", "--task", "reach_with_object_cup")
    try:
        demo.process.wait(60)
        assert demo.process.returncode == 1
        assert "begins with the object in the gripper" in demo.output
        assert not (tmp_path / "out").exists()
    finally:
        demo.close()


def test_an_interrupted_demo_leaves_no_process_and_no_bag(tmp_path: Path):
    demo = Demo(tmp_path / "out")
    try:
        wait_until(lambda: len(demo.processes()) >= 6, "demo, guard and four nodes to run", 120.0)
        demo.process.send_signal(signal.SIGINT)
        demo.process.wait(60)
        assert demo.process.returncode == 130, demo.output
        wait_until(lambda: not demo.processes(), "the last process to end", 10.0)
        assert not (tmp_path / "out" / "bag").exists()
    finally:
        demo.close()
