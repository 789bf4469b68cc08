"""Which operations a call spends its time in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from jepa_tools.bench.machine import synchronize


def profile_operations(function: Callable[[], object], device: torch.device, most: int = 12) -> list[dict[str, Any]]:
    """The operations in which one call of ``function`` spends most time on ``device``, longest first.

    Times are of an operation itself, without what it calls; "share" is of all operations together.
    """
    on_card = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    with profile(activities=activities) as recorded:
        function()
        synchronize(device)
    rows = [
        {
            "operation": event.key,
            "calls": event.count,
            "ms": 1e-3 * (event.self_device_time_total if on_card else event.self_cpu_time_total),
        }
        for event in recorded.key_averages()
    ]
    total = sum(row["ms"] for row in rows)
    longest = sorted(rows, key=lambda row: row["ms"], reverse=True)[:most]
    return [row | {"share": row["ms"] / total} for row in longest]
