"""Evaluates one bag, and draws several bags' numbers together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from jepa_tools.bag_eval.config import EvaluationConfig
from jepa_tools.bag_eval.encoding import EncodedEpisode, encode_episode
from jepa_tools.bag_eval.energies import EpisodeEnergies, measure_energies, summarize_energies
from jepa_tools.bag_eval.moments import MomentGallery
from jepa_tools.bag_eval.novelty import episode_moments, most_surprising, summarize_novelty
from jepa_tools.bag_eval.planning import PlanComparison, episode_solver, plan_episode, summarize_planning
from jepa_tools.bag_eval.prediction import EpisodeErrors, predict_episode, summarize_prediction
from jepa_tools.bag_eval.results import FORMAT, BagResult, EpisodeResult, Moment, numbers
from jepa_tools.bag_eval.stopwatch import Stopwatch
from jepa_tools.bags import READER_VERSION, BagSettings, RecordedBag, read_bag
from jepa_tools.reports.landscape import Landscape
from jepa_tools.reports.picture_grid import PictureGrid
from jepa_world_model.world_model import WorldModel

STRIP_PICTURES = 10
Report = Callable[[int, int], None]
"""Told how many of how many frames are done."""


@dataclass(frozen=True)
class CaptionedPicture:
    """A small picture for the report. jpeg: the file."""

    caption: str
    jpeg: bytes


@dataclass(frozen=True)
class EvaluatedBag:
    """A bag's numbers and what else its report shows.

    Attributes:
        result: the numbers.
        strips: pictures of each episode, in order.
        worst: pictures of the most surprising moments, as in `result.novelty.worst`.
        seconds: where the time went.
        best_predictions, worst_predictions: as pictures, beside what came; none without a picture decoder.
        landscapes: energies over steps of the hand.
    """

    result: BagResult
    strips: tuple[tuple[CaptionedPicture, ...], ...] = ()
    worst: tuple[CaptionedPicture, ...] = ()
    seconds: Mapping[str, float] | None = None
    best_predictions: tuple[PictureGrid, ...] = ()
    worst_predictions: tuple[PictureGrid, ...] = ()
    landscapes: tuple[Landscape, ...] = ()


def inputs_hash(bag: str, model: str, config: EvaluationConfig, settings: BagSettings, arithmetic: str) -> str:
    """SHA-256 of all that the numbers of a bag depend on.

    Args:
        bag: hash of its files.
        model: its card, which holds the hash of its weights.
        config: what is measured.
        settings: how the bag is read.
        arithmetic: device, type and threads.
    """
    urdf = Path(settings.urdf).read_text(encoding="utf-8") if settings.urdf else ""
    inputs = [FORMAT, READER_VERSION, bag, model, asdict(config), asdict(settings), urdf, arithmetic]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def evaluate_bag(
    path: Path,
    model: WorldModel,
    settings: BagSettings,
    config: EvaluationConfig,
    inputs: str = "",
    report: Report = lambda _done, _total: None,
) -> EvaluatedBag:
    """Evaluates one bag; memory holds one episode at a time.

    Args:
        path: of the bag.
        model: with both parts.
        settings: how the bag is read.
        config: what is measured.
        inputs: hash of the inputs, for the result.
        report: told of the progress.

    Raises:
        BagError: it is damaged or lacks what an evaluation needs.
    """
    watch = Stopwatch()
    with watch("read"):
        bag = read_bag(path, settings, model.card.control_rate_hz)
    evaluation = _BagEvaluation(model, config, watch)
    total, done = sum(episode.length for episode in bag.episodes), 0
    for episode in bag.episodes:
        evaluation.add(encode_episode(model, episode, watch))
        done += episode.length
        report(done, total)
    return evaluation.result(bag, inputs)


class _BagEvaluation:
    """Collects the measurements of a bag, episode by episode."""

    def __init__(self, model: WorldModel, config: EvaluationConfig, watch: Stopwatch) -> None:
        self._model, self._config, self._watch = model, config, watch
        self._solver = episode_solver(config.planning, model.card)
        self._errors: list[EpisodeErrors] = []
        self._energies: list[EpisodeEnergies] = []
        self._plans: list[PlanComparison] = []
        self._episodes: list[EpisodeResult] = []
        self._strips: list[tuple[CaptionedPicture, ...]] = []
        self._worst: tuple[Moment, ...] = ()
        self._worst_pictures: dict[Moment, bytes] = {}
        self._gallery = MomentGallery(model, config.pictures)

    def add(self, episode: EncodedEpisode) -> None:
        """Measures one episode; its latents are not kept."""
        model, config, index = self._model, self._config, len(self._episodes)
        with self._watch("predict"):
            generator = np.random.default_rng((config.seed, index))
            errors = predict_episode(model, episode, config.prediction, generator)
        with self._watch("plan"):
            seed = config.seed + 100_003 * index  # apart from the seeds of other episodes' frames
            self._plans += plan_episode(model, episode, config.planning, self._solver, seed)
        with self._watch("energy"):
            energies = measure_energies(model, episode, config.energy)
        with self._watch("pictures"):
            self._gallery.add(index, episode, errors)
        self._errors.append(errors)
        self._energies.append(energies)
        self._keep_worst(index, episode, errors)
        self._strips.append(_strip(episode))
        self._episodes.append(_curves(episode, energies, errors))

    def _keep_worst(self, index: int, episode: EncodedEpisode, errors: EpisodeErrors) -> None:
        moments = episode_moments(index, episode, errors)
        self._worst = most_surprising([*self._worst, *moments], self._config.worst)
        pictures = {item: episode.thumbnails[item.frame] for item in self._worst if item.episode == index}
        self._worst_pictures = {item: (self._worst_pictures | pictures)[item] for item in self._worst}

    def result(self, bag: RecordedBag, inputs: str) -> EvaluatedBag:
        """The bag's numbers and pictures."""
        surprises = np.concatenate([errors.surprise for errors in self._errors])
        own = [errors.own for errors in self._errors if errors.own is not None]
        numbers_of_bag = BagResult(
            bag=bag.path.name,
            inputs_hash=inputs,
            rate_hz=bag.rate_hz,
            image_topic=bag.topics.image,
            notes=bag.notes,
            metadata=tuple(sorted(bag.metadata.items())),
            prediction=summarize_prediction([errors.l1 for errors in self._errors]),
            own_prediction=summarize_prediction(own) if own else None,
            energy=summarize_energies(self._energies),
            planning=summarize_planning(self._plans),
            novelty=summarize_novelty(surprises, self._worst, self._model.card.surprise_energy),
            episodes=tuple(self._episodes),
        )
        worst = tuple(
            CaptionedPicture(f"episode {item.episode + 1}, {item.time:.2f} s: {item.surprise:.3g}", jpeg)
            for item, jpeg in self._worst_pictures.items()
        )
        gallery = self._gallery
        return EvaluatedBag(
            numbers_of_bag,
            tuple(self._strips),
            worst,
            self._watch.seconds(),
            gallery.best,
            gallery.worst,
            gallery.landscapes,
        )


def _strip(episode: EncodedEpisode) -> tuple[CaptionedPicture, ...]:
    """A few pictures of an episode, evenly spaced, the first and the last among them."""
    count = min(STRIP_PICTURES, episode.frames)
    frames = np.linspace(0, episode.frames - 1, count).round().astype(int)
    return tuple(CaptionedPicture(f"{episode.times[frame]:.2f} s", episode.thumbnails[frame]) for frame in frames)


def _curves(episode: EncodedEpisode, energies: EpisodeEnergies, errors: EpisodeErrors) -> EpisodeResult:
    return EpisodeResult(
        episode.start_ns,
        episode.frames,
        numbers(episode.times),
        numbers(energies.energy),
        numbers(100 * energies.distance),
        (None, *numbers(errors.surprise)),
    )
