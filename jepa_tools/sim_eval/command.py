"""`jepa sim-eval`: success rates on the simulated table, in process or through the nodes, beside baselines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from jepa_common.whole_files import write_whole
from jepa_planner.solvers.factory import SolverName
from jepa_sim.environment import EnvironmentConfig, TableEnvironment
from jepa_sim.task_names import REACH, TASK_NAMES, TASKS, TaskName
from jepa_sim.tasks import StepChanges, TaskConfig, make_task
from jepa_tools.sim_eval.controllers import (
    ControlConfig,
    Controller,
    Expert,
    HoldStill,
    ModelController,
    RandomActions,
    planner_rates,
)
from jepa_tools.sim_eval.evaluation import EpisodeResult, prepare_episode, run_episode
from jepa_tools.sim_eval.protocols import PROTOCOLS, ProtocolName
from jepa_tools.sim_eval.report import ReportConfig, TaskSection, write_report
from jepa_tools.sim_eval.statistics import format_overview, format_table, statistics
from jepa_world_model.checkpoint import DECODER, PARTS
from jepa_world_model.checkpoint_header import open_header
from jepa_world_model.model_card import AnyDistance
from jepa_world_model.world_model import WorldModel

BASELINES = ("random", "hold_still", "expert")
ALL_JSON, ALL_HTML = Path("out/sim-eval.json"), Path("out/sim-eval.html")
_CHUNKS_PER_WORKER = 4  # how often a worker reports, and loads the model again
_PICTURE_SIZE = 128

Results = dict[str, EpisodeResult]
"""Results of one episode by controller."""


@dataclass(frozen=True)
class SimEvalConfig:
    """Measures how often the simulated arm does its task, beside baselines on the same scenes.

    Attributes:
        task: What the arm is to do; docs/evaluation.md says when it is done.
        protocol: How much help the planner gets. assisted: up to eight sub-goal pictures and the gripper's schedule
            from the scripted expert. published: three pictures for pick-and-place with 4, 10 and 4 steps, one for grasp
            and for reach with object; the gripper is planned; a hand that is to grasp starts 7 to 11 cm above its grasp
            and at most 3 cm to the side; every step is carried out to its end; the judge lifts what was grasped.
            published-long: the same with 12, 12 and 8 steps. one-goal: the final picture alone, with twice the steps
            that the expert needs; the gripper is planned; starts anywhere. See jepa_tools/sim_eval/protocols.py.
        all: All of them, with a report, instead of the one.
        episodes: How many of each task.
        seed: Names the scenes; none of them is one that data was collected in.
        json: File for the results; with --all out/sim-eval.json unless given.
        html: File for a report with pictures of successes and failures; with --all out/sim-eval.html unless given.
        ros: Through the ROS nodes, as on a robot, instead of in this process.
        solver: One or more solvers to compare; the first one's results lead the JSON file.
        model: Checkpoint, a path or a name in models/checkpoints.
        distance: How energies compare latents; the model card's when left out. What the card was calibrated for in
            another unit, such as the energy that counts as reached, does not count then.
        region: Part of the picture that energies look at: left, top, right and bottom as shares of it; empty: all.
        device: Where the model runs, such as cpu or cuda.
        threads: CPU threads of the model in each worker.
        workers: Processes that share the episodes (not with --ros).
        baselines: Also run random actions, holding still, and the scripted expert.
        start_seconds: With --ros, the longest wait for the nodes.
        timeout: With --ros, the seconds granted to an episode.
        steps: Control steps granted for each goal, where not as the protocol says; 0 leaves a goal on the way out.
        control: Planning in detail (not with --ros, where config/sim.yaml says it).
    """

    task: TaskName = REACH
    protocol: ProtocolName = "assisted"
    all: bool = False
    episodes: int = 50
    seed: int = 0
    json: Path | None = None
    html: Path | None = None
    ros: bool = False
    solver: tuple[SolverName, ...] = ("cem",)
    model: str = "franka-table-small"
    distance: AnyDistance = ""
    region: tuple[float, ...] = ()
    device: str = "cpu"
    threads: int = 1
    workers: int = 1
    baselines: bool = True
    start_seconds: float = 180.0
    timeout: float = 120.0
    steps: StepChanges = field(default_factory=StepChanges)
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        TASKS.load(self.task)
        for name in ("episodes", "threads", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not self.solver:
            raise ValueError("solver: expected at least one")
        if self.ros and (self.all or len(self.solver) > 1):
            raise ValueError("--ros runs one task at a time, with the solver of config/sim.yaml")

    @property
    def tasks(self) -> tuple[str, ...]:
        """What is to be measured."""
        return TASK_NAMES if self.all else (self.task,)

    def task_config(self, task: str) -> TaskConfig:
        """How `task` is set."""
        return PROTOCOLS[self.protocol].task_config(task, self.steps)

    @property
    def planning(self) -> ControlConfig:
        """Planning in detail, with what is left to the protocol."""
        return self.control.for_protocol(PROTOCOLS[self.protocol])

    @property
    def protocol_label(self) -> str:
        """The protocol's name, and what was changed about it."""
        protocol, planning = PROTOCOLS[self.protocol], self.planning
        changes = [f"{name} {steps} steps" for name, steps in self.steps.given.items()]
        if planning.gripper != protocol.gripper:
            changes.append(f"gripper {planning.gripper}")
        if planning.max_yaw != protocol.max_yaw:
            changes.append(f"turns of {planning.max_yaw:g} rad")
        if self.ros and protocol.whole_steps:
            changes.append("steps overlap")
        return f"{self.protocol}, but {', '.join(changes)}" if changes else self.protocol

    @property
    def json_path(self) -> Path | None:
        """Where the results go."""
        return self.json or (ALL_JSON if self.all else None)

    @property
    def html_path(self) -> Path | None:
        """Where the report goes."""
        return self.html or (ALL_HTML if self.all else None)


