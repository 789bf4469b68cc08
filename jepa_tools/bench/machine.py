"""What a benchmark says about the machine: what it is, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_MATRIX_SIZE = 1024
_MATRIX_SIZE_CUDA = 8192


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Processor or graphics card, threads and versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_at_start": os.getloadavg()[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Timing:
    """Seconds of a call: on the clock, and of all cores together. On a shared machine only the second means much."""

    wall: float
    cores: float

    @classmethod
    def of(cls, function: Callable[[], object], device: torch.device) -> Timing:
        """Time one call, its work on the device included."""
        synchronize(device)
        wall, cores = time.perf_counter(), time.process_time()
        function()
        synchronize(device)
        return cls(time.perf_counter() - wall, time.process_time() - cores)

    @classmethod
    def median(cls, timings: Sequence[Timing]) -> Timing:
        """Medians of both."""
        return cls(*(statistics.median(getattr(timing, name) for timing in timings) for name in ("wall", "cores")))

    def busy(self, device: torch.device) -> float:
        """Seconds in which the hardware worked on the call: of the graphics card, or of the cores."""
        return self.wall if device.type == "cuda" else self.cores


def matmul_rate(device: torch.device, dtype: torch.dtype, repeats: int = 15) -> float:
    """Floating-point operations of a large square product per busy second (per core on a CPU), the best of all.

    What else runs on the machine can only slow a product down; the fastest one is the hardware's.
    """
    size = _MATRIX_SIZE_CUDA if device.type == "cuda" else _MATRIX_SIZE
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2.0 * size**3 / min(Timing.of(lambda: left @ right, device).busy(device) for _ in range(repeats))
