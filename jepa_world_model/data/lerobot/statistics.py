"""Statistics of columns and pictures, as `meta/stats.json` and the episodes' tables hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
LARGEST_SIDE = 150
"""Pictures are measured at about this many pixels a side."""

Statistics = dict[str, NDArray[Any]]
"""min, max, mean, std and the quantiles, each of a row's shape (pictures: [3, 1, 1], scaled to 0..1), and count [1]."""


def column_statistics(values: NDArray[Any]) -> Statistics:
    """Statistics of a column [T, ...]."""
    rows = np.asarray(values, dtype=np.float64)
    rows = rows.reshape(len(rows), *(rows.shape[1:] or (1,)))
    result = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return result | dict(zip(QUANTILES, quantiles, strict=True)) | {"count": np.array([len(rows)])}


class PictureStatistics:
    """Statistics of pictures that pass one by one: a histogram of each colour, from which all else follows."""

    def __init__(self) -> None:
        self._histogram = np.zeros((3, 256), dtype=np.int64)
        self._pictures = 0

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Counts the pixels of uint8 [H, W, 3]; of a large picture every second, third, ... row and column."""
        step = max(1, round(max(picture.shape[:2]) / LARGEST_SIDE))
        for colour in range(3):
            self._histogram[colour] += np.bincount(picture[::step, ::step, colour].ravel(), minlength=256)
        self._pictures += 1

    def result(self) -> Statistics:
        """Statistics so far; there must have been a picture."""
        levels, weights = np.arange(256) / 255.0, self._histogram / self._histogram.sum(1, keepdims=True)
        mean = weights @ levels
        spread = np.sqrt(np.maximum(weights @ levels**2 - mean**2, 0.0))
        seen = [levels[counts > 0] for counts in self._histogram]
        extremes = {"min": [row[0] for row in seen], "max": [row[-1] for row in seen]}
        cumulated = weights.cumsum(1)
        quantiles = {
            name: np.array([levels[min(255, int(np.searchsorted(row, share)))] for row in cumulated])
            for name, share in QUANTILES.items()
        }
        flat = extremes | {"mean": mean, "std": spread} | quantiles
        shaped = {name: np.asarray(value, dtype=np.float64).reshape(3, 1, 1) for name, value in flat.items()}
        return shaped | {"count": np.array([self._pictures])}


def combined(parts: Sequence[Mapping[str, NDArray[Any]]]) -> Statistics:
    """Statistics of several episodes together.

    Quantiles cannot be combined exactly: lower ones are the lowest of the parts', upper ones the highest, the median
    their weighted mean.
    """
    counts = np.array([float(part["count"][0]) for part in parts])
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0] if name != "count"}
    weights = (counts / counts.sum()).reshape(-1, *(1,) * (stacked["mean"].ndim - 1))
    mean = (weights * stacked["mean"]).sum(0)
    variance = (weights * (stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2)).sum(0)
    result = {"min": stacked["min"].min(0), "max": stacked["max"].max(0), "mean": mean, "std": np.sqrt(variance)}
    for name in (name for name in QUANTILES if name in stacked):
        middle = (weights * stacked[name]).sum(0)
        share = QUANTILES[name]
        result[name] = middle if share == 0.5 else stacked[name].min(0) if share < 0.5 else stacked[name].max(0)
    return result | {"count": np.array([int(counts.sum())])}
