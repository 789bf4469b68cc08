"""Energies: how far a latent is from the goal's."""

from __future__ import annotations

from typing import get_args

import torch.nn.functional as F
from torch import Tensor

from jepa_world_model.model_card import Distance


def latent_distance(latents: Tensor, goal: Tensor, distance: Distance = "l1", metric: Tensor | None = None) -> Tensor:
    """Distance of latents ``[..., N, D]`` to a goal ``[N, D]``: ``[...]``, float32.

    "l1" is the mean absolute difference (V-JEPA 2, equation 5), "l2" the root of the mean squared difference, "cosine"
    one minus the tokens' mean cosine similarity. "metric" is the norm of the difference after a linear map
    ``metric`` ``[K, N * D]`` that was fitted to the robot's recorded states (see
    :mod:`jepa_world_model.training.energy_metric`); its unit is about a metre of the end-effector's way.

    Raises:
        ValueError: another distance, no metric where one is needed, or shapes that do not belong together.
    """
    if latents.shape[-2:] != goal.shape:
        raise ValueError(f"expected a goal {list(latents.shape[-2:])} like the latents, got {list(goal.shape)}")
    latents, goal = latents.float(), goal.float()
    if distance == "l1":
        return (latents - goal).abs().mean(dim=(-2, -1))
    if distance == "l2":
        return (latents - goal).square().mean(dim=(-2, -1)).sqrt()
    if distance == "cosine":
        return 1.0 - F.cosine_similarity(latents, goal, dim=-1).mean(dim=-1)
    if distance == "metric":
        return _metric_distance(latents, goal, metric)
    raise ValueError(f"expected a distance of {', '.join(get_args(Distance))}, got {distance!r}")


def _metric_distance(latents: Tensor, goal: Tensor, metric: Tensor | None) -> Tensor:
    if metric is None:
        raise ValueError("the distance 'metric' needs a checkpoint that holds one; ask for l1, l2 or cosine")
    if metric.shape[-1] != goal.numel():
        raise ValueError(
            f"expected a metric [K, {goal.numel()}] for a goal {list(goal.shape)}, got {list(metric.shape)}"
        )
    # The goal is mapped on its own, so that candidates are not copied for the difference.
    return F.linear(latents.flatten(-2), metric).sub(metric @ goal.flatten()).norm(dim=-1)
