"""One episode of a task through the running nodes: the scene set up, the goals shown, the outcome measured.

The planner gets pictures, the gripper's schedule and budgets of steps alone; where things are is only used to judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_planner.client import JepaPlanner
from jepa_sim.object_tasks import GRASPED
from jepa_sim.task_names import REACH
from jepa_sim.tasks import TaskConfig, TaskEpisode
from jepa_tools.operation.object_judge import ObjectSightings, object_of, why_object_failed
from jepa_tools.operation.pursuit import Pursuit, pursue
from jepa_tools.operation.table_operator import OnStatus, TableOperator

REST_SECONDS = 5.0
"""Longest wait, wall time, for the arm to come to rest after the planner is done."""

STEPS_THROUGH_NODES = 2
"""Budgets are so many times those in process: nodes plan the next step before the arm has carried out the last one."""

Position = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TaskRun:
    """What came of one episode.

    Attributes:
        target: where the tool is in the last goal picture [3], m.
        initial_distance, final_distance: of what matters, tool or object, to its place in the last goal picture,
            before and, at rest, after, m.
        failure: why the task failed; empty for a success.
        pursuit: what the planner did in between.
    """

    target: Position
    initial_distance: float
    final_distance: float
    failure: str
    pursuit: Pursuit

    @property
    def succeeded(self) -> bool:
        """Whether the task is done."""
        return not self.failure


def check_runs_through_nodes(task: str, last_goal: str = "") -> None:
    """Raises ValueError for a task whose start the simulator's reset cannot make, or that the judge has to end."""
    if last_goal == GRASPED:
        raise ValueError(
            f"{task}: its last goal is the grasp on the table, and only in process does the judge lift the hand: "
            "measure it without --ros, or with --protocol assisted"
        )
    if task.startswith("reach_with_object"):
        raise ValueError(
            f"{task} begins with the object in the gripper, which a reset of the simulator does not do: "
            "measure it in process (jepa sim-eval without --ros), or take a grasp or pick_place task"
        )


def run_task(
    operator: TableOperator,
    episode: TaskEpisode,
    config: TaskConfig,
    timeout: float,
    on_status: OnStatus = lambda _: None,
    planned_gripper: bool = False,
) -> TaskRun:
    """Sets up `episode`, shows its goals and waits for what the planner makes of them.

    Args:
        operator: at a table whose nodes are active.
        episode: as prepared in process; the simulator makes the same scene from its seed.
        config: what counts as success.
        timeout: seconds, wall time, for the planner to reach the goals or give them up.
        on_status: told about every status on the way.
        planned_gripper: the planner gets pictures without the expert's commands to the gripper.

    Raises:
        ValueError: a task that begins with the object in the gripper.
    """
    check_runs_through_nodes(episode.task, episode.final.name)
    if episode.task == REACH:
        return _run_reach(operator, episode, config, timeout, on_status)
    return _run_with_object(operator, episode, config, timeout, on_status, planned_gripper)


def _run_reach(
    operator: TableOperator, episode: TaskEpisode, config: TaskConfig, timeout: float, on_status: OnStatus
) -> TaskRun:
    """One picture, taken by the camera of the running simulator and shown on the goal's topic."""
    operator.reset(episode.seed, episode.task, episode.final.joint_positions.tolist())
    picture, target = operator.picture(), operator.tool_position()
    operator.reset(episode.seed, episode.task)
    operator.picture()  # the start has been seen before the goal is shown
    initial = operator.tool_position()
    pursuit = pursue(operator, lambda: operator.show_goal(picture), timeout, on_status)
    operator.wait_for_rest(REST_SECONDS)
    final = float(np.linalg.norm(operator.tool_position() - target))
    failure = "" if final < config.tool_tolerance else "stopped too far away"
    return TaskRun(target, float(np.linalg.norm(initial - target)), final, failure, pursuit)


def _run_with_object(
    operator: TableOperator,
    episode: TaskEpisode,
    config: TaskConfig,
    timeout: float,
    on_status: OnStatus,
    planned_gripper: bool,
) -> TaskRun:
    """A sequence of pictures, with the gripper's schedule unless it is planned, as an action."""
    name = object_of(episode.task)
    operator.reset(episode.seed, episode.task, episode.start_joint_positions.tolist())
    operator.picture()
    start, goals = operator.object_position(name), episode.goals
    with JepaPlanner() as planner:

        def send() -> None:
            operator.forget_statuses()
            planner.reach(
                [goal.image for goal in goals],
                [None if planned_gripper else goal.gripper for goal in goals],
                [STEPS_THROUGH_NODES * goal.steps for goal in goals],
                block=False,
            )

        pursuit = pursue(operator, send, timeout, on_status)
    operator.wait_for_rest(REST_SECONDS)
    sightings = _watch_object(operator, name, start, config.hold_seconds)
    place = episode.final.objects[name]
    return TaskRun(
        target=episode.final.state[:3],
        initial_distance=float(np.linalg.norm(start - place)),
        final_distance=float(np.linalg.norm(sightings.positions[-1] - place)),
        failure=why_object_failed(episode.task, place, sightings, config),
        pursuit=pursuit,
    )


def _watch_object(operator: TableOperator, name: str, start: Position, seconds: float) -> ObjectSightings:
    """Where the object is for so many simulated seconds."""
    began, positions = operator.simulated_time(), [operator.object_position(name)]
    while (elapsed := operator.simulated_time() - began) < seconds:
        operator.picture()
        positions.append(operator.object_position(name))
    return ObjectSightings(start, np.array(positions), elapsed, operator.closedness())
