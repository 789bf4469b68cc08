"""The report: one HTML file with numbers, plots and strips of frames, that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from jepa_common.whole_files import write_whole
from jepa_tools.bag_eval import figures
from jepa_tools.bag_eval.evaluate import CaptionedPicture, EvaluatedBag
from jepa_tools.bag_eval.results import BagResult, EvaluationResult, PredictionResult
from jepa_tools.bag_eval.tables import COLUMNS, format_number, value_of, verdicts

EPISODES_SHOWN = 12
"""Of a bag with more episodes the first ones are shown; the JSON file has all."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2.2em; border-top: 1px solid #e5e7eb; padding-top: 1em; }
h3 { font-size: 1em; margin: 1.4em 0 .3em; } code { background: #f3f4f6; padding: 0 .25em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .2em .7em; text-align: right; }
th { font-weight: 600; border-bottom: 2px solid #d1d5db; } td { border-bottom: 1px solid #e5e7eb; }
td:first-child, th:first-child { text-align: left; } .strip { display: flex; gap: 4px; overflow-x: auto; }
figure { margin: 0; } figcaption { font-size: .8em; color: #6b7280; }
.plots { display: flex; flex-wrap: wrap; gap: 1em; }
.note { color: #6b7280; } .error { color: #b91c1c; } img { max-width: 100%; } .strip img { max-width: none; }
"""

_EXPLANATIONS = """<ul class="note">
<li><b>1-step L1, copy</b>: latent distance of what was predicted, and of the frame before, to what came.</li>
<li><b>own</b>: the same by the distance that the model's card names and its energies are measured by.</li>
<li><b>shuffled x</b>: factor by which the error grows with other moments' actions; at 1 actions are ignored.</li>
<li><b>rank corr.</b>: Spearman's of energy and true distance to the episode's end. 1 orders all frames rightly.</li>
<li><b>plan, still</b>: distance of the planned displacement, and of none at all, to the recorded one;
<b>score</b>: mean of 800 (0.1 &minus; error in m), not below 0.</li>
<li><b>surprise</b>: distance of each frame to what was predicted for it, as the planner reports it live.</li></ul>"""


def write_report(path: Path, result: EvaluationResult, evaluated: Sequence[EvaluatedBag]) -> Path:
    """Writes the report and returns its path."""
    write_whole(path, "\n".join(_document(result, evaluated)))
    return path


def _document(result: EvaluationResult, evaluated: Sequence[EvaluatedBag]) -> Iterator[str]:
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(result.model)} on bags</title>'
    yield f"<style>{_STYLE}</style><h1>{_text(result.model)} on {len(result.bags)} recorded bags</h1>"
    yield (
        f"<p>Seed {result.seed}. Hash of bags, model and settings: <code>{result.inputs_hash}</code>. "
        "The same hash has the same numbers.</p>"
    )
    yield "".join(f"<p><b>{_text(verdict)}</b></p>" for verdict in verdicts(result.total))
    yield _summary(result)
    yield _EXPLANATIONS
    for item in evaluated:
        yield from _bag(item)
    yield "</html>"


def _summary(result: EvaluationResult) -> str:
    heads = ["bag", *(heading for _, _, heading in COLUMNS)]
    bags = [*result.bags, *([result.total] if len(result.bags) > 1 else [])]
    return _table(heads, [[bag.bag, *_cells(bag)] for bag in bags])


def _cells(bag: BagResult) -> list[str]:
    return [format_number(value_of(bag, part, name)) for part, name, _ in COLUMNS]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _bag(item: EvaluatedBag) -> Iterator[str]:
    bag = item.result
    yield f"<h2>{_text(bag.bag)}</h2>"
    if bag.error:
        yield f'<p class="error">{_text(bag.error)}</p>'
        return
    frames = sum(episode.frames for episode in bag.episodes)
    yield (
        f"<p>{len(bag.episodes)} episodes, {frames} frames at {bag.rate_hz:g} Hz from <code>{_text(bag.image_topic)}"
        f"</code>. Inputs <code>{bag.inputs_hash[:16]}</code>.</p>"
    )
    yield "".join(f'<p class="note">Note: {_text(note)}.</p>' for note in bag.notes)
    yield "".join(f'<p class="note">{_text(key)}: {_text(value[:200])}</p>' for key, value in bag.metadata)
    yield from _measurements(bag)
    yield from _worst(item.worst)
    yield from _episodes(item)
    yield _timing(item.seconds or {})


def _measurements(bag: BagResult) -> Iterator[str]:
    yield '<div class="plots">'
    for result, name in _predictions(bag):
        yield _plot(figures.png(figures.prediction_figure(result, name)), "Prediction error by horizon")
    yield _plot(figures.png(figures.rank_figure(bag)), "Energy over true distance")
    yield _plot(figures.png(figures.surprise_figure(bag)), "Surprise")
    yield "</div>"
    for result, name in _predictions(bag):
        yield f"<h3>Predictions: {_text(name)}</h3>{_prediction_table(result)}"


def _predictions(bag: BagResult) -> list[tuple[PredictionResult, str]]:
    both = (bag.own_prediction, "the model's own distance to what came"), (bag.prediction, "latent L1 to what came")
    return [(result, name) for result, name in both if result is not None]


def _prediction_table(result: PredictionResult) -> str:
    rows = (
        ("recorded actions", result.error),
        ("other moments' actions", result.shuffled_error),
        ("the last frame again", result.copy_error),
        ("factor of other actions", result.shuffled_ratio),
        ("share that other actions make worse", result.shuffled_worse),
        ("predictions", result.count),
    )
    heads = ["steps ahead", *(str(step + 1) for step in range(len(result.error)))]
    return _table(heads, [[name, *map(format_number, values)] for name, values in rows])


def _worst(pictures: Sequence[CaptionedPicture]) -> Iterator[str]:
    if pictures:
        yield "<h3>Most surprising moments</h3>"
        yield _strip(pictures)


def _episodes(item: EvaluatedBag) -> Iterator[str]:
    for number, episode in enumerate(item.result.episodes[:EPISODES_SHOWN]):
        yield f"<h3>Episode {number + 1}, {episode.frames} frames</h3>"
        if number < len(item.strips):
            yield _strip(item.strips[number])
        yield _plot(figures.png(figures.energy_figure(episode)), "Energy and true distance to the end")
    if len(item.result.episodes) > EPISODES_SHOWN:
        left = len(item.result.episodes) - EPISODES_SHOWN
        yield f'<p class="note">{left} more episodes are in the JSON file only.</p>'


def _strip(pictures: Sequence[CaptionedPicture]) -> str:
    return '<div class="strip">' + "".join(_image(item.jpeg, item.caption, "jpeg") for item in pictures) + "</div>"


def _plot(data: bytes, caption: str) -> str:
    return _image(data, caption, "png")


def _image(data: bytes, caption: str, kind: str) -> str:
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<figure><img src="{source}" alt="{_text(caption)}"><figcaption>{_text(caption)}</figcaption></figure>'


def _timing(seconds: Mapping[str, float]) -> str:
    """Wall times are here and not in the JSON file, which is the same for the same inputs."""
    if not seconds:
        return ""
    parts = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    return f'<p class="note">Time: {_text(parts)}.</p>'


def _text(value: str) -> str:
    return html.escape(str(value))
