"""Tasks with an object: grasping it, carrying it to a place in the air, putting it down elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jepa_sim.environment import TableEnvironment
from jepa_sim.expert import (
    ExpertError,
    ScriptedExpert,
    Stage,
    carry_script,
    grasp_place,
    grasp_script,
    lift_script,
    nearby_script,
    place_script,
)
from jepa_sim.scene import OBJECTS
from jepa_sim.sightings import Sightings
from jepa_sim.task_base import (
    PLACE_ATTEMPTS,
    Goal,
    Task,
    TaskConfig,
    TaskEpisode,
    TaskError,
    draw_places,
    is_goal_distance,
)

Vector = NDArray[np.float64]

# Keeps the generator of near starts apart from those of goals and scenes.
_NEAR_START = 3
# Inverse kinematics is this exact where the arm really reaches, m.
_REACHED = 2e-3
# Fingers that are less closed than this hold none of the objects.
_OPEN = 0.1
# An object that is not this far above its start is on the table, m.
_IN_THE_AIR = 0.01

GRASPED = "grasped"
"""The goal at which the fingers have closed on the object, on the table."""

NEVER_GRASPED, DROPPED, NOT_LIFTED = "never grasped the object", "lost the object", "lifted it too little"
TOO_FAR, NOT_RELEASED, NOT_AT_REST = "the object ended too far away", "did not let go", "the object still moves"


class ObjectTask(Task):
    """What tasks with one of the objects share. The object is the last word of the task's name.

    Attributes:
        published_rates: `published_rate` by object.
    """

    uses_gripper = True
    published_rates: ClassVar[Mapping[str, float]] = MappingProxyType({})
    object_name: str

    def __init__(self, name: str, config: TaskConfig) -> None:
        super().__init__(name, config)
        self.object_name = name.rpartition("_")[2]
        if self.object_name not in OBJECTS:
            raise ValueError(f"{name}: expected a task with one of the objects {', '.join(OBJECTS)}")
        self.published_rate = self.published_rates.get(self.object_name)

    @property
    def tolerance(self) -> float:
        """Distance of the object from its place that is a success, m."""
        return self.config.object_tolerance

    @property
    def watched_seconds(self) -> float:
        """An object must stay where it is for so long, s."""
        return self.config.hold_seconds

    def distance(self, environment: TableEnvironment, episode: TaskEpisode) -> float:
        """From the object to where it is in the final goal, m."""
        return float(np.linalg.norm(self._position(environment) - self.place(episode)))

    def holds_object(self, environment: TableEnvironment) -> bool:
        """Whether both fingers touch the object now."""
        return environment.simulation.is_held(self.object_name)

    def why_failed(self, environment: TableEnvironment, episode: TaskEpisode, was_held: bool) -> str:
        """See `Task.why_failed`."""
        if not was_held:
            return NEVER_GRASPED
        if not self.holds_object(environment):
            return DROPPED
        return self._why_not_there(environment, episode)

    def _why_not_there(self, environment: TableEnvironment, episode: TaskEpisode) -> str:  # noqa: ARG002
        """What is wrong with the present state though the object was grasped and not lost."""
        return TOO_FAR

    def _position(self, environment: TableEnvironment) -> Vector:
        return environment.object_positions()[self.object_name]

    def _grasp_script(self) -> tuple[Stage, ...]:
        return grasp_script(self.object_name, self.config.expert)

    def _begin_near(self, environment: TableEnvironment, seed: int) -> None:
        """Puts the open hand above the object, if tasks are configured to begin there.

        Raises:
            TaskError: the arm does not reach that place.
        """
        near = self.config.near
        if near is None:
            return
        place = grasp_place(environment, self.object_name, self.config.expert)
        place = place + near.draw(np.random.default_rng((seed, _NEAR_START)))
        rotation = Rotation.from_euler("xyz", environment.state()[3:6]).as_matrix()
        solution = environment.kinematics.solve(place, rotation, environment.joint_positions(), iterations=100)
        if solution.position_error > _REACHED:
            raise TaskError(f"{self.name}: the arm does not reach {place}, where it should begin")
        environment.place_arm(solution.positions)

    def _perform(
        self, environment: TableEnvironment, stages: Sequence[Stage], budgets: dict[str, int] | None = None
    ) -> list[Goal]:
        """Lets the expert go through `stages`; a goal at the end of each that has a budget (None: the configured)."""
        granted = self.config.steps.of([stage.name for stage in stages]) if budgets is None else budgets
        goals: list[Goal] = []

        expert = ScriptedExpert(environment, tuple(stages), self.config.expert)

        def record(stage: str) -> None:
            if stage in granted:
                closedness = environment.commanded_closedness
                goals.append(self._goal(environment, stage, granted[stage], expert.steps, closedness))

        try:
            expert.run(record)
        except ExpertError as error:
            raise TaskError(f"{self.name}: the expert could not show the goal: {error}") from error
        return goals

    def _require_held(self, environment: TableEnvironment) -> None:
        if not self.holds_object(environment):
            raise TaskError(f"{self.name}: the expert lost the {self.object_name}")


class GraspTask(ObjectTask):
    """Grasp the object and lift it."""

    ends_with_grasp = True
    published_rates = MappingProxyType({"cup": 0.65, "box": 0.25})

    def __init__(self, name: str, config: TaskConfig) -> None:
        super().__init__(name, config)
        if not (config.steps.grasped or config.steps.lifted):
            raise ValueError(
                f"steps: {name} ends with the goal lifted or grasped, one of which needs some, got {config.steps}"
            )

    def prepare(self, environment: TableEnvironment, seed: int) -> TaskEpisode:
        """See `Task.prepare`. Goals: above the object, just above, around it, grasped, lifted."""
        environment.reset(seed, self.name)
        self._begin_near(environment, seed)

        def make_goals() -> list[Goal]:
            goals = self._perform(environment, self._grasp_script())
            self._require_held(environment)
            return goals

        return self._episode(environment, seed, make_goals)

    def distance(self, environment: TableEnvironment, episode: TaskEpisode) -> float:
        """From the object to where it is in the final goal, m; where that is on the table still, from the tool."""
        if self._ends_on_table(episode):
            return float(np.linalg.norm(environment.state()[:3] - episode.final.state[:3]))
        return super().distance(environment, episode)

    def succeeded(self, environment: TableEnvironment, episode: TaskEpisode) -> bool:
        """Whether the object is `config.lift_height` above its start and held, now and for `config.hold_seconds`.

        Where the last goal shows the grasp on the table, the judge lifts the hand first.
        """
        lowest = episode.start_objects[self.object_name][2] + self.config.lift_height

        def is_lifted() -> bool:
            return self.holds_object(environment) and bool(self._position(environment)[2] >= lowest)

        if self._ends_on_table(episode):
            self._lift(environment)
        return is_lifted() and self._stand_still(environment, is_lifted)

    def _ends_on_table(self, episode: TaskEpisode) -> bool:
        return episode.final.name == GRASPED

    def _lift(self, environment: TableEnvironment) -> None:
        """Lifts the hand straight up, as the expert does; an arm that does not get there is judged where it is."""
        try:
            ScriptedExpert(environment, lift_script(self.config.expert), self.config.expert).run()
        except ExpertError:
            return

    def expert(self, environment: TableEnvironment, episode: TaskEpisode) -> ScriptedExpert:  # noqa: ARG002
        """Hovers, descends, closes, lifts."""
        return ScriptedExpert(environment, self._grasp_script(), self.config.expert)

    def why_not_through_nodes(self) -> str:
        """Where the last goal shows the grasp on the table, nobody would lift the hand."""
        if self.config.steps.lifted:
            return ""
        return (
            "ends with the grasp on the table, and only in process does the judge lift the hand: measure it without "
            "--ros, or with --protocol assisted"
        )

    def why_failed_from_outside(self, place: Vector, seen: Sightings) -> str:  # noqa: ARG002
        """See `Task.why_failed_from_outside`. What nobody dropped and is in the air is held."""
        lifted = seen.positions[:, 2] - seen.start[2]
        if (lifted >= self.config.lift_height).all():
            return ""
        return NOT_LIFTED if lifted[-1] > _IN_THE_AIR else DROPPED

    def _why_not_there(self, environment: TableEnvironment, episode: TaskEpisode) -> str:  # noqa: ARG002
        return NOT_LIFTED


class ReachWithObjectTask(ObjectTask):
    """Carry the object, which is held from the start, to a place in free space."""

    published_rates = MappingProxyType({"cup": 0.75, "box": 0.75})

    def why_not_through_nodes(self) -> str:
        """A reset of the simulator gives no object to the gripper."""
        return (
            "begins with the object in the gripper, which a reset of the simulator does not do: measure it in process "
            "(jepa sim-eval without --ros), or take a grasp or pick_place task"
        )

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
        near = self.distance(environment, episode) < self.tolerance
        return near and self.holds_object(environment)

    def expert(self, environment: TableEnvironment, episode: TaskEpisode) -> ScriptedExpert:
        """Carries it there straight."""
        return ScriptedExpert(environment, carry_script(episode.final.state[:3]), self.config.expert)

    def _draw_target(self, environment: TableEnvironment, generator: np.random.Generator) -> Vector:
        tool = environment.state()[:3]
        for position in draw_places(environment, generator, (0.05, 0.05, 0.1)):
            # High enough for what hangs below the fingers to pass over the other object.
            if position[2] > self.config.clear_height - 0.05 and is_goal_distance(position, tool, self.config):
                return position
        raise TaskError(f"{self.name}: no goal at a distance that is asked for from {tool}")


class PickPlaceTask(ObjectTask):
    """Pick the object up and put it down elsewhere on the table."""

    published_rates = MappingProxyType({"cup": 0.80, "box": 0.65})

    def prepare(self, environment: TableEnvironment, seed: int) -> TaskEpisode:
        """See `Task.prepare`. Goals: as to grasp it, carried above its place, lowered, released there."""
        environment.reset(seed, self.name)
        self._begin_near(environment, seed)
        place = self._draw_place(environment, np.random.default_rng((seed, 2)))

        def make_goals() -> list[Goal]:
            return self._perform(environment, self._script(environment, place))

        episode = self._episode(environment, seed, make_goals)
        if np.linalg.norm(episode.final.objects[self.object_name][:2] - place) > self.tolerance:
            raise TaskError(f"{self.name}: the expert lost the {self.object_name}")
        return episode

    def succeeded(self, environment: TableEnvironment, episode: TaskEpisode) -> bool:
        """Whether the object is within `config.object_tolerance` of the goal's, released and at rest, after a wait."""
        self._stand_still(environment, lambda: True)
        near = self.distance(environment, episode) < self.tolerance
        speed = np.linalg.norm(environment.simulation.object_velocity(self.object_name))
        return near and bool(speed < self.config.rest_speed) and not self.holds_object(environment)

    def expert(self, environment: TableEnvironment, episode: TaskEpisode) -> ScriptedExpert:
        """Grasps it, carries it above its place, puts it down."""
        place = episode.final.objects[self.object_name][:2]
        return ScriptedExpert(environment, self._script(environment, place), self.config.expert)

    def why_failed(self, environment: TableEnvironment, episode: TaskEpisode, was_held: bool) -> str:
        """See `Task.why_failed`."""
        if not was_held:
            return NEVER_GRASPED
        if self.holds_object(environment):
            return NOT_RELEASED
        near = self.distance(environment, episode) < self.tolerance
        return NOT_AT_REST if near else TOO_FAR

    def why_failed_from_outside(self, place: Vector, seen: Sightings) -> str:
        """See `Task.why_failed_from_outside`."""
        if seen.closedness > _OPEN:
            return NOT_RELEASED
        if seen.distance(place) >= self.tolerance:
            return TOO_FAR
        return NOT_AT_REST if seen.speed >= self.config.rest_speed else ""

    def _script(self, environment: TableEnvironment, place: Vector) -> tuple[Stage, ...]:
        expert = self.config.expert
        grasp = max(self._position(environment)[2] + expert.grasp_height, expert.lowest_grasp)
        above, down = (*place, grasp + expert.lift_height), (*place, grasp + expert.release_height)
        nearby = nearby_script((*place, down[2] + expert.nearby_height)) if self.config.steps.nearby else ()
        return (*self._grasp_script(), *carry_script(above), *nearby, *place_script(down))

    def _draw_place(self, environment: TableEnvironment, generator: np.random.Generator) -> Vector:
        reset, positions = environment.config.reset, environment.object_positions()
        others = [position[:2] for name, position in positions.items() if name != self.object_name]
        here = positions[self.object_name][:2]
        for _ in range(PLACE_ATTEMPTS):
            place = generator.uniform(reset.object_lower, reset.object_upper)
            free = all(np.linalg.norm(place - other) > reset.object_distance for other in others)
            if free and is_goal_distance(place, here, self.config):
                return place
        raise TaskError(f"{self.name}: no free place on the table")
