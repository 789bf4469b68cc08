"""Nodes from the fork server are like nodes that were started themselves: signals, output, exit codes, kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jepa_tools.bring_up.fork_server import ADDRESS_VARIABLE, new_address

REPOSITORY = Path(__file__).resolve().parents[3]
# Stands for a library that takes long to load and a node that uses it.
SLOW_LIBRARY = "import os\nLOADED_BY = os.getpid()\n"
NODE = """
import os, signal, sys, time
import slow_library

def main():
    word = sys.argv[1]
    try:
        print(
            "node", os.getpid(), "library loaded by", slow_library.LOADED_BY, "in", os.getcwd(),
            os.environ.get("COLOUR"),
        )
        if word == "exit":
            return 7
        if word == "fail":
            raise RuntimeError("out of order")
        while True:
            time.sleep(0.05)  # a signal between two lines of Python does not end a sleep that begins after it
    except KeyboardInterrupt:
        print("interrupted")
        return 3
"""


class ForkServer:
    """A fork server for the node above, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "slow_library.py").write_text(SLOW_LIBRARY)
        (folder / "a_node.py").write_text(NODE)
        self.address = new_address(folder.name)
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        self.process = self._start("jepa_tools.bring_up.fork_server", self.address, "a_node")

    def node(self, word: str, **environment: str) -> subprocess.Popen[str]:
        """A node that does what `word` says."""
        return self._start("jepa_tools.bring_up.forked_node", "a_node", word, **environment)

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=os.environ
            | {
                "PYTHONPATH": f"{self._folder}{os.pathsep}{REPOSITORY}",
                ADDRESS_VARIABLE: self.address,
                "PYTHONUNBUFFERED": "1",
            }
            | environment,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture
def fork_server(tmp_path: Path) -> Iterator[ForkServer]:
    made = ForkServer(tmp_path)
    yield made
    made.close()


def first_line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def runs(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nodes_share_what_the_fork_server_loaded_and_keep_their_own_environment(
    fork_server: ForkServer, tmp_path: Path
):
    for color in ("red", "green"):
        node = fork_server.node("exit", COLOUR=color)
        printed, _ = node.communicate(timeout=60)
        words = printed.split()
        assert words[5] == str(fork_server.process.pid), printed
        assert words[7:] == [str(tmp_path), color]
        assert node.returncode == 7
        assert words[1] not in (str(fork_server.process.pid), str(node.pid))


def test_a_signal_reaches_the_node_and_its_exit_code_comes_back(fork_server: ForkServer):
    node = fork_server.node("wait")
    first_line(node)
    node.send_signal(signal.SIGINT)
    printed, _ = node.communicate(timeout=60)
    assert printed.split() == ["interrupted"]
    assert node.returncode == 3


def test_a_killed_stand_in_takes_its_node_along(fork_server: ForkServer):
    node = fork_server.node("wait")
    process_id = int(first_line(node)[1])
    assert runs(process_id)
    node.kill()
    wait_until(lambda: not runs(process_id), "the node to end")


def test_a_killed_node_ends_its_stand_in_with_the_reason(fork_server: ForkServer):
    node = fork_server.node("wait")
    os.kill(int(first_line(node)[1]), signal.SIGKILL)
    printed, _ = node.communicate(timeout=60)
    assert "was killed" in printed
    assert node.returncode == 1


def test_an_error_is_shown_with_its_traceback(fork_server: ForkServer):
    node = fork_server.node("fail")
    printed, _ = node.communicate(timeout=60)
    assert "RuntimeError: out of order" in printed
    assert node.returncode == 1


def test_nodes_outlive_their_fork_server_and_later_ones_start_without_it(fork_server: ForkServer):
    before = fork_server.node("wait")
    process_id = int(first_line(before)[1])
    fork_server.process.send_signal(signal.SIGINT)
    assert fork_server.process.wait(60) == 0
    assert runs(process_id)
    after = fork_server.node("exit")
    printed, _ = after.communicate(timeout=60)
    assert printed.split()[1] == printed.split()[5] == str(after.pid)
    assert after.returncode == 7
