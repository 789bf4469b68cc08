"""Plans toward a later frame, as if it were the goal image, against what the robot did until then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_planner.solvers.base import Solver
from jepa_planner.solvers.factory import SolverConfig, make_solver
from jepa_tools.bag_eval.config import PlanningConfig
from jepa_tools.bag_eval.encoding import EncodedEpisode
from jepa_tools.bag_eval.results import PlanningResult, mean, number
from jepa_tools.sim_eval.model_cost import ModelCosts, SeenFrames
from jepa_world_model.model_card import ModelCard
from jepa_world_model.poses import integrate
from jepa_world_model.world_model import WorldModel

_LEAST_WAY = 0.01
"""Displacements shorter than this, m, have no direction worth comparing."""

_CLOSED = 0.5
_SCORE_SCALE, _SCORE_RANGE = 800.0, 0.1


@dataclass(frozen=True)
class PlanComparison:
    """One plan against what was recorded.

    Attributes:
        position_error: distance of the planned to the recorded displacement, m.
        displacement: length of the recorded one, m.
        direction_error: angle between them, degrees; NaN where one is too short.
        gripper_agrees: whether both leave the gripper closed or both open.
    """

    position_error: float
    displacement: float
    direction_error: float
    gripper_agrees: bool

    @property
    def score(self) -> float:
        """The field's score: 800 (0.1 - error in m), not below 0."""
        return max(0.0, _SCORE_SCALE * (_SCORE_RANGE - self.position_error))


def episode_solver(config: PlanningConfig, card: ModelCard) -> Solver:
    """The solver that the configuration asks for, within what the model knows."""
    return make_solver(
        SolverConfig(
            solver=config.solver,
            samples=config.samples,
            iterations=config.iterations,
            elites=config.elites,
            horizon=config.ahead,
            max_step=config.max_step or card.max_step_m,
            max_gripper=config.max_gripper,
        )
    )


def plan_episode(
    model: WorldModel, episode: EncodedEpisode, config: PlanningConfig, solver: Solver, seed: int
) -> list[PlanComparison]:
    """Plans from every n-th frame; each plan is a function of the episode and the seed alone."""
    if not config.every:
        return []
    starts = range(0, episode.frames - config.ahead, config.every)
    return [_compare(model, episode, start, config.ahead, solver, seed) for start in starts]


def _compare(
    model: WorldModel, episode: EncodedEpisode, start: int, ahead: int, solver: Solver, seed: int
) -> PlanComparison:
    first = max(0, start + 1 - model.card.context_frames)
    seen = SeenFrames(episode.latents[first : start + 1], episode.states[first : start + 1])
    now, then = episode.states[start], episode.states[start + ahead]
    solver.reset(seed + start)
    plan = solver.solve(ModelCosts(model)(seen, now, episode.latents[start + ahead]))
    planned = now
    for action in plan.actions:
        planned = integrate(planned, action)
    return compare_plan(now, planned, then)


def compare_plan(now: NDArray[np.float64], planned: NDArray[np.float64], then: NDArray[np.float64]) -> PlanComparison:
    """Compares where a plan from the state `now` [7] ends with where the robot was `then`."""
    way, recorded = planned[:3] - now[:3], then[:3] - now[:3]
    lengths = float(np.linalg.norm(way)), float(np.linalg.norm(recorded))
    angle = float("nan")
    if min(lengths) >= _LEAST_WAY:
        angle = float(np.degrees(np.arccos(np.clip(way @ recorded / (lengths[0] * lengths[1]), -1.0, 1.0))))
    agrees = bool((planned[6] > _CLOSED) == (then[6] > _CLOSED))
    return PlanComparison(float(np.linalg.norm(way - recorded)), lengths[1], angle, agrees)


def summarize_planning(plans: Sequence[PlanComparison]) -> PlanningResult:
    """Means over a bag."""
    errors = [plan.position_error for plan in plans]
    return PlanningResult(
        number(100 * mean(errors)),
        number(100 * float(np.median(errors)) if errors else float("nan")),
        number(100 * mean([plan.displacement for plan in plans])),
        number(mean([plan.direction_error for plan in plans])),
        number(mean([float(plan.gripper_agrees) for plan in plans])),
        number(mean([plan.score for plan in plans])),
        len(plans),
    )
