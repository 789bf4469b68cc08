"""One episode of a task through the running nodes: the scene set up, the goals shown, the outcome measured.

The planner gets pictures, the gripper's schedule and budgets of steps alone; where things are is only used to judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_planner.client import JepaPlanner
from jepa_sim.sightings import Sightings
from jepa_sim.tasks import Task, TaskEpisode
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


def run_task(
    operator: TableOperator,
    task: Task,
    episode: TaskEpisode,
    timeout: float,
    on_status: OnStatus = lambda _: None,
    planned_gripper: bool = False,
) -> TaskRun:
    """Sets up `episode`, shows its goals and waits for what the planner makes of them.

    Args:
        operator: at a table whose nodes are active.
        task: to be done.
        episode: of the task, as prepared in process; the simulator makes the same scene from its seed.
        timeout: seconds, wall time, for the planner to reach the goals or give them up.
        on_status: told about every status on the way.
        planned_gripper: the planner gets pictures without the expert's commands to the gripper.

    Raises:
        ValueError: a task that cannot begin or be judged so.
    """
    task.check_runs_through_nodes()
    if task.goal_by_camera:
        return _run_to_picture(operator, task, episode, timeout, on_status)
    return _run_sequence(operator, task, episode, timeout, on_status, planned_gripper)


def _run_to_picture(
    operator: TableOperator, task: Task, episode: TaskEpisode, timeout: float, on_status: OnStatus
) -> TaskRun:
    """One picture, taken by the camera of the running simulator and shown on the goal's topic."""
    operator.reset(episode.seed, episode.task, episode.final.joint_positions.tolist())
    picture, target = operator.picture(), operator.tool_position()
    operator.reset(episode.seed, episode.task)
    operator.picture()  # the start has been seen before the goal is shown
    start = _position(operator, task)
    pursuit = pursue(operator, lambda: operator.show_goal(picture), timeout, on_status)
    return _judged(operator, task, pursuit, start, target, target)


def _run_sequence(
    operator: TableOperator,
    task: Task,
    episode: TaskEpisode,
    timeout: float,
    on_status: OnStatus,
    planned_gripper: bool,
) -> TaskRun:
    """A sequence of pictures, with the gripper's schedule unless it is planned, as an action."""
    operator.reset(episode.seed, episode.task, episode.start_joint_positions.tolist())
    operator.picture()
    start, goals = _position(operator, task), episode.goals
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
    return _judged(operator, task, pursuit, start, task.place(episode), episode.final.state[:3])


def _judged(
    operator: TableOperator, task: Task, pursuit: Pursuit, start: Position, place: Position, target: Position
) -> TaskRun:
    """The run, when the arm has come to rest; `start` and `place` are of what matters, `target` is the tool's."""
    operator.wait_for_rest(REST_SECONDS)
    seen = _watch(operator, task, start)
    return TaskRun(
        target=target,
        initial_distance=float(np.linalg.norm(start - place)),
        final_distance=seen.distance(place),
        failure=task.why_failed_from_outside(place, seen),
        pursuit=pursuit,
    )


def _position(operator: TableOperator, task: Task) -> Position:
    """Where the tool, or the task's object, is now."""
    return operator.tool_position() if task.object_name is None else operator.object_position(task.object_name)


def _watch(operator: TableOperator, task: Task, start: Position) -> Sightings:
    """Where what matters is for as many simulated seconds as the task asks for."""
    began, positions, elapsed = operator.simulated_time(), [_position(operator, task)], 0.0
    while elapsed < task.watched_seconds:
        operator.picture()
        positions.append(_position(operator, task))
        elapsed = operator.simulated_time() - began
    return Sightings(start, np.array(positions), elapsed, operator.closedness())
