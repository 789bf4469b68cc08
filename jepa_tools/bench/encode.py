"""``jepa bench encode``: camera frames to latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from jepa_tools.bench.machine import Timing, describe_machine
from jepa_tools.bench.models import ModelShape, random_world_model
from jepa_tools.bench.report import print_table, write_report
from jepa_world_model.compiled_blocks import CompileMode
from jepa_world_model.world_model import WorldModel


@dataclass(frozen=True)
class EncodeBench:
    """Time encoding.

    Attributes:
        model: checkpoint; empty takes random weights in ``shape``.
        shape: small (as shipped), middle (384 wide) or vitg-ac.
        batches: how many frames at a time.
        width: of the camera's frames, pixels.
        height: of the camera's frames, pixels.
        repeats: calls timed.
        dtype: float32 or bfloat16.
        compile_mode: how torch.compile treats the encoder; "off" leaves it as it is.
        device: cpu or cuda.
        threads: of the CPU; 0 leaves it to torch.
        seed: of weights and frames.
        out: the JSON file.
    """

    model: str = ""
    shape: ModelShape = "small"
    batches: tuple[int, ...] = (1, 8)
    width: int = 256
    height: int = 256
    repeats: int = 20
    dtype: Literal["float32", "bfloat16"] = "float32"
    compile_mode: Literal["off", CompileMode] = "off"
    device: str = "cpu"
    threads: int = 0
    seed: int = 0
    out: Path = Path("out/bench_encode.json")


def bench_encode(config: EncodeBench) -> Path:
    """Run the benchmark; returns the JSON file."""
    if config.threads:
        torch.set_num_threads(config.threads)
    device, dtype = torch.device(config.device), getattr(torch, config.dtype)
    machine = describe_machine(device)
    if config.model:
        model = WorldModel.load(config.model, device, dtype, parts=("encoder",))
    else:
        model = random_world_model(config.shape, device, dtype, config.seed)
    if config.compile_mode != "off":
        model = model.compiled(config.compile_mode)
    rows = [_row(config, model, batch) for batch in config.batches]
    print_table(f"{model.card.model_id}: {config.width} x {config.height} frames, {config.dtype}", rows)
    return write_report(config.out, config, machine, {"encoding": rows})


def _row(config: EncodeBench, model: WorldModel, batch: int) -> dict[str, Any]:
    generator = np.random.default_rng(config.seed)
    frames = generator.integers(0, 256, (batch, config.height, config.width, 3), dtype=np.uint8)
    for _ in range(min(3, config.repeats)):
        model.encode(frames)
    whole = Timing.median([Timing.of(lambda: model.encode(frames), model.device) for _ in range(config.repeats)])
    resize = [Timing.of(lambda: model.card.preprocess(frames), model.device) for _ in range(config.repeats)]
    return {
        "frames": batch,
        "median ms": 1e3 * whole.wall,
        "core ms": 1e3 * whole.cores,
        "of it resizing, core ms": 1e3 * Timing.median(resize).cores,
        "frames/s": batch / whole.wall,
    }
