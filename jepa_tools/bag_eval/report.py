"""The report: one HTML file with the verdict, numbers, charts and pictures, that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jepa_tools.bag_eval import figures
from jepa_tools.bag_eval.evaluate import CaptionedPicture, EvaluatedBag
from jepa_tools.bag_eval.results import BagResult, EvaluationResult, PredictionResult
from jepa_tools.bag_eval.tables import columns, format_number, shown_measures, value_of
from jepa_tools.bag_eval.verdict import verdict
from jepa_tools.reports import page
from jepa_tools.reports.landscape import Landscape, landscape_figure
from jepa_tools.reports.picture_grid import PictureGrid

EPISODES_SHOWN = 12
"""Of a bag with more episodes the first ones are shown; the JSON file has all."""

_BAGS_IN_TABLE = 8


def write_report(path: Path, result: EvaluationResult, evaluated: Sequence[EvaluatedBag]) -> Path:
    """Writes the report and returns its path."""
    return page.write_page(path, f"{result.model} on recorded bags", _document(result, evaluated))


def _document(result: EvaluationResult, evaluated: Sequence[EvaluatedBag]) -> Iterator[str]:
    count = len(result.bags)
    yield f"<h1>{page.text(result.model)} on {count} recorded bag{'s' * (count > 1)}</h1>"
    yield page.verdict(verdict(result))
    yield "<h2>Numbers</h2>"
    yield _summary(result)
    yield from page.notes(
        [
            f"Seed {result.seed}. Hash of bags, model and settings: {result.inputs_hash}."
            " The same hash has the same numbers."
        ]
    )
    for item in evaluated:
        yield from _bag(item)


def _summary(result: EvaluationResult) -> str:
    shown = columns(result, _BAGS_IN_TABLE)
    heads = ["", *(bag.bag for bag in shown), "how to read it"]
    rows = (
        [item.heading, *(format_number(value_of(bag, item.part, item.name)) for bag in shown), item.reading]
        for item in shown_measures(result)
    )
    return page.table(heads, rows, "read")


def _bag(item: EvaluatedBag) -> Iterator[str]:
    bag = item.result
    yield f"<h2>{page.text(bag.bag)}</h2>"
    if bag.error:
        yield f'<p class="error">{page.text(bag.error)}</p>'
        return
    frames = sum(episode.frames for episode in bag.episodes)
    yield (
        f"<p>{len(bag.episodes)} episodes, {frames} pictures at {bag.rate_hz:g} Hz from"
        f" <code>{page.text(bag.image_topic)}</code>.</p>"
    )
    yield from page.notes(f"Note: {note}." for note in bag.notes)
    yield from _predicted_pictures(item)
    yield from _measurements(bag)
    yield from _landscapes(item.landscapes)
    yield from _worst(item.worst)
    yield from _episodes(item)
    yield from page.notes(f"{key}: {value[:200]}" for key, value in bag.metadata)
    yield from _timing(item.seconds or {})


def _predicted_pictures(item: EvaluatedBag) -> Iterator[str]:
    if not item.best_predictions and not item.worst_predictions:
        return
    yield "<h3>Predicted and real</h3>"
    yield (
        "<p>Each step was predicted from the first picture and the recorded actions alone. What is drawn is drawn from"
        " latents by a decoder that no planner uses: compare the two drawn rows with each other, and the upper one with"
        " the camera to see what the latents tell at all.</p>"
    )
    yield from _grids("Predicted best", item.best_predictions)
    yield from _grids("Predicted worst", item.worst_predictions)


def _grids(heading: str, grids: Sequence[PictureGrid]) -> Iterator[str]:
    if grids:
        yield f"<h4>{heading}</h4>{page.grids(grids)}"


def _measurements(bag: BagResult) -> Iterator[str]:
    yield "<h3>Measurements</h3>"
    drawn = [
        page.chart(figures.prediction_figure(result, unit), f"Prediction error by horizon: {name}")
        for result, name, unit in _predictions(bag)
    ]
    drawn.append(page.chart(figures.rank_figure(bag), "Energy over true distance, a dot per picture"))
    drawn.append(page.chart(figures.surprise_figure(bag), "Surprise of each picture"))
    yield page.charts(drawn)
    for result, name, unit in _predictions(bag):
        yield f"<details><summary>Predictions by horizon: {page.text(name)}</summary>{_prediction_table(result, unit)}"
        yield "</details>"


def _predictions(bag: BagResult) -> list[tuple[PredictionResult, str, str]]:
    """Result, what it is measured by, and the unit."""
    both = (
        (bag.own_prediction, "by the distance that the model's energies are measured by", "energy"),
        (
            bag.prediction,
            "by the mean absolute difference of latents, comparable between models",
            "latent L1",
        ),
    )
    return [(result, name, unit) for result, name, unit in both if result is not None]


def _prediction_table(result: PredictionResult, unit: str) -> str:
    rows = (
        (f"error with the recorded actions ({unit})", result.error),
        (f"error with other moments' actions ({unit})", result.shuffled_error),
        (f"error of the last picture repeated ({unit})", result.copy_error),
        ("factor of other moments' actions", result.shuffled_ratio),
        ("share of predictions that they make worse", result.shuffled_worse),
        ("predictions", result.count),
    )
    heads = ["steps ahead", *(str(step + 1) for step in range(len(result.error)))]
    return page.table(heads, [[name, *map(format_number, values)] for name, values in rows])


def _landscapes(landscapes: Sequence[Landscape]) -> Iterator[str]:
    if landscapes:
        yield "<h3>Energy landscapes</h3>"
        yield (
            "<p>The energy of one step of the hand in each direction, as a planner sees it. A planner goes where it is"
            " lowest; that should be where the star is.</p>"
        )
        yield page.charts(page.chart(landscape_figure(item), item.title) for item in landscapes)


def _worst(pictures: Sequence[CaptionedPicture]) -> Iterator[str]:
    if pictures:
        yield "<h3>Most surprising moments</h3>"
        yield _strip(pictures)


def _episodes(item: EvaluatedBag) -> Iterator[str]:
    for number, episode in enumerate(item.result.episodes[:EPISODES_SHOWN]):
        yield f"<h3>Episode {number + 1}, {episode.frames} pictures</h3>"
        if number < len(item.strips):
            yield _strip(item.strips[number])
        yield page.charts([page.chart(figures.energy_figure(episode), "Energy and true distance to the episode's end")])
    if len(item.result.episodes) > EPISODES_SHOWN:
        left = len(item.result.episodes) - EPISODES_SHOWN
        yield from page.notes([f"{left} more episodes are in the JSON file only."])


def _strip(pictures: Sequence[CaptionedPicture]) -> str:
    return page.strip((item.caption, item.jpeg) for item in pictures)


def _timing(seconds: Mapping[str, float]) -> Iterator[str]:
    """Wall times are here and not in the JSON file, which is the same for the same inputs."""
    if seconds:
        parts = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        yield from page.notes([f"Time: {parts}."])
