"""Episodes on the simulated table in process: a controller acts, the task judges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jepa_planner.goals import GoalConfig, GoalSequence, Outcome, SubGoal
from jepa_planner.mpc import Mpc, MpcConfig
from jepa_planner.solvers.factory import SolverConfig, make_solver
from jepa_sim.environment import TableEnvironment
from jepa_sim.expert import ScriptedExpert
from jepa_sim.task_names import REACH
from jepa_sim.tasks import Goal, Task, TaskEpisode, TaskError
from jepa_tools.model_cost import FrameMemory, ModelCosts
from jepa_world_model.model_card import ModelCard
from jepa_world_model.world_model import WorldModel

Vector = NDArray[np.float64]

# Fingers that close on an object of this size or more stop at a closedness above it.
_HOLDS_SOMETHING = 0.1
_SCENE_ATTEMPTS = 50
# Keeps the seeds of evaluations apart from those that data is collected with, which count up from zero.
_EVALUATION = 0x6A657061


@dataclass(frozen=True)
class EpisodeResult:
    """What came of one episode.

    Attributes:
        seed: of the scene.
        success: as the task judges.
        initial_distance, final_distance: of what matters (tool or object) to the goal, m.
        steps: actions carried out.
        plan_seconds: time of each plan.
    """

    seed: int
    success: bool
    initial_distance: float
    final_distance: float
    steps: int
    plan_seconds: tuple[float, ...] = ()


class Controller(Protocol):
    """Acts in an episode. One thread uses it, one episode at a time."""

    def begin(self, environment: TableEnvironment, episode: TaskEpisode) -> None:
        """A new episode, at its start."""

    def act(self, environment: TableEnvironment) -> Vector | None:
        """The next action [7]; None when nothing is left to do."""

    def plan_seconds(self) -> tuple[float, ...]:
        """Time of each plan since the episode began; empty for those that do not plan."""


class HoldStill:
    """Does nothing: what the others have to beat."""

    def begin(self, environment: TableEnvironment, episode: TaskEpisode) -> None:
        """Nothing to prepare."""

    def act(self, environment: TableEnvironment) -> Vector | None:  # noqa: ARG002
        """Stays."""
        return np.zeros(7)

    def plan_seconds(self) -> tuple[float, ...]:
        """None."""
        return ()


class RandomActions:
    """Steps of at most `max_step` m in random directions; the gripper opens and closes at random in object tasks."""

    def __init__(self, max_step: float) -> None:
        self._max_step = max_step
        self._generator = np.random.default_rng(0)
        self._grips = False

    def begin(self, environment: TableEnvironment, episode: TaskEpisode) -> None:  # noqa: ARG002
        """Restarts the generator at the episode's seed."""
        self._generator = np.random.default_rng((_EVALUATION, episode.seed))
        self._grips = episode.task != REACH

    def act(self, environment: TableEnvironment) -> Vector | None:  # noqa: ARG002
        """Uniform in the ball of steps."""
        direction = self._generator.normal(size=3)
        length = self._max_step * self._generator.uniform() ** (1 / 3)
        gripper = self._generator.uniform(-1.0, 1.0) if self._grips else 0.0
        return np.array([*(direction / np.linalg.norm(direction) * length), 0.0, 0.0, 0.0, gripper])

    def plan_seconds(self) -> tuple[float, ...]:
        """None."""
        return ()


class Expert:
    """The task's script, which knows where everything is: what is possible."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._script: ScriptedExpert | None = None

    def begin(self, environment: TableEnvironment, episode: TaskEpisode) -> None:
        """Starts the script."""
        self._script = self._task.expert(environment, episode)

    def act(self, environment: TableEnvironment) -> Vector | None:  # noqa: ARG002
        """The script's next action."""
        if self._script is None:
            raise RuntimeError("expected begin before act")
        self._script.observe()
        return None if self._script.finished else self._script.act()

    def plan_seconds(self) -> tuple[float, ...]:
        """None."""
        return ()


