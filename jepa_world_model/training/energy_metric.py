"""The distance "metric": a linear map of latents, fitted to the robot's recorded states.

Latents of a small encoder change with everything in the picture, and the mean absolute difference weighs all of it
alike. The map keeps what tells the end-effector's pose and the gripper's closedness, in units of about a metre, so
that energies mean the same near the goal and far away. States are recorded with every episode; nothing is labelled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from jepa_world_model.training.joint import state_features
from jepa_world_model.training.ridge import Moments


@dataclass(frozen=True)
class MetricConfig:
    """What the metric weighs and how it is fitted.

    Attributes:
        axis_weight: metres per unit change of the tool's x and y axes; 0.02 makes 30 degrees count about 1.5 cm.
        gripper_weight: metres that opening the closed gripper counts.
        ridges: candidates for the regularisation, as shares of the mean feature energy; held-out episodes choose.
        held_out_share: of the episodes.
        rows: at most this many frames are used.
    """

    axis_weight: float = 0.02
    gripper_weight: float = 0.01
    ridges: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    held_out_share: float = 0.1
    rows: int = 60_000


@dataclass(frozen=True)
class EnergyMetric:
    """A fitted metric.

    Attributes:
        weights: ``[K, tokens * dim]``, metres per unit of the standardised latent; the last row tells the closedness.
        ridge: the regularisation that was chosen.
        median_cm, p90_cm: how well the map finds the end-effector on the held-out episodes.
    """

    weights: Tensor
    ridge: float
    median_cm: float
    p90_cm: float
    scene_rows: int = 0

    @property
    def robot(self) -> Tensor:
        """The rows ``[K, tokens * dim]`` that tell the robot's state."""
        return self.weights[: len(self.weights) - self.scene_rows]


def fit_energy_metric(
    latents: Tensor, states: Tensor, config: MetricConfig, seed: int = 0, scene: Tensor | None = None
) -> EnergyMetric:
    """Ridge regression from latents ``[E, T, tokens, dim]`` to weighted states ``[E, T, 7]`` and ``scene`` targets.

    ``scene`` ``[E, T, R]`` are metres, as of :func:`jepa_world_model.training.scene_rows.scene_targets`. The last
    episodes are held out to choose the regularisation, by the end-effector's position.
    """
    wanted = _weighted(states, config)
    if scene is not None:
        wanted = torch.cat([wanted, scene], dim=-1)
    split = latents.shape[0] - max(1, round(config.held_out_share * latents.shape[0]))
    inputs, targets = latents[:split].flatten(0, 1), wanted[:split].flatten(0, 1)
    held_out, truth = latents[split:].flatten(0, 1), wanted[split:].flatten(0, 1)
    chosen = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))[: config.rows].sort().values
    moments = Moments.of(inputs[chosen], targets[chosen])
    fits = [_fit(moments, ridge, held_out, truth) for ridge in tqdm(config.ridges, desc="energy metric")]
    best = min(fits, key=lambda fit: fit.median_cm)
    return replace(best, scene_rows=0 if scene is None else scene.shape[-1])


def _weighted(states: Tensor, config: MetricConfig) -> Tensor:
    weights = torch.tensor([1.0] * 3 + [config.axis_weight] * 6 + [config.gripper_weight])
    return state_features(states.float()) * weights


def _fit(moments: Moments, ridge: float, held_out: Tensor, truth: Tensor) -> EnergyMetric:
    linear = moments.solve(ridge)
    errors = 100.0 * (linear(held_out) - truth)[:, :3].norm(dim=-1)
    return EnergyMetric(linear.weights.T.contiguous(), ridge, float(errors.median()), float(errors.quantile(0.9)))
