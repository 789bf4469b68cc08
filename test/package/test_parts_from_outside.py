"""Solvers and distances that another installed package adds: made by name, and offered by nodes and commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from jepa_common.registry import Registry, UnknownNameError
from jepa_planner.solvers import ActionBounds, SolverConfig, make_solver
from jepa_planner.solvers.factory import SOLVERS
from jepa_world_model.energy import latent_distance
from jepa_world_model.model_card import DISTANCES, ModelCard

InstallPackage = Callable[[str, str, dict[str, str]], Path]

SOLVER = '''
    """A solver that tries each direction once."""
    import time
    from dataclasses import dataclass

    import numpy as np

    from jepa_planner.solvers import ActionBounds, Plan
    from jepa_planner.solvers.base import score


    @dataclass
    class Compass:
        bounds: ActionBounds
        horizon: int

        def reset(self, seed=None):
            pass

        def solve(self, cost, warm_start=None, deadline=None, on_iteration=None):
            started = time.monotonic()
            steps = np.vstack([np.diag(self.bounds.high), np.diag(self.bounds.low), np.zeros(self.bounds.dimension)])
            actions = np.repeat(self.bounds.clip(steps)[:, None], self.horizon, axis=1).astype(np.float32)
            energies = score(cost, actions)
            best = int(energies.argmin())
            least = float(energies[best])
            return Plan(self.bounds.finish(actions[best]), least, (least,), 1, time.monotonic() - started)


    def compass(config):
        return Compass(config.bounds(), config.horizon)
'''

DISTANCE = '''
    """The largest difference of any token, of which weights leave some out."""


    def worst_token(latents, goal, weights):
        differences = (latents - goal).abs().mean(dim=-1)
        return (differences if weights is None else differences * (weights > 0)).amax(dim=-1)
'''

CHOICES = """
import tyro
from jepa_common.parameters import declared_parameters
from jepa_planner.planner_parameters import PlannerParameters
from jepa_tools.bag_eval.config import PlanningConfig
from jepa_tools.sim_eval.command import SimEvalConfig
choices = {declared.name: declared.info.choices for declared in declared_parameters(PlannerParameters)}
assert "compass" in choices["solver.name"], choices["solver.name"]
assert "worst_token" in choices["solver.distance"], choices["solver.distance"]
config = tyro.cli(SimEvalConfig, args=["--solver", "compass", "cem", "--distance", "worst_token"])
print(tyro.cli(PlanningConfig, args=["--solver", "compass"]).solver, *config.solver, config.distance)
"""


def test_a_solver_from_outside_plans(install_package: InstallPackage) -> None:
    with pytest.raises(UnknownNameError, match=r"expected a solver of cem, icem, mppi, .*, got 'compass'"):
        make_solver(SolverConfig(solver="compass"))
    install_package("jepa_compass", SOLVER, {"jepa_ros.solvers": "compass = jepa_compass:compass"})
    assert SOLVERS.names()[-1] == "compass"
    solver = make_solver(SolverConfig(solver="compass", horizon=2, max_step=0.05))
    assert solver.bounds == ActionBounds.symmetric(0.05)
    plan = solver.solve(lambda actions: np.abs(actions.sum(axis=1)[:, :3] - [0.0, -0.1, 0.0]).sum(axis=-1))
    np.testing.assert_allclose(plan.actions, np.tile([0.0, -0.05, 0, 0, 0, 0, 0], (2, 1)), atol=1e-7)


def test_a_distance_from_outside_measures_energies(install_package: InstallPackage) -> None:
    goal, latents = torch.zeros(3, 4), torch.zeros(2, 3, 4)
    latents[0, 1], latents[1, 2] = 2.0, 5.0
    with pytest.raises(ValueError, match=r"expected a distance of l1, l2, .*, got 'worst_token'"):
        latent_distance(latents, goal, "worst_token")
    install_package("jepa_worst", DISTANCE, {"jepa_ros.distances": "worst_token = jepa_worst:worst_token"})
    assert DISTANCES.names()[-1] == "worst_token"
    assert latent_distance(latents, goal, "worst_token").tolist() == [2.0, 5.0]
    assert latent_distance(latents, goal, "worst_token", weights=torch.tensor([1.0, 1.0, 0.0])).tolist() == [2.0, 0.0]
    card = ModelCard("any", distance="l1", reach_energy=0.1).measured_by("worst_token")
    assert (card.distance, card.reach_energy) == ("worst_token", None)


def test_nodes_and_commands_offer_what_is_installed_when_they_start(install_package: InstallPackage) -> None:
    install_package("jepa_compass", SOLVER, {"jepa_ros.solvers": "compass = jepa_compass:compass"})
    site = install_package("jepa_worst", DISTANCE, {"jepa_ros.distances": "worst_token = jepa_worst:worst_token"})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", CHOICES], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["compass", "compass", "cem", "worst_token"]


def test_a_thing_is_imported_once_and_only_when_it_is_asked_for(install_package: InstallPackage) -> None:
    install_package("jepa_lazy", "import os\nTHING = object()\n", {"jepa_ros.test": "lazy = jepa_lazy:THING"})
    things: Registry[object] = Registry("jepa_ros.test", "thing", {})
    assert things.names() == ("lazy",)
    assert "jepa_lazy" not in sys.modules
    assert things.load("lazy") is things.load("lazy") is sys.modules["jepa_lazy"].THING
