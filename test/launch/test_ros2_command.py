"""Every `ros2` line of the documents does what it says, typed at a table that `ros2 launch` has started."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from lifecycle_msgs.srv import GetState
from sensor_msgs.msg import Image

from jepa_common.qos_profiles import camera_qos
from jepa_tools.bring_up.deployments import DEPLOYMENTS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
QUOTED = re.compile(r"`(ros2 [^`]+)`")
PATHS = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")])
ROS2 = shutil.which("ros2", path=PATHS)
IMAGE = "{height: 2, width: 2, encoding: rgb8, step: 6, data: [0, 0, 0, 9, 9, 9, 0, 0, 0, 9, 9, 9]}"
FILLED_IN = {"NAME": "solver.samples", "NODE": "/planner", "PARAMETER": "solver.samples", "...": shlex.quote(IMAGE)}
NOT_TO_RUN = {
    "ros2 topic pub /goal_image": "the mistake that its line is about",
    "ros2 security ": "needs sros2, and writes into the reader's home",
}
LAUNCH = "ros2 launch jepa_ros "


def documented() -> list[str]:
    """All lines, each once, with what a reader fills in filled in."""
    lines: dict[str, None] = {}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        blocks = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
        for line in (*blocks, *QUOTED.findall(BLOCK.sub("", text))):
            if re.match(r"ros2 \w+ \w+ \S", line):
                lines[filled_in(re.split(r"\s+#", line)[0].strip())] = None
    return [line for line in lines if not is_left_out(line)]


def is_left_out(line: str) -> bool:
    return any(line == other or (other.endswith(" ") and line.startswith(other)) for other in NOT_TO_RUN)


def filled_in(line: str) -> str:
    for name, value in FILLED_IN.items():
        line = re.sub(rf"(?<!\S){re.escape(name)}(?!\S)", lambda _, value=value: value, line)
    return line


LINES = documented()
LAUNCHES = [line for line in LINES if line.startswith(LAUNCH)]
# What holds the planner still, and then what ends its work, comes last.
TYPED = sorted(
    (line for line in LINES if not line.startswith(LAUNCH)), key=lambda line: ("deactivate" in line, "pause" in line)
)

needs_ros2 = pytest.mark.skipif(
    ROS2 is None, reason="needs the ros2 command: source a distribution, or `make ros2 ROS2_SOURCES=...`"
)


@dataclass(frozen=True)
class Shell:
    """Where lines are typed."""

    folder: Path

    def command(self, line: str) -> list[str]:
        words = shlex.split(line)
        assert ROS2 is not None
        # Nobody types Ctrl-C here: one message is enough.
        return [sys.executable, ROS2, *words[1:], *(["--once"] if words[1:3] == ["topic", "echo"] else [])]

    @property
    def environment(self) -> dict[str, str]:
        before = os.environ.get("AMENT_PREFIX_PATH", "")
        path = before if str(Path(sys.prefix)) in before.split(":") else f"{sys.prefix}:{before}".rstrip(":")
        python = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
        logs = str(self.folder / "log")
        return os.environ | {"AMENT_PREFIX_PATH": path, "PATH": PATHS, "PYTHONPATH": python, "ROS_LOG_DIR": logs}

    def type(self, line: str, timeout: float = 120.0) -> str:
        """What the command prints; it must end without an error."""
        ended = subprocess.run(
            self.command(line), cwd=self.folder, env=self.environment, timeout=timeout, capture_output=True, text=True
        )
        assert ended.returncode == 0, f"{line}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
        return ended.stdout


@pytest.fixture(scope="module")
def shell(ros_domain: int, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="module")
def table(shell: Shell, lasting_nodes: Any) -> Iterator[Shell]:
    """A shell beside `ros2 launch jepa_ros sim.launch.py`, in a folder with pictures of where the arm is."""
    process = subprocess.Popen(
        shell.command(LAUNCH + "sim.launch.py"),
        cwd=shell.folder,
        env=shell.environment,
        stdout=(shell.folder / "launch.txt").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        for name in DEPLOYMENTS["sim"].lifecycle_names:
            lasting_nodes.wait_until(
                lambda name=name: (
                    lasting_nodes.call(GetState, f"{name}/get_state", GetState.Request()).current_state.label
                    == "active"
                ),
                f"{name} to be active",
            )
        photograph(lasting_nodes, shell.folder)
        # The first command starts a daemon that has yet to find the nodes.
        lasting_nodes.wait_until(
            lambda: {f"/{node.name}" for node in DEPLOYMENTS["sim"].nodes} <= set(shell.type("ros2 node list").split()),
            "the ros2 daemon to know the nodes",
        )
        yield shell
    finally:
        shell.type("ros2 daemon stop")
        process.send_signal(signal.SIGINT)
        process.wait(60)


def photograph(nodes: Any, folder: Path) -> None:
    pictures = nodes.collect(Image, "image", camera_qos())
    nodes.wait_until(lambda: bool(pictures), "a camera image")
    message = pictures[-1]
    picture = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.width, 3)
    for name in ("goal.png", "first.png", "second.png"):
        assert cv2.imwrite(str(folder / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def test_there_are_lines_of_every_kind():
    kinds = {tuple(line.split()[1:3]) for line in LINES}
    assert {("launch", "jepa_ros"), ("run", "jepa_ros"), ("topic", "echo"), ("topic", "pub")} <= kinds
    assert {("param", "describe"), ("service", "call"), ("lifecycle", "set")} <= kinds


@pytest.mark.parametrize("line", LAUNCHES)
def test_documented_launch_arguments_exist(line: str):
    file, *arguments = shlex.split(line)[3:]
    names = {argument.partition(":=")[0] for argument in arguments if ":=" in argument}
    assert names <= set(DEPLOYMENTS[file.removesuffix(".launch.py")].options)


@needs_ros2
@pytest.mark.parametrize("name", sorted({shlex.split(line)[3] for line in LAUNCHES}))
def test_ros2_launch_finds_the_file_and_lists_its_arguments(shell: Shell, name: str):
    output = shell.type(f"{LAUNCH}{name} --show-args")
    for option in DEPLOYMENTS[name.removesuffix(".launch.py")].options:
        assert f"'{option}'" in output


@needs_ros2
@pytest.mark.parametrize("node", [node.name for node in DEPLOYMENTS["sim"].nodes])
def test_a_dump_of_the_parameters_holds_every_one_of_them(table: Shell, node: str):
    listed = [line.strip() for line in table.type(f"ros2 param list /{node}").splitlines()]
    dumped = table.type(f"ros2 param dump /{node}")
    assert listed
    for name in listed:
        assert re.search(rf"^\s+{re.escape(name.rpartition('.')[2])}:", dumped, re.MULTILINE), name


@needs_ros2
@pytest.mark.parametrize("line", TYPED)
def test_a_documented_line_works(table: Shell, line: str):
    output = table.type(line)
    assert output.strip()
    assert "success=False" not in output or "calibrate" in line
