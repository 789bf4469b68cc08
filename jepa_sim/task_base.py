"""What all tasks on the table share: how they are set and judged, their goals, and the episodes they make."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from jepa_sim.environment import TableEnvironment
from jepa_sim.expert import ExpertConfig, ScriptedExpert

Vector = NDArray[np.float64]


class TaskError(RuntimeError):
    """A scene in which the task cannot be set; the message says why. Take another seed."""


@dataclass(frozen=True)
class StepBudgets:
    """Control steps granted for each goal; 0 leaves a goal on the way out.

    The defaults are for a start anywhere, so that goals above the object come first, and for a gripper that closes and
    opens in goals of their own, with the arm at rest. `jepa_tools.sim_eval.protocols` has others.

    Attributes:
        reach: to a place in free space, with or without an object.
        hover: well above the object.
        approached: the open fingertips just above the object.
        descended: the open fingers around the object.
        grasped: the fingers closed.
        lifted: the object in the air.
        carried: the object above its place.
        nearby: the object near its place, `ExpertConfig.nearby_height` above it.
        lowered: the object at its place, still held.
        released: the fingers open.
    """

    reach: int = 15
    hover: int = 12
    approached: int = 4
    descended: int = 6
    grasped: int = 3
    lifted: int = 6
    carried: int = 10
    nearby: int = 0
    lowered: int = 8
    released: int = 3

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 0:
            raise ValueError(f"steps: expected none below 0, got {self}")
        if not self.reach or not self.released:
            raise ValueError(f"steps: the last goals reach and released need some, got {self}")

    def of(self, stages: Sequence[str]) -> dict[str, int]:
        """Budgets of those of the expert's `stages` that have one."""
        return {stage: steps for stage in stages if (steps := getattr(self, stage, 0))}


@dataclass(frozen=True)
class StepChanges:
    """Budgets that differ from those of a protocol; see `StepBudgets`. None keeps the protocol's."""

    reach: int | None = None
    hover: int | None = None
    approached: int | None = None
    descended: int | None = None
    grasped: int | None = None
    lifted: int | None = None
    carried: int | None = None
    nearby: int | None = None
    lowered: int | None = None
    released: int | None = None

    @property
    def given(self) -> dict[str, int]:
        """What differs, by stage."""
        return {name: steps for name, steps in vars(self).items() if steps is not None}


@dataclass(frozen=True)
class NearStart:
    """Where the open hand begins that has its object near: above it; its rotation is the scene's.

    Attributes:
        lowest, highest: height of the tool above where it would grasp, m.
        sideways: largest horizontal distance from there, m.
    """

    lowest: float = 0.07
    highest: float = 0.11
    sideways: float = 0.03

    def __post_init__(self) -> None:
        if not (0 <= self.lowest <= self.highest and self.sideways >= 0):
            raise ValueError(f"near start: expected 0 <= lowest <= highest and sideways of at least 0, got {self}")

    def draw(self, generator: np.random.Generator) -> Vector:
        """An offset [3], m, uniform over the disc and the heights."""
        radius, angle = self.sideways * np.sqrt(generator.uniform()), generator.uniform(0.0, 2.0 * np.pi)
        return np.array([radius * np.cos(angle), radius * np.sin(angle), generator.uniform(self.lowest, self.highest)])


@dataclass(frozen=True)
class TaskConfig:
    """How tasks are set and judged. Lengths in m.

    Attributes:
        min_distance, max_distance: from the start of the tool (or object) to its goal.
        tool_tolerance: distance of the tool that is a success.
        object_tolerance: distance of the object that is a success.
        lift_height: how far a grasped object must be lifted.
        hold_seconds: how long it must be held, and how long a placed object is watched.
        rest_speed: an object slower than this is at rest, m/s.
        tool_clearance: horizontal distance of a goal's tool to objects, unless it is higher than `clear_height`.
        clear_height: from here on up the tool is above all objects.
        image_size: side of goal images, pixels.
        steps: budgets of the goals.
        near: where a hand begins that is to grasp; None begins anywhere.
        whole_steps: every action is carried out to its end before the next one is chosen; else for a control period.
        one_goal: if positive, the last goal alone is shown, with so many times the steps that the expert needs.
        expert: how goals are reached for their pictures.
    """

    min_distance: float = 0.08
    max_distance: float = 0.35
    tool_tolerance: float = 0.04
    object_tolerance: float = 0.05
    lift_height: float = 0.05
    hold_seconds: float = 1.0
    rest_speed: float = 0.01
    tool_clearance: float = 0.09
    clear_height: float = 0.2
    image_size: int = 256
    steps: StepBudgets = StepBudgets()
    near: NearStart | None = None
    whole_steps: bool = False
    one_goal: float = 0.0
    expert: ExpertConfig = field(default_factory=ExpertConfig)