class Evaluator:
    """Runs every controller on the same episodes of one task, in this process. One thread uses it."""

    def __init__(self, config: SimEvalConfig, task: str, environment: TableEnvironment, planned: bool = True) -> None:
        """Loads the model unless `planned` is false, which leaves the baselines alone."""
        torch.set_num_threads(config.threads)
        self._config, self._task = config, make_task(task, config.task_config(task))
        self._environment = environment
        self._model = _model(config) if planned else None
        self._controllers = {} if self._model is None else _planners(config, self._model)
        if config.baselines:
            max_step = config.planning.with_card(open_header(config.model).card).solver.max_step
            baselines: tuple[Controller, ...] = (RandomActions(max_step), HoldStill(), Expert(self._task))
            self._controllers |= dict(zip(BASELINES, baselines, strict=True))

    def run(self, index: int) -> Results:
        """Results of the episode `index`, by controller."""
        episode = prepare_episode(self._task, self._environment, self._config.seed, index)
        start, results = self._environment.save(), {}
        for name, controller in self._controllers.items():
            self._environment.restore(start)
            pictures = _PICTURE_SIZE if self._config.html_path and name not in BASELINES else 0
            results[name] = run_episode(self._task, self._environment, episode, controller, pictures, self._model)
        return results


def _model(config: SimEvalConfig) -> WorldModel:
    """The model, with its picture decoder where the report is to show what it imagines."""
    parts = (*PARTS, DECODER) if config.html_path else PARTS
    return (
        WorldModel.load(config.model, config.device, parts=parts).measured_by(config.distance).looking_at(config.region)
    )


def _planners(config: SimEvalConfig, model: WorldModel) -> dict[str, Controller]:
    """A planner for each solver; they share the model."""
    planning = config.planning
    return {
        name: ModelController(model, replace(planning, solver=replace(planning.solver, solver=name)))
        for name in config.solver
    }


def sim_eval(config: SimEvalConfig) -> int:
    """Runs the evaluation, prints its table and writes its files."""
    if config.ros:
        from jepa_tools.sim_eval.ros_evaluation import evaluate_nodes

        results, model = evaluate_nodes(config)
        sections = [_section(config.task, results)]
    else:
        model = open_header(config.model).card.model_id
        sections = [_section(task, results) for task, results in _evaluate(config).items()]
    subtitle = f"protocol {config.protocol_label}; {config.episodes} episodes a task, seed {config.seed}, {model}"
    if config.distance:
        subtitle += f", distance {config.distance}"
    _print(config, sections, subtitle)
    if config.json_path is not None:
        _write_json(config.json_path, config, sections, model)
    if config.html_path is not None:
        write_report(config.html_path, sections, _report_config(config, subtitle))
        print(f"report: {config.html_path}")
    return 0


