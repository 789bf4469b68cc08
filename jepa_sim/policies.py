"""Policies that collect data: smooth wandering, targets, picking objects up and putting them down, and pushing them.

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
        wander_share, target_share, pick_share, push_share: how often each behaviour is chosen, relative to the others.
        max_step: longest step toward a target; each episode uses between half and all of it.
        position_noise: standard deviation of the noise on steps toward targets.
        wander_step, wander_yaw: standard deviation of the changes of a wandering tool's velocity.
        tilt_noise: standard deviation of roll and pitch per step.
        upright_share: share of the tilt away from pointing down that is undone per step; half as much of the yaw.
        turned_share: share of the picks in which the hand turns until its fingers meet faces of the box; the others
            leave its yaw to chance.
        missed_share: share of the grasps that aim beside the object, so that some fail.
        dropped_share: share of the carries that end in the air instead of on the table.
        again_share: share of the releases after which an object is picked again.
    """

    wander_share: float = 0.2
    target_share: float = 0.2
    pick_share: float = 0.45
    push_share: float = 0.15
    max_step: float = 0.075
    position_noise: float = 0.008
    wander_step: float = 0.03
    wander_yaw: float = 0.06
    tilt_noise: float = 0.02
    upright_share: float = 0.3
    turned_share: float = 0.5
    missed_share: float = 0.2
    dropped_share: float = 0.25
    again_share: float = 0.6


class Behaviour(Enum):
    """What an episode mostly does."""

    WANDER = "wander"
    TARGET = "target"
    PICK = "pick"
    PUSH = "push"


class Phase(Enum):
    """Where a picking episode stands."""

    HOVER = "hover"
    DESCEND = "descend"
    CLOSE = "close"
    CARRY = "carry"
    LOWER = "lower"
    RELEASE = "release"
    BESIDE = "beside"
    PUSH_DOWN = "push_down"
    THROUGH = "through"


_HOVER_HEIGHT = 0.12
_GRASP_HEIGHT = 0.01
_LOWEST_GRASP = 0.025
_LOWER_HEIGHT = 0.05
_GRIPPER_STEPS = 2
_MISS = 0.03
_TURN_STEP = 0.35
_PUSH_START, _PUSH_END = 0.09, 0.12
_PUSH_HEIGHT = 0.035
_CARRY_MARGIN = (0.05, 0.05, 0.1)
_OPEN, _CLOSE = -1.0, 1.0


