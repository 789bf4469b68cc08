"""The moves of a camera calibration, and what the model makes of them; the same in the simulator and on the robot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jepa_planner.solvers.base import ACTION_DIM, TRANSLATION, Cost
from jepa_planner.solvers.factory import SolverConfig, make_solver

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MoveConfig:
    """How the arm moves to find out how the camera stands, and how the moves are inferred from pictures.

    Attributes:
        moves: how many, each in a random direction.
        steps: actions per move. One action alone is hardly longer than the error of what a small model sees.
        step: translation of one action, m.
        settle: actions between two moves that do nothing, so that the arm rests when a picture counts.
        samples, iterations: of the search for the action that explains a move.
        longest: longest translation that the search considers, m.
        seed: of directions and search.
    """

    moves: int = 32
    steps: int = 3
    step: float = 0.05
    settle: int = 1
    samples: int = 48
    iterations: int = 4
    longest: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("moves", "steps", "samples", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.settle < 0 or not 0 < self.step <= self.longest:
            raise ValueError(
                f"expected 0 < step <= longest and settle >= 0, got {self.step}, {self.longest} and {self.settle}"
            )

    def solver(self) -> SolverConfig:
        """The search for the action that explains a move."""
        return SolverConfig(
            samples=self.samples,
            iterations=self.iterations,
            elites=max(2, self.samples // 8),
            max_step=self.longest,
            seed=self.seed,
        )


class RandomMoves:
    """Random directions that keep the tool inside a box. One thread uses it."""

    def __init__(self, low: npt.ArrayLike, high: npt.ArrayLike, config: MoveConfig) -> None:
        """``low`` and ``high`` [3]: corners of the box, m, base frame."""
        self._low, self._high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        self._config = config
        self._generator = np.random.default_rng(config.seed)

    def next(self, position: npt.ArrayLike) -> Floats:
        """The action [7] that every step of the next move from ``position`` [3] takes.

        Directions are uniform over the sphere; each is mirrored along the axes in which it would leave the box.
        """
        direction = self._generator.normal(size=3)
        direction *= self._config.step / np.linalg.norm(direction)
        start = np.asarray(position, dtype=np.float64)
        end = start + self._config.steps * direction
        outside = (end < self._low) | (end > self._high)
        direction = np.where(outside, np.abs(direction) * np.sign((self._low + self._high) / 2 - start), direction)
        return np.concatenate([direction, np.zeros(ACTION_DIM - 3)])


def infer_translation(cost: Cost, config: MoveConfig) -> Floats:
    """The translation [3], m, of least ``cost``: of the action that explains best how one picture became another.

    ``cost`` scores actions that start from the first picture against the latent of the second.
    """
    plan = make_solver(config.solver()).solve(cost)
    return np.asarray(plan.actions[0, TRANSLATION], dtype=np.float64)
