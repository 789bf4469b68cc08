"""What a world model would have predicted in an episode on the simulated table, as pictures for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from jepa_tools.bag_eval.config import PictureConfig, PredictionConfig
from jepa_tools.bag_eval.encoding import EncodedEpisode
from jepa_tools.bag_eval.moments import MomentGallery
from jepa_tools.bag_eval.prediction import predict_episode
from jepa_tools.reports.landscape import Landscape, energy_landscape
from jepa_tools.reports.picture_grid import PictureGrid
from jepa_world_model.picture_strip import jpeg
from jepa_world_model.poses import difference
from jepa_world_model.world_model import WorldModel

_STEPS_AHEAD = 4
_LEAST_FRAMES = 3


@dataclass(frozen=True)
class EpisodePictures:
    """What was worth looking at in one episode.

    Attributes:
        best, worst: the predictions of its steps that came closest to what came, and least close, with their error as
            a share of that of repeating the picture; None without a picture decoder, or where too little happened; the
            worst is also None where there is one only.
        landscape: energies of the first step toward the goal.
    """

    best: tuple[float, PictureGrid] | None = None
    worst: tuple[float, PictureGrid] | None = None
    landscape: Landscape | None = None


@dataclass(frozen=True)
class SeenEpisode:
    """Pictures [H, W, 3] and states [T, 7] of an episode, the first ones at its start; and its first goal's."""

    name: str
    pictures: Sequence[NDArray[np.uint8]]
    states: NDArray[np.float64]
    goal: NDArray[np.uint8]
    goal_state: NDArray[np.float64]


def episode_pictures(model: WorldModel, seen: SeenEpisode) -> EpisodePictures:
    """Looks at an episode with the actions that were carried out, which are those that the states show."""
    if len(seen.pictures) < _LEAST_FRAMES:
        return EpisodePictures()
    states = seen.states
    episode = EncodedEpisode(
        latents=model.encode(np.stack(seen.pictures)),
        states=states,
        actions=difference(states[:-1], states[1:]),
        times=np.arange(len(states)) / model.card.control_rate_hz,
        start_ns=0,
        thumbnails=tuple(
            jpeg(np.asarray(cv2.resize(picture, (160, 160), interpolation=cv2.INTER_AREA), np.uint8))
            for picture in seen.pictures
        ),
    )
    horizon = min(_STEPS_AHEAD, len(states) - 2)
    errors = predict_episode(model, episode, PredictionConfig(horizon, shuffles=1), np.random.default_rng(0))
    gallery = MomentGallery(model, PictureConfig(moments=1, landscapes=0))
    gallery.add(0, episode, errors, seen.name)
    best, worst = (grids[0] if grids else None for grids in (gallery.best, gallery.worst))
    if worst == best:
        worst = None  # there is only one
    return EpisodePictures(
        None if best is None else (gallery.ratios[0], best),
        None if worst is None else (gallery.ratios[-1], worst),
        _landscape(model, episode, seen),
    )


def _landscape(model: WorldModel, episode: EncodedEpisode, seen: SeenEpisode) -> Landscape:
    goal, way = model.encode(seen.goal[None])[0], seen.goal_state[:3] - episode.states[0, :3]
    title = f"{seen.name}, first step toward the goal"
    return energy_landscape(model, episode.latents[:1], episode.states[:1], goal, title, way, _wider_axes(way))


def _wider_axes(way: NDArray[np.float64]) -> tuple[int, int]:
    """The two axes along which the goal is farther away."""
    first, second = sorted(np.argsort(-np.abs(way))[:2].tolist())
    return int(first), int(second)
