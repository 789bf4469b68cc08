"""The planner's cost when the world model lives in the same process: a direct call instead of a service."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_planner.cost import Assessment
from jepa_planner.solvers.base import Array
from jepa_world_model.model_card import Distance
from jepa_world_model.rollout import RolloutInputs, uncached_rollout
from jepa_world_model.world_model import WorldModel


@dataclass(frozen=True, eq=False)
class SeenFrames:
    """What was seen until now: latents [T, tokens, dim] and states [T, 7], oldest first."""

    latents: Tensor
    states: NDArray[np.float64]


class FrameMemory:
    """Encodes pictures and keeps the last few, as many as the model was trained to look back on."""

    def __init__(self, model: WorldModel) -> None:
        self._model = model
        self._seen: deque[tuple[Tensor, NDArray[np.float64]]] = deque(maxlen=model.card.context_frames)

    def clear(self) -> None:
        """Forgets everything, as a new episode demands."""
        self._seen.clear()

    def add(self, picture: NDArray[np.uint8], state: NDArray[np.float64]) -> SeenFrames:
        """Takes in a picture [H, W, 3] and the state [7] at that moment, and returns what is remembered."""
        self._seen.append((self._model.encode(picture[None])[0], state))
        latents, states = zip(*self._seen, strict=True)
        return SeenFrames(torch.stack(latents), np.stack(states))


@dataclass(frozen=True)
class ModelCosts:
    """Makes the cost of one step; a `jepa_planner.cost.CostFactory`.

    distance: None is the card's. sum_over_horizon: of all steps instead of the last one's.
    """

    model: WorldModel
    distance: Distance | None = None
    sum_over_horizon: bool = False

    def __call__(self, observation: SeenFrames, state: Array, goal: Tensor) -> ModelCost:
        """The cost of acting from `observation` toward the latent `goal` [tokens, dim]."""
        states = np.concatenate([observation.states[:-1], np.asarray(state, dtype=np.float64)[None]])
        return ModelCost(self, observation.latents, states, goal)


@dataclass(frozen=True, eq=False)
class ModelCost:
    """Energies of candidate actions; a `DifferentiableCost` and a `GoalCost`."""

    costs: ModelCosts
    latents: Tensor
    states: NDArray[np.float64]
    goal: Tensor

    def __call__(self, actions: Array) -> Array:
        """Energies [samples] of `actions` [samples, horizon, 7]."""
        energies = self.costs.model.energy(
            self.latents, self.states, actions, self.goal, self._distance, self.costs.sum_over_horizon
        )
        return energies.float().cpu().numpy()

    def energies(self, actions: Tensor) -> Tensor:
        """The same with gradients, from the uncached rollout."""
        model = self.costs.model
        if model.predictor is None:
            raise ValueError(f"{model.card.name} was loaded without its predictor: load both parts to plan")
        inputs = RolloutInputs(
            # A tensor made in inference mode cannot take part in a graph; its copy can.
            context=self.latents.clone().to(model.device, model.dtype),
            states=torch.as_tensor(self.states, dtype=torch.float32, device=model.device),
            actions=actions.float().to(model.device),
        )
        imagined = uncached_rollout(model.predictor, inputs)
        per_step = model.distance(imagined, self.goal.clone(), self._distance)
        return per_step.sum(dim=1) if self.costs.sum_over_horizon else per_step[:, -1]

    def assess(self) -> Assessment:
        """Distance of now to the goal, and how the fingers differ."""
        model, now = self.costs.model, self.latents[-1]
        energy = float(model.distance(now, self.goal, self._distance))
        return Assessment(energy, gripper_change=model.gripper_change(now, self.goal))

    @property
    def _distance(self) -> Distance:
        return self.costs.distance or self.costs.model.card.distance
