"""``jepa bench world``: what a model knows of its world: read-outs of tool, objects and gripper, and predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from jepa_tools.bench.machine import describe_machine
from jepa_tools.bench.report import print_table, write_report
from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.data.episodes import EpisodeArrays, load_episodes
from jepa_world_model.energy import latent_distance
from jepa_world_model.model_card import Distance
from jepa_world_model.training.readout import (
    OBJECT,
    AttentiveConfig,
    Quantity,
    Readout,
    ReadoutError,
    fit_attentive,
    fit_linear,
    readout_errors,
    readout_targets,
)
from jepa_world_model.training.validation import MOVED_M, HorizonTable, imagine, validate
from jepa_world_model.world_model import WorldModel

_RANKED_PAIRS = 4000


@dataclass(frozen=True)
class WorldBench:
    """Measure read-outs and predictions of a checkpoint on held-out episodes.

    Attributes:
        model: checkpoint.
        data: episodes that the read-outs are trained on.
        validation: held-out episodes.
        episodes: of ``data``, at most.
        every: frames between those that are used of each episode.
        predicted: after how many steps predicted latents are read.
        horizon: longest prediction, steps.
        clips: held-out clips.
        attentive: shape and training of the attentive read-out.
        threads: of the CPU; 0 leaves it to torch.
        seed: of the clips and the attentive read-out.
        out: the JSON file.
    """

    model: str
    data: Path
    validation: Path
    episodes: int = 3000
    every: int = 3
    predicted: tuple[int, ...] = (1, 2, 4)
    horizon: int = 8
    clips: int = 512
    attentive: AttentiveConfig = field(default_factory=AttentiveConfig)
    threads: int = 0
    seed: int = 0
    out: Path = Path("out/bench_world.json")


@dataclass(frozen=True)
class _HeldOut:
    """Held-out episodes with their latents ``[E, T, N, D]`` and the targets of read-outs ``[E, T, K]``."""

    episodes: EpisodeArrays
    latents: Tensor
    targets: Tensor
    quantities: tuple[Quantity, ...]


def bench_world(config: WorldBench) -> Path:
    """Run the measurement; returns the JSON file."""
    if config.threads:
        torch.set_num_threads(config.threads)
    model = WorldModel.load(config.model)
    if model.predictor is None:
        raise ValueError(f"{model.card.name} holds no predictor; there is no world to measure")
    train, held_out = load_episodes(config.data).first(config.episodes), load_episodes(config.validation)
    targets, quantities = readout_targets(held_out)
    there = _HeldOut(held_out, _latents(model, held_out.images), targets, quantities)
    latents = _latents(model, train.images[:, :: config.every]).flatten(0, 1)
    truth = readout_targets(train)[0][:, :: config.every].flatten(0, 1)
    readouts = {
        "linear": fit_linear(latents, truth),
        "attentive": fit_attentive(latents, truth, config.attentive, config.seed),
    }
    imagined = _imagined(config, model.predictor, there)
    rows = [row for name, readout in readouts.items() for row in _readout_rows(config, there, imagined, name, readout)]
    title = f"{model.card.model_id}: median (p90) error of read-outs trained on {train.episodes} episodes; places in cm"
    print_table(title, rows)
    report = validate(
        model.predictor, there.latents, held_out, model.metric_of("metric"), config.horizon, config.clips, config.seed
    )
    shares = [row for table in report.tables for row in _shares(table)]
    print_table("error of predicted latents, as a share of the last frame's and of another clip's actions'", shares)
    ranks = [_rank_row(config, model, there, distance) for distance in _distances(model)]
    print_table("rank correlation of distances between held-out frames with true distances", ranks)
    results = {"readouts": rows, "predictions": shares, "ranks": ranks, "validation": report.as_dict()}
    return write_report(config.out, config, describe_machine(torch.device("cpu")), results)


def _latents(model: WorldModel, images: NDArray[np.uint8]) -> Tensor:
    """Half-precision latents ``[E, T, N, D]`` of pictures ``[E, T, S, S, 3]``."""
    rows = [model.encode(episode).half() for episode in tqdm(images, desc="encode", unit="episode", mininterval=2.0)]
    return torch.stack(rows)


def _readout_rows(
    config: WorldBench, there: _HeldOut, imagined: Tensor, name: str, readout: Readout
) -> list[dict[str, Any]]:
    """Errors from encoded latents, and from latents ``imagined`` ``[E * S, steps, N, D]``."""
    every = slice(None, None, config.every)
    encoded = readout_errors(
        readout, there.latents[:, every].flatten(0, 1), there.targets[:, every].flatten(0, 1), there.quantities
    )
    rows = [{"read-out": name, "latents": "encoded", **_cells(encoded)}]
    starts = _starts(config, there)
    last = there.latents[:, starts].flatten(0, 1)
    for ahead in config.predicted:
        truth, before = (there.targets[:, starts + step].flatten(0, 1) for step in (ahead, 0))
        moved = _moved(there, truth - before)
        for where, chosen in (("", torch.ones_like(moved)), (", an object moved", moved)):
            for guess, latents in (("predicted", imagined[:, ahead - 1]), ("last frame's", last)):
                if chosen.any():
                    errors = readout_errors(readout, latents[chosen], truth[chosen], there.quantities)
                    rows.append({"read-out": name, "latents": f"{guess}, {ahead} ahead{where}", **_cells(errors)})
    return rows


def _moved(there: _HeldOut, change: Tensor) -> Tensor:
    """Whether an object has moved: bool ``[N]`` of changes ``[N, K]`` of the targets."""
    moved = torch.zeros(len(change), dtype=torch.bool)
    for quantity in there.quantities:
        if quantity.name.startswith(OBJECT):
            moved |= change[:, quantity.columns].norm(dim=-1) > MOVED_M
    return moved


def _starts(config: WorldBench, there: _HeldOut) -> Tensor:
    """Frames ``[S]`` of each episode from which futures are predicted."""
    return torch.arange(0, there.latents.shape[1] - max(config.predicted), config.every)


@torch.inference_mode()
def _imagined(config: WorldBench, predictor: ActionConditionedPredictor, there: _HeldOut) -> Tensor:
    """Latents ``[E * S, steps, N, D]`` predicted from each start under the recorded actions."""
    starts, steps = _starts(config, there), max(config.predicted)
    states, actions = torch.from_numpy(there.episodes.states), torch.from_numpy(there.episodes.actions)
    taken = torch.stack([actions[:, starts + step] for step in range(steps)], dim=2)
    parts = [
        imagine(predictor, episode[starts].float(), state[starts], action)
        for episode, state, action in zip(there.latents, states, taken, strict=True)
    ]
    return torch.cat(parts)


def _cells(errors: tuple[ReadoutError, ...]) -> dict[str, str]:
    return {error.quantity: f"{error.median:.2f} ({error.p90:.2f})" for error in errors}


def _shares(table: HorizonTable) -> list[dict[str, Any]]:
    """The table as two rows: one for each trivial guess that the model is held against."""
    where = "where an object moved" if table.moved else "all frames"
    guesses = {"the last frame": "copy_last_frame", "shuffled actions": "shuffled_actions"}
    return [
        {"distance": table.distance, "over": where, "against": name}
        | {f"{row.horizon}": row.model / getattr(row, field) for row in table.horizons}
        for name, field in guesses.items()
    ]


def _distances(model: WorldModel) -> tuple[Distance, ...]:
    """Those by which the model can compare latents."""
    metrics: tuple[Distance, ...] = ("metric", "metric_gripper", "scene")
    return ("l1", "l2", *(name for name in metrics if model.metric_of(name) is not None))


def _rank_row(config: WorldBench, model: WorldModel, there: _HeldOut, distance: Distance) -> dict[str, Any]:
    """Spearman correlation of a distance between random held-out frames with how far apart each quantity is."""
    latents, targets = there.latents.flatten(0, 1), there.targets.flatten(0, 1)
    first, second = torch.from_numpy(np.random.default_rng(config.seed).integers(len(latents), size=(2, _RANKED_PAIRS)))
    metric = model.metric_of(distance)
    energies = [
        latent_distance(latents[a : a + 1].float(), latents[b].float(), distance, metric)
        for a, b in zip(first.tolist(), second.tolist(), strict=True)
    ]
    row: dict[str, Any] = {"distance": distance}
    for quantity in there.quantities:
        apart = (targets[first] - targets[second])[:, quantity.columns].norm(dim=-1)
        row[quantity.name] = float(spearmanr(torch.cat(energies).numpy(), apart.numpy()).statistic)
    return row
