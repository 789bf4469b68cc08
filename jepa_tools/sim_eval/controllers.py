"""What may control the simulated arm in an evaluation: the planner on a world model, and the baselines beside it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jepa_planner.goals import GoalConfig, GoalSequence, Outcome, SubGoal
from jepa_planner.gripper import GripperMode
from jepa_planner.limits import LONGEST_STEP, LONGEST_STEP_HOLDING, Envelope, fer_limits
from jepa_planner.mpc import Action, Mpc, MpcConfig
from jepa_planner.solvers.base import GRIPPER
from jepa_planner.solvers.factory import SolverConfig, make_solver
from jepa_sim.environment import TableEnvironment
from jepa_sim.expert import ScriptedExpert
from jepa_sim.robot_description import ARM_JOINTS
from jepa_sim.smooth_motion import MotionRates
from jepa_sim.task_names import TASKS
from jepa_sim.tasks import Task, TaskEpisode
from jepa_tools.sim_eval.model_cost import FrameMemory, ModelCosts, SeenFrames
from jepa_tools.sim_eval.protocols import Protocol
from jepa_world_model.model_card import Distance, ModelCard
from jepa_world_model.poses import POSE_DIM
from jepa_world_model.world_model import WorldModel

Vector = NDArray[np.float64]

# Keeps the generator of random actions apart from those that make scenes.
_RANDOM_ACTIONS = 0x6A657061


def planner_rates() -> MotionRates:
    """The rates of the simulated arm's joints with which the planner's nodes drive it, for evaluations without them."""
    limits = Envelope().apply(fer_limits(ARM_JOINTS))
    return MotionRates(tuple(limits.velocity), tuple(limits.acceleration), tuple(limits.jerk))


class Controller(Interface):
    """Acts in an episode. One thread uses it, one episode at a time."""

    def begin(self, environment: TableEnvironment, episode: TaskEpisode) -> None:
        """A new episode, at its start."""

    def act(self, environment: TableEnvironment) -> Vector | None:
        """The next action [7]; None when nothing is left to do."""

    def plan_seconds(self) -> tuple[float, ...]:
        """Time of each plan since the episode began; empty for those that do not plan."""

    def goal_index(self) -> int | None:
        """Which of the episode's goals is pursued now; None for those that go by no goals."""

    def energy(self) -> float:
        """Latent distance to the goal at the last look; NaN for those that know none."""


class Baseline:
    """What controllers have in common that neither plan nor know goals."""

    def plan_seconds(self) -> tuple[float, ...]:
        """None."""
        return ()

    def goal_index(self) -> int | None:
        """None."""
        return None

    def energy(self) -> float:
        """Unknown."""
        return float("nan")


class HoldStill(Baseline):
    """Does nothing: what the others have to beat."""

    def begin(self, environment: TableEnvironment, episode: TaskEpisode) -> None:
        """Nothing to prepare."""

    def act(self, environment: TableEnvironment) -> Vector | None:  # noqa: ARG002
        """Stays."""
        return np.zeros(7)


class RandomActions(Baseline):
    """Steps of at most `max_step` m in random directions; the gripper moves at random in tasks that use it."""

    def __init__(self, max_step: float) -> None:
        self._max_step = max_step
        self._generator = np.random.default_rng(0)
        self._grips = False

    def begin(self, environment: TableEnvironment, episode: TaskEpisode) -> None:  # noqa: ARG002
        """Restarts the generator at the episode's seed."""
        self._generator = np.random.default_rng((_RANDOM_ACTIONS, episode.seed))
        self._grips = TASKS.load(episode.task).uses_gripper

    def act(self, environment: TableEnvironment) -> Vector | None:  # noqa: ARG002
        """Uniform in the ball of steps."""
        direction = self._generator.normal(size=3)
        length = self._max_step * self._generator.uniform() ** (1 / 3)
        gripper = self._generator.uniform(-1.0, 1.0) if self._grips else 0.0
        return np.array([*(direction / np.linalg.norm(direction) * length), 0.0, 0.0, 0.0, gripper])


class Expert(Baseline):
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