@dataclass(frozen=True, eq=False)
class Goal:
    """One goal of an episode, the last one or one on the way.

    Attributes:
        name: what has been achieved there.
        image: uint8 [S, S, 3] RGB.
        state: of the end-effector [7].
        joint_positions: of the arm [7], rad.
        objects: centre [3] of each object.
        steps: control steps granted.
        expert_steps: those that the expert needed from the start.
        gripper: closedness, 0 open to 1 closed, that the expert commanded on the way there; None leaves the gripper
            as it is. An object between the fingers keeps the closedness in `state` below it.
    """

    name: str
    image: NDArray[np.uint8]
    state: Vector
    joint_positions: Vector
    objects: dict[str, Vector]
    steps: int
    expert_steps: int
    gripper: float | None = None


@dataclass(frozen=True, eq=False)
class TaskEpisode:
    """A task in one scene: its start, which the environment is in after `Task.prepare`, and its goals in order."""

    task: str
    seed: int
    start_state: Vector
    start_joint_positions: Vector
    start_objects: dict[str, Vector]
    goals: tuple[Goal, ...]

    @property
    def final(self) -> Goal:
        """The goal that success is measured by."""
        return self.goals[-1]

    @property
    def steps(self) -> int:
        """Control steps granted in all."""
        return sum(goal.steps for goal in self.goals)


class Task(ABC):
    """One kind of task; knows nothing of what controls the arm."""

    def __init__(self, name: str, config: TaskConfig) -> None:
        self.name, self.config = name, config

    @abstractmethod
    def prepare(self, environment: TableEnvironment, seed: int) -> TaskEpisode:
        """Sets the task up in the scene of `seed`; the same seed always gives the same episode.

        Raises:
            TaskError: the task cannot be set in this scene.
        """

    @abstractmethod
    def distance(self, environment: TableEnvironment, episode: TaskEpisode) -> float:
        """How far what matters (tool or object) is from the final goal, m."""

    @abstractmethod
    def succeeded(self, environment: TableEnvironment, episode: TaskEpisode) -> bool:
        """Judges the present state; the arm may be made to stand still meanwhile, for `config.hold_seconds`."""

    @abstractmethod
    def expert(self, environment: TableEnvironment, episode: TaskEpisode) -> ScriptedExpert:
        """The expert, at the start of the episode."""

    def holds_object(self, environment: TableEnvironment) -> bool:  # noqa: ARG002
        """Whether the task's object, if it has one, is between the fingers now."""
        return False

    def why_failed(self, environment: TableEnvironment, episode: TaskEpisode, was_held: bool) -> str:  # noqa: ARG002
        """In a few words, why an episode that `succeeded` denied failed; the same words for the same kind of failure.

        was_held: whether the object was between the fingers at any time.
        """
        return "stopped too far away"

    def _episode(
        self, environment: TableEnvironment, seed: int, make_goals: Callable[[], Sequence[Goal]]
    ) -> TaskEpisode:
        """The episode that begins now; puts the scene back after `make_goals` has moved everything."""
        start, state = environment.save(), environment.state()
        joints, objects = environment.joint_positions(), environment.object_positions()
        goals = tuple(make_goals())
        if self.config.one_goal:
            goals = self._last_alone(goals[-1])
        environment.restore(start)
        return TaskEpisode(self.name, seed, state, joints, objects, goals)

    def _last_alone(self, goal: Goal) -> tuple[Goal, ...]:
        return (replace(goal, steps=math.ceil(self.config.one_goal * goal.expert_steps)),)

    def _goal(
        self,
        environment: TableEnvironment,
        name: str,
        steps: int,
        expert_steps: int,
        gripper: float | None = None,
    ) -> Goal:
        """The present state as a goal."""
        size = self.config.image_size
        return Goal(
            name,
            environment.render(size, size),
            environment.state(),
            environment.joint_positions(),
            environment.object_positions(),
            steps,
            expert_steps,
            gripper,
        )

    def _stand_still(self, environment: TableEnvironment, check: Callable[[], bool]) -> bool:
        """Whether `check` holds at every step while the arm stands still."""
        steps = round(self.config.hold_seconds * environment.config.control_rate_hz)
        results = []
        for _ in range(steps):
            environment.step(np.zeros(7))
            results.append(check())
        return all(results)


PLACE_ATTEMPTS = 500
"""Places that are drawn before a scene is given up."""


def draw_places(
    environment: TableEnvironment, generator: np.random.Generator, margin: tuple[float, float, float]
) -> list[Vector]:
    """Places in the workspace less `margin` [3], m, to choose a goal from."""
    workspace = environment.config.reset.workspace
    return [workspace.draw(generator, margin) for _ in range(PLACE_ATTEMPTS)]


def is_goal_distance(position: Vector, start: Vector, config: TaskConfig) -> bool:
    """Whether a goal at `position` is as far from `start` as asked for."""
    return bool(config.min_distance <= np.linalg.norm(position - start) <= config.max_distance)
