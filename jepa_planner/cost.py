"""Costs: what makes one action sequence better than another, whoever computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from scipy.spatial.transform import Rotation

from jepa_planner.solvers.base import ACTION_DIM, GRIPPER, ROTATION, TRANSLATION, Array, Cost, DifferentiableCost
from jepa_world_model.poses import integrate, integrate_batch

if TYPE_CHECKING:
    import torch

ObservationT = TypeVar("ObservationT", contravariant=True)
GoalT = TypeVar("GoalT", contravariant=True)


@dataclass(frozen=True)
class Assessment:
    """Where the robot stands, as the world model sees it.

    energy: latent distance of now to the goal.
    surprise: latent distance of what was predicted for now to what came; NaN when unknown.
    gripper_change: how much further closed (-1..1) the fingers are in the goal picture; NaN when the model cannot tell.
    """

    energy: float
    surprise: float = float("nan")
    gripper_change: float = float("nan")


class GoalCost(Cost, Protocol):
    """The cost of action sequences that start now and should end at one goal."""

    def assess(self) -> Assessment:
        """Measure now against the goal; may ask the model, but rolls out at most one candidate."""


class CostFactory(Protocol[ObservationT, GoalT]):
    """Binds an observation, a state [7] and a goal to a cost."""

    def __call__(self, observation: ObservationT, state: Array, goal: GoalT) -> GoalCost:
        """The cost of acting from ``observation`` and ``state`` toward ``goal``."""


def hold_gripper(cost: Cost, change: float) -> Cost:
    """``cost`` for candidates that all change the closedness by ``change`` at first and then hold it.

    Keeps the gradients of a DifferentiableCost.
    """
    if isinstance(cost, DifferentiableCost):
        return _DifferentiableHeldGripper(cost, change)
    return _HeldGripper(cost, change)


def with_gripper_change(actions: Array, change: float) -> Array:
    """``actions`` [..., horizon, action_dim] whose first step changes the closedness by ``change``."""
    held = np.array(actions)
    held[..., GRIPPER] = 0.0
    held[..., 0, GRIPPER] = change
    return held


class _HeldGripper:
    def __init__(self, cost: Cost, change: float) -> None:
        self._cost = cost
        self._change = change

    def __call__(self, actions: Array) -> Array:
        return self._cost(with_gripper_change(actions, self._change))


class _DifferentiableHeldGripper(_HeldGripper):
    def __init__(self, cost: DifferentiableCost, change: float) -> None:
        super().__init__(cost, change)
        self._differentiable = cost

    def energies(self, actions: torch.Tensor) -> torch.Tensor:
        held = actions.clone()
        held[..., GRIPPER] = 0.0
        held[..., 0, GRIPPER] = self._change
        return self._differentiable.energies(held)


def in_units_of(cost: Cost, units: Array) -> Cost:
    """``cost`` for actions that come in ``units`` [7]: a search within fixed bounds becomes as wide as the units say.

    Keeps the gradients of a DifferentiableCost.
    """
    return _DifferentiableUnits(cost, units) if isinstance(cost, DifferentiableCost) else _Units(cost, units)


class _Units:
    def __init__(self, cost: Cost, units: Array) -> None:
        self._cost = cost
        self._units = units

    def __call__(self, actions: Array) -> Array:
        return self._cost((actions * self._units).astype(np.float32))


class _DifferentiableUnits(_Units):
    def __init__(self, cost: DifferentiableCost, units: Array) -> None:
        super().__init__(cost, units)
        self._differentiable = cost

    def energies(self, actions: torch.Tensor) -> torch.Tensor:
        return self._differentiable.energies(actions * actions.new_tensor(self._units))


def in_base_axes(cost: Cost, rotation: Array) -> Cost:
    """``cost``, whose actions follow the model's axes, for actions along those of the robot's base frame.

    ``rotation`` [3, 3] leads from the model's action axes to the base frame; see
    `jepa_planner.camera_calibration`. Keeps the gradients of a DifferentiableCost.
    """
    return _DifferentiableAxes(cost, rotation) if isinstance(cost, DifferentiableCost) else _Axes(cost, rotation)


class _Axes:
    def __init__(self, cost: Cost, rotation: Array) -> None:
        self._cost = cost
        self._rotation = np.asarray(rotation, dtype=np.float64)
        # As actions: the rotation, and its inverse.
        self._turn, self._turn_back = _turns(self._rotation)

    def __call__(self, actions: Array) -> Array:
        turned = np.array(actions)
        turned[..., TRANSLATION] = actions[..., TRANSLATION] @ self._rotation
        if np.any(actions[..., ROTATION]):
            # A rotation D in the base frame is R^T D R in the model's axes.
            turned[..., ROTATION] = integrate(integrate(self._turn, actions), self._turn_back)[..., ROTATION]
        return self._cost(turned)


class _DifferentiableAxes(_Axes):
    def __init__(self, cost: DifferentiableCost, rotation: Array) -> None:
        super().__init__(cost, rotation)
        self._differentiable = cost

    def energies(self, actions: torch.Tensor) -> torch.Tensor:
        turn, back = actions.new_tensor(self._turn), actions.new_tensor(self._turn_back)
        angles = integrate_batch(integrate_batch(turn, actions), back)[..., ROTATION]
        turned = actions.clone()
        turned[..., TRANSLATION] = actions[..., TRANSLATION] @ actions.new_tensor(self._rotation)
        turned[..., ROTATION] = angles
        return self._differentiable.energies(turned)


def _turns(rotation: Array) -> tuple[Array, Array]:
    """A rotation [3, 3] and its inverse as actions [7] that do nothing else."""
    turns = np.zeros((2, ACTION_DIM))
    turns[:, ROTATION] = Rotation.from_matrix(np.stack([rotation, rotation.T])).as_euler("xyz")
    return turns[0], turns[1]


def add_effort(cost: Cost, weight: float, scale: Array) -> Cost:
    """``cost`` plus ``weight`` times the squared action in units of ``scale`` [7], mean over the horizon.

    Dimensions of scale 0 cost nothing. Keeps the gradients of a DifferentiableCost.
    """
    if weight == 0:
        return cost
    if isinstance(cost, DifferentiableCost):
        return _DifferentiableEffort(cost, weight, scale)
    return _Effort(cost, weight, scale)


class _Effort:
    def __init__(self, cost: Cost, weight: float, scale: Array) -> None:
        self._cost = cost
        self._weights = weight / np.where(np.asarray(scale) > 0, scale, np.inf) ** 2

    def __call__(self, actions: Array) -> Array:
        return self._cost(actions) + (actions**2 * self._weights).sum(axis=-1).mean(axis=-1)


class _DifferentiableEffort(_Effort):
    def __init__(self, cost: DifferentiableCost, weight: float, scale: Array) -> None:
        super().__init__(cost, weight, scale)
        self._differentiable = cost

    def energies(self, actions: torch.Tensor) -> torch.Tensor:
        effort = (actions**2 * actions.new_tensor(self._weights)).sum(dim=-1).mean(dim=-1)
        return self._differentiable.energies(actions) + effort
