"""What a trained predictor is worth on held-out episodes.

Error by horizon against trivial predictors, and whether latent distance orders end-effector distance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.data.episodes import EpisodeArrays
from jepa_world_model.energy import latent_distance
from jepa_world_model.model_card import Distance
from jepa_world_model.poses import integrate_batch

MOVED_M = 0.01
"""An object that is further than this from where it was, m, has moved."""


@dataclass(frozen=True)
class HorizonError:
    """Mean distance between the latents predicted ``horizon`` steps ahead and the real ones, over ``clips`` clips.

    ``copy_last_frame`` predicts that nothing changes; ``shuffled_actions`` is the model given another clip's actions.
    """

    horizon: int
    model: float
    copy_last_frame: float
    shuffled_actions: float
    clips: int


@dataclass(frozen=True)
class HorizonTable:
    """Errors by horizon in one ``distance``, over all clips or over those in which an object has ``moved``."""

    distance: Distance
    moved: bool
    horizons: tuple[HorizonError, ...]


@dataclass(frozen=True)
class ValidationReport:
    """Held-out numbers that go into the checkpoint's provenance.

    ``tables`` hold L1, L2 and, where the checkpoint has one, its metric (about metres); each over all clips and, where
    the objects' places are known, over those in which one has moved by a centimetre since the first frame. The rank
    correlations are those of the end-effector's distance with the checkpoint's energy and with the plain L1 one.
    """

    tables: tuple[HorizonTable, ...]
    energy_rank_correlation: float
    l1_rank_correlation: float
    clips: int

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)


@torch.inference_mode()
def validate(
    predictor: ActionConditionedPredictor,
    latents: Tensor,
    episodes: EpisodeArrays,
    metric: Tensor | None,
    horizon: int = 8,
    clips: int = 256,
    seed: int = 0,
) -> ValidationReport:
    """Evaluate on ``clips`` random clips of latents ``[E, T, tokens, dim]``."""
    generator = np.random.default_rng(seed)
    horizon = min(horizon, episodes.frames - 1)
    episode = generator.integers(episodes.episodes, size=clips)
    start = generator.integers(episodes.frames - horizon, size=clips)
    frame = start[:, None] + np.arange(horizon + 1)
    clip_latents = latents[torch.from_numpy(episode)[:, None], torch.from_numpy(frame)].float()
    states = torch.from_numpy(episodes.states[episode, start])
    actions = torch.from_numpy(episodes.actions[episode[:, None], frame[:, :-1]])
    model = imagine(predictor, clip_latents[:, 0], states, actions)
    shuffled = imagine(predictor, clip_latents[:, 0], states, actions.roll(1, dims=0))
    guesses = model, clip_latents[:, :1].expand_as(model), shuffled
    distances: tuple[Distance, ...] = ("l1", "l2") if metric is None else ("l1", "l2", "metric")
    everything = np.ones((clips, horizon), bool)
    moved = None if episodes.objects is None else _moved(episodes.objects[episode[:, None], frame])
    tables = tuple(
        HorizonTable(distance, chosen is moved, _by_horizon(guesses, clip_latents[:, 1:], distance, metric, chosen))
        for distance in distances
        for chosen in (everything, moved)
        if chosen is not None
    )
    correlations = energy_rank_correlations(latents, episodes, metric, clips, generator)
    return ValidationReport(tables, *correlations, clips)


def _moved(objects: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether an object is elsewhere than in the first frame: ``[B, T-1]`` of centres ``[B, T, K, 3]``."""
    away = np.linalg.norm(objects[:, 1:] - objects[:, :1], axis=-1)
    return np.asarray((away > MOVED_M).any(axis=-1))


def _by_horizon(
    guesses: tuple[Tensor, ...],
    real: Tensor,
    distance: Distance,
    metric: Tensor | None,
    chosen: NDArray[np.bool_],
) -> tuple[HorizonError, ...]:
    """Mean errors of each of ``guesses`` ``[B, H, N, D]`` over the clips ``chosen`` ``[B, H]`` for each horizon."""
    nothing = torch.zeros_like(real[0, 0])
    errors = [latent_distance(guess - real, nothing, distance, metric) for guess in guesses]
    rows = []
    for step, clips in enumerate(torch.from_numpy(chosen).unbind(dim=1)):
        if clips.any():
            model, copied, shuffled = (float(error[clips, step].mean()) for error in errors)
            rows.append(HorizonError(step + 1, model, copied, shuffled, int(clips.sum())))
    return tuple(rows)


def imagine(predictor: ActionConditionedPredictor, first: Tensor, state: Tensor, actions: Tensor) -> Tensor:
    """Roll ``first`` ``[B, N, D]`` out under ``actions`` ``[B, H, 7]`` from ``state`` ``[B, 7]``: ``[B, H, N, D]``."""
    latents, states = first[:, None], state[:, None]
    for step in range(actions.shape[1]):
        frames = latents.shape[1]
        output = predictor(latents.flatten(1, 2), actions[:, : step + 1], states).unflatten(1, (frames, -1))
        latents = torch.cat([latents, output[:, -1:]], dim=1)
        states = torch.cat([states, integrate_batch(states[:, -1], actions[:, step])[:, None]], dim=1)
    return latents[:, 1:]


def energy_rank_correlations(
    latents: Tensor, episodes: EpisodeArrays, metric: Tensor | None, pairs: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Spearman correlations of energy, by the metric (where there is one) and by L1, with the end-effector's distance.

    Over random pairs of one episode's frames.
    """
    episode = torch.from_numpy(generator.integers(episodes.episodes, size=pairs))
    first, second = (torch.from_numpy(generator.integers(episodes.frames, size=pairs)) for _ in range(2))
    change = latents[episode, first].float() - latents[episode, second].float()
    positions = torch.from_numpy(episodes.states[..., :3])
    distance = (positions[episode, first] - positions[episode, second]).norm(dim=-1)
    origin = torch.zeros_like(change[0])
    chosen: Distance = "l1" if metric is None else "metric"
    energies = (latent_distance(change, origin, chosen, metric), latent_distance(change, origin, "l1"))
    by_metric, by_l1 = (float(spearmanr(energy.numpy(), distance.numpy()).statistic) for energy in energies)
    return by_metric, by_l1
