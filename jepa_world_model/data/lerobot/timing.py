"""Which picture of a video belongs to a row of the table: the one at the row's time, never the one of its number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_PICTURE = -1
_BESIDE = 0.6
"""How far a picture may lie beside its row, in periods of the slower of both; a missing one leaves a whole period."""

_ROUNDING = 0.02
"""Of times in single precision, in periods of the rows."""

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """The stretch of a video in which an episode's pictures lie, s; by default all of it."""

    start: float = -np.inf
    stop: float = np.inf


def match_pictures(
    rows: Times, pictures: Times, row_period: float, picture_period: float, span: Span
) -> NDArray[np.int64]:
    """Number of the picture at each row's time, `NO_PICTURE` where there is none, [T].

    A camera that is slower than the rows shows each picture until its next one.

    Args:
        rows: times of the rows in the video, s, ascending, [T].
        pictures: when each picture begins to be shown, s, ascending, [N].
        row_period: s from row to row.
        picture_period: s from picture to picture, usually.
        span: of the episode; neighbours in the same file are not taken.
    """
    half = 0.5 * row_period
    first, end = np.searchsorted(pictures, [span.start - half, span.stop - half])
    if end <= first:
        return np.full(len(rows), NO_PICTURE, dtype=np.int64)
    after = np.clip(np.searchsorted(pictures, rows), first, end - 1)
    before = np.maximum(after - 1, first)
    # Half-way between two, whatever the rounding: the one that had been seen by then.
    tie = _ROUNDING * row_period
    nearest = np.where(np.abs(rows - pictures[before]) <= np.abs(pictures[after] - rows) + tie, before, after)
    early = _BESIDE * max(row_period, picture_period)
    late = max(early, picture_period - half)
    ahead = pictures[nearest] - rows
    return np.where((ahead <= early) & (-ahead <= late), nearest, NO_PICTURE).astype(np.int64)
