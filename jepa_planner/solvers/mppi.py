"""Model predictive path integral control (Williams et al., 2017): a softmax-weighted mean of candidates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jepa_planner.solvers.base import ActionBounds, Array, Distribution, SamplingSolver, lowest


@dataclass(frozen=True)
class MppiConfig:
    """Settings of MPPI.

    temperature: in standard deviations of the candidates' energies, since a latent energy has no unit;
        small values listen to the best candidates only.
    std_decay: the spread is multiplied by this after every iteration.
    """

    samples: int = 64
    iterations: int = 3
    horizon: int = 1
    temperature: float = 0.3
    std_decay: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not 0 < self.std_decay <= 1:
            raise ValueError(
                f"MPPI needs temperature > 0 and std_decay in (0, 1], got {self.temperature} and {self.std_decay}"
            )


class MppiSolver(SamplingSolver):
    """Moves the mean to the softmax-weighted mean of all candidates. Not thread-safe."""

    def __init__(self, config: MppiConfig, bounds: ActionBounds, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(
            bounds,
            horizon=config.horizon,
            samples=config.samples,
            iterations=config.iterations,
            return_best=False,
            seed=config.seed,
            clock=clock,
        )
        self._config = config

    def _elites(self, energies: Array) -> npt.NDArray[np.intp]:
        return lowest(energies, len(energies))

    def _expected_energy(self, energies: Array, elites: npt.NDArray[np.intp]) -> float:
        return float(softmax_weights(energies[elites], self._config.temperature) @ energies[elites])

    def _refit(
        self, distribution: Distribution, actions: Array, energies: Array, elites: npt.NDArray[np.intp]
    ) -> Distribution:
        weights = softmax_weights(energies[elites], self._config.temperature)
        mean = np.einsum("s,sha->ha", weights, actions[elites].astype(np.float64))
        return Distribution(mean, distribution.std * self._config.std_decay)


def softmax_weights(energies: Array, temperature: float) -> Array:
    """Weights [samples] of sum 1: exp(-(E - min E) / (temperature * std E)), uniform when all are equal."""
    excess = energies - energies.min()
    scale = temperature * energies.std()
    weights = np.exp(-excess / scale) if scale > 0 else np.ones_like(excess)
    return weights / weights.sum()
