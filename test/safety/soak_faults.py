"""What can go wrong at a table of nodes, and how it is made to: each fault begins, goes on for a while, and ends."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hostile_messages import KINDS, HostileNode
from sensor_msgs.msg import JointState

from jepa_tools.bags.bag_file import open_bag
from jepa_tools.operation.running_nodes import RunningNodes

BURST_SECONDS = 2.0
HICCUP_SECONDS = 0.35
DISK_BYTES = 200_000
# A second publisher of these holds the arm; what comes on the others is refused one by one.
_SOLE = ("joint_states", "latent", "robot_description", "clock")


class Table:
    """What faults are done to. `joint_state` is the newest of the real arm; `messages` counts hostile ones."""

    def __init__(self, nodes: RunningNodes, seed: int, rate: float) -> None:
        if nodes.runner is None:
            raise ValueError("expected nodes that this process has started")
        self.nodes, self.rate = nodes, rate
        self.joint_state: JointState | None = None
        self.messages = 0
        self._seed = seed
        self._hostile: HostileNode | None = None
        self._meant_to_end: dict[str, int] = {}

    def process(self, name: str) -> int | None:
        """Process of a node, None when it is not alive."""
        return self.nodes.runner.node_process_id(f"/{name}") if self.nodes.runner is not None else None

    def respawns(self, name: str) -> int:
        """How often a node was started again."""
        return self.nodes.runner.respawns(name) if self.nodes.runner is not None else 0

    def crashes(self) -> int:
        """How often a node ended that nobody had ended."""
        names = ("sim", "encoder", "predictor", "planner")
        return sum(self.respawns(name) for name in names) - sum(self._meant_to_end.values())

    def strike(self, name: str, number: int) -> None:
        """Sends a signal to a node; one that ends it is remembered."""
        process = self.process(name)
        if process is not None:
            os.kill(process, number)

    def meant_to_end(self, name: str) -> None:
        """A node will be started again because of a fault."""
        self._meant_to_end[name] = self._meant_to_end.get(name, 0) + 1

    def begin_hostility(self, kind: str) -> None:
        """Nonsense comes from now on."""
        self._seed += 1
        self._hostile = HostileNode(kind, self.rate, self._seed, lambda: self.joint_state)

    def end_hostility(self) -> None:
        """No more of it."""
        if self._hostile is not None:
            self.messages += self._hostile.messages
            self._hostile.close()
            self._hostile = None

    def poll(self) -> None:
        """Sends what is due."""
        if self._hostile is not None:
            self._hostile.poll()

    def close(self) -> None:
        """Leaves the table alone."""
        self.end_hostility()


class Fault:
    """One fault. detectable: the planner must say that something is wrong, or others about the planner.

    victim: node that suffers, "" for none. arm_rests: it has to come to rest. seconds: how long it goes on at most.
    """

    def __init__(self, table: Table, victim: str = "", detectable: bool = True, seconds: float = 0.0) -> None:
        self.table, self.victim, self.detectable, self.seconds = table, victim, detectable, seconds
        self.arm_rests = detectable and victim != "sim"
        self._respawns = table.respawns(victim) if victim else 0

    @property
    def goes_on(self) -> bool:
        """Whether there is something to wait for before it ends."""
        return self.seconds > 0.0

    def is_replaced(self) -> bool:
        """Whether the victim has been started again."""
        return self.table.respawns(self.victim) > self._respawns

    def begin(self) -> None:
        """Makes it happen."""

    def end(self) -> str:
        """Undoes it; says what did not come out as it should, empty when nothing."""
        return ""


class Signalled(Fault):
    """A node is killed, or stopped for good: it has to be started again."""

    def __init__(self, table: Table, _: random.Random, victim: str, number: int) -> None:
        super().__init__(table, victim, seconds=20.0)
        self._number = number

    @property
    def goes_on(self) -> bool:
        return not self.is_replaced()

    def begin(self) -> None:
        self.table.meant_to_end(self.victim)
        self.table.strike(self.victim, self._number)

    def end(self) -> str:
        return "" if self.is_replaced() else "not started again"


class Hiccup(Fault):
    """A node gets no time for a moment, as when a network or a machine stalls."""

    def __init__(self, table: Table, _: random.Random, victim: str) -> None:
        # Shorter than what is noticed but for the simulator, whose joint states may be a tenth of a second old.
        super().__init__(table, victim, detectable=False)

    def begin(self) -> None:
        self.table.strike(self.victim, signal.SIGSTOP)
        time.sleep(HICCUP_SECONDS)
        self.table.strike(self.victim, signal.SIGCONT)


class Hostile(Fault):
    """Nonsense on one topic."""

    def __init__(self, table: Table, _: random.Random, kind: str) -> None:
        super().__init__(table, detectable=kind in _SOLE, seconds=BURST_SECONDS)
        self._kind = kind

    def begin(self) -> None:
        self.table.begin_hostility(self._kind)

    def end(self) -> str:
        self.table.end_hostility()
        return ""


class FullDisk(Fault):
    """A recorder's disk is full: it has to say so and to leave what it has; the arm goes on."""

    def __init__(self, table: Table, _: random.Random) -> None:
        super().__init__(table, detectable=False, seconds=40.0)
        self._folder = tempfile.TemporaryDirectory()
        self._bag = Path(self._folder.name) / "bag"
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))

        command = [sys.executable, "-m", "jepa_tools", "record", "--out", str(self._bag)]
        command += ["--topics", "/joint_states", "/planner_status"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=limit
        )

    @property
    def goes_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def end(self) -> str:
        try:
            return self._judge()
        finally:
            self._folder.cleanup()

    def _judge(self) -> str:
        if self._process is None or self.goes_on:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            return "the recorder did not notice"
        output = self._process.communicate()[0]
        if self._process.returncode != 1 or "File too large" not in output:
            return f"the recorder said {output[-200:]!r}"
        with open_bag(self._bag) as bag:
            return "" if any(True for _ in bag.raw_messages(["/joint_states"])) else "the bag is empty"


Make = Callable[[Table, random.Random], Fault]
_NODES = ("sim", "encoder", "predictor", "planner")
FAULTS: dict[str, Make] = {
    **{f"kill -9 {name}": partial(Signalled, victim=name, number=signal.SIGKILL) for name in _NODES},
    **{f"stop {name}": partial(Signalled, victim=name, number=signal.SIGSTOP) for name in _NODES},
    **{f"stall {HICCUP_SECONDS} s {name}": partial(Hiccup, victim=name) for name in _NODES},
    **{f"nonsense on {kind}": partial(Hostile, kind=kind) for kind in KINDS},
    "recorder's disk full": FullDisk,
}
"""By name."""
