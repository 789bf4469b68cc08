"""Receding horizon: plan from what is seen now, act one step, look again.

The planner node and the in-process evaluator use the same `Mpc`; only the cost differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from jepa_planner.cost import (
    Assessment,
    CostFactory,
    GoalCost,
    add_effort,
    hold_gripper,
    in_base_axes,
    in_units_of,
    with_gripper_change,
)
from jepa_planner.goals import GoalSequence, Outcome, Progress
from jepa_planner.gripper import GripperConfig, HeldFingers, PlannedGripper
from jepa_planner.solvers.base import (
    ACTION_DIM,
    GRIPPER,
    TRANSLATION,
    Array,
    Cost,
    Iteration,
    IterationCallback,
    Plan,
    Solver,
)
from jepa_planner.solvers.icem import shift

ObservationT = TypeVar("ObservationT")
GoalT = TypeVar("GoalT")
# Commanded closedness above which something may be held.
_SHUT = 0.5


@dataclass(frozen=True)
class MpcConfig:
    """How a step is planned.

    plan_seconds: time for one plan, s; 0 lets the solver finish.
    warm_start: begin at the previous plan, shifted by one step.
    effort_weight: energy per squared action at the bounds; 0 plans by the goal alone.
    energy_per_meter: slope of the energy over the distance to the goal, from the model's card. With it the search is
        as wide as the goal seems far: wide enough to see past flat stretches, narrow enough to be exact at the end.
        0 always searches the whole bounds.
    narrowest_search: least width of that search, m.
    longest_step: longest translation that one step carries out, m; the rest of a longer plan starts the next search.
        0 carries out all of it.
    longest_step_holding: the same while the gripper is commanded shut, because what is held slips when it is started
        fast; 0 makes no difference.
    camera_rotation: rotation from the model's action axes to the base frame, nine numbers row by row, for a camera that
        stands elsewhere than in the training data (see `jepa_planner.camera_calibration`). Empty: none.
    gripper: who moves it, and when; a sub-goal's own gripper command is taken as it is.
    """

    plan_seconds: float = 0.2
    warm_start: bool = True
    effort_weight: float = 0.0
    energy_per_meter: float = 0.0
    narrowest_search: float = 0.03
    longest_step: float = 0.0
    longest_step_holding: float = 0.0
    camera_rotation: tuple[float, ...] = ()
    gripper: GripperConfig = field(default_factory=GripperConfig)

    def __post_init__(self) -> None:
        if len(self.camera_rotation) not in (0, 9):
            raise ValueError(f"camera_rotation: expected nine numbers, row by row, got {self.camera_rotation}")
        if not self.plan_seconds >= 0 or not self.effort_weight >= 0:
            raise ValueError(
                f"plan_seconds and effort_weight cannot be negative, got {self.plan_seconds} and {self.effort_weight}"
            )
        lengths = (self.energy_per_meter, self.longest_step, self.longest_step_holding)
        if not min(lengths) >= 0 or not self.narrowest_search > 0:
            raise ValueError(
                "energy_per_meter, longest_step and longest_step_holding cannot be negative and narrowest_search must "
                f"be positive, got {lengths} and {self.narrowest_search}"
            )

    def longest_step_at(self, closedness: float | None) -> float:
        """Longest translation of one step, m, while the gripper is commanded to this closedness; infinity for any."""
        holding = closedness is not None and closedness > _SHUT
        return (holding and self.longest_step_holding) or self.longest_step or np.inf


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
        self._gripper = PlannedGripper(config.gripper)
        self._fingers = HeldFingers()
        self._warm_start: Array | None = None

    def reset(self, seed: int | None = None) -> None:
        """Forget the previous plan, as a new goal demands; restart the solver at a given ``seed``."""
        self._warm_start = None
        self._gripper.reset()
        self._fingers.reset()
        self._solver.reset(seed)

    def _begin_sub_goal(self) -> None:
        self._warm_start = None
        self._gripper.begin_sub_goal()
        self._fingers.reset()
        self._solver.reset()

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
        self._gripper.observe(float(checked[GRIPPER]))
        bound, assessment, progress = self._advance(observation, checked, goal, cost)
        if progress.outcome is not Outcome.PURSUING:
            return Action(np.zeros(ACTION_DIM), None, progress, assessment.energy, assessment.surprise)
        held = goal.current.gripper
        if held is None:
            return self._step_with_planned_gripper(bound, checked, assessment, progress)
        self._gripper.obey(held)
        change = self._fingers.change(held, checked[GRIPPER])
        if progress.gripper_moves:
            return self._move_gripper(held, checked, assessment, progress)
        plan = self._plan(bound, change, assessment.energy)
        return self._act(plan, checked, held, assessment, progress)

    def _step_with_planned_gripper(
        self, bound: GoalCost, state: Array, assessment: Assessment, progress: Progress
    ) -> Action:
        """A step toward a sub-goal that brings no command of its own: the gripper stays, or the plan moves it."""
        gripper, plan = self._gripper, None
        if not gripper.moves:
            plan = self._plan(bound, None if self._searches_gripper else 0.0, assessment.energy)
            if not self._decides(plan, bound, assessment.gripper_change):
                return self._act(plan, state, gripper.command, assessment, progress)
        gripper.rest()
        return self._move_gripper(gripper.command, state, assessment, progress, plan)

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
            progress = goal.observe(assessment.energy, self._is_settled(goal.current.gripper))
            if not progress.advanced:
                return bound, assessment, _with_advance(progress, advanced)
            advanced = True
            self._begin_sub_goal()

    def _plan(self, cost: Cost, gripper_change: float | None, energy: float) -> Plan:
        scale = np.abs(self._solver.bounds.high)
        priced = add_effort(self._in_base_axes(cost), self._config.effort_weight, scale)
        if gripper_change is not None:
            priced = hold_gripper(priced, gripper_change)
        units = self._search_units(energy)
        warm_start = None if not self._config.warm_start or self._warm_start is None else self._warm_start / units
        deadline = self._config.plan_seconds or None
        plan = self._solver.solve(in_units_of(priced, units), warm_start, deadline, self._in_actions(units))
        return replace(plan, actions=plan.actions * units)

    def _in_actions(self, units: Array) -> IterationCallback | None:
        """The iteration callback for a solver that searches in ``units`` [7]: it is told of actions."""
        report = self._on_iteration
        if report is None:
            return None

        def in_actions(iteration: Iteration) -> None:
            searched = {name: getattr(iteration, name) * units for name in ("actions", "mean", "std")}
            report(replace(iteration, **searched))

        return in_actions

    def _search_units(self, energy: float) -> Array:
        """Units [7] of the actions that the solver searches: translations shrink with the distance to the goal."""
        units = np.ones(ACTION_DIM)
        bounds, slope = self._solver.bounds, self._config.energy_per_meter
        longest = bounds.translation_norm or max(bounds.high[TRANSLATION])
        if slope > 0 and longest > self._config.narrowest_search:
            units[TRANSLATION] = np.clip(energy / slope, self._config.narrowest_search, longest) / longest
        return units

    def _carry_out(self, plan: Plan, longest: float) -> Array:
        """The part [7] of the plan's first action that this step carries out; keeps the rest as the warm start."""
        first = np.array(plan.actions[0], dtype=np.float64)
        length = float(np.linalg.norm(first[TRANSLATION]))
        if length <= longest:
            self._warm_start = shift(plan.actions)
            return first
        share = np.ones(ACTION_DIM)
        share[:GRIPPER] = longest / length
        self._warm_start = np.concatenate([(first * (1 - share))[None], plan.actions[1:]])
        return first * share

    def _is_settled(self, held_gripper: float | None) -> bool:
        """Whether the fingers are where the present sub-goal wants them, as far as is known without a plan."""
        return held_gripper is not None or not self._plans_gripper or self._gripper.settled

    @property
    def _plans_gripper(self) -> bool:
        return self._config.gripper.mode == "planned"

    @property
    def _searches_gripper(self) -> bool:
        bounds = self._solver.bounds
        return bounds.low[GRIPPER] < bounds.high[GRIPPER]

    def _decides(self, plan: Plan, cost: Cost, seen_change: float) -> bool:
        """Whether a planned gripper begins to move with ``plan``; the arm then plans anew when it has moved."""
        if not self._plans_gripper:
            return False
        length = float(np.linalg.norm(plan.actions[0, TRANSLATION]))
        change = seen_change if np.isfinite(seen_change) else self._weigh_grips(plan, cost)
        if not self._gripper.decide(change, length):
            return False
        self._warm_start = None
        return True

    def _weigh_grips(self, plan: Plan, cost: Cost) -> float:
        """The best change of the closedness in the first step of ``plan``; 0 where it gains too little."""
        changes = self._gripper.changes()
        candidates = np.repeat(plan.actions[None], len(changes), axis=0)
        candidates[..., GRIPPER] = 0.0
        candidates[:, 0, GRIPPER] = changes
        energies = np.asarray(self._in_base_axes(cost)(candidates.astype(np.float32)))
        best = int(np.argmin(energies))
        gain = 1 - energies[best] / max(energies[0], 1e-12)
        return float(changes[best]) if gain >= self._config.gripper.least_gain else 0.0

    def _in_base_axes(self, cost: Cost) -> Cost:
        """``cost`` for actions in the base frame, whatever the camera's."""
        rotation = self._config.camera_rotation
        return in_base_axes(cost, np.reshape(rotation, (3, 3))) if rotation else cost

    def _move_gripper(
        self,
        closedness: float | None,
        state: Array,
        assessment: Assessment,
        progress: Progress,
        plan: Plan | None = None,
    ) -> Action:
        """A step in which the arm rests while the gripper goes to ``closedness``."""
        values = np.zeros(ACTION_DIM)
        if closedness is not None:
            values[GRIPPER] = closedness - state[GRIPPER]
        predicted = float("nan") if plan is None else plan.energy
        return Action(values, closedness, progress, assessment.energy, assessment.surprise, predicted, plan)

    def _act(
        self,
        plan: Plan,
        state: Array,
        closedness: float | None,
        assessment: Assessment,
        progress: Progress,
    ) -> Action:
        change = 0.0 if closedness is None else closedness - state[GRIPPER]
        carried_out = self._carry_out(plan, self._config.longest_step_at(closedness))
        values = with_gripper_change(carried_out[None], change)[0]
        return Action(values, closedness, progress, assessment.energy, assessment.surprise, plan.energy, plan)


def _with_advance(progress: Progress, advanced: bool) -> Progress:
    return replace(progress, advanced=advanced)


def _checked_state(state: Array) -> Array:
    checked = np.asarray(state, dtype=np.float64)
    if checked.shape != (ACTION_DIM,) or not np.all(np.isfinite(checked)):
        raise ValueError(
            f"a state needs 7 finite values [x y z roll pitch yaw closedness], got shape {checked.shape}: {state}"
        )
    return checked
