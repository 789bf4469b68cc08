"""A node is killed or stopped while the arm is on its way: it comes back by itself, and the goal ends with a reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from jepa_ros.msg import PlannerStatus
from sensor_msgs.msg import Image

from jepa_common.resources import find_resource
from jepa_tools.bring_up.deployments import DEPLOYMENTS
from jepa_tools.operation.pursuit import pursue
from jepa_tools.operation.running_nodes import NodesConfig, RunningNodes, running_nodes
from jepa_tools.operation.table_operator import TableOperator

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


def show_and_place(operator: TableOperator) -> Image:
    """Puts the arm to a start; returns the picture of a goal elsewhere."""
    operator.reset(1, "reach")
    goal = operator.picture()
    operator.reset(2, "reach")
    operator.picture()
    return goal


@pytest.mark.parametrize("name", [node.name for node in DEPLOYMENTS["sim"].nodes])
def test_a_killed_node_is_active_again_and_the_goal_ends_with_a_reason(running: RunningNodes, name: str):
    assert running.runner is not None
    runner, operator = running.runner, running.operator
    goal = show_and_place(operator)
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


def test_a_stopped_predictor_holds_the_arm_with_a_reason_and_is_started_again(running: RunningNodes):
    runner, operator = running.runner, running.operator
    assert runner is not None
    goal = show_and_place(operator)
    before, reasons = runner.respawns("predictor"), []
    stopped: list[int | None] = []

    def stop_on_the_way(status: PlannerStatus) -> None:
        reasons.append(status.reason)
        if status.step >= 1 and not stopped:
            stopped.append(runner.node_process_id("/predictor"))
            os.kill(stopped[0], signal.SIGSTOP)

    pursuit = pursue(operator, lambda: operator.show_goal(goal), PATIENCE, stop_on_the_way)
    assert pursuit.outcome == "aborted" and pursuit.reason
    assert any("predictor: no sign of life" in reason for reason in reasons)
    running.client.wait_until(lambda: runner.respawns("predictor") == before + 1, "another predictor", PATIENCE)
    running.client.wait_until_active(["predictor"], PATIENCE)


def test_a_stopped_planner_is_reported_stale_and_started_again(running: RunningNodes):
    runner, stale = running.runner, []
    assert runner is not None

    def keep(message: DiagnosticArray) -> None:
        stale.extend(status for status in message.status if status.level == DiagnosticStatus.STALE)

    running.client.subscribe(DiagnosticArray, "/diagnostics", keep, 10)
    before, stopped = runner.respawns("planner"), runner.node_process_id("/planner")
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    running.client.wait_until(lambda: bool(stale), "word of the planner's silence", PATIENCE)
    assert stale[0].name == "planner: state" and "no sign of life" in stale[0].message
    running.client.wait_until(lambda: runner.respawns("planner") == before + 1, "another planner", PATIENCE)
    running.client.wait_until_active(["planner"], PATIENCE)
    assert runner.node_process_id("/planner") != stopped
