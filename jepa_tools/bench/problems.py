"""Planning problems to time: a context, a state and a goal each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jepa_planner.solvers.base import Array
from jepa_world_model.world_model import WorldModel

_GOAL_SEED = 10_000
_STATE_SCALE = 0.3


@dataclass(frozen=True, eq=False)
class PlanningProblem:
    """Latents ``[T, tokens, dim]`` and states ``[T, 7]`` seen so far, and a goal latent ``[tokens, dim]``."""

    context: Tensor
    states: NDArray[np.float64]
    goal: Tensor


@dataclass(frozen=True, eq=False)
class OurCost:
    """Energies of candidates by :meth:`WorldModel.energy`."""

    model: WorldModel
    problem: PlanningProblem

    def __call__(self, actions: Array) -> Array:
        """Energies ``[samples]`` of ``actions`` ``[samples, horizon, 7]``."""
        problem = self.problem
        energies = self.model.energy(problem.context, problem.states, actions, problem.goal, "l1")
        return energies.cpu().numpy()


def random_problems(model: WorldModel, count: int, frames: int, seed: int) -> list[PlanningProblem]:
    """Problems with random latents, layer-normed as an encoder's are."""
    generator = torch.Generator().manual_seed(seed)
    shape = (frames + 1, model.card.tokens, model.card.dim)
    problems = []
    for _ in range(count):
        latents = F.layer_norm(torch.randn(shape, generator=generator), shape[-1:]).to(model.device)
        states = _STATE_SCALE * torch.randn(frames, 7, generator=generator, dtype=torch.float64)
        problems.append(PlanningProblem(latents[:-1], states.numpy(), latents[-1]))
    return problems


def simulated_problems(model: WorldModel, count: int, seed: int) -> list[PlanningProblem]:
    """Problems on the simulated table: reach the picture of another start pose, from one frame."""
    from jepa_sim.environment import TableEnvironment

    environment = TableEnvironment()
    problems = []
    for index in range(count):
        environment.reset(seed + _GOAL_SEED + index)
        goal = environment.render()
        environment.reset(seed + index)
        latents = model.encode(np.stack([environment.render(), goal]))
        problems.append(PlanningProblem(latents[:1], environment.state()[None], latents[1]))
    return problems