class MixedPolicy:
    """One of the behaviours, drawn for the episode; all its randomness comes from `generator`."""

    def __init__(
        self,
        environment: TableEnvironment,
        generator: np.random.Generator,
        config: PolicyConfig = PolicyConfig(),
    ) -> None:
        self._environment, self._generator, self._config = environment, generator, config
        self._workspace: Workspace = environment.config.reset.workspace
        self._table_height = environment.config.scene.table_height
        shares = np.array((config.wander_share, config.target_share, config.pick_share, config.push_share))
        self.behaviour = list(Behaviour)[int(generator.choice(len(Behaviour), p=shares / shares.sum()))]
        self._begin_with_object()
        self._step_length = config.max_step * generator.uniform(0.5, 1.0)
        self._velocity, self._yaw_rate = np.zeros(3), 0.0
        self._target: Vector | None = None

    def act(self) -> Vector:
        """The next action [7] for the present state of the environment."""
        state = self._environment.state()
        if self.behaviour is Behaviour.WANDER:
            action = self._wander(state)
        elif self.behaviour is Behaviour.TARGET:
            action = self._seek_targets(state)
        elif self.behaviour is Behaviour.PICK:
            action = self._pick(state)
        else:
            action = self._push(state)
        return self._keep_upright(action, state)

    def _begin_with_object(self) -> None:
        """Chooses an object, and how it will be met."""
        generator, config = self._generator, self._config
        self.object_name = OBJECTS[int(generator.integers(len(OBJECTS)))]
        self._turns = bool(generator.random() < config.turned_share)
        missed = generator.random() < config.missed_share
        self._miss = generator.normal(0.0, _MISS, 2) if missed else np.zeros(2)
        self._push_direction = float(generator.uniform(-np.pi, np.pi))
        self.phase, self._waited = Phase.BESIDE if self.behaviour is Behaviour.PUSH else Phase.HOVER, 0

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
        if self.phase in (Phase.HOVER, Phase.CARRY):
            action[:3] += self._generator.normal(0.0, self._config.position_noise, 3)
            action[5] += self._generator.normal(0.0, 0.04)
        if self.phase in (Phase.HOVER, Phase.DESCEND) and self._turns:
            action[5] += self._turn_to_faces(state)
        return action

    def _turn_to_faces(self, state: Vector) -> float:
        """Change of yaw, rad, that sets the fingers square to the object's faces; :meth:`_keep_upright` comes after."""
        yaw = tilt(state)[2]
        change = turn_to_faces(self._environment, self.object_name)
        return float(np.clip(change, -_TURN_STEP, _TURN_STEP)) + 0.5 * self._config.upright_share * yaw

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
        around[:2] += self._miss
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
            chance = self._generator.random()
            if chance < 0.4:
                self._target = self._workspace.draw(self._generator, _CARRY_MARGIN)
            elif chance < 0.4 + 0.6 * self._config.dropped_share:
                self.phase, self._waited = Phase.RELEASE, 0
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
            self._target = None
            if self._generator.random() < self._config.again_share:
                self._begin_with_object()
            else:
                self.behaviour = Behaviour.TARGET
        return self._gripper_only(_OPEN)

    # --- pushing --------------------------------------------------------------------------------------------

    def _push(self, state: Vector) -> Vector:
        """Beside the object, down, and through where it stands; then another one."""
        way = np.array([np.cos(self._push_direction), np.sin(self._push_direction), 0.0])
        if self._target is None:
            height = self._table_height + _PUSH_HEIGHT
            center = self._environment.object_positions()[self.object_name]
            self._target = self._workspace.clip(np.array([center[0], center[1], height]) - _PUSH_START * way)
        places = {
            Phase.BESIDE: self._target + np.array([0.0, 0.0, _HOVER_HEIGHT]),
            Phase.PUSH_DOWN: self._target,
            Phase.THROUGH: self._workspace.clip(self._target + (_PUSH_START + _PUSH_END) * way),
        }
        action = self._toward(places[self.phase], state)
        action[:2] += self._generator.normal(0.0, self._config.position_noise, 2)
        if self.phase is Phase.BESIDE:
            action[6] = _CLOSE
        if _near(places[self.phase], state, 0.02):
            self._push_on()
        return action

    def _push_on(self) -> None:
        following = {Phase.BESIDE: Phase.PUSH_DOWN, Phase.PUSH_DOWN: Phase.THROUGH}
        if self.phase in following:
            self.phase = following[self.phase]
        else:
            self._target = None
            self._begin_with_object()

    def _above_object(self, height: float) -> Vector:
        return self._environment.object_positions()[self.object_name] + np.array([0.0, 0.0, height])

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
        action[3:6] -= config.upright_share * tilt(state) * (1.0, 1.0, 0.5)
        action[3:5] += self._generator.normal(0.0, config.tilt_noise, 2)
        return action


def step_toward(target: ArrayLike, state: Vector, longest: float) -> Vector:
    """The action [7] that moves the tool straight toward `target` [3], by at most `longest` metres."""
    action = np.zeros(7)
    way = np.subtract(target, state[:3])
    action[:3] = way * min(1.0, longest / max(float(np.linalg.norm(way)), 1e-6))
    return action


def turn_to_faces(environment: TableEnvironment, name: str = BOX) -> float:
    """By which angle about the vertical, rad, the hand has to turn so that its fingers meet two faces of the object.

    The smaller one of the two ways: within 45 degrees.
    """
    axes = Rotation.from_quat(environment.simulation.object_state(name).orientation).as_matrix()
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
