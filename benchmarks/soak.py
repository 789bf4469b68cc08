"""Random goals, faults and hostile messages at the simulated table, judged by somebody else than the planner.

    python benchmarks/soak.py --seconds 600

Starts the simulated table's nodes, shows one goal picture after the other, and meanwhile kills and stops nodes, lets
the clock jump, fills the recorder's disk, and sends nonsense on every topic. `test/safety/motion_judge.py` judges all
commands and the measured arm. Ends with a table of how soon each kind of fault was noticed, how soon the arm rested
then, and how soon it pursued its goal again. Exit code 0 when no rule of the judge was broken and every fault that can
be noticed was noticed and recovered from, 1 otherwise. `--append FILE` adds to the results of earlier runs.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from jepa_ros.msg import PlannerStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "safety"))
from hostile_messages import FRAME
from judge_node import JudgeNode
from soak_faults import FAULTS, Fault, Table

from jepa_tools.bring_up.process_runner import terminate_as_interrupt
from jepa_tools.operation.running_nodes import NodesConfig, RunningNodes, running_nodes

NODES = ("sim", "encoder", "predictor", "planner")
REST_SPEED = 0.02  # rad/s
TURN_SECONDS = 0.005
GOALS = 4
GIVE_UP = {"noticed": 10.0, "rest": 5.0, "again": 90.0}
_GOAL_PATIENCE = 30.0  # s after which a goal that is not pursued is shown again


@dataclass(frozen=True)
class SoakConfig:
    """How long, how much, and from which seed.

    Attributes:
        seconds: For so long.
        seed: Of goals, faults and messages.
        pause: Mean time between two faults, s.
        faults: Names of faults to draw from; all when left out.
        rate: Hostile messages per second while some are sent.
        append: File with the results of earlier runs; this one's are added.
        log: File for what the nodes print.
    """

    seconds: float = 600.0
    seed: int = 0
    pause: float = 2.0
    faults: tuple[str, ...] = ()
    rate: float = 300.0
    append: Path | None = None
    log: Path | None = None


@dataclass(frozen=True)
class FaultRow:
    """One fault: seconds until it was noticed, from then until the arm rested, from its end until it pursued again.

    NaN where it does not apply or did not happen. `failure` says what did not happen.
    """

    fault: str
    noticed: float
    rest: float
    again: float
    reason: str
    failure: str


@dataclass
class Results:
    """What a run, or several, came to."""

    seconds: float = 0.0
    goals: int = 0
    messages: int = 0
    commands: int = 0
    states: int = 0
    crashes: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    violations: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, list[list[float]]] = field(default_factory=dict)


class Soak:
    """Runs goals and faults side by side, one thread polling all."""

    def __init__(self, nodes: RunningNodes, config: SoakConfig) -> None:
        self._nodes, self._config = nodes, config
        self._chance = random.Random(config.seed)  # noqa: S311 - to be the same every time
        self._status, self._status_at = PlannerStatus(), float("-inf")
        self._stale: dict[str, float] = {}
        self._speed = 0.0
        self._goals: list[Image] = []
        self._shown_at = float("-inf")
        self._sampled_at = float("-inf")
        self.results = Results()
        self.table = Table(nodes, self._chance.randrange(1 << 30), config.rate)
        client = nodes.client
        client.check = lambda: None  # processes end here all the time
        client.subscribe(PlannerStatus, "planner_status", self._on_status, QoSProfile(depth=100))
        client.subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=100))
        client.subscribe(
            JointState, "joint_states", self._on_joints, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )

    # --- what is heard --------------------------------------------------------------------------------------

    def _on_status(self, message: PlannerStatus) -> None:
        self._status, self._status_at = message, time.monotonic()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.level == DiagnosticStatus.STALE:
                self._stale[status.name.partition(":")[0]] = time.monotonic()

    def _on_joints(self, message: JointState) -> None:
        if message.header.frame_id != FRAME:
            self.table.joint_state = message
            self._speed = float(np.max(np.abs(message.velocity)[:7]))

    def _turn(self) -> None:
        """One look at everything."""
        self._nodes.client.poll()
        self.table.poll()
        self._keep_a_goal()
        if time.monotonic() - self._sampled_at > 1.0:
            self._sampled_at = time.monotonic()
            self._sample()
        time.sleep(TURN_SECONDS)

    def _sample(self) -> None:
        """Memory (MB) and open files of each node."""
        for name in NODES:
            process = self.table.process(name)
            usage = _usage(process) if process is not None else None
            if usage is not None:
                self.results.memory.setdefault(name, []).append([process, *usage])

    def _keep_a_goal(self) -> None:
        status, now = self._status, time.monotonic()
        over = status.state in (PlannerStatus.IDLE, PlannerStatus.REACHED, PlannerStatus.ABORTED)
        waits = over and not (status.state == PlannerStatus.IDLE and status.reason)
        if self._goals and waits and now - self._shown_at > 1.0:
            self._shown_at = now
            self.results.goals += 1
            goal = self._chance.choice(self._goals)
            goal.header.stamp = Time()  # else it would have the name of a goal that was pursued before
            self._nodes.operator.show_goal(goal)

    # --- a run ----------------------------------------------------------------------------------------------

    def run(self) -> Results:
        """All of it."""
        self._collect_goals()
        judge = JudgeNode(self._nodes.client, FRAME)
        began = time.monotonic()
        names = self._config.faults or tuple(FAULTS)
        while time.monotonic() - began < self._config.seconds:
            self._wait(lambda: self._pursues, GIVE_UP["again"])
            self._wait(lambda: False, self._chance.expovariate(1.0 / self._config.pause))
            name = self._chance.choice(names)
            self.results.rows.append(asdict(self._suffer(name, FAULTS[name](self.table, self._chance))))
            print(_row_line(self.results.rows[-1]), flush=True)
        self.table.close()
        self.results.seconds = time.monotonic() - began
        self.results.messages = self.table.messages
        self.results.commands, self.results.states = judge.judge.commands, judge.judge.states
        self.results.violations = [asdict(found) for found in judge.judge.violations]
        self.results.crashes = self.table.crashes()
        return self.results

    def _collect_goals(self) -> None:
        operator = self._nodes.operator
        for index in range(GOALS):
            operator.reset(1000 + self._config.seed + index, "reach")
            self._goals.append(operator.picture())
        operator.reset(self._config.seed, "reach")

    @property
    def _pursues(self) -> bool:
        return self._status.state == PlannerStatus.PLANNING and time.monotonic() - self._status_at < 2.0

    def _wait(self, condition: Any, seconds: float) -> float:
        """Turns until `condition` holds; the time that took, NaN when it did not come to hold."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                return float("nan")
            self._turn()
        return time.monotonic() - began

    def _suffer(self, name: str, fault: Fault) -> FaultRow:
        began = time.monotonic()
        fault.begin()
        noticed = rest = float("nan")
        reason = failure = ""
        if fault.detectable:
            noticed = self._wait(lambda: self._is_noticed(fault, began), GIVE_UP["noticed"])
            reason = self._status.reason
            if np.isnan(noticed):
                failure = "not noticed"
            elif fault.arm_rests:
                rest = self._wait(lambda: self._speed < REST_SPEED, GIVE_UP["rest"])
                failure = "no rest" if np.isnan(rest) else ""
        self._wait(lambda: not fault.goes_on, fault.seconds)
        failure = failure or fault.end()
        ended = self._status_at
        again = self._wait(lambda: self._pursues and self._status_at > ended, GIVE_UP["again"])
        return FaultRow(name, noticed, rest, again, reason, failure or ("not pursued again" if np.isnan(again) else ""))

    def _is_noticed(self, fault: Fault, began: float) -> bool:
        if fault.victim == "planner":
            return self._stale.get("planner", 0.0) > began or fault.is_replaced()
        held = self._status.state in (PlannerStatus.HOLDING, PlannerStatus.ABORTED) and bool(self._status.reason)
        return (held and self._status_at > began) or self._stale.get(fault.victim, 0.0) > began


