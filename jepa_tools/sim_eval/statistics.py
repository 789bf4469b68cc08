"""Results of an evaluation as JSON and as tables for a terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from jepa_tools.sim_eval.evaluation import EpisodeResult, GoalTrace

_COLUMNS = (
    "",
    "success",
    "final cm (median, p90)",
    "initial cm",
    "steps",
    "plan ms (median, p90)",
    "energy (median, p90)",
)

PUBLISHED = {
    "reach": 1.0,
    "grasp_cup": 0.65,
    "grasp_box": 0.25,
    "reach_with_object_cup": 0.75,
    "reach_with_object_box": 0.75,
    "pick_place_cup": 0.80,
    "pick_place_box": 0.65,
}
"""Success rates of V-JEPA 2-AC on real robots, zero-shot, the mean of two laboratories (V-JEPA 2 paper)."""


def statistics(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Rates, medians and 90th percentiles over the episodes. Lengths in m; None for what does not apply.

    `success_rate_95` is Wilson's interval of 95 % confidence; `failures` counts failed episodes by what went wrong;
    `goals` says, of each goal, how it was left.
    """
    successes = sum(result.success for result in results)
    interval = binomtest(successes, len(results)).proportion_ci(0.95, method="wilson")
    plan_ms = [1e3 * seconds for result in results for seconds in result.plan_seconds]
    return {
        "episodes": len(results),
        "successes": successes,
        "success_rate": successes / len(results),
        "success_rate_95": [round(float(interval.low), 3), round(float(interval.high), 3)],
        "final_distance_m": _median_and_p90([result.final_distance for result in results], 4),
        "initial_distance_m": _quantile([result.initial_distance for result in results], 0.5, 4),
        "steps": _quantile([result.steps for result in results], 0.5, 1),
        "plan_ms": _median_and_p90(plan_ms, 2),
        "energy": _median_and_p90([result.energy for result in results], 5),
        "failures": dict(Counter(result.failure for result in results if not result.success).most_common()),
        "goals": _goal_statistics([goal for result in results for goal in result.goals]),
    }


def _goal_statistics(traces: Sequence[GoalTrace]) -> list[dict[str, Any]]:
    names = dict.fromkeys(trace.name for trace in traces)
    return [_one_goal(name, [trace for trace in traces if trace.name == name]) for name in names]


def _one_goal(name: str, traces: Sequence[GoalTrace]) -> dict[str, Any]:
    return {
        "goal": name,
        "steps": _quantile([trace.steps for trace in traces], 0.5, 1),
        "tool_distance_m": _median_and_p90([trace.tool_distance for trace in traces], 4),
        "object_held_rate": round(sum(trace.object_held for trace in traces) / len(traces), 3),
    }


def _median_and_p90(values: Sequence[float], digits: int) -> dict[str, float | None]:
    return {"median": _quantile(values, 0.5, digits), "p90": _quantile(values, 0.9, digits)}


def _quantile(values: Sequence[float], share: float, digits: int) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return round(float(np.quantile(finite, share)), digits) if finite else None


def format_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Statistics by controller, aligned for a terminal."""
    return _aligned([_COLUMNS, *(_row(name, values) for name, values in rows.items())])


def overview(tasks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[list[str]]:
    """Rows of cells, the header first: successes by task and controller, beside the published rates."""
    controllers = list(dict.fromkeys(name for rows in tasks.values() for name in rows))
    header = ["task", *controllers, "published (real robot)"]
    return [header, *(_overview_row(task, rows, controllers) for task, rows in tasks.items())]


def _overview_row(task: str, rows: Mapping[str, Mapping[str, Any]], controllers: Sequence[str]) -> list[str]:
    cells = [success_cell(rows[name]) if name in rows else "-" for name in controllers]
    return [task, *cells, f"{PUBLISHED[task]:.0%}" if task in PUBLISHED else "-"]


def format_overview(tasks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """`overview`, aligned for a terminal."""
    return _aligned(overview(tasks))


def success_cell(values: Mapping[str, Any]) -> str:
    """Successes as people read them: 12/20 (60%)."""
    return f"{values['successes']}/{values['episodes']} ({values['success_rate']:.0%})"


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _row(name: str, values: Mapping[str, Any]) -> list[str]:
    final, plan, energy = values["final_distance_m"], values["plan_ms"], values["energy"]
    return [
        name,
        success_cell(values),
        f"{_scaled(final['median'], 100)}, {_scaled(final['p90'], 100)}",
        _scaled(values["initial_distance_m"], 100),
        _scaled(values["steps"], 1),
        f"{_scaled(plan['median'], 1)}, {_scaled(plan['p90'], 1)}" if plan["median"] is not None else "-",
        f"{energy['median']:.3f}, {energy['p90']:.3f}" if energy["median"] is not None else "-",
    ]


def _scaled(value: float | None, factor: float) -> str:
    return "-" if value is None else f"{value * factor:.1f}"
