"""Imagined futures: rolling an action-conditioned predictor out over candidate action sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.poses import difference, integrate_batch


def context_actions(states: Tensor) -> Tensor:
    """Actions ``[T - 1, 7]`` that lead from each context state ``[T, 7]`` to the next."""
    values = states.detach().cpu().numpy()
    return torch.as_tensor(difference(values[:-1], values[1:]), dtype=states.dtype, device=states.device)


def uncached_rollout(
    predictor: ActionConditionedPredictor, context: Tensor, states: Tensor, actions: Tensor
) -> Tensor:
    """Predicted latents ``[S, H, N, D]``, everything recomputed at every step: the reference for the cached path.

    Args:
        predictor: the model.
        context: latents ``[T, N, D]``, oldest first.
        states: ``[T, 7]``.
        actions: ``[S, H, 7]`` that follow the last context frame.
    """
    samples, horizon = actions.shape[:2]
    latents = context.expand(samples, -1, -1, -1)
    poses = states.expand(samples, -1, -1)
    past = context_actions(states).expand(samples, -1, -1)
    for step in range(horizon):
        past = torch.cat([past, actions[:, step : step + 1]], dim=1)
        predicted = predictor(latents.flatten(1, 2), past, poses).unflatten(1, (past.shape[1], -1))
        latents = torch.cat([latents, predicted[:, -1:]], dim=1)
        poses = torch.cat([poses, integrate_batch(poses[:, -1], past[:, -1])[:, None]], dim=1)
    return latents[:, -horizon:]
