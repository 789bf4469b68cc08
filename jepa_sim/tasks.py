"""The tasks on the table: where they begin, the pictures of their goals, and what counts as success.

| task                  | success                                                                       |
|-----------------------|-------------------------------------------------------------------------------|
| `reach`               | the tool is within 4 cm of the goal's                                         |
| `grasp_*`             | the object is lifted by at least 5 cm and held for 1 s                        |
| `reach_with_object_*` | the object is within 5 cm of the goal's, still held                           |
| `pick_place_*`        | the object is within 5 cm of the goal's, released, at rest                    |

Goals are pictures of what a scripted expert reached in the same scene, which is then put back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jepa_sim.camera_view import is_in_view
from jepa_sim.environment import TableEnvironment
from jepa_sim.expert import (
    ExpertConfig,
    ExpertError,
    ScriptedExpert,
    Stage,
    carry_script,
    grasp_script,
    place_script,
    reach_script,
)
from jepa_sim.reset import ToolPose
from jepa_sim.scene import OBJECTS
from jepa_sim.task_names import REACH, check_task

Vector = NDArray[np.float64]


class TaskError(RuntimeError):
    """A scene in which the task cannot be set; the message says why. Take another seed."""


@dataclass(frozen=True)
class StepBudgets:
    """Control steps granted for each goal.

    The published pick-and-place grants 4, 10 and 4 steps to grasp, carry and place from a start near the object; here
    the start is anywhere, so that there is a goal above the object too, and the fingers take two steps to close.
    """

    reach: int = 15
    hover: int = 12
    grasp: int = 8
    lift: int = 4
    carry: int = 10
    place: int = 8


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
    """

    name: str
    image: NDArray[np.uint8]
    state: Vector
    joint_positions: Vector
    objects: dict[str, Vector]
    steps: int


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

    def _episode(
        self, environment: TableEnvironment, seed: int, make_goals: Callable[[], Sequence[Goal]]
    ) -> TaskEpisode:
        """The episode that begins now; puts the scene back after `make_goals` has moved everything."""
        start, state = environment.save(), environment.state()
        joints, objects = environment.joint_positions(), environment.object_positions()
        goals = tuple(make_goals())
        environment.restore(start)
        return TaskEpisode(self.name, seed, state, joints, objects, goals)

    def _goal(self, environment: TableEnvironment, name: str, steps: int) -> Goal:
        """The present state as a goal."""
        size = self.config.image_size
        return Goal(
            name,
            environment.render(size, size),
            environment.state(),
            environment.joint_positions(),
            environment.object_positions(),
            steps,
        )

    def _stand_still(self, environment: TableEnvironment, check: Callable[[], bool]) -> bool:
        """Whether `check` holds at every step while the arm stands still."""
        steps = round(self.config.hold_seconds * environment.config.control_rate_hz)
        results = []
        for _ in range(steps):
            environment.step(np.zeros(7))
            results.append(check())
        return all(results)


class ReachTask(Task):
    """Move the tool to a place in free space, 8 to 35 cm away, gripper and rotation as they are."""

    def prepare(self, environment: TableEnvironment, seed: int) -> TaskEpisode:
        """See `Task.prepare`. The goal's picture is taken with the arm placed there, not moved there."""
        environment.reset(seed, self.name)
        pose = self._draw_goal(environment, np.random.default_rng((seed, 2)))

        def make_goals() -> list[Goal]:
            environment.place_arm(pose.joint_positions)
            return [self._goal(environment, "reached", self.config.steps.reach)]

        return self._episode(environment, seed, make_goals)

    def distance(self, environment: TableEnvironment, episode: TaskEpisode) -> float:
        """From the tool to the goal's tool, m."""
        return float(np.linalg.norm(environment.state()[:3] - episode.final.state[:3]))

    def succeeded(self, environment: TableEnvironment, episode: TaskEpisode) -> bool:
        """Whether the tool is within `config.tool_tolerance`, now."""
        return self.distance(environment, episode) < self.config.tool_tolerance

    def expert(self, environment: TableEnvironment, episode: TaskEpisode) -> ScriptedExpert:
        """Goes there straight."""
        return ScriptedExpert(environment, reach_script(episode.final.state[:3]), self.config.expert)

    def _draw_goal(self, environment: TableEnvironment, generator: np.random.Generator) -> ToolPose:
        state, joints = environment.state(), environment.joint_positions()
        rotation = Rotation.from_euler("xyz", state[3:6]).as_matrix()
        for position in _places(environment, generator, (0.02, 0.02, 0.03)):
            if not self._is_free(position, environment) or not _is_between(position, state[:3], self.config):
                continue
            if not _shows_hand(environment, position):
                continue
            solution = environment.kinematics.solve(position, rotation, joints, iterations=100)
            if solution.position_error < _REACHED:
                return ToolPose(position, rotation, solution.positions)
        raise TaskError(f"{self.name}: no goal can be reached from {state[:3]} in the scene of this seed")

    def _is_free(self, position: Vector, environment: TableEnvironment) -> bool:
        if position[2] > self.config.clear_height:
            return True
        centers = environment.object_positions().values()
        return all(np.linalg.norm(position[:2] - center[:2]) > self.config.tool_clearance for center in centers)


