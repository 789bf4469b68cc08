"""Reach episodes through the running nodes, with the baselines of the same scenes beside them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tqdm import tqdm

from jepa_sim.tasks import TaskConfig, TaskEpisode, make_task
from jepa_tools.evaluation import EpisodeResult, prepare_episode
from jepa_tools.process_runner import terminate_as_interrupt
from jepa_tools.reach_run import ReachRun, run_reach
from jepa_tools.running_table import NodesConfig, RunningTable, running_table
from jepa_tools.sim_eval import Evaluator, Results, SimEvalConfig

NODES = "nodes"


def evaluate_nodes(config: SimEvalConfig) -> tuple[list[Results], str]:
    """Results by episode, and the model's identity as the planner node states it."""
    baselines, model = Evaluator(config, planned=False), ""
    task, results = make_task(config.task), []
    with terminate_as_interrupt(), tempfile.TemporaryDirectory() as folder:
        nodes = NodesConfig(model=config.model, device=config.device)
        with running_table(nodes, Path(folder) / "nodes.log") as table:
            for index in tqdm(range(config.episodes), desc=f"{config.task} through the nodes"):
                episode = prepare_episode(task, baselines.environment, config.seed, index)
                run = _run(config, table, episode)
                model = run.pursuit.model or model
                results.append({NODES: _result(episode, run), **baselines.run(index)})
    return results, model


def _run(config: SimEvalConfig, table: RunningTable, episode: TaskEpisode) -> ReachRun:
    goal_positions = episode.final.joint_positions.tolist()
    return run_reach(table.operator, episode.seed, episode.task, goal_positions, config.timeout)


def _result(episode: TaskEpisode, run: ReachRun) -> EpisodeResult:
    return EpisodeResult(
        seed=episode.seed,
        success=run.final_distance < TaskConfig().tool_tolerance,
        initial_distance=run.initial_distance,
        final_distance=run.final_distance,
        steps=run.pursuit.steps,
        plan_seconds=run.pursuit.plan_seconds,
    )
