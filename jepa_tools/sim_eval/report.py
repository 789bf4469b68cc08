"""An evaluation as one HTML file without references: the verdict, the table, what went wrong, and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepa_tools.reports import page
from jepa_tools.reports.landscape import landscape_figure
from jepa_tools.reports.picture_grid import PictureGrid
from jepa_tools.sim_eval.evaluation import EpisodeResult
from jepa_tools.sim_eval.statistics import overview, success_cell

_GRIDS = 2
_LANDSCAPES = 2


@dataclass(frozen=True)
class TaskSection:
    """What the report says about one task.

    rows: statistics by controller, the one that is reported first. results: that controller's episodes.
    """

    task: str
    rows: Mapping[str, Mapping[str, Any]]
    results: Sequence[EpisodeResult]

    @property
    def reported(self) -> Mapping[str, Any]:
        """Statistics of the controller that is reported."""
        return next(iter(self.rows.values()))


@dataclass(frozen=True)
class ReportConfig:
    """title, subtitle: at its top. successes, failures: how many strips of each are shown per task."""

    title: str
    subtitle: str
    successes: int = 2
    failures: int = 6


def write_report(path: Path, sections: Sequence[TaskSection], config: ReportConfig) -> None:
    """Writes the report to `path`, whose folder is made."""
    page.write_page(path, config.title, _document(sections, config))


def _document(sections: Sequence[TaskSection], config: ReportConfig) -> Iterator[str]:
    yield f"<h1>{page.text(config.title)}</h1><p>{page.text(config.subtitle)}</p>"
    yield page.verdict(verdict(sections))
    heads, *rows = overview({section.task: section.rows for section in sections})
    yield page.table(heads, rows, "words")
    for section in sections:
        yield from _section(section, config)


def verdict(sections: Sequence[TaskSection]) -> list[tuple[str, str]]:
    """What a reader wants to know first, as questions and answers."""
    answers = [("Does it do the task?" if len(sections) == 1 else "Does it do the tasks?", _successes(sections))]
    beside = _beside_others(sections)
    if beside:
        answers.append(("Is that more than chance?", beside))
    answers.append(("Where did it fail?", _failures(sections)))
    return answers


def _successes(sections: Sequence[TaskSection]) -> str:
    sentences = []
    for section in sections:
        values = section.reported
        low, high = values["success_rate_95"]
        sentence = f"{section.task}: {success_cell(values)}; with 95 % confidence {low:.0%} to {high:.0%}"
        final = values["final_distance_m"]
        if final["median"] is not None:
            sentence += (
                f". It ends {100 * final['median']:.1f} cm from the goal (median; p90 {100 * final['p90']:.1f} cm)"
            )
        sentences.append(f"{sentence}.")
    return " ".join(sentences)


def _beside_others(sections: Sequence[TaskSection]) -> str:
    """Success rates of the controllers beside the one that is reported, over all tasks."""
    rates: dict[str, list[int]] = {}
    for section in sections:
        for name, values in list(section.rows.items())[1:]:
            done, tried = rates.setdefault(name, [0, 0])
            rates[name] = [done + values["successes"], tried + values["episodes"]]
    shown = [f"{name.replace('_', ' ')} {done}/{tried} ({done / tried:.0%})" for name, (done, tried) in rates.items()]
    return f"In the same scenes: {', '.join(shown)}." if shown else ""


def _failures(sections: Sequence[TaskSection]) -> str:
    counts: Counter[str] = Counter()
    for section in sections:
        counts.update({f"{reason} ({section.task})": count for reason, count in section.reported["failures"].items()})
    if not counts:
        return "Nowhere: every episode succeeded."
    return "; ".join(f"{count} × {reason}" for reason, count in counts.most_common()) + "."


def _section(section: TaskSection, config: ReportConfig) -> Iterator[str]:
    values = section.reported
    yield f"<h2>{page.text(section.task)}: {success_cell(values)}</h2>"
    if values["failures"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in values["failures"].items())
        yield f"<p>Failures: {page.text(reasons)}.</p>"
    if values["goals"]:
        yield _goals(values["goals"])
    failures = [result for result in section.results if not result.success][: config.failures]
    successes = [result for result in section.results if result.success][: config.successes]
    for result in (*successes, *failures):
        yield from _episode(result)
    yield from _imagined(section.results)


def _goals(goals: Sequence[Mapping[str, Any]]) -> str:
    heads = ["goal", "steps", "tool from the expert's, median (cm)", "p90 (cm)", "object held at its end"]
    rows = (
        [
            goal["goal"],
            str(goal["steps"]),
            f"{100 * goal['tool_distance_m']['median']:.1f}",
            f"{100 * goal['tool_distance_m']['p90']:.1f}",
            f"{goal['object_held_rate']:.0%}",
        ]
        for goal in goals
    )
    return page.table(heads, rows)


def _episode(result: EpisodeResult) -> Iterator[str]:
    kind, word = ("success", "success") if result.success else ("failure", result.failure)
    way = f"{100 * result.initial_distance:.1f} cm to {100 * result.final_distance:.1f} cm from the goal"
    caption = f"{word}: {way} in {result.steps} steps (scene {result.seed})"
    yield f'<p class="{kind}">{page.text(caption)}</p>'
    yield page.strip(((picture.caption, picture.jpeg) for picture in result.strip), goal_first=True)


def _imagined(results: Sequence[EpisodeResult]) -> Iterator[str]:
    """The best and the worst predictions of all episodes, and a few energy landscapes."""
    best = [result.predicted.best for result in results if result.predicted.best is not None]
    worst = [result.predicted.worst for result in results if result.predicted.worst is not None]
    if best or worst:
        yield "<h3>Predicted and real</h3>"
        yield (
            "<p>Each step was predicted from the first picture and the actions that were carried out, and drawn from"
            " latents by a decoder that no planner uses.</p>"
        )
        for heading, grids in (("Predicted best", _ranked(best)), ("Predicted worst", _ranked(worst, reverse=True))):
            yield f"<h4>{heading}</h4>{page.grids(grids)}" if grids else ""
    landscapes = [result.predicted.landscape for result in results if result.predicted.landscape is not None]
    if landscapes:
        yield "<h3>Energy landscapes</h3>"
        yield "<p>The energy of one step of the hand in each direction, as the planner saw it at the start.</p>"
        yield page.charts(page.chart(landscape_figure(item), item.title) for item in landscapes[:_LANDSCAPES])


def _ranked(predictions: Sequence[tuple[float, PictureGrid]], reverse: bool = False) -> list[PictureGrid]:
    ranked = sorted(predictions, key=lambda item: item[0], reverse=reverse)
    return [grid for _, grid in ranked[:_GRIDS]]
