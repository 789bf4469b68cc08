"""`jepa sim-eval`: success rates on the simulated table, in process or through the nodes, beside baselines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from jepa_planner.solvers.factory import SolverName
from jepa_sim.environment import TableEnvironment
from jepa_sim.task_names import REACH, check_task
from jepa_sim.tasks import make_task
from jepa_tools.evaluation import (
    ControlConfig,
    Controller,
    EpisodeResult,
    Expert,
    HoldStill,
    ModelController,
    RandomActions,
    prepare_episode,
    run_episode,
)
from jepa_tools.evaluation_table import format_table, statistics
from jepa_world_model.checkpoint import open_world_model
from jepa_world_model.world_model import WorldModel

BASELINES = ("random", "hold_still", "expert")
_CHUNKS_PER_WORKER = 4  # how often a worker reports, and loads the model again

Results = dict[str, EpisodeResult]


@dataclass(frozen=True)
class SimEvalConfig:
    """Measures how often the simulated arm does its task, beside baselines on the same scenes.

    Attributes:
        task: One of the tasks of jepa_sim/tasks.py.
        episodes: How many.
        seed: Names the scenes; none of them is one that data was collected in.
        json: File for the results.
        ros: Through the ROS nodes, as on a robot, instead of in this process.
        solver: One or more solvers to compare; the first one's results lead the JSON file.
        model: Checkpoint, a path or a name in models/checkpoints.
        device: Where the model runs, such as cpu or cuda.
        threads: CPU threads of the model in each worker.
        workers: Processes that share the episodes (not with --ros).
        baselines: Also run random actions, holding still, and the scripted expert.
        timeout: Seconds granted to an episode with --ros.
        control: Planning in detail.
    """

    task: str = REACH
    episodes: int = 50
    seed: int = 0
    json: Path | None = None
    ros: bool = False
    solver: tuple[SolverName, ...] = ("cem",)
    model: str = "franka-table-small"
    device: str = "cpu"
    threads: int = 1
    workers: int = 1
    baselines: bool = True
    timeout: float = 120.0
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_task(self.task)
        for name in ("episodes", "threads", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not self.solver:
            raise ValueError("solver: expected at least one")
        if self.ros and (self.task != REACH or len(self.solver) > 1):
            raise ValueError("--ros runs the task reach with the solver of config/sim.yaml only")


class Evaluator:
    """Runs every controller on the same episodes, in this process. One thread uses it."""

    def __init__(self, config: SimEvalConfig, planned: bool = True) -> None:
        """Loads the model unless `planned` is false, which leaves the baselines alone."""
        torch.set_num_threads(config.threads)
        self._config, self._task = config, make_task(config.task)
        self.environment = TableEnvironment()
        self._controllers: dict[str, Controller] = {}
        card = open_world_model(config.model).card
        self.model = WorldModel.load(config.model, config.device) if planned else None
        if self.model is not None:
            for name in config.solver:
                control = replace(config.control, solver=replace(config.control.solver, solver=name))
                self._controllers[name] = ModelController(self.model, control)
        if config.baselines:
            max_step = config.control.with_card(card).solver.max_step
            baselines = (RandomActions(max_step), HoldStill(), Expert(self._task))
            self._controllers |= dict(zip(BASELINES, baselines, strict=True))

    def run(self, index: int) -> Results:
        """Results of the episode `index`, by controller."""
        episode = prepare_episode(self._task, self.environment, self._config.seed, index)
        start, results = self.environment.save(), {}
        for name, controller in self._controllers.items():
            self.environment.restore(start)
            results[name] = run_episode(self._task, self.environment, episode, controller)
        return results


def sim_eval(config: SimEvalConfig) -> int:
    """Runs the evaluation, prints its table and writes its JSON file."""
    if config.ros:
        from jepa_tools.ros_evaluation import evaluate_nodes

        results, model = evaluate_nodes(config)
    else:
        results, model = _evaluate(config)
    rows = {name: statistics([result[name] for result in results]) for name in results[0]}
    print(f"{config.task}, {config.episodes} episodes, seed {config.seed}, {model}")
    print(format_table(rows))
    if config.json is not None:
        config.json.parent.mkdir(parents=True, exist_ok=True)
        config.json.write_text(json.dumps(_report(config, rows, model), indent=2) + "\n", encoding="utf-8")
    return 0


def _report(config: SimEvalConfig, rows: dict[str, dict[str, Any]], model: str) -> dict[str, Any]:
    """What the JSON file holds: the first solver's figures, the other solvers', the baselines'."""
    solvers = [name for name in rows if name not in BASELINES]
    report: dict[str, Any] = {"task": config.task, **rows[solvers[0]], "seed": config.seed, "model": model}
    report["baselines"] = {name: rows[name] for name in BASELINES if name in rows}
    if len(solvers) > 1:
        report["solvers"] = {name: rows[name] for name in solvers}
    return report


def _evaluate(config: SimEvalConfig) -> tuple[list[Results], str]:
    """Results by episode, and the model's identity."""
    evaluator = Evaluator(config)
    model = evaluator.model.card.model_id if evaluator.model is not None else ""
    if config.workers == 1:
        return [evaluator.run(index) for index in tqdm(range(config.episodes), desc=config.task)], model
    results = dict(tqdm(_in_parallel(config), total=config.episodes, desc=config.task))
    return [results[index] for index in sorted(results)], model


def _in_parallel(config: SimEvalConfig) -> Iterator[tuple[int, Results]]:
    """(index, results) of every episode, in the order in which they are done."""
    length = math.ceil(config.episodes / (config.workers * _CHUNKS_PER_WORKER))
    chunks = [range(start, min(start + length, config.episodes)) for start in range(0, config.episodes, length)]
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_run_chunk, config, chunk) for chunk in chunks]):
            yield from done.result()


def _run_chunk(config: SimEvalConfig, indices: Iterable[int]) -> list[tuple[int, Results]]:
    evaluator = Evaluator(config)
    return [(index, evaluator.run(index)) for index in indices]