def _usage(process: int) -> tuple[float, int] | None:
    """Resident memory, MB, and open files; None when it is gone."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6, len(list(Path(f"/proc/{process}/fd").iterdir()))
    except (OSError, IndexError):
        return None


# --- the report ---------------------------------------------------------------------------------------------


def _row_line(row: Mapping[str, Any]) -> str:
    times = "  ".join(f"{name} {row[name]:6.2f} s" for name in ("noticed", "rest", "again"))
    return f"{row['fault']:26s} {times}  {row['failure'] or row['reason']}"


def _spread(values: Sequence[float]) -> str:
    known = [value for value in values if not np.isnan(value)]
    return f"{np.median(known):.2f} / {max(known):.2f}" if known else "-"


def report(results: Results) -> str:
    """A table for people, in Markdown."""
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in results.rows:
        kinds[row["fault"]].append(row)
    lines = [
        "| fault | times | noticed, s | rest after that, s | pursuing again, s | failures |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(kinds):
        spreads = " | ".join(_spread([row[key] for row in kinds[name]]) for key in ("noticed", "rest", "again"))
        failures = Counter(row["failure"] for row in kinds[name] if row["failure"])
        told = ", ".join(f"{count} {what}" for what, count in failures.items()) or "none"
        lines.append(f"| {name} | {len(kinds[name])} | {spreads} | {told} |")
    broken = Counter(found["kind"] for found in results.violations)
    lines += [
        "",
        f"{results.seconds:.0f} s, {results.goals} goals, {len(results.rows)} faults, {results.messages} hostile "
        f"messages, {results.commands} commands and {results.states} joint states judged: {sum(broken.values())} times "
        f"a rule was broken, {results.crashes} crashes. Median / most.",
        *(f"BROKEN {count} times: {kind}" for kind, count in broken.most_common()),
        *_memory_lines(results.memory),
    ]
    return "\n".join(lines)


def _memory_lines(memory: Mapping[str, list[list[float]]]) -> Iterator[str]:
    """For each node the process that lived longest: what it took at first, at last and at most."""
    for name, samples in memory.items():
        longest, count = Counter(sample[0] for sample in samples).most_common(1)[0]
        rows = np.array([sample[1:] for sample in samples if sample[0] == longest])
        yield (
            f"{name}: {rows[0, 0]:.0f} MB and {rows[0, 1]:.0f} files at first, {rows[-1, 0]:.0f} and {rows[-1, 1]:.0f} "
            f"after {count} s, at most {rows[:, 0].max():.0f} and {rows[:, 1].max():.0f}"
        )


def merged(first: Results, second: Results) -> Results:
    """Both together."""
    sums = {name: getattr(first, name) + getattr(second, name) for name in vars(first) if name != "memory"}
    return Results(**sums, memory={name: second.memory.get(name, []) or first.memory.get(name, []) for name in NODES})


@contextmanager
def _log_file(config: SoakConfig) -> Iterator[Path]:
    if config.log is not None:
        yield config.log
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "nodes.log"


def main(config: SoakConfig) -> int:
    """Soaks, prints, and returns the exit code."""
    if unknown := set(config.faults) - set(FAULTS):
        raise ValueError(f"faults: expected some of {', '.join(FAULTS)}, got {', '.join(sorted(unknown))}")
    with terminate_as_interrupt(), _log_file(config) as log, running_nodes(NodesConfig(), log) as nodes:
        results = Soak(nodes, config).run()
    failed = bool(results.violations or results.crashes or any(row["failure"] for row in results.rows))
    if config.append is not None:
        if config.append.exists():
            results = merged(Results(**json.loads(config.append.read_text(encoding="utf-8"))), results)
        config.append.write_text(json.dumps(asdict(results)) + "\n", encoding="utf-8")
    print("\n" + report(results))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(SoakConfig)))