def _shows_hand(environment: TableEnvironment, position: Vector) -> bool:
    """Whether a picture of the goal would show fingers and hand: one that does not says nothing about the goal."""
    camera = environment.config.scene.camera
    return all(is_in_view(camera, position + np.array([0.0, 0.0, height])) for height in (0.0, _HAND_LENGTH))


class ObjectTask(Task):
    """What tasks with one of the objects share."""

    def __init__(self, name: str, config: TaskConfig, object_name: str) -> None:
        super().__init__(name, config)
        self.object_name = object_name

    def distance(self, environment: TableEnvironment, episode: TaskEpisode) -> float:
        """From the object to where it is in the final goal, m."""
        return float(np.linalg.norm(self._position(environment) - episode.final.objects[self.object_name]))

    def _position(self, environment: TableEnvironment) -> Vector:
        return environment.object_positions()[self.object_name]

    def _grasp_script(self) -> tuple[Stage, ...]:
        return grasp_script(self.object_name, self.config.expert)

    def _perform(self, environment: TableEnvironment, stages: tuple[Stage, ...], budgets: dict[str, int]) -> list[Goal]:
        """Lets the expert go through `stages`; a goal at the end of each that has a budget."""
        goals: list[Goal] = []

        def record(stage: str) -> None:
            if stage in budgets:
                goals.append(self._goal(environment, stage, budgets[stage]))

        try:
            ScriptedExpert(environment, stages, self.config.expert).run(record)
        except ExpertError as error:
            raise TaskError(f"{self.name}: the expert could not show the goal: {error}") from error
        return goals

    def _require_held(self, environment: TableEnvironment) -> None:
        if not environment.simulation.is_held(self.object_name):
            raise TaskError(f"{self.name}: the expert lost the {self.object_name}")


class GraspTask(ObjectTask):
    """Grasp the object and lift it."""

    def prepare(self, environment: TableEnvironment, seed: int) -> TaskEpisode:
        """See `Task.prepare`. Goals: above the object, grasped, lifted."""
        environment.reset(seed, self.name)
        steps = self.config.steps
        budgets = {"hover": steps.hover, "grasped": steps.grasp, "lifted": steps.lift}

        def make_goals() -> list[Goal]:
            goals = self._perform(environment, self._grasp_script(), budgets)
            self._require_held(environment)
            return goals

        return self._episode(environment, seed, make_goals)

    def succeeded(self, environment: TableEnvironment, episode: TaskEpisode) -> bool:
        """Whether the object is `config.lift_height` above its start and held, now and for `config.hold_seconds`."""
        lowest = episode.start_objects[self.object_name][2] + self.config.lift_height

        def is_lifted() -> bool:
            held = environment.simulation.is_held(self.object_name)
            return held and bool(self._position(environment)[2] >= lowest)

        return is_lifted() and self._stand_still(environment, is_lifted)

    def expert(self, environment: TableEnvironment, episode: TaskEpisode) -> ScriptedExpert:  # noqa: ARG002
        """Hovers, descends, closes, lifts."""
        return ScriptedExpert(environment, self._grasp_script(), self.config.expert)


class ReachWithObjectTask(ObjectTask):
    """Carry the object, which is held from the start, to a place in free space."""

    def prepare(self, environment: TableEnvironment, seed: int) -> TaskEpisode:
        """See `Task.prepare`. The expert grasps and lifts the object before the episode begins."""
        environment.reset(seed, self.name)
        self._perform(environment, self._grasp_script(), {})
        self._require_held(environment)
        target = self._draw_target(environment, np.random.default_rng((seed, 2)))

        def make_goals() -> list[Goal]:
            goals = self._perform(environment, carry_script(target), {"carried": self.config.steps.reach})
            self._require_held(environment)
            return goals

        return self._episode(environment, seed, make_goals)

    def succeeded(self, environment: TableEnvironment, episode: TaskEpisode) -> bool:
        """Whether the object is within `config.object_tolerance` of the goal's and held, now."""
        near = self.distance(environment, episode) < self.config.object_tolerance
        return near and environment.simulation.is_held(self.object_name)

    def expert(self, environment: TableEnvironment, episode: TaskEpisode) -> ScriptedExpert:
        """Carries it there straight."""
        return ScriptedExpert(environment, carry_script(episode.final.state[:3]), self.config.expert)

    def _draw_target(self, environment: TableEnvironment, generator: np.random.Generator) -> Vector:
        tool = environment.state()[:3]
        for position in _places(environment, generator, (0.05, 0.05, 0.1)):
            # High enough for what hangs below the fingers to pass over the other object.
            if position[2] > self.config.clear_height - 0.05 and _is_between(position, tool, self.config):
                return position
        raise TaskError(f"{self.name}: no goal at a distance that is asked for from {tool}")


