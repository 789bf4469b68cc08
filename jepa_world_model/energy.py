"""Energies: how far a latent is from the goal's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_world_model.model_card import DISTANCES, METRIC_DISTANCES, Distance


def latent_distance(
    latents: Tensor,
    goal: Tensor,
    distance: Distance = "l1",
    metric: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Distance of latents ``[..., N, D]`` to a goal ``[N, D]``: ``[...]``, float32.

    "l1" is the mean absolute difference (V-JEPA 2, equation 5), "l2" the root of the mean squared difference, "cosine"
    one minus the tokens' mean cosine similarity. "metric" is the norm of the difference after a linear map
    ``metric`` ``[K, N * D]`` that was fitted to the robot's recorded states (see
    :mod:`jepa_world_model.training.energy_metric`); its unit is about a metre of the end-effector's way.
    "metric_gripper" is the same for a map in which the gripper counts more, "scene" for one that also follows small
    things in the picture (``WorldModel.metric_of`` makes both).

    Other packages add distances through the entry points ``jepa_ros.distances``.

    ``weights`` ``[N]`` make the mean over the tokens a weighted one; see :func:`region_weights`. None counts all alike.

    Raises:
        ValueError: another distance, no metric where one is needed, weights beside a metric, or shapes that do not
            belong together.
    """
    if latents.shape[-2:] != goal.shape:
        raise ValueError(f"expected a goal {list(latents.shape[-2:])} like the latents, got {list(goal.shape)}")
    latents, goal = latents.float(), goal.float()
    if distance in METRIC_DISTANCES and weights is not None:
        raise ValueError(
            f"the distance {distance!r} was fitted to whole pictures: with weights, ask for l1, l2 or cosine"
        )
    if distance in METRIC_DISTANCES and metric is not None:
        return _metric_distance(latents, goal, metric)
    return DISTANCES.load(distance)(latents, goal, weights)


def l1(latents: Tensor, goal: Tensor, weights: Tensor | None) -> Tensor:
    """The mean absolute difference; see :data:`~jepa_world_model.model_card.DISTANCES`, as for the others."""
    return weighted_mean((latents - goal).abs().mean(dim=-1), weights)


def l2(latents: Tensor, goal: Tensor, weights: Tensor | None) -> Tensor:
    """The root of the mean squared difference."""
    return weighted_mean((latents - goal).square().mean(dim=-1), weights).sqrt()


def cosine(latents: Tensor, goal: Tensor, weights: Tensor | None) -> Tensor:
    """One minus the tokens' mean cosine similarity."""
    return 1.0 - weighted_mean(F.cosine_similarity(latents, goal, dim=-1), weights)


def no_metric(latents: Tensor, goal: Tensor, weights: Tensor | None) -> Tensor:  # noqa: ARG001 - as the others
    """What "metric" and "metric_gripper" are where a checkpoint holds no metric."""
    raise ValueError("a distance by metric needs a checkpoint that holds one; ask for l1, l2 or cosine")


def region_weights(grid: int, region: Sequence[float]) -> Tensor:
    """Weights ``[grid * grid]`` of a picture's tokens, row by row: the share of each that lies in ``region``.

    ``region`` is left, top, right and bottom edge as shares of the picture's width and height.

    Raises:
        ValueError: not four edges, or not in order within 0 to 1.
    """
    if len(region) != 4:
        raise ValueError(f"expected a region of four numbers (left, top, right, bottom), got {tuple(region)}")
    left, top, right, bottom = region
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"expected a region 0 <= left < right <= 1 and 0 <= top < bottom <= 1, got {region}")
    edges = torch.arange(grid + 1) / grid

    def inside(low: float, high: float) -> Tensor:
        return (edges[1:].clamp(max=high) - edges[:-1].clamp(min=low)).clamp(min=0) * grid

    return torch.outer(inside(top, bottom), inside(left, right)).flatten()


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of ``values`` ``[..., N]`` over the tokens, each as heavy as ``weights`` ``[N]`` say, or all alike."""
    if weights is None:
        return values.mean(dim=-1)
    if weights.shape != values.shape[-1:]:
        raise ValueError(f"expected a weight for each of the {values.shape[-1]} tokens, got {list(weights.shape)}")
    return values @ (weights / weights.sum())


def _metric_distance(latents: Tensor, goal: Tensor, metric: Tensor) -> Tensor:
    if metric.shape[-1] != goal.numel():
        raise ValueError(
            f"expected a metric [K, {goal.numel()}] for a goal {list(goal.shape)}, got {list(metric.shape)}"
        )
    # The goal is mapped on its own, so that candidates are not copied for the difference.
    return F.linear(latents.flatten(-2), metric).sub(metric @ goal.flatten()).norm(dim=-1)
