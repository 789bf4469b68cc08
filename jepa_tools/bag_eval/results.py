"""The numbers of an evaluation, as dataclasses that go to JSON and come back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np

FORMAT = "jepa bag-eval 2"
DIGITS = 6
"""Significant digits of the numbers in JSON files."""

Number = float | None
"""None is what could not be measured."""

Numbers = tuple[Number, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class PredictionResult:
    """Mean latent distances of what was predicted to what came, by horizon 1 ... H.

    Attributes:
        error: with the recorded actions.
        copy_error: of taking the last frame for the future.
        shuffled_error: with other moments' actions.
        shuffled_ratio: shuffled_error / error.
        shuffled_worse: share of the predictions that other actions make worse.
        count: predictions at each horizon.
    """

    error: Numbers
    copy_error: Numbers
    shuffled_error: Numbers
    shuffled_ratio: Numbers
    shuffled_worse: Numbers
    count: tuple[int, ...]


@dataclass(frozen=True)
class EnergyResult:
    """How well the energy orders frames by their distance to a goal.

    Attributes:
        rank_correlation_end: Spearman's, of energy and distance to the episode's end; mean over episodes.
        rank_correlation_sub_goals: the same to sub-goals; mean over sub-goals.
        cm_per_energy: slope of the distance to the end over the energy.
        goals: episodes and sub-goals that could be measured: the robot must have moved.
    """

    rank_correlation_end: Number
    rank_correlation_sub_goals: Number
    cm_per_energy: Number
    goals: tuple[int, int]


@dataclass(frozen=True)
class PlanningResult:
    """Plans against what the robot did, over the same frames.

    Attributes:
        position_error_cm: mean distance of the planned to the recorded displacement.
        position_error_median_cm: the median of the same.
        still_error_cm: of a plan that stays where it is: the mean recorded displacement.
        direction_error_deg: mean angle between them, where the robot moved 1 cm or more.
        gripper_agreement: share of plans that leave the gripper as open or closed as it was recorded.
        score: mean of 800 (0.1 - position error in m), not below 0.
        count: plans.
    """

    position_error_cm: Number
    position_error_median_cm: Number
    still_error_cm: Number
    direction_error_deg: Number
    gripper_agreement: Number
    score: Number
    count: int


@dataclass(frozen=True)
class Moment:
    """A surprising frame: which, when (s since the episode's start), and how surprising."""

    episode: int
    frame: int
    time: float
    surprise: float


@dataclass(frozen=True)
class NoveltyResult:
    """How much each frame differs from what was predicted for it one step before, by the model's own distance.

    Attributes:
        mean, p95, maximum: over all frames.
        threshold: above which the model card calls a frame unexpected.
        above: frames above it.
        worst: the most surprising moments, most surprising first.
        count: frames.
    """

    mean: Number
    p95: Number
    maximum: Number
    threshold: Number
    above: int | None
    worst: tuple[Moment, ...]
    count: int


@dataclass(frozen=True)
class EpisodeResult:
    """One episode's curves, a value per frame.

    Attributes:
        start_ns: stamp of its first frame.
        frames: how many.
        time: s since the first.
        energy: to the last frame.
        distance_cm: of the tool to where it is at the last frame.
        surprise: of each frame; the first has none.
    """

    start_ns: int
    frames: int
    time: Numbers
    energy: Numbers
    distance_cm: Numbers
    surprise: Numbers


@dataclass(frozen=True)
class BagResult:
    """What was measured on one bag; all but name, hash and error are None when it could not be read.

    Attributes:
        bag: its name.
        inputs_hash: SHA-256 of the bag, the model and the settings: the same hash has the same numbers.
        error: why it could not be evaluated; empty if it was.
        notes: what was left out.
        prediction: by L1, which can be compared between models.
        own_prediction: by the model's own distance, in the unit of its energies; None where that is L1.
    """

    bag: str
    inputs_hash: str
    error: str = ""
    rate_hz: float | None = None
    image_topic: str = ""
    notes: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    prediction: PredictionResult | None = None
    own_prediction: PredictionResult | None = None
    energy: EnergyResult | None = None
    planning: PlanningResult | None = None
    novelty: NoveltyResult | None = None
    episodes: tuple[EpisodeResult, ...] = ()


@dataclass(frozen=True)
class EvaluationResult:
    """What was measured on all bags.

    Attributes:
        format: version of this file.
        model: name and hash of the weights.
        seed: of shuffles and plans.
        inputs_hash: SHA-256 over the bags' hashes: the same hash has the same numbers.
        total: means over all bags, each weighted by its number of measurements.
        bags: each bag.
        distance: that the model's energies were measured by; empty in files of earlier versions.
    """

    format: str
    model: str
    seed: int
    inputs_hash: str
    total: BagResult
    bags: tuple[BagResult, ...]
    distance: str = ""


def number(value: float) -> Number:
    """A value for JSON: few digits, None for what is not finite."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def numbers(values: Sequence[float] | np.ndarray) -> Numbers:
    """The same for several."""
    return tuple(number(float(value)) for value in values)


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the finite values; NaN if there is none."""
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    return float(finite.mean()) if finite.size else math.nan


def to_json(result: Any) -> str:
    """A result as JSON, the same text for the same result."""
    return json.dumps(asdict(result), indent=1, allow_nan=False) + "\n"


def read_result(path: Path) -> EvaluationResult:
    """An evaluation's JSON file.

    Raises:
        ValueError: it is none, or of another version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"{path}: expected the format {FORMAT!r}, got {data['format']!r}")
        return from_json(EvaluationResult, data)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a JSON file of `jepa bag-eval`: {error!r}") from error


def from_json(kind: type[T], data: Mapping[str, Any]) -> T:
    """A dataclass of this module from what `to_json` made of it."""
    hints = get_type_hints(kind)
    return kind(**{item.name: _typed(hints[item.name], data[item.name]) for item in fields(kind) if item.name in data})  # type: ignore[arg-type]


def _typed(kind: Any, value: Any) -> Any:
    if get_origin(kind) is UnionType:
        return None if value is None else _typed(next(item for item in get_args(kind) if item is not type(None)), value)
    if get_origin(kind) is tuple:
        return tuple(_typed(get_args(kind)[0], item) for item in value)
    return from_json(cast("type[Any]", kind), value) if is_dataclass(kind) else value
