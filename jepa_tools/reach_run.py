"""One goal image through the running nodes: the scene set up, the picture taken and shown, the outcome measured."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from jepa_ros.msg import PlannerStatus
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from jepa_common.stamps import NANOSECONDS_PER_SECOND, to_nanoseconds
from jepa_tools.ros_client import RosTimeoutError
from jepa_tools.table_operator import OnStatus, TableOperator

REST_SECONDS = 5.0
"""Longest wait, wall time, for the arm to come to rest after the planner is done."""

Position = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pursuit:
    """What the planner reported from the goal's publication to its end, and how that end came.

    Attributes:
        statuses: in order.
        timed_out: why nothing more was waited for; empty when the planner itself ended it.
        began, ended: s, the simulation's clock.
        wall_seconds: how long that took.
    """

    statuses: tuple[PlannerStatus, ...]
    timed_out: str
    began: float
    ended: float
    wall_seconds: float

    @property
    def outcome(self) -> str:
        """How it ended: "reached" or "aborted", as the planner sees it, or "timed out"."""
        if self.timed_out:
            return "timed out"
        return "reached" if self.statuses[-1].state == PlannerStatus.REACHED else "aborted"

    @property
    def reason(self) -> str:
        """Why it ended."""
        return self.timed_out or self.statuses[-1].reason

    @property
    def model(self) -> str:
        """The planner's model, "<name>@<version>"; empty when it never said."""
        return next((status.model for status in reversed(self.statuses) if status.model), "")

    @property
    def steps(self) -> int:
        """Actions commanded."""
        return max((status.step for status in self.statuses), default=0)

    @property
    def plan_seconds(self) -> tuple[float, ...]:
        """Time of each plan, s, wall time."""
        by_step = {status.step: status.plan_seconds for status in self.statuses if status.step > 0}
        return tuple(seconds for _, seconds in sorted(by_step.items()) if math.isfinite(seconds))

    @property
    def control_rate(self) -> float:
        """Actions per simulated second; NaN for fewer than two."""
        first: dict[int, float] = {}
        for status in self.statuses:
            first.setdefault(status.step, stamp_seconds(status.header.stamp))
        times = [seconds for step, seconds in sorted(first.items()) if step > 0]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else math.nan

    @property
    def real_time_factor(self) -> float:
        """Simulated seconds per second."""
        return (self.ended - self.began) / self.wall_seconds


@dataclass(frozen=True, eq=False)
class ReachRun:
    """What came of one goal.

    Attributes:
        target: where the tool is in the goal picture [3], m.
        initial_distance, final_distance: of the tool to `target` before and, at rest, after, m.
        pursuit: what the planner did in between.
    """

    target: Position
    initial_distance: float
    final_distance: float
    pursuit: Pursuit


def stamp_seconds(stamp: Time) -> float:
    """A message's stamp in seconds."""
    return to_nanoseconds(stamp) / NANOSECONDS_PER_SECOND


def run_reach(
    operator: TableOperator,
    seed: int,
    task: str,
    goal_positions: Sequence[float],
    timeout: float,
    on_status: OnStatus = lambda _: None,
) -> ReachRun:
    """Shows a picture of the arm at `goal_positions` [7] and waits for what the planner makes of it.

    The planner gets the picture alone; where the tool is in it is only used to measure.

    Args:
        operator: at a table whose nodes are active.
        seed: the scene, together with the task.
        task: one of `jepa_sim.task_names.TASK_NAMES`.
        goal_positions: arm joint positions of the goal picture, rad.
        timeout: seconds, wall time, for the planner to reach the goal or give it up.
        on_status: told about every status on the way.
    """
    operator.reset(seed, task, goal_positions)
    picture, target = operator.picture(), operator.tool_position()
    operator.reset(seed, task)
    operator.picture()  # the start has been seen before the goal is shown
    initial = operator.tool_position()
    pursuit = pursue(operator, picture, timeout, on_status)
    operator.wait_for_rest(REST_SECONDS)
    return ReachRun(
        target=target,
        initial_distance=float(np.linalg.norm(initial - target)),
        final_distance=float(np.linalg.norm(operator.tool_position() - target)),
        pursuit=pursuit,
    )


def pursue(operator: TableOperator, goal: Image, timeout: float, on_status: OnStatus = lambda _: None) -> Pursuit:
    """Shows a goal picture and watches until it is reached, given up, or `timeout` seconds have passed."""
    statuses: list[PlannerStatus] = []

    def collect(status: PlannerStatus) -> None:
        statuses.append(status)
        on_status(status)

    began, started, timed_out = operator.simulated_time(), time.monotonic(), ""
    operator.show_goal(goal)
    try:
        operator.watch(timeout, collect)
    except RosTimeoutError as error:
        timed_out = str(error)
    return Pursuit(tuple(statuses), timed_out, began, operator.simulated_time(), time.monotonic() - started)
