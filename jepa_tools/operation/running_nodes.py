"""The simulated table's nodes running as processes, and an operator at the table."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TextIO

from tqdm import tqdm

from jepa_sim.backends.available import connect
from jepa_tools.bring_up.deployments import DEPLOYMENTS, process_specs
from jepa_tools.bring_up.process_runner import ProcessRunner
from jepa_tools.bring_up.ros_domain import isolated_ros_domain
from jepa_tools.operation.ros_client import RosClient
from jepa_tools.operation.staged_operator import StagedOperator
from jepa_tools.operation.table_operator import TableOperator

_NOTEWORTHY = ("[WARN]", "[ERROR]", "[FATAL]", "Traceback")


@dataclass(frozen=True)
class NodesConfig:
    """How the nodes are started.

    Attributes:
        model: Checkpoint, a path or a name in models/checkpoints; as in the parameters file when left out.
        device: Where the model runs, such as cpu or cuda; as in the parameters file when left out.
        params_file: Parameters of all nodes (YAML); config/sim.yaml when left out.
        start_seconds: Longest wait for all nodes to be active.
        verbose: Show all that the nodes print, not only warnings.
        attach: Start nothing: use the simulator and the nodes that run in this ROS domain, such as those of
            `ros2 launch jepa_ros gazebo.launch.py`.
        simulator: How scenes are set up: by this package's simulator itself, or in any simulator with the services
            of gazebo_msgs (Gazebo Classic) or simulation_interfaces (gz sim, Isaac Sim).
        service_prefix: What the names of these services begin with; the simulator's usual one when left out.
        arm_topic: Where the arm's trajectory controller listens.
        gripper_topic: Where the gripper's trajectory controller listens.
    """

    model: str = ""
    device: str = ""
    params_file: str = ""
    start_seconds: float = 180.0
    verbose: bool = False
    attach: bool = False
    simulator: Literal["own", "gazebo_msgs", "simulation_interfaces"] = "own"
    service_prefix: str | None = None
    arm_topic: str = "joint_trajectory"
    gripper_topic: str = "gripper_trajectory"


@dataclass(frozen=True)
class RunningNodes:
    """What runs: processes (none if others started them), the ROS client beside them, and the operator."""

    runner: ProcessRunner | None
    client: RosClient
    operator: TableOperator


class NodeLog:
    """Keeps everything that the nodes print in a file and shows what deserves attention.

    Threads: called from any.
    """

    def __init__(self, file: TextIO, verbose: bool) -> None:
        self._file, self._verbose = file, verbose
        self._lock = threading.Lock()
        self._hushed = False

    def __call__(self, name: str, line: str) -> None:
        """Takes one line of the process `name`."""
        with self._lock:
            self._file.write(f"[{name}] {line}\n")
            self._file.flush()
            if self._shows(line):
                tqdm.write(f"[{name}] {line}", file=sys.stderr)

    def hush(self) -> None:
        """Only the file from now on: what nodes say while they are ended interests nobody."""
        self._hushed = True

    def _shows(self, line: str) -> bool:
        return not self._hushed and (self._verbose or any(word in line for word in _NOTEWORTHY))


@contextmanager
def running_nodes(config: NodesConfig, log: Path) -> Iterator[RunningNodes]:
    """Nodes that are active when the block begins, in a ROS domain of their own unless they ran before.

    Args:
        config: how.
        log: file for everything that the nodes print.

    Raises:
        ProcessEndedError: a node could not start.
        RosTimeoutError: one was not active in time.
    """
    if config.attach:
        with _attached_nodes(config) as nodes:
            yield nodes
        return
    deployment = DEPLOYMENTS["sim"]
    bring_up = replace(deployment.defaults(), model=config.model, device=config.device, params_file=config.params_file)
    with ExitStack() as stack:
        stack.enter_context(isolated_ros_domain())
        node_log = NodeLog(stack.enter_context(log.open("w", encoding="utf-8")), config.verbose)
        runner = stack.enter_context(ProcessRunner(node_log))
        stack.callback(node_log.hush)
        for spec in process_specs(deployment, bring_up):
            runner.start(spec)
        client = RosClient("operator", check=lambda: runner.check(respawns_allowed=False))
        stack.enter_context(client)
        operator = _operator(client, config)
        _wait_until_ready(client, operator, deployment.lifecycle_names, config.start_seconds)
        client.check = runner.check
        yield RunningNodes(runner, client, operator)


@contextmanager
def _attached_nodes(config: NodesConfig) -> Iterator[RunningNodes]:
    """Nodes that others have started."""
    with RosClient("operator") as client:
        operator = _operator(client, config)
        _wait_until_ready(client, operator, DEPLOYMENTS["jepa"].lifecycle_names, config.start_seconds)
        yield RunningNodes(None, client, operator)


def _operator(client: RosClient, config: NodesConfig) -> TableOperator:
    if config.simulator == "own":
        return TableOperator(client)
    backend = connect(config.simulator, client.call, config.service_prefix)
    return StagedOperator(client, backend, config.arm_topic, config.gripper_topic)


def _wait_until_ready(client: RosClient, operator: TableOperator, names: tuple[str, ...], seconds: float) -> None:
    with tqdm(total=len(names), desc="starting nodes", bar_format="{desc}: {n}/{total} {postfix}") as progress:

        def advance(name: str) -> None:
            progress.set_postfix_str(f"{name} is active")
            progress.update()

        client.wait_until_active(names, seconds, advance)
        operator.tool_position()
