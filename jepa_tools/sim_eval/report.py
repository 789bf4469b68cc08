"""An evaluation as one HTML file without references: the table, what went wrong, and strips of pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment

from jepa_common.whole_files import write_whole
from jepa_tools.sim_eval.evaluation import EpisodeResult, StripPicture
from jepa_tools.sim_eval.statistics import overview, success_cell

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 1400px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border-bottom: 1px solid #e5e7eb; padding: .3em .9em; text-align: left; }
th { color: #6b7280; font-weight: 600; }
.strip { display: flex; overflow-x: auto; gap: 4px; margin: .2em 0 1.2em; }
figure { margin: 0; flex: none; }
figcaption { font-size: 11px; color: #6b7280; }
.goal img { outline: 3px solid #2563a8; outline-offset: -3px; }
.success { color: #2e8b57; } .failure { color: #d9662b; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>{{ subtitle }}</p>
<table>
<tr>{% for cell in table[0] %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in table[1:] %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% for section in sections %}
<h2>{{ section.task }}: {{ section.success }}</h2>
{% if section.failures %}<p>Failures: {% for reason, count in section.failures.items() -%}
{{ count }} {{ reason }}{{ ", " if not loop.last }}{% endfor %}.</p>{% endif %}
{% if section.goals %}<table>
<tr><th>goal</th><th>steps</th><th>tool from the expert's, cm (median, p90)</th><th>object held at its end</th></tr>
{% for goal in section.goals %}<tr><td>{{ goal.goal }}</td><td>{{ goal.steps }}</td>
<td>{{ "%.1f, %.1f"|format(100 * goal.tool_distance_m.median, 100 * goal.tool_distance_m.p90) }}</td>
<td>{{ "%.0f %%"|format(100 * goal.object_held_rate) }}</td></tr>
{% endfor %}</table>{% endif %}
{% for episode in section.episodes %}
<div class="{{ 'success' if episode.success else 'failure' }}">{{ episode.caption }}</div>
<div class="strip">{% for picture in episode.pictures %}<figure{% if loop.first %} class="goal"{% endif %}>
<img src="data:image/jpeg;base64,{{ picture.data }}" alt="{{ picture.caption }}">
<figcaption>{{ picture.caption }}</figcaption></figure>{% endfor %}</div>
{% endfor %}
{% endfor %}
</body>
</html>
"""


@dataclass(frozen=True)
class TaskSection:
    """What the report says about one task.

    rows: statistics by controller, the one that is reported first. results: that controller's episodes.
    """

    task: str
    rows: Mapping[str, Mapping[str, Any]]
    results: Sequence[EpisodeResult]


@dataclass(frozen=True)
class ReportConfig:
    """title, subtitle: at its top. successes, failures: how many strips of each are shown per task."""

    title: str
    subtitle: str
    successes: int = 2
    failures: int = 6


def write_report(path: Path, sections: Sequence[TaskSection], config: ReportConfig) -> None:
    """Writes the report to `path`, whose folder is made."""
    template = Environment(autoescape=True).from_string(_TEMPLATE)
    page = template.render(
        title=config.title,
        subtitle=config.subtitle,
        table=overview({section.task: section.rows for section in sections}),
        sections=[_section(section, config) for section in sections],
    )
    write_whole(path, page)


def _section(section: TaskSection, config: ReportConfig) -> dict[str, Any]:
    values = next(iter(section.rows.values()))
    failures = [result for result in section.results if not result.success][: config.failures]
    successes = [result for result in section.results if result.success][: config.successes]
    return {
        "task": section.task,
        "success": success_cell(values),
        "failures": values["failures"],
        "goals": values["goals"],
        "episodes": [_episode(result) for result in (*successes, *failures)],
    }


def _episode(result: EpisodeResult) -> dict[str, Any]:
    verdict = "success" if result.success else result.failure
    way = f"{100 * result.initial_distance:.1f} cm to {100 * result.final_distance:.1f} cm from the goal"
    return {
        "success": result.success,
        "caption": f"{verdict}: {way} in {result.steps} steps (scene {result.seed})",
        "pictures": [_picture(picture) for picture in result.strip],
    }


def _picture(picture: StripPicture) -> dict[str, str]:
    return {"caption": picture.caption, "data": base64.b64encode(picture.jpeg).decode("ascii")}
