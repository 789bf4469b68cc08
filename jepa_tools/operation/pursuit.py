"""A goal that running nodes pursue, watched from its publication to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from jepa_ros.msg import PlannerStatus

from jepa_common.stamps import NANOSECONDS_PER_SECOND, to_nanoseconds
from jepa_tools.operation.ros_client import RosTimeoutError
from jepa_tools.operation.table_operator import OnStatus, TableOperator


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
    def energy(self) -> float:
        """Latent distance to the goal when the planner last looked; NaN when it never did."""
        return next((status.energy for status in reversed(self.statuses) if math.isfinite(status.energy)), math.nan)

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


def stamp_seconds(stamp: Time) -> float:
    """A message's stamp in seconds."""
    return to_nanoseconds(stamp) / NANOSECONDS_PER_SECOND


def pursue(
    operator: TableOperator, show: Callable[[], None], timeout: float, on_status: OnStatus = lambda _: None
) -> Pursuit:
    """Gives the planner a goal by `show` and watches until it is reached or given up, for at most `timeout` seconds."""
    statuses: list[PlannerStatus] = []

    def collect(status: PlannerStatus) -> None:
        statuses.append(status)
        on_status(status)

    began, started, timed_out = operator.simulated_time(), time.monotonic(), ""
    show()
    try:
        operator.watch(timeout, collect)
    except RosTimeoutError as error:
        timed_out = str(error)
    return Pursuit(tuple(statuses), timed_out, began, operator.simulated_time(), time.monotonic() - started)
