"""The moves of a camera calibration, and how they are scored; the same in the simulator and on the robot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jepa_planner.camera_calibration import CandidateRotations
from jepa_planner.solvers.base import ACTION_DIM, TRANSLATION, Cost

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MoveConfig:
    """How the arm moves to find out how the camera stands.

    Attributes:
        moves: how many, each in a random direction.
        steps: actions per move. One action alone is hardly longer than the error of what a small model sees.
        step: translation of one action, m.
        settle: actions between two moves that do nothing, so that the arm rests when a picture counts.
        seed: of the directions, and of the fit.
    """

    moves: int = 32
    steps: int = 3
    step: float = 0.05
    settle: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("moves", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.settle < 0 or not self.step > 0:
            raise ValueError(f"expected a positive step and settle >= 0, got {self.step} and {self.settle}")


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


def score_move(cost: Cost, move: Floats, candidates: CandidateRotations) -> Floats:
    """Energies [candidates + 1] of a performed translation [3], m, as it looks along each candidate's axes.

    ``cost`` scores actions that start from the picture before the move against the latent of the picture after it.
    """
    seen = candidates.seen(move)
    actions = np.zeros((len(seen), 1, ACTION_DIM), dtype=np.float32)
    actions[:, 0, TRANSLATION] = seen
    return np.asarray(cost(actions), dtype=np.float64)
