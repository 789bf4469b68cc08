"""The moments that the model predicted best and worst, and energy landscapes, to be looked at."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from jepa_tools.bag_eval.config import PictureConfig
from jepa_tools.bag_eval.encoding import EncodedEpisode
from jepa_tools.bag_eval.prediction import EpisodeErrors, imagine
from jepa_tools.reports.landscape import Landscape, energy_landscape
from jepa_tools.reports.picture_grid import PictureGrid, prediction_grid
from jepa_world_model.world_model import WorldModel

_LEAST_WAY = 0.02
"""The hand moves at least this far, m, on the way to the goal of a landscape."""


@dataclass(frozen=True)
class Prediction:
    """A moment that was predicted from, and how well.

    Attributes:
        episode, start: which frame.
        steps: predicted ahead.
        ratio: error (latent L1, which like a picture counts all of the latent) after the last of them as a share of
            that of repeating the frame; below 1 is better than that.
    """

    episode: int
    start: int
    steps: int
    ratio: float


class MomentGallery:
    """Keeps what is worth looking at of the episodes that pass by, and nothing else of them."""

    def __init__(self, model: WorldModel, config: PictureConfig) -> None:
        """A model without a picture decoder has landscapes only."""
        self._model, self._config = model, config
        self._best: dict[Prediction, PictureGrid] = {}
        self._worst: dict[Prediction, PictureGrid] = {}
        self._landscapes: list[Landscape] = []

    def add(self, index: int, episode: EncodedEpisode, errors: EpisodeErrors, name: str = "") -> None:
        """Looks at one episode, which is called by its number unless it has a name."""
        name = name or f"Episode {index + 1}"
        if self._model.decoder is not None:
            predictions = ranked_predictions(index, errors)
            self._best = self._kept(self._best, predictions[: self._config.moments], episode, name)
            self._worst = self._kept(self._worst, predictions[::-1][: self._config.moments], episode, name, True)
        if len(self._landscapes) < self._config.landscapes:
            self._landscapes += _landscapes(self._model, name, episode, self._config.landscape_ahead)

    @property
    def best(self) -> tuple[PictureGrid, ...]:
        """The moments that were predicted best, best first."""
        return tuple(self._best.values())

    @property
    def worst(self) -> tuple[PictureGrid, ...]:
        """The moments that were predicted worst, worst first."""
        return tuple(self._worst.values())

    @property
    def ratios(self) -> tuple[float, ...]:
        """Errors of the best and of the worst predictions, in the order of `best` and `worst`, as in `Prediction`."""
        return tuple(item.ratio for item in (*self._best, *self._worst))

    @property
    def landscapes(self) -> tuple[Landscape, ...]:
        """Of the first episodes."""
        return tuple(self._landscapes[: self._config.landscapes])

    def _kept(
        self,
        before: dict[Prediction, PictureGrid],
        new: list[Prediction],
        episode: EncodedEpisode,
        name: str,
        worst: bool = False,
    ) -> dict[Prediction, PictureGrid]:
        ranked = sorted([*before, *new], key=lambda item: item.ratio, reverse=worst)[: self._config.moments]
        return {item: before[item] if item in before else self._grid(item, episode, name) for item in ranked}

    def _grid(self, item: Prediction, episode: EncodedEpisode, name: str) -> PictureGrid:
        frames = slice(item.start, item.start + item.steps + 1)
        predicted = imagine(self._model, episode, item.start, episode.actions[None, frames][:, : item.steps])[0]
        title = (
            f"{name} from {episode.times[item.start]:.2f} s on: latent error after {item.steps} steps"
            f" {item.ratio:.0%} of that of repeating the first picture"
        )
        cameras = [_decoded(data) for data in episode.thumbnails[frames]]
        latents = episode.latents[frames]
        return prediction_grid(self._model, title, latents[0], predicted, latents[1:], cameras)


def ranked_predictions(index: int, errors: EpisodeErrors) -> list[Prediction]:
    """One episode's predictions over the longest horizon that it has, best first.

    Only those count in which as much changed as in half of them: where nothing happens every prediction is good.
    """
    measured = errors.l1
    reached = np.isfinite(measured.predicted).any(axis=0)
    if not reached.any():
        return []
    last = int(np.flatnonzero(reached)[-1])
    predicted, copied = measured.predicted[:, last], measured.copied[:, last]
    changed = np.isfinite(copied) & (copied > 0) & (copied >= np.nanmedian(copied))
    starts = np.flatnonzero(changed)
    predictions = [Prediction(index, int(start), last + 1, float(predicted[start] / copied[start])) for start in starts]
    return sorted(predictions, key=lambda item: item.ratio)


def _landscapes(model: WorldModel, name: str, episode: EncodedEpisode, ahead: int) -> list[Landscape]:
    """Where the hand moves most: the energy over x and y, and over x and z, toward the picture `ahead` frames later."""
    positions = episode.states[:, :3]
    ahead = min(ahead, episode.frames - 1)
    ways = positions[ahead:] - positions[:-ahead]
    start = int(np.argmax(np.linalg.norm(ways, axis=1)))
    way = ways[start]
    if np.linalg.norm(way) < _LEAST_WAY:
        return []
    first = max(0, start + 1 - model.card.context_frames)
    context, states = episode.latents[first : start + 1], episode.states[first : start + 1]
    title = (
        f"{name} at {episode.times[start]:.2f} s, toward the picture"
        f" {episode.times[start + ahead] - episode.times[start]:.2f} s later"
    )
    goal = episode.latents[start + ahead]
    flat = energy_landscape(model, context, states, goal, f"{title}: over the table", way, (0, 1))
    reach = 0.01 * flat.offsets_cm[-1]
    upright = energy_landscape(model, context, states, goal, f"{title}: sideways and up", way, (1, 2), reach)
    return [flat, upright]


def _decoded(thumbnail: bytes) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(thumbnail, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("expected a JPEG file that was encoded here")
    return np.asarray(pixels[:, :, ::-1], dtype=np.uint8)