@dataclass(frozen=True)
class ControlConfig:
    """Planning in process with the values of config/sim.yaml.

    Attributes:
        solver: the search; a max_step of 0 is the model card's.
        mpc: the receding horizon. No deadline by default, so that results do not depend on the machine's speed.
        goals: when a goal is over; a tolerance of 0 is the model card's.
        gripper: commanded as the expert did on the way to each goal, or planned; None as the protocol says.
        max_yaw: largest planned turn of the hand about the vertical per step, rad; None is the protocol's.
        gripper_weight: metres that a full stroke counts in energies where the gripper is planned; 0 leaves them as they
            are fitted.
    """

    solver: SolverConfig = field(default_factory=lambda: SolverConfig(max_step=0.0))
    mpc: MpcConfig = field(
        default_factory=lambda: MpcConfig(
            plan_seconds=0.0, longest_step=LONGEST_STEP, longest_step_holding=LONGEST_STEP_HOLDING
        )
    )
    goals: GoalConfig = field(default_factory=lambda: GoalConfig(plateau_steps=8, plateau_energy=0.05))
    gripper: GripperMode | None = None
    max_yaw: float | None = None
    gripper_weight: float = 0.0

    @property
    def plans_gripper(self) -> bool:
        """Whether the planner moves the gripper."""
        return (self.gripper or self.mpc.gripper.mode) == "planned"

    def for_protocol(self, protocol: Protocol) -> ControlConfig:
        """The same with what is left to the protocol filled in."""
        max_yaw = protocol.max_yaw if self.max_yaw is None else self.max_yaw
        return replace(self, gripper=self.gripper or protocol.gripper, max_yaw=max_yaw)

    def with_card(self, card: ModelCard) -> ControlConfig:
        """The same with the values that are left to the model card filled in."""
        max_yaw = self.solver.max_yaw if self.max_yaw is None else self.max_yaw
        solver = replace(self.solver, max_step=self.solver.max_step or card.max_step_m, max_yaw=max_yaw)
        goals = replace(self.goals, tolerance=self.goals.tolerance or card.reach_energy or 0.0)
        mpc = replace(
            self.mpc,
            energy_per_meter=self.mpc.energy_per_meter or card.energy_per_meter or 0.0,
            gripper=replace(self.mpc.gripper, mode=self.gripper or self.mpc.gripper.mode),
        )
        return replace(self, solver=solver, mpc=mpc, goals=goals)


class ModelController:
    """The receding-horizon planner on a world model, from pictures alone: as the nodes do it, without ROS."""

    def __init__(self, model: WorldModel, config: ControlConfig) -> None:
        self._model, self._config = model.weighing_gripper(config.gripper_weight), config.with_card(model.card)
        distance: Distance | None = "metric_gripper" if config.plans_gripper and config.gripper_weight else None
        self._memory, self._costs = FrameMemory(model), ModelCosts(self._model, distance)
        self._mpc: Mpc[SeenFrames, Tensor] = Mpc(self._config.mpc, make_solver(self._config.solver))
        self._goals: GoalSequence[Tensor] | None = None
        self._plan_seconds: list[float] = []
        self._energy = float("nan")

    def begin(self, environment: TableEnvironment, episode: TaskEpisode) -> None:  # noqa: ARG002
        """Encodes the goal pictures and forgets the last episode."""
        self._memory.clear()
        self._plan_seconds.clear()
        self._mpc.reset(episode.seed)
        latents = self._model.encode(np.stack([goal.image for goal in episode.goals]))
        planned = self._config.plans_gripper
        goals = [
            SubGoal(latent, max_steps=goal.steps, gripper=None if planned else goal.gripper)
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
        self._energy = action.energy
        if action.plan is not None:
            self._plan_seconds.append(action.plan.elapsed)
        if action.outcome is Outcome.REACHED and not environment.rests:
            # As in the nodes: stop, and judge again at rest.
            self._goals.reopen()
            return np.zeros(POSE_DIM)
        return environment_action(action, environment) if action.outcome is Outcome.PURSUING else None

    def plan_seconds(self) -> tuple[float, ...]:
        """Time of each plan since the episode began."""
        return tuple(self._plan_seconds)

    def goal_index(self) -> int | None:
        """Index of the sub-goal."""
        return None if self._goals is None else self._goals.index

    def energy(self) -> float:
        """That of the last look."""
        return self._energy


def environment_action(action: Action, environment: TableEnvironment) -> Vector:
    """The step [7] as the environment takes it, whose gripper goes on from its last command, not from where it is."""
    values = np.array(action.values)
    if action.closedness is not None:
        values[GRIPPER] = action.closedness - environment.commanded_closedness
    return values
