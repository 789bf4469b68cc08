"""Adam through the world model: for costs that live in the same process and let gradients through."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jepa_planner.solvers.base import (
    ActionBounds,
    Array,
    Cost,
    DifferentiableCost,
    Iteration,
    IterationCallback,
    Plan,
    SolverError,
    as_warm_start,
    deadline_passes,
    lowest,
)

if TYPE_CHECKING:
    import torch


_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class GradientConfig:
    """Settings of the gradient solver.

    restarts: action sequences optimised side by side; the first is the warm start, the others are random.
    learning_rate: as a fraction of each dimension's half range, per Adam step.
    """

    restarts: int = 8
    iterations: int = 10
    horizon: int = 1
    learning_rate: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.restarts, self.iterations, self.horizon) < 1 or not self.learning_rate > 0:
            raise ValueError(f"restarts, iterations, horizon and learning_rate must be positive, got {self}")


class GradientSolver:
    """Projected Adam (Kingma & Ba, 2015) on several starts at once; returns the best seen. Not thread-safe."""

    def __init__(
        self, config: GradientConfig, bounds: ActionBounds, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # Importing torch takes seconds: here, not out of the first plan's deadline.
        importlib.import_module("torch")
        self._config = config
        self._bounds = bounds
        self._clock = clock
        self._generator = np.random.default_rng(config.seed)

    @property
    def bounds(self) -> ActionBounds:
        """Where plans are looked for."""
        return self._bounds

    @property
    def horizon(self) -> int:
        """Steps per plan."""
        return self._config.horizon

    def reset(self, seed: int | None = None) -> None:
        """Restart the generator at ``seed`` when one is given."""
        if seed is not None:
            self._generator = np.random.default_rng(seed)

    def solve(
        self,
        cost: Cost,
        warm_start: Array | None = None,
        deadline: float | None = None,
        on_iteration: IterationCallback | None = None,
    ) -> Plan:
        """See Solver.solve; raises TypeError for a cost without gradients."""
        if not isinstance(cost, DifferentiableCost):
            raise TypeError(
                f"{type(cost).__name__} lets no gradients through; use cem, icem or mppi, "
                "or plan in the model's process"
            )
        started = self._clock()
        descent = _Descent(cost, self._bounds, self._starts(warm_start), self._config.learning_rate)
        for index in range(self._config.iterations):
            descent.step(index, on_iteration)
            if deadline_passes(started, self._clock(), index + 1, deadline):
                break
        return descent.plan(self._clock() - started)

    def _starts(self, warm_start: Array | None) -> Array:
        mean = as_warm_start(warm_start, self._config.horizon, self._bounds)
        noise = self._generator.standard_normal((self._config.restarts, *mean.shape))
        starts = mean + self._bounds.initial_std() * noise
        starts[0] = mean
        return self._bounds.clip(starts)


class _Descent:
    """Adam on normalised actions, projected into the bounds after every step."""

    def __init__(self, cost: DifferentiableCost, bounds: ActionBounds, starts: Array, learning_rate: float) -> None:
        import torch

        self._torch = torch
        self._cost = cost
        self._bounds = bounds
        low, high = np.asarray(bounds.low), np.asarray(bounds.high)
        self._scale = torch.as_tensor((high - low) / 2, dtype=torch.float32)
        # Dimensions that are not searched have scale 0: their offset alone decides.
        self._offset = torch.as_tensor((np.asarray(bounds.high) + np.asarray(bounds.low)) / 2, dtype=torch.float32)
        self._variables = self._normalised(starts).requires_grad_(True)
        self._learning_rate = learning_rate
        self._momentum = torch.zeros_like(self._variables)
        self._variance = torch.zeros_like(self._variables)
        self._best = starts[0]
        self._best_energy = float("inf")
        self._curve: list[float] = []

    def _normalised(self, actions: Array) -> torch.Tensor:
        offset = np.asarray(self._offset, dtype=np.float64)
        scale = np.where(np.asarray(self._scale) > 0, np.asarray(self._scale), 1.0)
        return self._torch.as_tensor((actions - offset) / scale, dtype=self._torch.float32)

    def step(self, index: int, on_iteration: IterationCallback | None) -> None:
        """Score the current actions, remember the best and take one Adam step."""
        actions = self._variables * self._scale + self._offset
        energies = self._cost.energies(actions)
        values = energies.detach().cpu().numpy().astype(np.float64)
        self._remember(actions.detach().cpu().numpy().astype(np.float64), values, index, on_iteration)
        usable = self._torch.where(self._torch.isfinite(energies), energies, 0.0)
        (gradient,) = self._torch.autograd.grad(usable.sum(), self._variables)
        with self._torch.no_grad():
            self._descend(self._torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0), index + 1)
            self._project()

    def _descend(self, gradient: torch.Tensor, step: int) -> None:
        # Written out: the library's optimiser compiles itself on its first step, which takes seconds.
        self._momentum.mul_(_BETA1).add_(gradient, alpha=1 - _BETA1)
        self._variance.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        scale = (self._variance / (1 - _BETA2**step)).sqrt_().add_(_EPSILON)
        self._variables.sub_(self._learning_rate / (1 - _BETA1**step) * self._momentum / scale)

    def _remember(self, actions: Array, energies: Array, index: int, on_iteration: IterationCallback | None) -> None:
        order = lowest(energies, len(energies))
        if not len(order):
            raise SolverError("no candidate has a finite energy; check the latents, the goal and the model")
        if energies[order[0]] < self._best_energy:
            self._best, self._best_energy = actions[order[0]], float(energies[order[0]])
        self._curve.append(self._best_energy)
        if on_iteration is not None:
            on_iteration(Iteration(index, actions, energies, order, self._best, actions.std(axis=0)))

    def _project(self) -> None:
        actions = self._variables * self._scale + self._offset
        clipped = self._bounds.clip(actions.cpu().numpy().astype(np.float64))
        self._variables.copy_(self._normalised(clipped))

    def plan(self, elapsed: float) -> Plan:
        """The best actions seen."""
        curve = tuple(self._curve)
        return Plan(self._bounds.finish(self._best), self._best_energy, curve, len(curve), elapsed)
