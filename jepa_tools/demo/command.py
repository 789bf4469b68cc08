"""`jepa demo`: the simulated arm is shown a picture and goes there, through the nodes that a robot would use."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jepa_ros.msg import PlannerStatus
from tqdm import tqdm

from jepa_common.whole_files import write_whole
from jepa_sim.environment import TableEnvironment
from jepa_sim.task_names import REACH
from jepa_sim.tasks import TaskConfig, TaskEpisode, make_task
from jepa_tools.bring_up.process_runner import terminate_as_interrupt
from jepa_tools.demo.report import DemoOutcome, write_pictures
from jepa_tools.demo.trace import read_demo_trace
from jepa_tools.operation.running_nodes import NodesConfig, RunningNodes, running_nodes
from jepa_tools.operation.task_run import TaskRun, check_runs_through_nodes, run_task
from jepa_tools.recording.recorder import TopicRecorder
from jepa_tools.view.config import ViewConfig
from jepa_tools.view.live_view import LiveView

BAG, LOG, RESULT = "bag", "nodes.log", "result.json"
RECORDED_FIRST = ("*/image", "*/joint_states", "*/planner_status")
PICTURES = ("goal.png", "reached.png", "side_by_side.png", "energy.png", "demo.mp4")


@dataclass(frozen=True)
class DemoConfig:
    """Shows the simulated arm a picture of itself elsewhere, and it goes there; or pictures of work to do.

    Attributes:
        seed: Names the scene, the start and the goals.
        out: Folder for pictures, video, bag and result.json; an earlier demo's files there are replaced.
        task: What to do, such as reach, grasp_cup or pick_place_box.
        timeout: Seconds to wait for the goals to be reached or given up.
        nodes: How the nodes are started.
        view: Port of a live view of the run, to open in a browser (see `jepa view`); none unless given.
    """

    seed: int = 1
    out: Path = Path("out/demo")
    task: str = "reach"
    timeout: float = 120.0
    nodes: NodesConfig = field(default_factory=NodesConfig)
    view: int | None = None


def demo(config: DemoConfig) -> int:
    """Runs the demo; the exit code is 0 when the task is done: for reach, when the arm is within 4 cm of the goal.

    Raises:
        ValueError: a task that the nodes cannot begin.
    """
    check_runs_through_nodes(config.task)
    episode = _episode(config)
    _clear(config.out)
    with terminate_as_interrupt():
        run, encode_ms = _run(config, episode)
    result = _result(config, run, encode_ms)
    outcome = DemoOutcome(run.target, _tolerance(config), run.succeeded, run.final_distance)
    write_pictures(config.out, read_demo_trace(config.out / BAG, run.pursuit.began), outcome)
    write_whole(config.out / RESULT, json.dumps(result, indent=2) + "\n")
    print(_summary(config, run, result))
    return 0 if result["reached"] else 1


def _clear(folder: Path) -> None:
    """Removes what an earlier demo left in `folder`, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / BAG, ignore_errors=True)
    for name in (*PICTURES, LOG, RESULT):
        (folder / name).unlink(missing_ok=True)


def _run(config: DemoConfig, episode: TaskEpisode) -> tuple[TaskRun, float]:
    """Starts everything, records and runs; returns the run and the encoder's time per frame, ms."""
    metadata = {"task": config.task, "seed": str(config.seed)}
    with (
        running_nodes(config.nodes, config.out / LOG) as nodes,
        TopicRecorder(config.out / BAG, metadata=metadata, use_sim_time=True) as recorder,
        nullcontext() if config.view is None else LiveView(ViewConfig(port=config.view)) as live,
    ):
        if live is not None:
            print(f"watch it at {live.url}", flush=True)
        recorder.wait_for(RECORDED_FIRST, config.nodes.start_seconds)
        run = _perform(config, episode, nodes)
        recorder.set_metadata("model", run.pursuit.model)
        return run, nodes.operator.diagnostic("encoder", "latency_ms")


def _perform(config: DemoConfig, episode: TaskEpisode, nodes: RunningNodes) -> TaskRun:
    with tqdm(desc="moving", bar_format="{desc}: {n} steps in {elapsed} {postfix}") as progress:

        def show(status: PlannerStatus) -> None:
            progress.n = int(status.step)
            goal = episode.goals[min(status.sub_goal, len(episode.goals) - 1)].name
            progress.set_postfix_str(f"toward '{goal}', energy {status.energy:.3f} {status.reason}")

        return run_task(nodes.operator, episode, TaskConfig(), config.timeout, show)


def _episode(config: DemoConfig) -> TaskEpisode:
    """The goals that belong to the seed."""
    with TableEnvironment() as environment:
        return make_task(config.task).prepare(environment, config.seed)


def _tolerance(config: DemoConfig) -> float:
    """Distance that counts as there, m: of the tool, or of the object."""
    limits = TaskConfig()
    return limits.tool_tolerance if config.task == REACH else limits.object_tolerance


def _result(config: DemoConfig, run: TaskRun, encode_ms: float) -> dict[str, Any]:
    pursuit = run.pursuit
    plan_ms = 1e3 * float(np.median(pursuit.plan_seconds)) if pursuit.plan_seconds else math.nan
    return {
        "reached": run.succeeded,
        "distance_m": round(run.final_distance, 4),
        "initial_distance_m": round(run.initial_distance, 4),
        "steps": pursuit.steps,
        "plan_ms": _rounded(plan_ms),
        "encode_ms": _rounded(encode_ms),
        "control_rate_hz": _rounded(pursuit.control_rate),
        "real_time_factor": _rounded(pursuit.real_time_factor),
        "planner": pursuit.outcome,
        "reason": pursuit.reason,
        "failure": run.failure,
        "task": config.task,
        "seed": config.seed,
        "model": pursuit.model,
    }


def _rounded(value: float) -> float | None:
    """JSON has no NaN: None stands for what was not measured."""
    return round(value, 2) if math.isfinite(value) else None


def _summary(config: DemoConfig, run: TaskRun, result: dict[str, Any]) -> str:
    verdict = f"{config.task}: " + ("done" if run.succeeded else run.failure)
    return (
        f"{verdict}: from {run.initial_distance * 100:.1f} cm to {run.final_distance * 100:.1f} cm in "
        f"{result['steps']} steps (planner: {result['planner']}; plan {result['plan_ms']} ms, "
        f"encode {result['encode_ms']} ms, {result['control_rate_hz']} Hz, "
        f"real-time factor {result['real_time_factor']})\n"
        f"pictures, video, bag and {RESULT} are in {config.out}"
    )
