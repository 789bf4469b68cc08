"""From stamps to frames at the model's rate: nearest stamps on a regular grid, cut where something is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Stamps = NDArray[np.int64]
NANOSECONDS = 1_000_000_000
CLOCK_RESET = NANOSECONDS
"""Stamps that go back by more than this, ns, belong to a clock that was set back; smaller steps to late messages."""


@dataclass(frozen=True, eq=False)
class Run:
    """Messages between two resets of the clock.

    Attributes:
        order: indices of the messages, by stamp.
        stamps: ns, of the messages in that order.
        first, last: when its first and last message were recorded, ns.
    """

    order: NDArray[np.int64]
    stamps: Stamps
    first: int
    last: int


def split_runs(stamps: Stamps, recorded: Stamps) -> list[Run]:
    """Cuts a topic's messages, in order of recording, wherever the stamps jump back.

    Args:
        stamps: ns, [N].
        recorded: when each was recorded, ns, [N].
    """
    if not len(stamps):
        return []
    newest = np.maximum.accumulate(stamps)
    pieces, start = [], 0
    for index in range(1, len(stamps)):
        behind = stamps[index] < stamps[index - 1] - CLOCK_RESET and stamps[index] < newest[index - 1] - CLOCK_RESET
        if behind:
            pieces.append((start, index))
            start = index
    pieces.append((start, len(stamps)))
    return [_run(stamps, recorded, *piece) for piece in pieces]


def _run(stamps: Stamps, recorded: Stamps, start: int, stop: int) -> Run:
    order = start + np.argsort(stamps[start:stop], kind="stable")
    return Run(order, stamps[order], int(recorded[start:stop].min()), int(recorded[start:stop].max()))


def resample(stamps: Stamps, rate_hz: float, bound: float) -> list[NDArray[np.int64]]:
    """Indices of the messages nearest to a grid of `rate_hz` that begins at the first one, cut at gaps.

    Args:
        stamps: ns, ascending, [N].
        rate_hz: of the grid.
        bound: how far a message may lie beside its time, in periods, below one half; so none is taken twice.

    Returns:
        One array of indices for each stretch without a gap.
    """
    if not len(stamps):
        return []
    period = NANOSECONDS / rate_hz
    steps = np.arange(int((stamps[-1] - stamps[0]) / period + bound) + 1)
    targets = stamps[0] + np.rint(steps * period).astype(np.int64)
    nearest = nearest_indices(stamps, targets)
    fits = np.abs(stamps[nearest] - targets) <= bound * period
    cuts = np.flatnonzero(np.diff(fits.astype(np.int8))) + 1
    stretches = zip(np.split(nearest, cuts), np.split(fits, cuts), strict=True)
    return [indices for indices, fit in stretches if fit[0]]


def nearest_indices(stamps: Stamps, targets: Stamps) -> NDArray[np.int64]:
    """Index of the stamp nearest to each target; `stamps` ascending, not empty."""
    after = np.clip(np.searchsorted(stamps, targets), 1, max(1, len(stamps) - 1))
    if len(stamps) == 1:
        return np.zeros(len(targets), dtype=np.int64)
    before = after - 1
    closer = targets - stamps[before] <= stamps[after] - targets
    return np.where(closer, before, after).astype(np.int64)
