"""The training benchmark: both loops compute the same loss, and what it writes can be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from jepa_tools.bench.command import bench
from jepa_tools.bench.published_training import PlainStep, PlainTraining
from jepa_tools.bench.train import TrainBench, _model, _moving_gradients
from jepa_world_model.data.episodes import load_episodes
from jepa_world_model.data.lerobot import LeRobotDataset
from jepa_world_model.training.augment import CropConfig
from jepa_world_model.training.encoder_run import EncoderShape
from jepa_world_model.training.masks import draw_mask
from jepa_world_model.training.vjepa import VJepaBatch, VJepaConfig

TINY = TrainBench(
    encoder=EncoderShape(dim=32, depth=1, heads=2),
    vjepa=VJepaConfig(frames=4, predictor_dim=16, predictor_depth=1, predictor_heads=2, crop=CropConfig(0.3)),
    batch=2,
    steps=2,
    warmup=1,
    image_size=48,
    threads=1,
)


def test_training_is_compared_and_written_down(tmp_path: Path, capsys) -> None:
    report = json.loads(bench(replace(TINY, out=tmp_path / "train.json")).read_text())
    ours, plain = report["results"]["training"]
    assert (ours["loop"], plain["loop"]) == ("ours", "plain loop")
    assert report["results"]["ratio"] == plain["median ms"] / ours["median ms"]
    assert "times the throughput" in capsys.readouterr().out


def test_the_plain_loop_computes_our_loss(tmp_path: Path) -> None:
    data = _moving_gradients(tmp_path / "data", TINY, episodes=2)
    model = _model(TINY, 48)
    step = PlainStep(TINY.batch, TINY.vjepa, 48, (2, 3, 3), bf16=False)
    plain = PlainTraining(LeRobotDataset(data), model, step, torch.device("cpu"))
    clips = torch.rand(2, 3, 4, 48, 48)
    state = plain._generator.bit_generator.state
    loss = plain._loss(clips)
    plain._generator.bit_generator.state = state
    masks = tuple(draw_mask(kind, step.grid, 2, plain._generator) for kind in TINY.vjepa.masks)
    torch.testing.assert_close(model(VJepaBatch(clips, masks, step.grid, 0.0, 0))["loss"], loss)


def test_a_dataset_of_the_benchmark_is_decoded_once(tmp_path: Path) -> None:
    data = _moving_gradients(tmp_path / "data", TINY, episodes=2)
    first = load_episodes(data)
    assert first.images.shape == (2, 24, 48, 48, 3)
    decoded = [path for path in (data / ".decoded").iterdir() if path.suffix == ".npy"]
    before = decoded[0].stat().st_mtime_ns
    load_episodes(data)
    assert decoded[0].stat().st_mtime_ns == before
