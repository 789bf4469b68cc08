"""What every solver promises: a cost in, a plan out, whatever model or search stands behind them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.floating]
ACTION_DIM = 7
TRANSLATION = slice(0, 3)
ROTATION = slice(3, 6)
GRIPPER = 6
# No distance of latents comes near this; beyond it, sums over candidates overflow.
LARGEST_ENERGY = 1e30


class Cost(Protocol):
    """Energies of candidate action sequences; lower is better."""

    def __call__(self, actions: Array) -> Array:
        """Score ``actions`` [samples, horizon, action_dim] (m, rad, closedness): energies [samples]."""


@runtime_checkable
class DifferentiableCost(Cost, Protocol):
    """A cost that lets gradients through, for solvers that run in the model's own process."""

    def energies(self, actions: torch.Tensor) -> torch.Tensor:
        """Score ``actions`` [samples, horizon, action_dim]: energies [samples] with their graph."""


class SolverError(RuntimeError):
    """The cost answered with something that no plan can be made from."""


@dataclass(frozen=True)
class ActionBounds:
    """The box (and the ball of translations) that every candidate and every returned action lies in.

    low, high: per dimension, m, rad and closedness per step; where both are equal, nothing is searched.
    translation_norm: longest step, m; None leaves the box alone in charge.
    std: initial spread of the search per dimension; None takes half the range.
    gripper_dead_zone: a returned gripper command smaller than this is zeroed (0.25 in the published planner).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    translation_norm: float | None = None
    std: tuple[float, ...] | None = None
    gripper_dead_zone: float = 0.0

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not np.all(np.isfinite([*self.low, *self.high])):
            raise ValueError(f"action bounds need two equally long finite tuples, got {self.low}, {self.high}")
        if np.any(np.asarray(self.low) > np.asarray(self.high)):
            raise ValueError(f"lower action bounds exceed upper ones: {self.low} > {self.high}")
        if self.translation_norm is not None and not self.translation_norm > 0:
            raise ValueError(f"translation_norm must be positive, got {self.translation_norm}")
        if self.std is not None and (len(self.std) != len(self.low) or not np.all(np.asarray(self.std) >= 0)):
            raise ValueError(f"std needs {len(self.low)} values of at least 0, got {self.std}")

    @classmethod
    def symmetric(
        cls,
        translation: float,
        rotation: float = 0.0,
        gripper: float = 0.0,
        gripper_dead_zone: float = 0.0,
        yaw: float = 0.0,
    ) -> ActionBounds:
        """Bounds of ±``translation`` m (a ball), ±``rotation`` rad per axis, ±``gripper`` closedness.

        About the vertical it is ±``yaw`` rad where that is more.
        """
        high = (translation,) * 3 + (rotation,) * 2 + (max(rotation, yaw), gripper)
        low = tuple(-value for value in high)
        norm = translation if translation > 0 else None
        return cls(low, high, translation_norm=norm, gripper_dead_zone=gripper_dead_zone)

    @property
    def dimension(self) -> int:
        """Number of action dimensions."""
        return len(self.low)

    def initial_std(self) -> Array:
        """Spread of the first iteration [action_dim]; 0 where nothing is searched."""
        half_range = (np.asarray(self.high) - np.asarray(self.low)) / 2
        if self.std is None:
            return half_range
        return np.where(half_range > 0, np.asarray(self.std), 0.0)

    def clip(self, actions: Array) -> Array:
        """Project ``actions`` [..., action_dim] into the bounds."""
        clipped = np.clip(actions, self.low, self.high)
        if self.translation_norm is not None:
            norm = np.linalg.norm(clipped[..., TRANSLATION], axis=-1, keepdims=True)
            clipped[..., TRANSLATION] *= np.minimum(1.0, self.translation_norm / np.maximum(norm, 1e-12))
        return clipped

    def finish(self, actions: Array) -> Array:
        """Clip a plan that is about to be returned and zero gripper commands inside the dead zone."""
        finished = self.clip(actions)
        if self.gripper_dead_zone > 0 and self.dimension > GRIPPER:
            small = np.abs(finished[..., GRIPPER]) < self.gripper_dead_zone
            finished[..., GRIPPER] = np.where(small, 0.0, finished[..., GRIPPER])
        return finished


@dataclass(frozen=True)
class Plan:
    """What a solver found.

    actions: [horizon, action_dim].
    energy: what the returned actions are expected to cost (the elites' mean where their mean is returned).
    energies: lowest energy seen up to and including each iteration.
    elapsed: wall time, s.
    """

    actions: Array
    energy: float
    energies: tuple[float, ...]
    iterations: int
    elapsed: float


@dataclass(frozen=True)
class Iteration:
    """Telemetry: candidates [samples, horizon, action_dim], energies [samples], indices of the elites."""

    index: int
    actions: Array
    energies: Array
    elites: npt.NDArray[np.intp]
    mean: Array
    std: Array


IterationCallback = Callable[[Iteration], None]


class Solver(Protocol):
    """Searches for the action sequence of least cost. Not thread-safe: one thread solves at a time."""

    @property
    def bounds(self) -> ActionBounds:
        """Where plans are looked for."""

    def reset(self, seed: int | None = None) -> None:
        """Forget what earlier calls left behind; restart the generator at ``seed`` when one is given."""

    def solve(
        self,
        cost: Cost,
        warm_start: Array | None = None,
        deadline: float | None = None,
        on_iteration: IterationCallback | None = None,
    ) -> Plan:
        """Plan against ``cost`` from ``warm_start`` [horizon, action_dim], within ``deadline`` seconds.

        The first iteration always runs; a further one starts only when it is expected to end in time.
        Raises SolverError when no candidate has a finite energy.
        """


@dataclass(frozen=True)
class Distribution:
    """An independent normal distribution over action sequences: mean and std [horizon, action_dim]."""

    mean: Array
    std: Array


@dataclass
class _Search:
    """State of one solve: the distribution, the best candidate yet and the curve so far."""

    distribution: Distribution
    best: Array
    best_energy: float = float("inf")
    curve: list[float] = field(default_factory=list)
    expected_energy: float = float("inf")


class SamplingSolver(ABC):
    """The loop that sampling solvers share: sample, score, refit. Not thread-safe.

    Candidate 0 of the first iteration is the warm start (all zeros without one); in later iterations it is
    the current mean, so that a good plan is never lost to an unlucky draw. Where the gripper is searched, some of the
    first iteration's candidates hold, close and open it in one go; see `with_whole_grips`.
    """

    def __init__(
        self,
        bounds: ActionBounds,
        *,
        horizon: int,
        samples: int,
        iterations: int,
        return_best: bool,
        seed: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if horizon < 1 or samples < 2 or iterations < 1:
            raise ValueError(
                "horizon and iterations must be at least 1 and samples at least 2, got "
                f"{horizon}, {iterations}, {samples}"
            )
        self._bounds = bounds
        self._horizon = horizon
        self._samples = samples
        self._iterations = iterations
        self._return_best = return_best
        self._clock = clock
        self._generator = np.random.default_rng(seed)

    @property
    def bounds(self) -> ActionBounds:
        """Where plans are looked for."""
        return self._bounds

    @property
    def horizon(self) -> int:
        """Steps per plan."""
        return self._horizon

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
        """See Solver.solve."""
        started = self._clock()
        search = self._begin(warm_start)
        for index in range(self._iterations):
            self._iterate(search, cost, index, on_iteration)
            if deadline_passes(started, self._clock(), index + 1, deadline):
                break
        return self._conclude(search, started)

    def _begin(self, warm_start: Array | None) -> _Search:
        mean = as_warm_start(warm_start, self._horizon, self._bounds)
        std = np.tile(self._bounds.initial_std(), (self._horizon, 1))
        return _Search(Distribution(mean, std), best=mean)

    def _iterate(self, search: _Search, cost: Cost, index: int, on_iteration: IterationCallback | None) -> None:
        actions = self._candidates(search, index)
        energies = score(cost, actions)
        elites = self._elites(energies)
        if energies[elites[0]] < search.best_energy:
            search.best, search.best_energy = actions[elites[0]], float(energies[elites[0]])
        search.distribution = self._refit(search.distribution, actions, energies, elites)
        search.expected_energy = self._expected_energy(energies, elites)
        search.curve.append(search.best_energy)
        if on_iteration is not None:
            distribution = search.distribution
            on_iteration(Iteration(index, actions, energies, elites, distribution.mean, distribution.std))

    def _candidates(self, search: _Search, index: int) -> Array:
        actions = self._sample(search.distribution, index)
        if index == 0:
            actions = with_whole_grips(actions, self._bounds)
        actions[0] = search.distribution.mean
        return self._bounds.clip(actions).astype(np.float32)

    def _conclude(self, search: _Search, started: float) -> Plan:
        actions = search.best if self._return_best else search.distribution.mean
        energy = search.best_energy if self._return_best else search.expected_energy
        curve = tuple(search.curve)
        finished = self._bounds.finish(np.asarray(actions, dtype=np.float64))
        return Plan(finished, energy, curve, len(curve), self._clock() - started)

    def _expected_energy(self, energies: Array, elites: npt.NDArray[np.intp]) -> float:
        finite = energies[elites][np.isfinite(energies[elites])]
        return float(finite.mean())

    def _sample(self, distribution: Distribution, index: int) -> Array:  # noqa: ARG002 - for subclasses
        """Draw the candidates [samples, horizon, action_dim] of iteration ``index``, not yet clipped."""
        shape = (self._samples, *distribution.mean.shape)
        return distribution.mean + distribution.std * self._generator.standard_normal(shape)

    @abstractmethod
    def _elites(self, energies: Array) -> npt.NDArray[np.intp]:
        """Indices of the candidates that the refit looks at, best first."""

    @abstractmethod
    def _refit(
        self, distribution: Distribution, actions: Array, energies: Array, elites: npt.NDArray[np.intp]
    ) -> Distribution:
        """The distribution that the next iteration draws from."""


def with_whole_grips(actions: Array, bounds: ActionBounds) -> Array:
    """Candidates [samples, horizon, action_dim], of which every second moves the gripper as grippers are moved.

    In turn they hold it, close it and open it whole in the first step, and leave it so. Beyond a horizon of 1 every
    second of these rests the arm in that step: close, then lift. Nothing changes where the gripper is not searched.
    """
    if bounds.dimension <= GRIPPER or not bounds.low[GRIPPER] < bounds.high[GRIPPER]:
        return actions
    changed = np.array(actions)
    for kind, change in enumerate((0.0, bounds.high[GRIPPER], bounds.low[GRIPPER])):
        chosen = slice(1 + 2 * kind, None, 6)
        changed[chosen, :, GRIPPER] = 0.0
        changed[chosen, 0, GRIPPER] = change
        if actions.shape[1] > 1 and change:
            changed[chosen][::2, 0, :GRIPPER] = 0.0
    return changed


def as_warm_start(warm_start: Array | None, horizon: int, bounds: ActionBounds) -> Array:
    """The first mean [horizon, action_dim]: ``warm_start`` clipped, or zeros (clipped) without one."""
    shape = (horizon, bounds.dimension)
    if warm_start is None:
        return bounds.clip(np.zeros(shape))
    start = np.array(warm_start, dtype=np.float64)
    if start.shape != shape or not np.all(np.isfinite(start)):
        raise ValueError(f"a warm start needs finite values of shape {shape}, got {start.shape}: {start}")
    return bounds.clip(start)


def score(cost: Cost, actions: Array) -> Array:
    """Energies [samples] of ``actions``, checked; what is not finite counts as infinitely bad."""
    energies = np.asarray(cost(actions), dtype=np.float64)
    if energies.shape != (len(actions),):
        raise SolverError(f"the cost returned shape {energies.shape} for {len(actions)} candidates")
    energies = np.where(np.abs(energies) < LARGEST_ENERGY, energies, np.inf)
    if not np.any(np.isfinite(energies)):
        raise SolverError("no candidate has a finite energy; check the latents, the goal and the model")
    return energies


def lowest(energies: Array, count: int) -> npt.NDArray[np.intp]:
    """Indices of the ``count`` lowest finite energies, best first (fewer when fewer are finite)."""
    order = np.argsort(energies, kind="stable")[:count]
    return order[np.isfinite(energies[order])]


def deadline_passes(started: float, now: float, iterations_done: int, deadline: float | None) -> bool:
    """Whether one more iteration, as long as the mean of those done, would end after the deadline."""
    if deadline is None:
        return False
    elapsed = now - started
    return elapsed + elapsed / iterations_done > deadline
