"""What another installed package adds to the registries: made by name, and offered by nodes and commands."""

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
from jepa_common.robots import FER, ROBOTS
from jepa_planner.limits import fer_limits
from jepa_planner.planner_parameters import LimitParameters
from jepa_planner.solvers import ActionBounds, SolverConfig, make_solver
from jepa_planner.solvers.factory import SOLVERS
from jepa_sim.backends.available import available_backends, connect
from jepa_sim.environment import TableEnvironment
from jepa_sim.sightings import Sightings
from jepa_sim.task_names import TASKS
from jepa_sim.tasks import make_task
from jepa_tools.sim_eval.controllers import Expert
from jepa_tools.sim_eval.evaluation import prepare_episode, run_episode
from jepa_tools.sim_eval.statistics import overview
from jepa_world_model.data.episodes import DatasetError, load_episodes
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

TASK = '''
    """The tool goes up by 10 cm."""
    import dataclasses

    import numpy as np

    from jepa_sim.expert import ScriptedExpert, reach_script
    from jepa_sim.tasks import Task, TaskError


    class Rise(Task):
        goal_by_camera = True
        published_rate = 0.5

        def prepare(self, environment, seed):
            environment.reset(seed, self.name)
            state, joints = environment.state(), environment.joint_positions()
            place = state[:3] + [0.0, 0.0, 0.1]
            rotation = np.diag([1.0, -1.0, -1.0])
            solution = environment.kinematics.solve(place, rotation, joints, iterations=100)
            if solution.position_error > 2e-3:
                raise TaskError(f"{self.name}: too high")

            def make_goals():
                environment.place_arm(solution.positions)
                return [self._goal(environment, "risen", self.config.steps.reach, 2)]

            return self._episode(environment, seed, make_goals)

        def distance(self, environment, episode):
            return float(np.linalg.norm(environment.state()[:3] - self.place(episode)))

        def succeeded(self, environment, episode):
            return self.distance(environment, episode) < self.tolerance

        def expert(self, environment, episode):
            return ScriptedExpert(environment, reach_script(self.place(episode)), self.config.expert)
'''

ROBOT = """
    from dataclasses import replace

    from jepa_common.robots import FER

    SLOW = replace(FER, velocity=(0.5,) * 7, arm_controller="slow_controller")
"""

BACKEND = """
    from jepa_sim.backends.available import BackendKind


    class Paper:
        def __init__(self, call, prefix="paper/"):
            self.prefix = prefix

        def entities(self):
            return ("sheet",)


    KIND = BackendKind(Paper)
"""

FORMAT = """
    import numpy as np

    from jepa_world_model.data.episodes import DatasetFormat, EpisodeArrays


    def load(folder, image_size):
        frames = np.load(folder / "film.npy")
        episodes, steps = frames.shape[:2]
        return EpisodeArrays(frames, np.zeros((episodes, steps, 7), "f4"), np.zeros((episodes, steps - 1, 7), "f4"))


    FILM = DatasetFormat("film.npy", lambda folder: (folder / "film.npy").exists(), load)
"""

CHOICES = """
import tyro
from jepa_common.parameters import declared_parameters
from jepa_planner.planner_parameters import PlannerParameters
from jepa_tools.bag_eval.config import PlanningConfig
from jepa_tools.sim_eval.command import SimEvalConfig
from jepa_tools.operation.running_nodes import NodesConfig
from jepa_tools.bring_up.options import BringUp
assert tyro.cli(SimEvalConfig, args=["--task", "rise"]).task == "rise"
assert tyro.cli(NodesConfig, args=["--simulator", "paper"]).simulator == "paper"
assert BringUp(robot_type="slow").robot_type == "slow"
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


def test_a_task_from_outside_is_set_done_and_judged(install_package: InstallPackage) -> None:
    install_package("jepa_rise", TASK, {"jepa_ros.tasks": "rise = jepa_rise:Rise"})
    assert TASKS.names()[-1] == "rise"
    task = make_task("rise")
    with TableEnvironment() as environment:
        episode = prepare_episode(task, environment, 0, 0)
        result = run_episode(task, environment, episode, Expert(task))
    assert result.success and result.initial_distance == pytest.approx(0.1, abs=0.01)
    (_, row) = overview({"rise": {"expert": {"successes": 1, "episodes": 1, "success_rate": 1.0}}})
    assert row == ["rise", "1/1 (100%)", "50%"]
    seen = Sightings(np.zeros(3), np.array([[0.0, 0.0, 0.2]]), seconds=0.0, closedness=0.0)
    assert task.why_failed_from_outside(np.array([0.0, 0.0, 0.1]), seen) == "stopped too far away"
    task.check_runs_through_nodes()


def test_a_robot_from_outside_limits_the_planner(install_package: InstallPackage) -> None:
    install_package("jepa_slow", ROBOT, {"jepa_ros.robots": "slow = jepa_slow:SLOW"})
    slow = ROBOTS.load("slow")
    assert (slow.arm_controller, slow.joints) == ("slow_controller", FER.joints)
    limits = LimitParameters().apply(fer_limits(FER.joints), "slow")
    assert np.all(limits.arm.velocity == 0.5) and np.all(limits.velocity <= 0.5)
    with pytest.raises(UnknownNameError, match="expected a robot of fer, fr3, slow, got 'fast'"):
        LimitParameters().apply(fer_limits(FER.joints), "fast")


def test_a_simulator_backend_from_outside_is_connected(install_package: InstallPackage) -> None:
    install_package("jepa_paper", BACKEND, {"jepa_ros.simulator_backends": "paper = jepa_paper:KIND"})
    assert available_backends()[-1] == "paper"
    assert connect("paper", lambda *_: None).entities() == ("sheet",)
    assert connect("paper", lambda *_: None, prefix="a/").prefix == "a/"


def test_a_dataset_format_from_outside_is_loaded(install_package: InstallPackage, tmp_path: Path) -> None:
    np.save(tmp_path / "film.npy", np.zeros((2, 3, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"expected shard_\*\.npz or meta/info\.json \(LeRobot layout\)"):
        load_episodes(tmp_path)
    install_package("jepa_film", FORMAT, {"jepa_ros.dataset_formats": "film = jepa_film:FILM"})
    assert load_episodes(tmp_path).episodes == 2


def test_nodes_and_commands_offer_what_is_installed_when_they_start(install_package: InstallPackage) -> None:
    install_package("jepa_compass", SOLVER, {"jepa_ros.solvers": "compass = jepa_compass:compass"})
    site = install_package("jepa_worst", DISTANCE, {"jepa_ros.distances": "worst_token = jepa_worst:worst_token"})
    install_package("jepa_rise", TASK, {"jepa_ros.tasks": "rise = jepa_rise:Rise"})
    install_package("jepa_slow", ROBOT, {"jepa_ros.robots": "slow = jepa_slow:SLOW"})
    install_package("jepa_paper", BACKEND, {"jepa_ros.simulator_backends": "paper = jepa_paper:KIND"})
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
