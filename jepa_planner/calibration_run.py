"""A camera calibration as the control loop steps it: instead of planning, it moves, looks, and in the end fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jepa_planner.calibration_moves import MoveConfig, RandomMoves, score_move
from jepa_planner.camera_calibration import (
    CalibrationError,
    CalibrationRequirements,
    CameraCalibration,
    CandidateRotations,
    fit_camera,
)
from jepa_planner.control_loop import LatentStamps, PlanningError
from jepa_planner.cost import CostFactory
from jepa_planner.goals import GoalSequence, Outcome, Progress
from jepa_planner.mpc import Action
from jepa_planner.solvers.base import ACTION_DIM

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationConfig:
    """How a calibration runs.

    Attributes:
        moves: how the arm moves.
        requirements: what the moves must show.
        low, high: corners [3] of the box in which the tool moves, m, base frame.
        model: identity of the world model.
    """

    moves: MoveConfig
    requirements: CalibrationRequirements
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    model: str = ""


@dataclass
class CalibrationRun:
    """Takes the place of `Mpc` for one goal of the control loop. One thread steps it.

    Every move is a few equal actions and a pause. The picture after it is the goal, by its stamp, against which the
    move from the picture before it is scored: the predictor takes camera latents for goals, too.
    """

    config: CalibrationConfig
    on_found: Callable[[CameraCalibration], None]
    _performed: list[Floats] = field(default_factory=list, init=False)
    _energies: list[Floats] = field(default_factory=list, init=False)
    _failures: list[str] = field(default_factory=list, init=False)
    _before: LatentStamps | None = field(default=None, init=False)
    _action: Floats = field(default_factory=lambda: np.zeros(ACTION_DIM), init=False)
    _step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._directions = RandomMoves(self.config.low, self.config.high, self.config.moves)
        self._candidates = CandidateRotations.grid()

    def reset(self, seed: int | None = None) -> None:
        """Nothing is remembered from other goals."""

    def step(
        self,
        observation: LatentStamps,
        state: Floats,
        goal: GoalSequence[int],  # noqa: ARG002 - the moves are the goal
        cost: CostFactory[LatentStamps, int],
    ) -> Action:
        """The next action; after the last move the outcome: reached when the fit is good."""
        moves = self.config.moves
        phase = self._step % (moves.steps + moves.settle)
        self._step += 1
        if phase == 0:
            self._look(observation, cost)
            if len(self._performed) + len(self._failures) >= moves.moves:
                return self._conclude()
            self._before, self._action = observation, self._directions.next(state[:3])
        values = self._action if phase < moves.steps else np.zeros(ACTION_DIM)
        return _action(values, Progress(Outcome.PURSUING, 0, self._step))

    def _look(self, now: LatentStamps, cost: CostFactory[LatentStamps, int]) -> None:
        """Takes down the move that ends now."""
        if self._before is None:
            return
        before = self._before
        performed = now.states[-1, :3] - before.states[-1, :3]
        try:
            energies = score_move(cost(before, before.states[-1], now.stamps[-1]), performed, self._candidates)
        except PlanningError as error:
            self._failures.append(str(error))
            return
        self._energies.append(energies)
        self._performed.append(performed)

    def _conclude(self) -> Action:
        config = self.config
        try:
            if self._failures and len(self._performed) < config.requirements.moves:
                raise CalibrationError(
                    f"{len(self._failures)} of {config.moves.moves} moves could not be scored, the last because: "
                    f"{self._failures[-1]} (the predictor must keep latents for the time of a move: latents_kept)"
                )
            found = fit_camera(
                np.array(self._performed),
                np.array(self._energies),
                self._candidates,
                config.requirements,
                config.model,
                config.moves.seed,
            )
        except CalibrationError as error:
            return _action(np.zeros(ACTION_DIM), Progress(Outcome.BUDGET_SPENT, 0, self._step, reason=str(error)))
        self.on_found(found)
        return _action(np.zeros(ACTION_DIM), Progress(Outcome.REACHED, 0, self._step, reason=found.report()))


def _action(values: Floats, progress: Progress) -> Action:
    return Action(np.array(values), None, progress, energy=float("nan"), surprise=float("nan"))
