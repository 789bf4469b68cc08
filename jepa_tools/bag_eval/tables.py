"""Evaluations as text."""

from __future__ import annotations

from dataclasses import dataclass

from jepa_tools.bag_eval.results import BagResult, EvaluationResult, Number
from jepa_tools.bag_eval.verdict import verdict

_MOST_COLUMNS = 4
_NAME = 22


@dataclass(frozen=True)
class Measure:
    """A number of a result, as tables show it; of numbers by horizon the first.

    Attributes:
        part, name: where it stands in a :class:`BagResult`.
        heading: what it is, with its unit.
        reading: how to read it.
        better: "lower", "higher", or nothing where neither is better.
    """

    part: str
    name: str
    heading: str
    reading: str
    better: str = ""


MEASURES = (
    Measure("prediction", "error", "error one step ahead (latent L1)", "predicted to what came", "lower"),
    Measure("prediction", "copy_error", "… of the last picture repeated (latent L1)", "the error has to be below"),
    Measure("prediction", "shuffled_ratio", "… grows with wrong actions (factor, L1)", "1: ignores actions", "higher"),
    Measure("own_prediction", "error", "error one step ahead (energy)", "the same by the card's distance", "lower"),
    Measure("own_prediction", "copy_error", "… of the last picture repeated (energy)", "the error has to be below"),
    Measure(
        "own_prediction",
        "shuffled_ratio",
        "… grows with wrong actions (factor, energy)",
        "1: ignores actions",
        "higher",
    ),
    Measure("energy", "rank_correlation_end", "energy orders by distance (-1 to 1)", "1: all of them", "higher"),
    Measure("energy", "cm_per_energy", "distance per unit of energy (cm)", "what a fall of the energy is worth"),
    Measure("planning", "position_error_cm", "plan's end to the robot's (cm)", "planned to recorded way", "lower"),
    Measure("planning", "still_error_cm", "… if it stands still (cm)", "the plan's has to be below"),
    Measure("planning", "direction_error_deg", "angle of plan and way (degrees)", "constant: the camera", "lower"),
    Measure("planning", "gripper_agreement", "gripper as recorded (share)", "1: always", "higher"),
    Measure("planning", "score", "score (0 to 80)", "mean of 800 (0.1 - error in m)", "higher"),
    Measure("novelty", "mean", "surprise, mean (energy)", "each picture to what was predicted for it", "lower"),
)


def value_of(bag: BagResult, part: str, name: str) -> Number:
    """A number of a result; None where it could not be measured."""
    section = getattr(bag, part)
    value = None if section is None else getattr(section, name)
    return (value[0] if value else None) if isinstance(value, tuple) else value


def format_number(value: Number) -> str:
    """A few digits, or a dash."""
    return "-" if value is None else f"{value:.3g}"


def shown_measures(result: EvaluationResult) -> list[Measure]:
    """Those that at least one bag has."""
    bags = (*result.bags, result.total)
    return [item for item in MEASURES if any(getattr(bag, item.part) is not None for bag in bags)]


def format_bags(result: EvaluationResult) -> str:
    """The verdict, and a line per number: of all bags, and of each where they are few."""
    lines = [f"{result.model}, seed {result.seed}, inputs {result.inputs_hash[:16]}", ""]
    lines += [f"{question} {answer}" for question, answer in verdict(result)]
    for bag in result.bags:
        lines += [f"{bag.bag}: {bag.error}"] if bag.error else []
        lines += [f"{bag.bag}: note: {note}" for note in bag.notes]
    shown = columns(result)
    if any(not bag.error for bag in result.bags):
        lines += ["", " " * 46 + "".join(f"{_short(bag.bag):>{_NAME}}" for bag in shown)]
        for item in shown_measures(result):
            cells = (format_number(value_of(bag, item.part, item.name)) for bag in shown)
            lines.append(f"{item.heading:<46}" + "".join(f"{cell:>{_NAME}}" for cell in cells))
    return "\n".join(lines)


def columns(result: EvaluationResult, most: int = _MOST_COLUMNS) -> list[BagResult]:
    """All bags together, and each of them where they are at most so many; a lone bag stands for itself."""
    usable = [bag for bag in result.bags if not bag.error]
    if len(result.bags) == 1:
        return list(result.bags)
    return [result.total, *(usable if len(usable) <= most else [])]


def _short(name: str) -> str:
    return name if len(name) < _NAME else f"…{name[-_NAME + 3 :]}"
