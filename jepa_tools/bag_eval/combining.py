"""Several bags' numbers as one: means, each bag weighted by its number of measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jepa_tools.bag_eval.results import (
    BagResult,
    EnergyResult,
    NoveltyResult,
    Number,
    PlanningResult,
    PredictionResult,
    number,
)


def combined_results(results: Sequence[BagResult], inputs_hash: str) -> BagResult:
    """The bags together, without their episodes; parts that no bag has are None."""
    failed = sum(bool(result.error) for result in results)
    return BagResult(
        bag=f"{len(results)} bags",
        inputs_hash=inputs_hash,
        notes=(f"{failed} of {len(results)} bags could not be evaluated",) if failed else (),
        prediction=_together([result.prediction for result in results], _predictions),
        own_prediction=_together([result.own_prediction for result in results], _predictions),
        energy=_together([result.energy for result in results], _energies),
        planning=_together([result.planning for result in results], _plans),
        novelty=_together([result.novelty for result in results], _novelties),
    )


def _together(parts: Sequence[Any], combine: Callable[[list[Any]], Any]) -> Any:
    present = [part for part in parts if part is not None]
    return combine(present) if present else None


def _weighted(values: Sequence[Number], weights: Sequence[float] | np.ndarray) -> Number:
    pairs = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None and weight]
    if not pairs:
        return None
    return number(sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs))


def _predictions(parts: list[PredictionResult]) -> PredictionResult:
    counts = np.array([part.count for part in parts])

    def column(name: str) -> tuple[Number, ...]:
        rows = [getattr(part, name) for part in parts]
        return tuple(_weighted([row[step] for row in rows], counts[:, step]) for step in range(counts.shape[1]))

    error, shuffled = column("error"), column("shuffled_error")
    ratio = tuple(
        number(other / true) if other is not None and true else None
        for other, true in zip(shuffled, error, strict=True)
    )
    total = tuple(int(count) for count in counts.sum(0))
    return PredictionResult(error, column("copy_error"), shuffled, ratio, column("shuffled_worse"), total)


def _energies(parts: list[EnergyResult]) -> EnergyResult:
    ends, sub_goals = [part.goals[0] for part in parts], [part.goals[1] for part in parts]
    return EnergyResult(
        _weighted([part.rank_correlation_end for part in parts], ends),
        _weighted([part.rank_correlation_sub_goals for part in parts], sub_goals),
        _weighted([part.cm_per_energy for part in parts], ends),
        (sum(ends), sum(sub_goals)),
    )


def _plans(parts: list[PlanningResult]) -> PlanningResult:
    counts = [part.count for part in parts]

    def column(name: str) -> Number:
        return _weighted([getattr(part, name) for part in parts], counts)

    return PlanningResult(
        column("position_error_cm"),
        column("position_error_median_cm"),
        column("still_error_cm"),
        column("direction_error_deg"),
        column("gripper_agreement"),
        column("score"),
        sum(counts),
    )


def _novelties(parts: list[NoveltyResult]) -> NoveltyResult:
    counts = [part.count for part in parts]
    above = [part.above for part in parts if part.above is not None]
    maxima = [part.maximum for part in parts if part.maximum is not None]
    return NoveltyResult(
        _weighted([part.mean for part in parts], counts),
        _weighted([part.p95 for part in parts], counts),
        max(maxima) if maxima else None,
        parts[0].threshold,
        sum(above) if above else None,
        (),
        sum(counts),
    )
