"""``jepa bench bags``: what ``jepa bag-eval`` costs beside encoding and prediction themselves."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_tools.bag_eval.config import EvaluationConfig, PlanningConfig
from jepa_tools.bag_eval.encoding import BATCH, EncodedEpisode
from jepa_tools.bag_eval.evaluate import evaluate_bag
from jepa_tools.bag_eval.prediction import imagine
from jepa_tools.bags import BagSettings, read_bag
from jepa_tools.bags.bag_file import bag_hash
from jepa_tools.bench.machine import describe_machine
from jepa_tools.bench.models import ModelShape, random_world_model
from jepa_tools.bench.report import print_table, write_report
from jepa_tools.conversion.bag_messages import BagMessages
from jepa_tools.recording.bag_writer import BagWriter
from jepa_tools.recording.message_types import MessageTypes
from jepa_world_model.world_model import WorldModel

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class BagsBench:
    """Time the evaluation of a bag against encoding and prediction of the same frames alone.

    Attributes:
        bag: to evaluate; without one, a bag with random pictures is made and removed again.
        seconds: of the bag that is made.
        camera_hz: of its camera.
        width: of its pictures, pixels.
        height: of its pictures, pixels.
        model: checkpoint; empty takes random weights in ``shape``.
        shape: small (as shipped), middle (384 wide) or vitg-ac.
        repeats: evaluations timed.
        device: cpu or cuda.
        threads: of the CPU.
        out: the JSON file.
    """

    bag: Path | None = None
    seconds: float = 20.0
    camera_hz: float = 10.0
    width: int = 256
    height: int = 256
    model: str = "franka-table-small"
    shape: ModelShape = "small"
    repeats: int = 3
    device: str = "cpu"
    threads: int = 1
    out: Path = Path("out/bench_bags.json")


def bench_bags(config: BagsBench) -> Path:
    """Run the benchmark; returns the JSON file."""
    torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    if config.model:
        model = WorldModel.load(config.model, device)
    else:
        model = random_world_model(config.shape, device, torch.float32, seed=0)
    with tempfile.TemporaryDirectory(prefix="jepa_bench_") as folder:
        bag = config.bag or make_bag(Path(folder) / "bag", config)
        row = _row(model, bag, config.repeats)
    print_table(f"{model.card.model_id}: evaluation without planning of {config.bag or 'a bag made for it'}", [row])
    return write_report(config.out, config, describe_machine(device), {"bags": [row]})


def make_bag(path: Path, config: BagsBench) -> Path:
    """Writes a bag with random pictures and a tool that moves on a circle."""
    generator = np.random.default_rng(0)
    texture = generator.integers(0, 256, (config.height, 2 * config.width, 3), dtype=np.uint8)
    with BagWriter(path, types := MessageTypes()) as writer:
        messages = BagMessages(writer, types, BagSettings())
        for frame in range(int(config.seconds * config.camera_hz)):
            angle = frame / config.camera_hz
            state = np.array([0.5 + 0.1 * np.cos(angle), 0.1 * np.sin(angle), 0.3, np.pi, 0.0, 0.0, 0.0])
            stamp = _NANOSECONDS + round(frame * _NANOSECONDS / config.camera_hz)
            messages.write_state(stamp, state, None)
            shift = (3 * frame) % config.width
            messages.write_picture(stamp, np.ascontiguousarray(texture[:, shift : shift + config.width]))
    return path


def _row(model: WorldModel, bag: Path, repeats: int) -> dict[str, Any]:
    """The best of several runs of each, so that other work on the machine counts little."""
    config = replace(EvaluationConfig(), planning=PlanningConfig(every=0))
    recorded = read_bag(bag, BagSettings(), model.card.control_rate_hz)
    episodes = [(episode, np.stack(list(episode.pictures()))) for episode in recorded.episodes]
    evaluation, pure = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        for episode, pictures in episodes:
            _encode_and_predict(model, pictures, episode.states, episode.actions, config)
        pure.append(time.perf_counter() - start)
        start = time.perf_counter()
        bag_hash(bag)
        evaluate_bag(bag, model, BagSettings(), config)
        evaluation.append(time.perf_counter() - start)
    frames = sum(len(pictures) for _, pictures in episodes)
    return {
        "frames": frames,
        "encoding and prediction, s": min(pure),
        "evaluation, s": min(evaluation),
        "overhead, %": 100 * (min(evaluation) / min(pure) - 1),
        "frames/s": frames / min(evaluation),
    }


def _encode_and_predict(
    model: WorldModel,
    pictures: NDArray[np.uint8],
    states: NDArray[np.float64],
    actions: NDArray[np.float64],
    config: EvaluationConfig,
) -> None:
    """What no evaluation can do without: every frame encoded, and the same rollouts."""
    latents = torch.cat([model.encode(pictures[start : start + BATCH]) for start in range(0, len(pictures), BATCH)])
    episode = EncodedEpisode(latents, states, actions, np.arange(len(states), dtype=np.float64), 0, ())
    for start in range(len(actions)):
        steps = min(config.prediction.horizon, len(actions) - start)
        candidates = np.repeat(actions[None, start : start + steps], 1 + config.prediction.shuffles, axis=0)
        imagine(model, episode, start, candidates)
