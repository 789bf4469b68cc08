"""Receding horizon: plan from what is seen now, act one step, look again.

The planner node and the in-process evaluator use the same `Mpc`; only the cost differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from jepa_planner.cost import Assessment, CostFactory, GoalCost, add_effort, hold_gripper, with_gripper_change
from jepa_planner.goals import GoalSequence, Outcome, Progress
from jepa_planner.gripper import GripperConfig, GripperHysteresis
from jepa_planner.solvers.base import ACTION_DIM, GRIPPER, Array, Cost, IterationCallback, Plan, Solver
from jepa_planner.solvers.icem import shift

ObservationT = TypeVar("ObservationT")
GoalT = TypeVar("GoalT")


@dataclass(frozen=True)
class MpcConfig:
    """How a step is planned.

    plan_seconds: time for one plan, s; 0 lets the solver finish.
    warm_start: begin at the previous plan, shifted by one step.
    effort_weight: energy per squared action at the bounds; 0 plans by the goal alone.
    gripper: hysteresis on a planned gripper; a sub-goal's own gripper command is taken as it is.
    """

    plan_seconds: float = 0.2
    warm_start: bool = True
    effort_weight: float = 0.0
    gripper: GripperConfig = field(default_factory=GripperConfig)

    def __post_init__(self) -> None:
        if not self.plan_seconds >= 0 or not self.effort_weight >= 0:
            raise ValueError(
                f"plan_seconds and effort_weight cannot be negative, got {self.plan_seconds} and {self.effort_weight}"
            )


@dataclass(frozen=True)
class Action:
    """One step.

    values: [7] action relative to the state it was planned from; all zeros when there is nothing left to do.
    closedness: where the gripper should go, 0 open ... 1 closed; None leaves it where it is.
    energy, surprise: of now. predicted_energy: what the plan expects; NaN without a plan.
    """

    values: npt.NDArray[np.float64]
    closedness: float | None
    progress: Progress
    energy: float
    surprise: float
    predicted_energy: float = float("nan")
    plan: Plan | None = None

    @property
    def outcome(self) -> Outcome:
        """Whether the goals are still pursued."""
        return self.progress.outcome


class Mpc(Generic[ObservationT, GoalT]):
    """Plans one action at a time toward a goal sequence. Not thread-safe: one thread steps."""

    def __init__(
        self,
        config: MpcConfig,
        solver: Solver,
        on_iteration: IterationCallback | None = None,
    ) -> None:
        self._config = config
        self._solver = solver
        self._on_iteration = on_iteration
        self._gripper = GripperHysteresis(config.gripper)
        self._warm_start: Array | None = None

    def reset(self, seed: int | None = None) -> None:
        """Forget the previous plan, as a new goal demands; restart the solver at a given ``seed``."""
        self._warm_start = None
        self._gripper.reset()
        self._solver.reset(seed)

    def step(
        self,
        observation: ObservationT,
        state: Array,
        goal: GoalSequence[GoalT],
        cost: CostFactory[ObservationT, GoalT],
    ) -> Action:
        """The next action from ``observation`` and ``state`` [7]: advance the goals, then plan.

        Raises ValueError for a state that is not finite, SolverError when no candidate has a finite
        energy, and what the cost raises.
        """
        checked = _checked_state(state)
        bound, assessment, progress = self._advance(observation, checked, goal, cost)
        if progress.outcome is not Outcome.PURSUING:
            return Action(np.zeros(ACTION_DIM), None, progress, assessment.energy, assessment.surprise)
        plan = self._plan(bound, checked, goal.current.gripper)
        return self._act(plan, checked, goal.current.gripper, assessment, progress)

    def _advance(
        self,
        observation: ObservationT,
        state: Array,
        goal: GoalSequence[GoalT],
        cost: CostFactory[ObservationT, GoalT],
    ) -> tuple[GoalCost, Assessment, Progress]:
        advanced = False
        while True:
            bound = cost(observation, state, goal.current.goal)
            assessment = bound.assess()
            progress = goal.observe(assessment.energy)
            if not progress.advanced:
                return bound, assessment, _with_advance(progress, advanced)
            advanced = True
            self.reset()

    def _plan(self, cost: Cost, state: Array, held_gripper: float | None) -> Plan:
        scale = np.abs(self._solver.bounds.high)
        priced = add_effort(cost, self._config.effort_weight, scale)
        if held_gripper is not None:
            priced = hold_gripper(priced, held_gripper - state[GRIPPER])
        warm_start = self._warm_start if self._config.warm_start else None
        plan = self._solver.solve(priced, warm_start, self._config.plan_seconds or None, self._on_iteration)
        self._warm_start = shift(plan.actions)
        return plan

    def _act(
        self,
        plan: Plan,
        state: Array,
        held_gripper: float | None,
        assessment: Assessment,
        progress: Progress,
    ) -> Action:
        closedness = held_gripper if held_gripper is not None else self._planned_closedness(plan, state)
        change = 0.0 if closedness is None else closedness - state[GRIPPER]
        values = np.asarray(with_gripper_change(plan.actions, change)[0], dtype=np.float64)
        return Action(values, closedness, progress, assessment.energy, assessment.surprise, plan.energy, plan)

    def _planned_closedness(self, plan: Plan, state: Array) -> float | None:
        bounds = self._solver.bounds
        if bounds.low[GRIPPER] == bounds.high[GRIPPER]:
            return None
        return self._gripper.command(float(state[GRIPPER] + plan.actions[0, GRIPPER]))


def _with_advance(progress: Progress, advanced: bool) -> Progress:
    return Progress(progress.outcome, progress.sub_goal, progress.steps, advanced, progress.reason)


def _checked_state(state: Array) -> Array:
    checked = np.asarray(state, dtype=np.float64)
    if checked.shape != (ACTION_DIM,) or not np.all(np.isfinite(checked)):
        raise ValueError(
            f"a state needs 7 finite values [x y z roll pitch yaw closedness], got shape {checked.shape}: {state}"
        )
    return checked
