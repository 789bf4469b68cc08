"""Kill -9 of any node while the arm is on its way: the node comes back by itself, and the goal ends with a reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import yaml
from jepa_ros.msg import PlannerStatus

from jepa_common.resources import find_resource
from jepa_tools.bring_up.deployments import DEPLOYMENTS
from jepa_tools.operation.pursuit import pursue
from jepa_tools.operation.running_nodes import NodesConfig, RunningNodes, running_nodes

MAX_STEPS = 8
# Two cores, shared with everything else that runs.
PATIENCE = 240.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNodes]:
    """All nodes, with goals that are given up soon and never reached: one that is has no reason to give."""
    folder = tmp_path_factory.mktemp("killed")
    parameters = yaml.safe_load(find_resource("config", "sim.yaml").read_text())
    parameters["/**/planner"]["ros__parameters"]["goal"] = {
        "max_steps": MAX_STEPS,
        "tolerance": 1e-9,
        "plateau_steps": 0,
    }
    file = folder / "parameters.yaml"
    file.write_text(yaml.safe_dump(parameters))
    with running_nodes(NodesConfig(params_file=str(file), start_seconds=PATIENCE), folder / "nodes.log") as running:
        yield running


@pytest.mark.parametrize("name", [node.name for node in DEPLOYMENTS["sim"].nodes])
def test_a_killed_node_is_active_again_and_the_goal_ends_with_a_reason(running: RunningNodes, name: str):
    assert running.runner is not None
    runner, operator = running.runner, running.operator
    operator.reset(1, "reach")
    goal = operator.picture()
    operator.reset(2, "reach")
    operator.picture()
    before, killed = runner.respawns(name), []

    def kill_on_the_way(status: PlannerStatus) -> None:
        if status.step >= 1 and not killed:
            killed.append(runner.process_id(name))
            os.kill(runner.process_id(name), signal.SIGKILL)

    pursuit = pursue(operator, lambda: operator.show_goal(goal), PATIENCE, kill_on_the_way)
    assert killed
    assert pursuit.outcome in ("reached", "aborted")
    assert pursuit.reason
    running.client.wait_until(lambda: runner.respawns(name) == before + 1, f"{name} to be started again", PATIENCE)
    assert runner.process_id(name) not in killed
    running.client.wait_until_active(DEPLOYMENTS["sim"].lifecycle_names, PATIENCE)
    operator.picture()
