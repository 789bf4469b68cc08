"""``jepa bench train``: steps of masked pretraining, against a plain loop."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from jepa_tools.bench.machine import Timing, describe_machine, synchronize
from jepa_tools.bench.published_training import PlainStep, PlainTraining
from jepa_tools.bench.report import print_table, write_report
from jepa_world_model.data.episodes import EpisodeArrays, load_episodes
from jepa_world_model.data.lerobot import (
    ACTION,
    STATE,
    DatasetDescription,
    Episode,
    Feature,
    LeRobotDataset,
    write_dataset,
)
from jepa_world_model.data.state_names import POSE_NAMES
from jepa_world_model.training.augment import CropConfig
from jepa_world_model.training.distributed import Part
from jepa_world_model.training.encoder_run import EncoderShape, encoder_config
from jepa_world_model.training.engine import Engine
from jepa_world_model.training.loop import LoopConfig
from jepa_world_model.training.objectives import ClipConfig, VJepaObjective
from jepa_world_model.training.vjepa import VJepaBatch, VJepaConfig, VJepaModel
from jepa_world_model.vision_transformer import VisionTransformer

_CAMERA = "observation.images.camera"


@dataclass(frozen=True)
class TrainBench:
    """Time steps of masked pretraining in one process.

    Attributes:
        data: a LeRobot dataset; empty writes one of moving gradients for the occasion.
        encoder: shape of the encoder.
        vjepa: the objective; crops are random, as published.
        batch: clips per step.
        steps: timed, after `warmup`.
        warmup: steps before that.
        precision: of the forward pass, for both sides.
        image_size: of the written dataset, pixels.
        matrix_rate: learning rate of Muon on our side; 0 trains all with AdamW, as the plain loop does.
        device: cpu or cuda.
        threads: of the CPU; 0 leaves it to torch.
        out: the JSON file.
    """

    data: Path | None = None
    encoder: EncoderShape = field(default_factory=EncoderShape)
    vjepa: VJepaConfig = field(default_factory=lambda: VJepaConfig(crop=CropConfig(least_area=0.3)))
    batch: int = 8
    steps: int = 10
    warmup: int = 3
    precision: Literal["float32", "bf16"] = "float32"
    image_size: int = 96
    matrix_rate: float = 0.0
    device: str = "cpu"
    threads: int = 0
    out: Path = Path("out/bench_train.json")


def bench_train(config: TrainBench) -> Path:
    """Run the benchmark; returns the JSON file."""
    if config.threads:
        torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    machine = describe_machine(device)
    with tempfile.TemporaryDirectory() as scratch:
        data = config.data or _moving_gradients(Path(scratch) / "data", config)
        loading = Timing.of(lambda: load_episodes(data), device)
        episodes = load_episodes(data)
        rows = [
            _row(name, config, timings)
            for name, timings in (
                ("ours", _ours(config, episodes, Path(scratch) / "run")),
                ("plain loop", _plain(config, LeRobotDataset(data), episodes.image_size, device)),
            )
        ]
    print_table(f"masked pretraining, batch {config.batch}, {config.precision}, {config.steps} steps", rows)
    ratio = rows[1]["median ms"] / rows[0]["median ms"]
    core_ratio = rows[1]["core ms"] / rows[0]["core ms"]
    print(f"ours: {ratio:.2f} times the throughput on the clock, {core_ratio:.2f} times per core second")
    print(f"decoding all images once, before the first step: {loading.wall:.1f} s for {episodes.images.shape[:2]}")
    results = {"training": rows, "ratio": ratio, "core_ratio": core_ratio, "decode_once_s": loading.wall}
    return write_report(config.out, config, machine, results)


def _row(name: str, config: TrainBench, timings: list[Timing]) -> dict[str, Any]:
    middle = Timing.median(timings)
    return {
        "loop": name,
        "median ms": 1e3 * middle.wall,
        "core ms": 1e3 * middle.cores,
        "clips/s": config.batch / middle.wall,
    }


def _model(config: TrainBench, image_size: int) -> VJepaModel:
    torch.manual_seed(0)
    return VJepaModel(VisionTransformer(encoder_config(config.encoder, image_size)), config.vjepa)


class _Clocked:
    """The objective of ``jepa pretrain`` that takes the time at the end of every step."""

    def __init__(self, objective: VJepaObjective, device: torch.device) -> None:
        self._objective, self._device = objective, device
        self.times: list[Timing] = []

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        return self._objective.module

    @property
    def kept(self) -> nn.Module:
        """See `Objective`."""
        return self._objective.kept

    def batch(self, step: int, part: Part) -> VJepaBatch:
        """See `Objective`."""
        return self._objective.batch(step, part)

    def losses(self, module: nn.Module, batch: VJepaBatch, device: torch.device) -> dict[str, Tensor]:
        """See `Objective`."""
        return self._objective.losses(module, batch, device)

    def after_update(self) -> None:
        """See `Objective`."""
        self._objective.after_update()
        synchronize(self._device)
        self.times.append(Timing(time.perf_counter(), time.process_time()))


def _ours(config: TrainBench, episodes: EpisodeArrays, folder: Path) -> list[Timing]:
    """Between the ends of consecutive steps of the real engine, with its logging."""
    steps = config.warmup + config.steps
    clips = ClipConfig(config.batch, max_stride=1, seed=0)
    objective = VJepaObjective(_model(config, episodes.image_size), episodes, clips, cooldown_from=steps)
    clocked = _Clocked(objective, torch.device(config.device))
    loop = LoopConfig(
        steps=steps,
        learning_rate=1e-4,
        matrix_rate=config.matrix_rate,
        save_every=10 * steps,
        precision=config.precision,
    )
    Engine(clocked, loop, folder, config.device).run("ours")
    ends = clocked.times[config.warmup - 1 :]
    return [Timing(end.wall - start.wall, end.cores - start.cores) for start, end in pairwise(ends)]


def _plain(config: TrainBench, dataset: LeRobotDataset, image_size: int, device: torch.device) -> list[Timing]:
    shape = encoder_config(config.encoder, image_size)
    grid = config.vjepa.frames // shape.tubelet_size, shape.grid_size, shape.grid_size
    step = PlainStep(config.batch, config.vjepa, image_size, grid, config.precision == "bf16")
    training = PlainTraining(dataset, _model(config, image_size).to(device), step, device)
    for _ in range(config.warmup):
        training.advance()
    return [Timing.of(training.advance, device) for _ in range(config.steps)]


def _moving_gradients(folder: Path, config: TrainBench, episodes: int = 8, frames: int = 24) -> Path:
    """A dataset whose videos take about as long to decode as those of the simulated table."""
    pose = Feature("float32", (7,), POSE_NAMES)
    size = (config.image_size, config.image_size)
    description = DatasetDescription(4, "none", {STATE: pose, ACTION: pose}, {_CAMERA: size})

    def make(first: int) -> Iterator[Episode]:
        for number in range(first, episodes):
            generator = np.random.default_rng(number)
            still = np.zeros((frames, 7), np.float32)
            yield Episode({STATE: still, ACTION: still}, {_CAMERA: _gradient(generator, frames, config.image_size)})

    return write_dataset(folder, description, make)


def _gradient(generator: np.random.Generator, frames: int, size: int) -> Iterator[np.ndarray]:
    noise = generator.integers(0, 40, (2 * size, 2 * size, 3))
    ramp = np.linspace(0, 200, 2 * size)[:, None, None]
    large = (noise + ramp).astype(np.uint8)
    for frame in range(frames):
        shift = 2 * frame % size
        yield np.ascontiguousarray(large[shift : shift + size, shift // 2 : shift // 2 + size])
