"""Solvers: who searches for the action sequence of least energy."""

from jepa_planner.solvers.base import (
    ActionBounds,
    Cost,
    DifferentiableCost,
    Iteration,
    IterationCallback,
    Plan,
    Solver,
    SolverError,
)
from jepa_planner.solvers.factory import SOLVER_NAMES, SolverConfig, make_solver, published_solver_config

__all__ = [
    "SOLVER_NAMES",
    "ActionBounds",
    "Cost",
    "DifferentiableCost",
    "Iteration",
    "IterationCallback",
    "Plan",
    "Solver",
    "SolverConfig",
    "SolverError",
    "make_solver",
    "published_solver_config",
]
