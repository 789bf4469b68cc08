"""The cross-entropy method first, then a few gradient steps from the plan that it found."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jepa_planner.solvers.base import ActionBounds, Array, Cost, IterationCallback, Plan
from jepa_planner.solvers.cem import CemConfig, CemSolver
from jepa_planner.solvers.gradient import GradientConfig, GradientSolver


@dataclass(frozen=True)
class CemGradientConfig:
    """Settings of both stages; ``search_share`` is the part of a deadline that the search may use."""

    cem: CemConfig = field(default_factory=CemConfig)
    gradient: GradientConfig = field(default_factory=lambda: GradientConfig(restarts=1, learning_rate=0.05))
    search_share: float = 0.6

    def __post_init__(self) -> None:
        if self.cem.horizon != self.gradient.horizon:
            raise ValueError(f"both stages need one horizon: {self.cem.horizon} != {self.gradient.horizon}")
        if not 0 < self.search_share < 1:
            raise ValueError(f"search_share must lie in (0, 1), got {self.search_share}")


class CemGradientSolver:
    """Global search, local refinement, never worse than where it started. Not thread-safe."""

    def __init__(
        self, config: CemGradientConfig, bounds: ActionBounds, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._share = config.search_share
        self._search = CemSolver(config.cem, bounds, clock)
        self._refine = GradientSolver(config.gradient, bounds, clock)

    @property
    def bounds(self) -> ActionBounds:
        """Where plans are looked for."""
        return self._search.bounds

    @property
    def horizon(self) -> int:
        """Steps per plan."""
        return self._search.horizon

    def reset(self, seed: int | None = None) -> None:
        """Restart both stages."""
        self._search.reset(seed)
        self._refine.reset(seed)

    def solve(
        self,
        cost: Cost,
        warm_start: Array | None = None,
        deadline: float | None = None,
        on_iteration: IterationCallback | None = None,
    ) -> Plan:
        """See Solver.solve; raises TypeError for a cost without gradients."""
        share = None if deadline is None else self._share * deadline
        found = self._search.solve(cost, warm_start, share, on_iteration)
        left = None if deadline is None else deadline - found.elapsed
        refined = self._refine.solve(cost, found.actions, left, on_iteration)
        return Plan(
            refined.actions,
            refined.energy,
            tuple(float(energy) for energy in np.minimum.accumulate(found.energies + refined.energies)),
            found.iterations + refined.iterations,
            found.elapsed + refined.elapsed,
        )
