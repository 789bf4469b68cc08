"""Episodes through the running nodes, with the baselines of the same scenes beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from tqdm import tqdm

from jepa_common.resources import find_resource
from jepa_sim.environment import EnvironmentConfig, TableEnvironment
from jepa_sim.tasks import TaskEpisode, make_task
from jepa_tools.bring_up.deployments import DEPLOYMENTS
from jepa_tools.bring_up.process_runner import terminate_as_interrupt
from jepa_tools.operation.running_nodes import NodesConfig, RunningNodes, running_nodes
from jepa_tools.operation.task_run import TaskRun, check_runs_through_nodes, run_task
from jepa_tools.sim_eval.command import Evaluator, Results, SimEvalConfig
from jepa_tools.sim_eval.controllers import planner_rates
from jepa_tools.sim_eval.evaluation import EpisodeResult, prepare_episode

NODES = "nodes"
TIMED_OUT = "did not end in time"


def evaluate_nodes(config: SimEvalConfig) -> tuple[list[Results], str]:
    """Results by episode, and the model's identity as the planner node states it.

    Raises:
        ValueError: a task that the nodes cannot begin.
    """
    check_runs_through_nodes(config.task)
    setting, planned = config.task_config(config.task), config.planning.plans_gripper
    task, results, model = make_task(config.task, setting), [], ""
    with _own_nodes(config) as nodes, TableEnvironment(EnvironmentConfig(motion=planner_rates())) as environment:
        baselines = Evaluator(config, config.task, environment, planned=False)
        for index in tqdm(range(config.episodes), desc=f"{config.task} through the nodes"):
            episode = prepare_episode(task, environment, config.seed, index)
            run = run_task(nodes.operator, episode, setting, config.timeout, planned_gripper=planned)
            model = run.pursuit.model or model
            if not run.succeeded:
                tqdm.write(f"episode {index}: {run.failure}; the planner {run.pursuit.outcome}: {run.pursuit.reason}")
            results.append({NODES: _result(episode, run), **baselines.run(index)})
    return results, model


@contextmanager
def _own_nodes(config: SimEvalConfig) -> Iterator[RunningNodes]:
    """The nodes; what they print goes to a file that is gone afterwards, warnings to the terminal."""
    with terminate_as_interrupt(), tempfile.TemporaryDirectory() as folder:
        parameters = write_parameters(config, Path(folder) / "parameters.yaml")
        settings = NodesConfig(
            model=config.model, device=config.device, params_file=str(parameters), start_seconds=config.start_seconds
        )
        with running_nodes(settings, Path(folder) / "nodes.log") as nodes:
            yield nodes


def write_parameters(config: SimEvalConfig, path: Path) -> Path:
    """The nodes' parameters in `path`: those of the simulated table, and what the protocol says of the gripper."""
    values = yaml.safe_load(find_resource("config", DEPLOYMENTS["sim"].parameters).read_text(encoding="utf-8"))
    planning, planner = config.planning, values["/**/planner"]["ros__parameters"]
    planner.setdefault("grasp", {})["mode"] = planning.gripper
    planner["solver"] |= {"max_yaw": planning.max_yaw, "distance": config.distance}
    if planning.plans_gripper and planning.gripper_weight:
        planner["solver"]["distance"] = "metric_gripper"
        values["/**/predictor"]["ros__parameters"]["gripper_weight"] = planning.gripper_weight
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def _result(episode: TaskEpisode, run: TaskRun) -> EpisodeResult:
    return EpisodeResult(
        seed=episode.seed,
        success=run.succeeded,
        initial_distance=run.initial_distance,
        final_distance=run.final_distance,
        steps=run.pursuit.steps,
        plan_seconds=run.pursuit.plan_seconds,
        energy=run.pursuit.energy,
        failure=TIMED_OUT if run.failure and run.pursuit.timed_out else run.failure,
    )
