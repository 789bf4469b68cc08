"""iCEM: coloured noise, kept elites and a shrinking population (Pinneri et al., 2020, arXiv 2008.06389)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jepa_planner.solvers.base import ActionBounds, Array, Distribution, _Search
from jepa_planner.solvers.cem import CemConfig, CemSolver


@dataclass(frozen=True)
class IcemConfig:
    """Settings of iCEM.

    cem: the underlying cross-entropy method; iCEM executes the best candidate rather than the mean.
    noise_exponent: power spectrum 1/f^beta of the noise along the horizon (section 3.1); 0 is white.
    kept_fraction: share of the elites that joins the next iteration and, shifted by a step, the next call.
    shrink: the population is divided by this after every iteration, never below twice the elites.
    """

    cem: CemConfig = field(default_factory=lambda: CemConfig(momentum_mean=0.1, momentum_std=0.1, return_best=True))
    noise_exponent: float = 2.0
    kept_fraction: float = 0.3
    shrink: float = 1.25

    def __post_init__(self) -> None:
        if self.noise_exponent < 0 or not 0 <= self.kept_fraction <= 1 or self.shrink < 1:
            raise ValueError(
                "iCEM needs noise_exponent >= 0, kept_fraction in [0, 1] and shrink >= 1, got "
                f"{self.noise_exponent}, {self.kept_fraction}, {self.shrink}"
            )


class IcemSolver(CemSolver):
    """Sample-efficient CEM that remembers elites within a call and between calls. Not thread-safe."""

    def __init__(self, config: IcemConfig, bounds: ActionBounds, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(config.cem, bounds, clock)
        self._icem = config
        self._kept = self._no_elites()

    def reset(self, seed: int | None = None) -> None:
        """Forget the kept elites; restart the generator at ``seed`` when one is given."""
        super().reset(seed)
        self._kept = self._no_elites()

    def _no_elites(self) -> Array:
        return np.empty((0, self._horizon, self._bounds.dimension))

    def _begin(self, warm_start: Array | None) -> _Search:
        # Time has moved on by one step since the last call, and so must the elites that it left.
        self._kept = shift(self._kept)
        return super()._begin(warm_start)

    def _sample(self, distribution: Distribution, index: int) -> Array:
        population = min(max(int(self._samples / self._icem.shrink**index), 2 * self._config.elites), self._samples)
        drawn = max(population - len(self._kept), 1)
        shape = (drawn, self._horizon, self._bounds.dimension)
        noise = coloured_noise(self._generator, shape, self._icem.noise_exponent)
        return np.concatenate([distribution.mean + distribution.std * noise, self._kept])

    def _refit(
        self, distribution: Distribution, actions: Array, energies: Array, elites: npt.NDArray[np.intp]
    ) -> Distribution:
        kept = round(self._icem.kept_fraction * self._config.elites)
        self._kept = actions[elites[:kept]].astype(np.float64)
        return super()._refit(distribution, actions, energies, elites)


def shift(actions: Array) -> Array:
    """Action sequences [..., horizon, action_dim] one step later; the last action is repeated."""
    return np.concatenate([actions[..., 1:, :], actions[..., -1:, :]], axis=-2)


def coloured_noise(generator: np.random.Generator, shape: tuple[int, int, int], exponent: float) -> Array:
    """Unit-variance noise [samples, horizon, action_dim], power spectrum 1/f^``exponent`` in time."""
    samples, horizon, dimension = shape
    if horizon == 1 or exponent == 0:
        return generator.standard_normal(shape)
    frequencies = np.fft.rfftfreq(horizon)
    frequencies[0] = 1 / horizon
    scale = frequencies ** (-exponent / 2)
    spectrum = generator.standard_normal((2, samples, dimension, len(scale))) * scale
    # The lowest and, for an even horizon, the highest frequency have no imaginary part.
    real_only = [0, -1] if horizon % 2 == 0 else [0]
    spectrum[0][..., real_only] *= np.sqrt(2)
    spectrum[1][..., real_only] = 0
    signal = np.fft.irfft(spectrum[0] + 1j * spectrum[1], n=horizon, axis=-1)
    return np.swapaxes(signal / _standard_deviation(scale, horizon), 1, 2)


def _standard_deviation(scale: Array, horizon: int) -> float:
    weights = 2 * scale
    weights[[0, -1] if horizon % 2 == 0 else [0]] /= np.sqrt(2)
    return float(np.sqrt(np.sum(weights**2)) / horizon)
