"""The published way to score candidates, written plainly: what ``bench plan`` compares with.

Every step runs the predictor over all frames so far, for every candidate, in float32; poses are integrated on the CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jepa_planner.solvers.base import Array
from jepa_tools.bench.problems import PlanningProblem
from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.poses import integrate
from jepa_world_model.rollout import context_actions


class PublishedCost:
    """Energies of candidates by re-running everything at every step."""

    def __init__(self, predictor: ActionConditionedPredictor, problem: PlanningProblem, device: torch.device) -> None:
        self._predictor, self._problem, self._device = predictor, problem, device

    @torch.no_grad()
    def __call__(self, actions: Array) -> Array:
        """Energies ``[samples]`` of ``actions`` ``[samples, horizon, 7]``."""
        samples = actions.shape[0]
        latents = self._tensor(self._problem.context).repeat(samples, 1, 1, 1)
        states = self._tensor(self._problem.states).repeat(samples, 1, 1)
        past = context_actions(self._tensor(self._problem.states)).repeat(samples, 1, 1)
        for step in range(actions.shape[1]):
            past = torch.cat([past, self._tensor(actions[:, step : step + 1])], dim=1)
            predicted = self._predictor(latents.flatten(1, 2), past, states).unflatten(1, (past.shape[1], -1))
            latents = torch.cat([latents, predicted[:, -1:]], dim=1)
            poses = integrate(states[:, -1].cpu().numpy(), actions[:, step])
            states = torch.cat([states, self._tensor(poses)[:, None]], dim=1)
        energies = (latents[:, -1] - self._tensor(self._problem.goal)).abs().mean(dim=(1, 2))
        return energies.cpu().numpy()

    def _tensor(self, values: Tensor | np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self._device)
