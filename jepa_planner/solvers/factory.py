"""Solvers by name, from one flat configuration that fits a parameter file and a command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from jepa_common.registry import Registry
from jepa_planner.solvers.base import GRIPPER, ActionBounds, Solver
from jepa_planner.solvers.cem import CemConfig, CemSolver
from jepa_planner.solvers.cem_gradient import CemGradientConfig, CemGradientSolver
from jepa_planner.solvers.gradient import GradientConfig, GradientSolver
from jepa_planner.solvers.icem import IcemConfig, IcemSolver
from jepa_planner.solvers.mppi import MppiConfig, MppiSolver

_HERE = "jepa_planner.solvers.factory"
SOLVERS: Registry[Callable[[SolverConfig], Solver]] = Registry(
    "jepa_ros.solvers",
    "solver",
    {
        "cem": f"{_HERE}:_cem",
        "icem": f"{_HERE}:_icem",
        "mppi": f"{_HERE}:_mppi",
        "gradient": f"{_HERE}:_gradient",
        "cem_gradient": f"{_HERE}:_cem_gradient",
    },
)
"""Makers of solvers; a name with "gradient" in it needs a cost that lets gradients through."""

SOLVER_NAMES = SOLVERS.names()
if TYPE_CHECKING:
    SolverName = str
else:
    # What a command line offers: what is installed when the program starts.
    SolverName = Literal[SOLVER_NAMES]


@dataclass(frozen=True)
class SolverConfig:
    """One configuration for every solver; each takes what concerns it.

    max_step: longest translation per action, m.
    max_rotation: rad per axis and action; 0 holds the rotation as published.
    max_yaw: rad about the vertical and action, where that is more than max_rotation: an upright hand that turns.
    max_gripper: closedness per action; 0 plans with the fingers as the sub-goal, or the gripper's rule, has them.
    The defaults are for a small model at 4 Hz on a CPU; `published_solver_config` has the paper's.
    """

    solver: SolverName = "cem"
    samples: int = 64
    iterations: int = 3
    horizon: int = 1
    elites: int = 8
    momentum_mean: float = 0.0
    momentum_std: float = 0.0
    minimum_std: float = 0.0
    noise_exponent: float = 2.0
    kept_fraction: float = 0.3
    temperature: float = 0.3
    restarts: int = 8
    gradient_iterations: int = 10
    learning_rate: float = 0.2
    max_step: float = 0.06
    max_rotation: float = 0.0
    max_yaw: float = 0.0
    max_gripper: float = 0.0
    gripper_dead_zone: float = 0.0
    gripper_std: float = 0.0
    seed: int = 0

    def bounds(self) -> ActionBounds:
        """Where plans are looked for."""
        bounds = ActionBounds.symmetric(
            self.max_step, self.max_rotation, self.max_gripper, self.gripper_dead_zone, self.max_yaw
        )
        return replace(bounds, std=(*bounds.high[:GRIPPER], self.gripper_std)) if self.gripper_std > 0 else bounds

    def cem(self) -> CemConfig:
        """The cross-entropy method's part."""
        return CemConfig(
            samples=self.samples,
            iterations=self.iterations,
            horizon=self.horizon,
            elites=self.elites,
            momentum_mean=self.momentum_mean,
            momentum_std=self.momentum_std,
            minimum_std=self.minimum_std,
            seed=self.seed,
        )

    def gradient(self) -> GradientConfig:
        """The gradient solver's part."""
        return GradientConfig(
            restarts=self.restarts,
            iterations=self.gradient_iterations,
            horizon=self.horizon,
            learning_rate=self.learning_rate,
            seed=self.seed,
        )


def published_solver_config(variant: Literal["paper", "wrapper"] = "paper") -> SolverConfig:
    """The published planner: 800 x 10 at horizon 1 (paper) or 400 x 10 at horizon 2 (official wrapper)."""
    common = SolverConfig(
        solver="cem", iterations=10, elites=10, max_gripper=0.75, gripper_dead_zone=0.25, gripper_std=1.0
    )
    if variant == "paper":
        return replace(common, samples=800, horizon=1, max_step=0.075)
    return replace(common, samples=400, horizon=2, max_step=0.05, momentum_mean=0.15, momentum_std=0.15)


def make_solver(config: SolverConfig) -> Solver:
    """The solver that ``config`` names; raises ValueError for an unknown name."""
    return SOLVERS.load(config.solver)(config)


def _cem(config: SolverConfig) -> Solver:
    return CemSolver(config.cem(), config.bounds())


def _icem(config: SolverConfig) -> Solver:
    cem = replace(config.cem(), return_best=True)
    icem = IcemConfig(cem, noise_exponent=config.noise_exponent, kept_fraction=config.kept_fraction)
    return IcemSolver(icem, config.bounds())


def _mppi(config: SolverConfig) -> Solver:
    mppi = MppiConfig(
        samples=config.samples,
        iterations=config.iterations,
        horizon=config.horizon,
        temperature=config.temperature,
        seed=config.seed,
    )
    return MppiSolver(mppi, config.bounds())


def _gradient(config: SolverConfig) -> Solver:
    return GradientSolver(config.gradient(), config.bounds())


def _cem_gradient(config: SolverConfig) -> Solver:
    refine = replace(config.gradient(), restarts=1, learning_rate=config.learning_rate / 4)
    return CemGradientSolver(CemGradientConfig(config.cem(), refine), config.bounds())
