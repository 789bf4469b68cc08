"""Episodes through the running nodes, with the baselines of the same scenes beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from jepa_sim.environment import EnvironmentConfig, TableEnvironment
from jepa_sim.tasks import TaskEpisode, make_task
from jepa_tools.controllers import planner_rates
from jepa_tools.evaluation import EpisodeResult, prepare_episode
from jepa_tools.process_runner import terminate_as_interrupt
from jepa_tools.running_table import NodesConfig, RunningTable, running_table
from jepa_tools.sim_eval import Evaluator, Results, SimEvalConfig
from jepa_tools.task_run import TaskRun, check_runs_through_nodes, run_task

NODES = "nodes"
TIMED_OUT = "did not end in time"


def evaluate_nodes(config: SimEvalConfig) -> tuple[list[Results], str]:
    """Results by episode, and the model's identity as the planner node states it.

    Raises:
        ValueError: a task that the nodes cannot begin.
    """
    check_runs_through_nodes(config.task)
    task, results, model = make_task(config.task, config.task_config), [], ""
    with _running_table(config) as table, TableEnvironment(EnvironmentConfig(motion=planner_rates())) as environment:
        baselines = Evaluator(config, config.task, environment, planned=False)
        for index in tqdm(range(config.episodes), desc=f"{config.task} through the nodes"):
            episode = prepare_episode(task, environment, config.seed, index)
            run = run_task(table.operator, episode, config.task_config, config.timeout)
            model = run.pursuit.model or model
            if not run.succeeded:
                tqdm.write(f"episode {index}: {run.failure}; the planner {run.pursuit.outcome}: {run.pursuit.reason}")
            results.append({NODES: _result(episode, run), **baselines.run(index)})
    return results, model


@contextmanager
def _running_table(config: SimEvalConfig) -> Iterator[RunningTable]:
    """The nodes; what they print goes to a file that is gone afterwards, warnings to the terminal."""
    nodes = NodesConfig(model=config.model, device=config.device, start_seconds=config.start_seconds)
    with (
        terminate_as_interrupt(),
        tempfile.TemporaryDirectory() as folder,
        running_table(nodes, Path(folder) / "nodes.log") as table,
    ):
        yield table


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
