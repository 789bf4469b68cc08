"""What a latent energy means in centimetres, measured on held-out episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.data.episodes import EpisodeArrays
from jepa_world_model.energy import latent_distance

_REACH_TOLERANCE_M = 0.01
_NEAR_M = 0.10
_BIN_M = 0.01
_MAX_GAP = 4


@dataclass(frozen=True)
class EnergyScale:
    """Energies for people.

    Attributes:
        reach_energy: median energy between frames whose end-effectors are ``reach_tolerance_m`` apart.
        energy_per_meter: slope of the median energy over the distance, within 10 cm.
        surprise_energy: 99th percentile of the one-step prediction error.
    """

    reach_energy: float
    reach_tolerance_m: float
    energy_per_meter: float
    surprise_energy: float


@torch.inference_mode()
def energy_scale(
    predictor: ActionConditionedPredictor, latents: Tensor, episodes: EpisodeArrays, metric: Tensor | None
) -> EnergyScale:
    """Calibrate the distance of ``metric`` ``[K, N * D]``, or L1, on latents ``[E, T, N, D]`` of held-out episodes."""
    distances, energies = _near_pairs(latents, episodes, metric)
    centers, medians = _median_by_distance(distances, energies)
    slope, _ = np.polyfit(centers, medians, 1)
    reach = float(np.interp(_REACH_TOLERANCE_M, centers, medians))
    surprise = float(np.quantile(_one_step_errors(predictor, latents, episodes, metric), 0.99))
    return EnergyScale(reach, _REACH_TOLERANCE_M, float(slope), surprise)


def _near_pairs(
    latents: Tensor, episodes: EpisodeArrays, metric: Tensor | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance and energy of frames a few steps apart, so that little but the arm has moved between them."""
    distances, energies = [], []
    for gap in range(1, _MAX_GAP + 1):
        moved = episodes.states[:, gap:, :3] - episodes.states[:, :-gap, :3]
        distances.append(np.linalg.norm(moved, axis=-1).ravel())
        gaps = [_differences(episode[gap:], episode[:-gap], metric) for episode in latents]
        energies.append(torch.stack(gaps).numpy().ravel())
    return np.concatenate(distances), np.concatenate(energies)


def _differences(first: Tensor, second: Tensor, metric: Tensor | None) -> Tensor:
    """Distances ``[T]`` of paired latents ``[T, N, D]``."""
    change = first.float() - second.float()
    return latent_distance(change, torch.zeros_like(change[0]), "l1" if metric is None else "metric", metric)


def _median_by_distance(
    distances: NDArray[np.float64], energies: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    edges = np.arange(0.0, _NEAR_M + _BIN_M, _BIN_M)
    bins = [(low, (distances >= low) & (distances < low + _BIN_M)) for low in edges]
    filled = [(low + _BIN_M / 2, float(np.median(energies[chosen]))) for low, chosen in bins if chosen.any()]
    centers, medians = zip(*filled, strict=True)
    return np.array(centers), np.array(medians)


def _one_step_errors(
    predictor: ActionConditionedPredictor, latents: Tensor, episodes: EpisodeArrays, metric: Tensor | None
) -> NDArray[np.float32]:
    errors = []
    for episode, states, actions in zip(latents, episodes.states, episodes.actions, strict=True):
        predicted = predictor(
            episode[:-1].float(), torch.from_numpy(actions)[:, None], torch.from_numpy(states[:-1])[:, None]
        )
        errors.append(_differences(predicted, episode[1:], metric))
    return torch.cat(errors).numpy()
