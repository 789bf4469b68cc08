"""Policies that collect data: smooth wandering, targets, and picking objects up and putting them down.

Each acts on what a robot could not know (object positions) and is noisy on purpose: a model learns what actions do
from what happens, not from doing well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from jepa_sim.environment import TableEnvironment
from jepa_sim.reset import POINTING_DOWN, Workspace
from jepa_sim.scene import BOX, OBJECTS

Vector = NDArray[np.float64]


class Policy(Protocol):
    """Chooses actions."""

    def act(self) -> Vector:
        """The next action [7] for the present state of the environment."""


@dataclass(frozen=True)
class PolicyConfig:
    """How episodes are mixed and how noisy they are. Lengths in m, angles in rad, per step.

    Attributes:
        wander_share, target_share, pick_share: how often each behaviour is chosen; they add up to 1.
        max_step: longest step toward a target; each episode uses between half and all of it.
        position_noise: standard deviation of the noise on steps toward targets.
        wander_step, wander_yaw: standard deviation of the changes of a wandering tool's velocity.
        tilt_noise: standard deviation of roll and pitch per step.
        align_share: how often an episode that picks the box turns the hand to its faces first.
        turn: largest turn to them per step; noise comes on top.
        upright_share: share of the tilt away from pointing down that is undone per step; half as much of the yaw.
    """

    wander_share: float = 0.3
    target_share: float = 0.35
    pick_share: float = 0.35
    max_step: float = 0.075
    position_noise: float = 0.008
    wander_step: float = 0.03
    wander_yaw: float = 0.06
    tilt_noise: float = 0.02
    align_share: float = 0.7
    turn: float = 0.3
    upright_share: float = 0.3


class Behaviour(Enum):
    """What an episode mostly does."""

    WANDER = "wander"
    TARGET = "target"
    PICK = "pick"


class Phase(Enum):
    """Where a picking episode stands."""

    HOVER = "hover"
    DESCEND = "descend"
    CLOSE = "close"
    CARRY = "carry"
    LOWER = "lower"
    RELEASE = "release"


_HOVER_HEIGHT = 0.12
_GRASP_HEIGHT = 0.01
_LOWEST_GRASP = 0.025
_LOWER_HEIGHT = 0.05
_GRIPPER_STEPS = 2
_CARRY_MARGIN = (0.05, 0.05, 0.1)
_OPEN, _CLOSE = -1.0, 1.0


class MixedPolicy:
    """One of the three behaviours, drawn for the episode; all its randomness comes from `generator`."""

    def __init__(
        self,
        environment: TableEnvironment,
        generator: np.random.Generator,
        config: PolicyConfig = PolicyConfig(),
    ) -> None:
        self._environment, self._generator, self._config = environment, generator, config
        self._workspace: Workspace = environment.config.reset.workspace
        self._table_height = environment.config.scene.table_height
        shares = (config.wander_share, config.target_share, config.pick_share)
        self.behaviour = list(Behaviour)[int(generator.choice(len(Behaviour), p=shares))]
        self._object = OBJECTS[int(generator.integers(len(OBJECTS)))]
        self._step_length = config.max_step * generator.uniform(0.5, 1.0)
        self._velocity, self._yaw_rate = np.zeros(3), 0.0
        self._target: Vector | None = None
        self.phase, self._waited = Phase.HOVER, 0
        picks_box = self.behaviour is Behaviour.PICK and self._object == BOX
        self.aligns = picks_box and bool(generator.random() < config.align_share)

    def act(self) -> Vector:
        """The next action [7] for the present state of the environment."""
        state = self._environment.state()
        if self.behaviour is Behaviour.WANDER:
            action = self._wander(state)
        elif self.behaviour is Behaviour.TARGET:
            action = self._seek_targets(state)
        else:
            action = self._pick(state)
        return self._keep_upright(action, state)

    # --- wandering and targets ------------------------------------------------------------------------------

    def _wander(self, state: Vector) -> Vector:
        generator, config = self._generator, self._config
        velocity = 0.7 * self._velocity + generator.normal(0.0, config.wander_step, 3)
        # At a wall of the workspace the velocity into it is lost.
        self._velocity = self._workspace.clip(state[:3] + velocity) - state[:3]
        self._yaw_rate = 0.7 * self._yaw_rate + generator.normal(0.0, config.wander_yaw)
        action = np.zeros(7)
        action[:3], action[5] = self._velocity, self._yaw_rate
        action[6] = self._sometimes_switch_gripper(0.15)
        return action

    def _seek_targets(self, state: Vector) -> Vector:
        generator = self._generator
        if self._target is None or _near(self._target, state, 0.02) or generator.random() < 0.03:
            self._target, self._yaw_rate = self._draw_target(), generator.normal(0.0, 0.08)
        action = self._toward(self._target, state)
        action[:3] += generator.normal(0.0, self._config.position_noise, 3)
        action[5] = self._yaw_rate + generator.normal(0.0, 0.02)
        action[6] = self._sometimes_switch_gripper(0.08)
        return action

    def _draw_target(self) -> Vector:
        """Anywhere, or, in three of ten cases, near an object so that it is met."""
        generator = self._generator
        if generator.random() < 0.7:
            return self._workspace.draw(generator)
        return self._workspace.clip(self._above_object(0.03) + generator.normal(0.0, 0.03, 3))

    def _sometimes_switch_gripper(self, probability: float) -> float:
        generator = self._generator
        return float(generator.choice((_OPEN, _CLOSE))) if generator.random() < probability else 0.0

    # --- picking --------------------------------------------------------------------------------------------

    def _pick(self, state: Vector) -> Vector:
        steps = {
            Phase.HOVER: self._hover,
            Phase.DESCEND: self._descend,
            Phase.CLOSE: self._close,
            Phase.CARRY: self._carry,
            Phase.LOWER: self._lower,
            Phase.RELEASE: self._release,
        }
        action = steps[self.phase](state)
        if self.aligns and self.phase in (Phase.HOVER, Phase.DESCEND):
            action[5] += np.clip(turn_to_faces(self._environment), -self._config.turn, self._config.turn)
        if self.phase in (Phase.HOVER, Phase.CARRY):
            action[:3] += self._generator.normal(0.0, self._config.position_noise, 3)
            action[5] += self._generator.normal(0.0, 0.04)
        return action

    def _hover(self, state: Vector) -> Vector:
        above = self._above_object(_HOVER_HEIGHT)
        if _near(above, state, 0.02):
            self.phase = Phase.DESCEND
        action = self._toward(above, state)
        action[6] = _OPEN
        return action

    def _descend(self, state: Vector) -> Vector:
        around = self._above_object(_GRASP_HEIGHT)
        around[2] = max(around[2], self._table_height + _LOWEST_GRASP)
        if _near(around, state, 0.012):
            self.phase, self._waited = Phase.CLOSE, 0
        return self._toward(around, state)

    def _close(self, _state: Vector) -> Vector:
        if self._has_waited():
            self.phase, self._target = Phase.CARRY, self._workspace.draw(self._generator, _CARRY_MARGIN)
        return self._gripper_only(_CLOSE)

    def _carry(self, state: Vector) -> Vector:
        target = self._required_target()
        action = self._toward(target, state)
        if _near(target, state, 0.02):
            if self._generator.random() < 0.5:
                self._target = self._workspace.draw(self._generator, _CARRY_MARGIN)
            else:
                height = self._table_height + _LOWER_HEIGHT
                self.phase, self._target = Phase.LOWER, np.array([target[0], target[1], height])
        return action

    def _lower(self, state: Vector) -> Vector:
        target = self._required_target()
        if _near(target, state, 0.015):
            self.phase, self._waited = Phase.RELEASE, 0
        return self._toward(target, state)

    def _release(self, _state: Vector) -> Vector:
        if self._has_waited():
            self.behaviour, self._target = Behaviour.TARGET, None
        return self._gripper_only(_OPEN)

    def _above_object(self, height: float) -> Vector:
        return self._environment.object_positions()[self._object] + np.array([0.0, 0.0, height])

    def _required_target(self) -> Vector:
        if self._target is None:
            raise RuntimeError(f"a policy in phase {self.phase} has no target")
        return self._target

    def _has_waited(self) -> bool:
        self._waited += 1
        return self._waited >= _GRIPPER_STEPS

    # --- actions --------------------------------------------------------------------------------------------

    def _toward(self, target: Vector, state: Vector) -> Vector:
        return step_toward(target, state, self._step_length)

    @staticmethod
    def _gripper_only(change: float) -> Vector:
        action = np.zeros(7)
        action[6] = change
        return action

    def _keep_upright(self, action: Vector, state: Vector) -> Vector:
        config = self._config
        turned = self.aligns and self.behaviour is Behaviour.PICK
        undone = (1.0, 1.0, 0.0 if turned else 0.5)
        action[3:6] -= config.upright_share * tilt(state) * undone
        action[3:5] += self._generator.normal(0.0, config.tilt_noise, 2)
        return action


def step_toward(target: ArrayLike, state: Vector, longest: float) -> Vector:
    """The action [7] that moves the tool straight toward `target` [3], by at most `longest` metres."""
    action = np.zeros(7)
    way = np.subtract(target, state[:3])
    action[:3] = way * min(1.0, longest / max(float(np.linalg.norm(way)), 1e-6))
    return action


def turn_to_faces(environment: TableEnvironment) -> float:
    """By which angle about the vertical, rad, the hand has to turn so that its fingers meet two faces of the box.

    The smaller one of the two ways: within 45 degrees.
    """
    axes = Rotation.from_quat(environment.simulation.object_state(BOX).orientation).as_matrix()
    # Any edge that lies flat will do; the box may stand on any face.
    edge = axes[:, int(np.argmin(np.abs(axes[2])))]
    angle = np.arctan2(edge[1], edge[0]) - environment.state()[5]
    quarter = np.pi / 2
    return float((angle + quarter / 2) % quarter - quarter / 2)


def tilt(state: Vector) -> Vector:
    """Rotation vector [3], rad, from pointing down with fingers along y to the tool's rotation in `state`."""
    return (Rotation.from_euler("xyz", state[3:6]) * POINTING_DOWN.inv()).as_rotvec()


def _near(target: Vector, state: Vector, distance: float) -> bool:
    return bool(np.linalg.norm(target - state[:3]) < distance)