class PickPlaceTask(ObjectTask):
    """Pick the object up and put it down elsewhere on the table."""

    def prepare(self, environment: TableEnvironment, seed: int) -> TaskEpisode:
        """See `Task.prepare`. Goals: above the object, grasped, carried above its place, released there."""
        environment.reset(seed, self.name)
        place = self._draw_place(environment, np.random.default_rng((seed, 2)))
        steps = self.config.steps
        budgets = {"hover": steps.hover, "grasped": steps.grasp, "carried": steps.carry, "released": steps.place}

        def make_goals() -> list[Goal]:
            script = self._script(environment, place)
            return self._perform(environment, script, budgets)

        episode = self._episode(environment, seed, make_goals)
        if np.linalg.norm(episode.final.objects[self.object_name][:2] - place) > self.config.object_tolerance:
            raise TaskError(f"{self.name}: the expert lost the {self.object_name}")
        return episode

    def succeeded(self, environment: TableEnvironment, episode: TaskEpisode) -> bool:
        """Whether the object is within `config.object_tolerance` of the goal's, released and at rest, after a wait."""
        self._stand_still(environment, lambda: True)
        near = self.distance(environment, episode) < self.config.object_tolerance
        speed = np.linalg.norm(environment.simulation.object_velocity(self.object_name))
        return near and bool(speed < self.config.rest_speed) and not environment.simulation.is_held(self.object_name)

    def expert(self, environment: TableEnvironment, episode: TaskEpisode) -> ScriptedExpert:
        """Grasps it, carries it above its place, puts it down."""
        place = episode.final.objects[self.object_name][:2]
        return ScriptedExpert(environment, self._script(environment, place), self.config.expert)

    def _script(self, environment: TableEnvironment, place: Vector) -> tuple[Stage, ...]:
        expert = self.config.expert
        grasp = max(self._position(environment)[2] + expert.grasp_height, expert.lowest_grasp)
        above, down = (*place, grasp + expert.lift_height), (*place, grasp + expert.release_height)
        return (*self._grasp_script(), *carry_script(above), *place_script(down))

    def _draw_place(self, environment: TableEnvironment, generator: np.random.Generator) -> Vector:
        reset, positions = environment.config.reset, environment.object_positions()
        others = [position[:2] for name, position in positions.items() if name != self.object_name]
        here = positions[self.object_name][:2]
        for _ in range(_ATTEMPTS):
            place = generator.uniform(reset.object_lower, reset.object_upper)
            free = all(np.linalg.norm(place - other) > reset.object_distance for other in others)
            if free and _is_between(place, here, self.config):
                return place
        raise TaskError(f"{self.name}: no free place on the table")


_KINDS: dict[str, type[ObjectTask]] = {
    "grasp": GraspTask,
    "reach_with_object": ReachWithObjectTask,
    "pick_place": PickPlaceTask,
}


def make_task(name: str, config: TaskConfig = TaskConfig()) -> Task:
    """The task called `name`, one of `jepa_sim.task_names.TASK_NAMES`.

    Raises:
        ValueError: there is no such task.
    """
    check_task(name)
    if name == REACH:
        return ReachTask(name, config)
    kind, _, object_name = name.rpartition("_")
    if object_name not in OBJECTS:
        raise ValueError(f"{name}: expected a task with one of the objects {', '.join(OBJECTS)}")
    return _KINDS[kind](name, config, object_name)


# From the fingertips to the hand, m.
_HAND_LENGTH = 0.10
# Inverse kinematics is this exact where the arm really reaches, m.
_REACHED = 1e-3
_ATTEMPTS = 500


def _places(
    environment: TableEnvironment, generator: np.random.Generator, margin: tuple[float, float, float]
) -> list[Vector]:
    workspace = environment.config.reset.workspace
    return [workspace.draw(generator, margin) for _ in range(_ATTEMPTS)]


def _is_between(position: Vector, start: Vector, config: TaskConfig) -> bool:
    return bool(config.min_distance <= np.linalg.norm(position - start) <= config.max_distance)
