"""Energies of frames against the true distance of the tool, to the episode's end and to sub-goals."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from jepa_tools.bag_eval.config import EnergyConfig
from jepa_tools.bag_eval.encoding import EncodedEpisode
from jepa_tools.bag_eval.results import EnergyResult, mean, number
from jepa_world_model.world_model import WorldModel

Array = NDArray[np.float64]
_LEAST_FRAMES = 3
_LEAST_WAY = 0.005
"""A robot that moved less than this, m, tells nothing about distances."""


@dataclass(frozen=True, eq=False)
class EpisodeEnergies:
    """Energies and distances, m, of every frame to the last one, [T]; and rank correlations to sub-goals."""

    energy: Array
    distance: Array
    sub_goal_correlations: tuple[float, ...]


def measure_energies(model: WorldModel, episode: EncodedEpisode, config: EnergyConfig) -> EpisodeEnergies:
    """Measures one episode. Energies are those that a planner sees: the model's own distance."""
    every = config.sub_goal_every
    goals = range(every, episode.frames, every)
    pairs = (_to_goal(model, episode, goal - every, goal) for goal in goals)
    correlations = tuple(rank_correlation(energy, distance) for energy, distance in pairs)
    return EpisodeEnergies(*_to_goal(model, episode, 0, episode.frames - 1), correlations)


def _to_goal(model: WorldModel, episode: EncodedEpisode, first: int, goal: int) -> tuple[Array, Array]:
    """Energy and distance, m, of the frames `first` to `goal`, both included."""
    frames = slice(first, goal + 1)
    energy = model.distance(episode.latents[frames], episode.latents[goal]).double().cpu().numpy()
    positions = episode.states[frames, :3]
    return energy, np.linalg.norm(positions - positions[-1], axis=1)


def rank_correlation(energy: Array, distance: Array) -> float:
    """Spearman's, without the goal itself; NaN for fewer than three frames or a robot that stood still."""
    energy, distance = energy[:-1], distance[:-1]
    if len(energy) < _LEAST_FRAMES or np.ptp(distance) < _LEAST_WAY or not np.ptp(energy):
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant input is excluded above; ties are none of the user's business
        return float(spearmanr(energy, distance).statistic)


def summarize_energies(energies: Sequence[EpisodeEnergies]) -> EnergyResult:
    """Means over a bag."""
    to_end = [rank_correlation(item.energy, item.distance) for item in energies]
    to_sub_goals = [value for item in energies for value in item.sub_goal_correlations]
    moved = [item for item in energies if np.ptp(item.distance) >= _LEAST_WAY]
    slope = float("nan")
    if moved:
        energy, distance = (np.concatenate([getattr(item, name) for item in moved]) for name in ("energy", "distance"))
        if np.ptp(energy):
            slope = 100 * float(np.polyfit(energy, distance, 1)[0])
    counts = int(np.isfinite(to_end).sum()), int(np.isfinite(to_sub_goals).sum())
    return EnergyResult(number(mean(to_end)), number(mean(to_sub_goals)), number(slope), counts)
