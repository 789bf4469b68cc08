"""What a trained predictor is worth on held-out episodes.

Error by horizon against trivial predictors, and whether latent distance orders end-effector distance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.data.episodes import EpisodeArrays
from jepa_world_model.energy import latent_distance
from jepa_world_model.model_card import Distance
from jepa_world_model.poses import integrate_batch


@dataclass(frozen=True)
class HorizonError:
    """Mean latent distance of what was predicted ``horizon`` steps ahead to what came.

    ``copy_last_frame`` predicts that nothing changes; ``shuffled_actions`` is the model given another clip's actions.
    """

    horizon: int
    model: float
    copy_last_frame: float
    shuffled_actions: float


@dataclass(frozen=True)
class ValidationReport:
    """Held-out numbers that go into the checkpoint's provenance.

    ``horizons`` are by L1, ``metric_horizons`` by the checkpoint's metric, about metres; empty where it has none. The
    rank correlations are those of the end-effector's distance with the checkpoint's energy and with the plain L1 one.
    """

    horizons: tuple[HorizonError, ...]
    metric_horizons: tuple[HorizonError, ...]
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
    horizon: int = 4,
    clips: int = 256,
    seed: int = 0,
) -> ValidationReport:
    """Evaluate on ``clips`` random clips of latents ``[E, T, tokens, dim]``."""
    generator = np.random.default_rng(seed)
    episode = generator.integers(episodes.episodes, size=clips)
    start = generator.integers(episodes.frames - horizon, size=clips)
    frame = start[:, None] + np.arange(horizon + 1)
    clip_latents = latents[torch.from_numpy(episode)[:, None], torch.from_numpy(frame)].float()
    states = torch.from_numpy(episodes.states[episode, start])
    actions = torch.from_numpy(episodes.actions[episode[:, None], frame[:, :-1]])
    model = imagine(predictor, clip_latents[:, 0], states, actions)
    shuffled = imagine(predictor, clip_latents[:, 0], states, actions.roll(1, dims=0))
    guesses = model, clip_latents[:, :1].expand_as(model), shuffled
    by_l1 = _by_horizon(guesses, clip_latents[:, 1:], "l1", None)
    by_metric = () if metric is None else _by_horizon(guesses, clip_latents[:, 1:], "metric", metric)
    correlations = energy_rank_correlations(latents, episodes, metric, clips, generator)
    return ValidationReport(by_l1, by_metric, *correlations, clips)


def _by_horizon(
    guesses: tuple[Tensor, ...], came: Tensor, distance: Distance, metric: Tensor | None
) -> tuple[HorizonError, ...]:
    """Errors of each of ``guesses`` ``[B, H, N, D]`` against what ``came``, means over the clips."""
    nothing = torch.zeros_like(came[0, 0])
    errors = [latent_distance(guess - came, nothing, distance, metric).mean(0).tolist() for guess in guesses]
    return tuple(HorizonError(step + 1, *values) for step, values in enumerate(zip(*errors, strict=True)))


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