def _report_config(config: SimEvalConfig, subtitle: str) -> ReportConfig:
    help_given = f"Protocol {config.protocol}: {PROTOCOLS[config.protocol].help}."
    return ReportConfig("Tasks on the simulated table", f"{subtitle}. {help_given}")


def _section(task: str, results: Sequence[Results]) -> TaskSection:
    """Statistics of a task's episodes by controller."""
    by_name = {name: [result[name] for result in results] for name in results[0]}
    rows = {name: statistics(episodes) for name, episodes in by_name.items()}
    return TaskSection(task, rows, next(iter(by_name.values())))


def _print(config: SimEvalConfig, sections: Sequence[TaskSection], subtitle: str) -> None:
    for section in sections:
        print(f"{section.task}, {subtitle}")
        print(format_table(section.rows) + "\n")
    print(f"protocol {config.protocol}: {PROTOCOLS[config.protocol].help}\n")
    if config.all:
        print(format_overview({section.task: section.rows for section in sections}) + "\n")


def _write_json(path: Path, config: SimEvalConfig, sections: Sequence[TaskSection], model: str) -> None:
    reports = {section.task: _report(config, section, model) for section in sections}
    content: dict[str, Any] = reports[config.task]
    if config.all:
        content = {**_heading(config, model), "episodes": config.episodes, "tasks": reports}
    write_whole(path, json.dumps(content, indent=2) + "\n")


def _heading(config: SimEvalConfig, model: str) -> dict[str, Any]:
    """What figures of a run cannot be read without."""
    protocol = {"protocol": config.protocol_label, "protocol_help": PROTOCOLS[config.protocol].help}
    return {**protocol, "seed": config.seed, "model": model}


def _report(config: SimEvalConfig, section: TaskSection, model: str) -> dict[str, Any]:
    """What the JSON file says of a task: the first solver's figures, the other solvers', the baselines'."""
    rows = section.rows
    solvers = [name for name in rows if name not in BASELINES]
    report: dict[str, Any] = {"task": section.task, **rows[solvers[0]], **_heading(config, model)}
    report["baselines"] = {name: rows[name] for name in BASELINES if name in rows}
    if config.distance:
        report["distance"] = config.distance
    if len(solvers) > 1:
        report["solvers"] = {name: rows[name] for name in solvers}
    return report


def _evaluate(config: SimEvalConfig) -> dict[str, list[Results]]:
    """Results by task and episode."""
    done = _in_turn(config) if config.workers == 1 else _in_parallel(config)
    results: dict[tuple[str, int], Results] = {}
    with tqdm(total=len(config.tasks) * config.episodes, desc="episodes") as progress:
        for task, index, result in done:
            results[task, index] = result
            progress.set_postfix_str(task)
            progress.update()
    return {task: [results[task, index] for index in range(config.episodes)] for task in config.tasks}


def _in_turn(config: SimEvalConfig) -> Iterator[tuple[str, int, Results]]:
    """(task, index, results) of every episode, in this process."""
    for task in config.tasks:
        yield from _episodes(config, task, range(config.episodes))


def _in_parallel(config: SimEvalConfig) -> Iterator[tuple[str, int, Results]]:
    """The same from `config.workers` processes, in the order in which they are done."""
    length = math.ceil(config.episodes * len(config.tasks) / (config.workers * _CHUNKS_PER_WORKER))
    pool = ProcessPoolExecutor(config.workers, mp_context=get_context("spawn"))
    try:
        futures = [
            pool.submit(_run_chunk, config, task, range(start, min(start + length, config.episodes)))
            for task in config.tasks
            for start in range(0, config.episodes, length)
        ]
        for done in as_completed(futures):
            yield from done.result()
    finally:
        # Also after an interrupt: what has not begun is not waited for.
        pool.shutdown(cancel_futures=True)


def _run_chunk(config: SimEvalConfig, task: str, indices: Sequence[int]) -> list[tuple[str, int, Results]]:
    return list(_episodes(config, task, indices))


def _episodes(config: SimEvalConfig, task: str, indices: Sequence[int]) -> Iterator[tuple[str, int, Results]]:
    with TableEnvironment(EnvironmentConfig(motion=planner_rates())) as environment:
        evaluator = Evaluator(config, task, environment)
        for index in indices:
            yield task, index, evaluator.run(index)
