"""Two evaluations beside each other."""

from __future__ import annotations

from pathlib import Path

from jepa_tools.bag_eval.results import EvaluationResult, read_result
from jepa_tools.bag_eval.tables import MEASURES, format_number, value_of


def compare_files(first: Path, second: Path) -> str:
    """A table of two JSON files of `jepa bag-eval`.

    Raises:
        ValueError: one of them is none.
        OSError: one of them cannot be read.
    """
    return compare(read_result(first), read_result(second))


def compare(first: EvaluationResult, second: EvaluationResult) -> str:
    """A line per number: of the first, of the second, and which is better."""
    lines = [
        f"A: {first.model}, seed {first.seed}",
        f"B: {second.model}, seed {second.seed}",
        *_warnings(first, second),
    ]
    lines.append(f"{'':<46}{'A':>11}{'B':>11}{'B - A':>11}")
    for item in MEASURES:
        before, after = (value_of(result.total, item.part, item.name) for result in (first, second))
        change = None if before is None or after is None else after - before
        cells = "".join(f"{format_number(value):>11}" for value in (before, after, change))
        lines.append(f"{item.heading:<46}{cells}  {_better(item.better, change)}".rstrip())
    return "\n".join(lines)


def _better(better: str, change: float | None) -> str:
    if not change or not better:
        return ""
    return "B is better" if (change < 0) == (better == "lower") else "A is better"


def _warnings(first: EvaluationResult, second: EvaluationResult) -> list[str]:
    if first.inputs_hash == second.inputs_hash:
        return ["The inputs are the same."]
    bags = [[bag.bag for bag in result.bags if not bag.error] for result in (first, second)]
    warnings = []
    if bags[0] != bags[1]:
        warnings.append(f"The bags differ: {', '.join(bags[0]) or 'none'} and {', '.join(bags[1]) or 'none'}.")
    if first.model != second.model:
        warnings.append("Latent distances, and surprise, of different encoders have different units.")
    if first.distance != second.distance:
        units = " and ".join(result.distance or "an unknown distance" for result in (first, second))
        warnings.append(f"Energies, and surprise, were measured by {units}: they have different units.")
    return warnings
