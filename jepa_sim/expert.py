"""A scripted expert that knows where everything is: it makes goal images and is the best baseline there is.

A script is a sequence of stages. Each moves the tool straight to one place, or changes the gripper, and says when it
is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepa_sim.environment import TableEnvironment
from jepa_sim.policies import step_toward, turn_to_faces
from jepa_sim.scene import BOX

Vector = NDArray[np.float64]
Place = Callable[[TableEnvironment], Vector]
"""Where a stage leads [3], m, asked once when the stage begins."""
Turn = Callable[[TableEnvironment], float]
"""By which angle about the vertical, rad, the hand has still to turn."""


# Fast starts downward make what is held slip, m.
_LONGEST_DOWNWARD = 0.035


class ExpertError(RuntimeError):
    """The script did not get through; the message says where it got stuck."""


@dataclass(frozen=True)
class ExpertConfig:
    """How the expert moves. Lengths in m.

    Attributes:
        max_step: longest step of the tool.
        hover_height: of the tool above an object's centre before it comes down.
        approach_height: the same, where the fingertips are just above the object.
        grasp_height: of the tool above an object's centre when the fingers close.
        lowest_grasp: lowest tool position at which they do.
        lift_height: how far an object is lifted.
        nearby_height: how far above its place an object is that is nearly there.
        release_height: height of the tool, above where it would have grasped, when an object is let go.
        tolerance: distance at which a place counts as reached.
        align: turn the hand above a box, so that its fingers meet two of its faces; else it grasps as it came.
        max_turn: largest turn of the hand per step, rad.
        turn_tolerance: angle at which a turn counts as done, rad.
        gripper_steps: control periods that opening or closing takes.
        max_stage_steps: a stage that takes longer has failed.
    """

    max_step: float = 0.07
    hover_height: float = 0.12
    approach_height: float = 0.065
    grasp_height: float = 0.01
    lowest_grasp: float = 0.025
    lift_height: float = 0.12
    nearby_height: float = 0.05
    release_height: float = 0.004
    tolerance: float = 0.006
    align: bool = False
    max_turn: float = 0.35
    turn_tolerance: float = 0.03
    gripper_steps: int = 3
    max_stage_steps: int = 40


@dataclass(frozen=True, eq=False)
class Stage:
    """One part of a script.

    Attributes:
        name: of what has been achieved at its end.
        place: where the tool goes; None stays.
        gripper: change of closedness per step: -1 opens, 1 closes, 0 leaves it.
        max_step: longest step here, m, where that is less than the configured one.
        turn: how far the hand turns about the vertical here; None keeps its rotation.
    """

    name: str
    place: Place | None = None
    gripper: float = 0.0
    max_step: float = math.inf
    turn: Turn | None = None


class ScriptedExpert:
    """Carries out the stages one after the other in `environment`; a policy for as long as it is not finished."""

    def __init__(
        self,
        environment: TableEnvironment,
        stages: tuple[Stage, ...],
        config: ExpertConfig = ExpertConfig(),
    ) -> None:
        self._environment, self._stages, self._config = environment, stages, config
        self._index = 0
        self._steps_before = 0
        self._begin_stage()

    @property
    def steps(self) -> int:
        """Actions carried out."""
        return self._steps_before + self._steps

    @property
    def finished(self) -> bool:
        """Whether every stage is done."""
        return self._index >= len(self._stages)

    @property
    def completed(self) -> tuple[str, ...]:
        """Names of the stages that are done."""
        return tuple(stage.name for stage in self._stages[: self._index])

    def act(self) -> Vector:
        """The next action [7]; stands still when finished.

        Raises:
            ExpertError: the present stage does not come to its end.
        """
        action = np.zeros(7)
        if self.finished:
            return action
        stage = self._stages[self._index]
        self._steps += 1
        if self._steps > self._config.max_stage_steps:
            raise ExpertError(
                f"the tool is at {self._environment.state()[:3]}, on its way to {self._target}: {stage.name}"
            )
        if self._target is not None:
            longest = min(stage.max_step, self._config.max_step)
            action = step_toward(self._target, self._environment.state(), longest)
        if stage.turn is not None:
            action[5] = np.clip(stage.turn(self._environment), -self._config.max_turn, self._config.max_turn)
        action[6] = stage.gripper
        return action

    def observe(self) -> bool:
        """To be called after every step; returns whether a stage has just been completed."""
        if self.finished or not self._is_done():
            return False
        self._index += 1
        self._steps_before += self._steps
        self._begin_stage()
        return True

    def run(self, on_stage: Callable[[str], None] = lambda _: None) -> None:
        """Acts until finished; tells `on_stage` the name of each stage when it is completed.

        Raises:
            ExpertError: a stage does not come to its end.
        """
        while not self.finished:
            self._environment.step(self.act())
            if self.observe():
                on_stage(self.completed[-1])

    def _begin_stage(self) -> None:
        self._steps, self._target = 0, None
        if not self.finished:
            place = self._stages[self._index].place
            self._target = None if place is None else np.asarray(place(self._environment), dtype=np.float64)

    def _is_done(self) -> bool:
        if self._target is None:
            return self._steps >= self._config.gripper_steps
        turn = self._stages[self._index].turn
        if turn is not None and abs(turn(self._environment)) > self._config.turn_tolerance:
            return False
        return bool(np.linalg.norm(self._target - self._environment.state()[:3]) < self._config.tolerance)


def reach_script(position: ArrayLike) -> tuple[Stage, ...]:
    """Moves the tool to `position` [3]."""
    return (Stage("reached", _fixed(position)),)


def grasp_script(name: str, config: ExpertConfig = ExpertConfig()) -> tuple[Stage, ...]:
    """Grasps the object `name` from above and lifts it: stages hover, approached, descended, grasped, lifted."""

    def above(height: float) -> Place:
        return lambda environment: environment.object_positions()[name] + (0.0, 0.0, height)

    def around(environment: TableEnvironment) -> Vector:
        return grasp_place(environment, name, config)

    turn: Turn | None = turn_to_faces if config.align and name == BOX else None
    return (
        Stage("hover", above(config.hover_height), gripper=-1.0, turn=turn),
        Stage("approached", above(config.approach_height), turn=turn),
        Stage("descended", around),
        Stage("grasped", gripper=1.0),
        *lift_script(config),
    )


def grasp_place(environment: TableEnvironment, name: str, config: ExpertConfig = ExpertConfig()) -> Vector:
    """Where the tool is [3], m, when the fingers close on the object `name`."""
    x, y, z = environment.object_positions()[name]
    return np.array([x, y, max(z + config.grasp_height, config.lowest_grasp)])


def lift_script(config: ExpertConfig = ExpertConfig()) -> tuple[Stage, ...]:
    """Moves the tool, and what it holds, straight up."""
    return (Stage("lifted", _shifted((0.0, 0.0, config.lift_height))),)


def carry_script(position: ArrayLike) -> tuple[Stage, ...]:
    """Moves the tool, and what it holds, to `position` [3]."""
    return (Stage("carried", _fixed(position)),)


def nearby_script(position: ArrayLike) -> tuple[Stage, ...]:
    """Lowers what is held until the tool is at `position` [3], a little above where it will be put down."""
    return (Stage("nearby", _fixed(position), max_step=_LONGEST_DOWNWARD),)


def place_script(tool_position: ArrayLike) -> tuple[Stage, ...]:
    """Lowers what is held until the tool is at `tool_position` [3], opens, and goes up a little.

    Stages lowered, released, left.
    """
    return (
        Stage("lowered", _fixed(tool_position), max_step=_LONGEST_DOWNWARD),
        Stage("released", gripper=-1.0),
        Stage("left", _shifted((0.0, 0.0, 0.06))),
    )


def _fixed(position: ArrayLike) -> Place:
    values = np.array(position, dtype=np.float64)
    return lambda _: values


def _shifted(offset: ArrayLike) -> Place:
    values = np.array(offset, dtype=np.float64)
    return lambda environment: environment.state()[:3] + values
