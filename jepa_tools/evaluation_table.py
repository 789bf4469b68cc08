"""Results of an evaluation as JSON and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jepa_tools.evaluation import EpisodeResult

_COLUMNS = ("", "success", "final cm (median, p90)", "initial cm", "steps", "plan ms (median, p90)")


def statistics(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Rates, medians and 90th percentiles over the episodes. Lengths in m; None for what does not apply."""
    successes = sum(result.success for result in results)
    plan_ms = [1e3 * seconds for result in results for seconds in result.plan_seconds]
    return {
        "episodes": len(results),
        "successes": successes,
        "success_rate": successes / len(results),
        "final_distance_m": _median_and_p90([result.final_distance for result in results], 4),
        "initial_distance_m": _quantile([result.initial_distance for result in results], 0.5, 4),
        "steps": _quantile([result.steps for result in results], 0.5, 1),
        "plan_ms": _median_and_p90(plan_ms, 2),
    }


def _median_and_p90(values: Sequence[float], digits: int) -> dict[str, float | None]:
    return {"median": _quantile(values, 0.5, digits), "p90": _quantile(values, 0.9, digits)}


def _quantile(values: Sequence[float], share: float, digits: int) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return round(float(np.quantile(finite, share)), digits) if finite else None


def format_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Statistics by controller, aligned for a terminal."""
    cells = [list(_COLUMNS), *(_row(name, values) for name, values in rows.items())]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _row(name: str, values: Mapping[str, Any]) -> list[str]:
    final, plan = values["final_distance_m"], values["plan_ms"]
    return [
        name,
        f"{values['successes']}/{values['episodes']} ({values['success_rate']:.0%})",
        f"{_scaled(final['median'], 100)}, {_scaled(final['p90'], 100)}",
        _scaled(values["initial_distance_m"], 100),
        _scaled(values["steps"], 1),
        f"{_scaled(plan['median'], 1)}, {_scaled(plan['p90'], 1)}" if plan["median"] is not None else "-",
    ]


def _scaled(value: float | None, factor: float) -> str:
    return "-" if value is None else f"{value * factor:.1f}"