@dataclass(frozen=True)
class ControlConfig:
    """Planning in process with the values of config/sim.yaml.

    Attributes:
        solver: the search; a max_step of 0 is the model card's.
        mpc: the receding horizon. No deadline by default, so that results do not depend on the machine's speed.
        goals: when a goal is over; a tolerance of 0 is the model card's.
    """

    solver: SolverConfig = field(default_factory=lambda: SolverConfig(max_step=0.075))
    mpc: MpcConfig = field(default_factory=lambda: MpcConfig(plan_seconds=0.0, longest_step=0.075))
    goals: GoalConfig = field(default_factory=lambda: GoalConfig(tolerance=0.06, plateau_steps=8, plateau_energy=0.3))

    def with_card(self, card: ModelCard) -> ControlConfig:
        """The same with the values that are left to the model card filled in."""
        solver = replace(self.solver, max_step=self.solver.max_step or card.max_step_m)
        goals = replace(self.goals, tolerance=self.goals.tolerance or card.reach_energy or 0.0)
        mpc = replace(self.mpc, energy_per_meter=self.mpc.energy_per_meter or card.energy_per_meter or 0.0)
        return replace(self, solver=solver, mpc=mpc, goals=goals)


class ModelController:
    """The receding-horizon planner on a world model, from pictures alone: as the nodes do it, without ROS."""

    def __init__(self, model: WorldModel, config: ControlConfig) -> None:
        self._model, self._config = model, config.with_card(model.card)
        self._memory, self._costs = FrameMemory(model), ModelCosts(model)
        self._mpc = Mpc(config.mpc, make_solver(self._config.solver))
        self._goals: GoalSequence | None = None
        self._plan_seconds: list[float] = []

    def begin(self, environment: TableEnvironment, episode: TaskEpisode) -> None:  # noqa: ARG002
        """Encodes the goal pictures and forgets the last episode."""
        self._memory.clear()
        self._plan_seconds.clear()
        self._mpc.reset(episode.seed)
        latents = self._model.encode(np.stack([goal.image for goal in episode.goals]))
        goals = [
            SubGoal(latent, max_steps=goal.steps, gripper=gripper_command(episode.task, goal))
            for latent, goal in zip(latents, episode.goals, strict=True)
        ]
        self._goals = GoalSequence(goals, self._config.goals)

    def act(self, environment: TableEnvironment) -> Vector | None:
        """Looks, plans, and returns the first action; None when the goals are reached or their budget is spent."""
        if self._goals is None:
            raise RuntimeError("expected begin before act")
        state = environment.state()
        seen = self._memory.add(environment.render(), state)
        action = self._mpc.step(seen, state, self._goals, self._costs)
        if action.plan is not None:
            self._plan_seconds.append(action.plan.elapsed)
        return action.values if action.outcome is Outcome.PURSUING else None

    def plan_seconds(self) -> tuple[float, ...]:
        """Time of each plan since the episode began."""
        return tuple(self._plan_seconds)


def gripper_command(task: str, goal: Goal) -> float | None:
    """Closedness to hold while `goal` is pursued; a task that only reaches leaves the gripper as it is.

    A goal that holds something is pursued with the gripper commanded shut: it is the object that keeps it open.
    """
    if task == REACH:
        return None
    return 1.0 if goal.state[6] > _HOLDS_SOMETHING else 0.0


def scene_seeds(seed: int, index: int) -> Iterator[int]:
    """Seeds of scenes for the episode `index` of an evaluation, the first of which the task can be set in counts."""
    yield from (
        int(value) for value in np.random.SeedSequence((_EVALUATION, seed, index)).generate_state(_SCENE_ATTEMPTS)
    )


def prepare_episode(task: Task, environment: TableEnvironment, seed: int, index: int) -> TaskEpisode:
    """The episode `index` of the evaluation `seed`, with the environment at its start.

    Raises:
        TaskError: the task can be set in none of many scenes.
    """
    for scene in scene_seeds(seed, index):
        try:
            return task.prepare(environment, scene)
        except TaskError:
            continue
    raise TaskError(f"{task.name}: could not be set in any of {_SCENE_ATTEMPTS} scenes")


def run_episode(
    task: Task, environment: TableEnvironment, episode: TaskEpisode, controller: Controller
) -> EpisodeResult:
    """Lets `controller` act from the start of `episode`, which `environment` is at, within its budget of steps."""
    initial, steps = task.distance(environment, episode), 0
    controller.begin(environment, episode)
    while steps < episode.steps and (action := controller.act(environment)) is not None:
        environment.step(action)
        steps += 1
    final = task.distance(environment, episode)
    success = task.succeeded(environment, episode)
    return EpisodeResult(episode.seed, success, initial, final, steps, controller.plan_seconds())
