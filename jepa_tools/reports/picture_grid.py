"""Predicted, real and their difference, step by step: a grid of small pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jepa_world_model.picture_strip import jpeg
from jepa_world_model.world_model import WorldModel

Picture = NDArray[np.uint8]

SIDE = 160
"""Of the pictures, pixels."""

_STEPS_SHOWN = 4
_FULL_DIFFERENCE = 0.35
"""Of the range of values: what is drawn as brightly as can be."""


@dataclass(frozen=True)
class PictureRow:
    """label: what the row shows. pictures: JPEG files, one per column."""

    label: str
    pictures: tuple[bytes, ...]


@dataclass(frozen=True)
class PictureGrid:
    """title: above the grid. heads: of the columns. rows: from top to bottom."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[PictureRow, ...]


def shown_steps(horizon: int) -> list[int]:
    """Which of the steps 1 ... `horizon` are shown: a few, evenly spaced, the last among them."""
    return sorted({int(step) for step in np.linspace(1, horizon, min(_STEPS_SHOWN, horizon)).round()})


def prediction_grid(
    model: WorldModel, title: str, start: Tensor, predicted: Tensor, came: Tensor, cameras: Sequence[Picture]
) -> PictureGrid:
    """What was predicted and what came.

    Args:
        model: with its picture decoder.
        title: of the grid.
        start: latent ``[tokens, dim]`` of the moment that was predicted from.
        predicted: latents ``[H, tokens, dim]``.
        came: the same of the frames that came.
        cameras: ``1 + H`` frames, RGB, from the start on.

    Raises:
        CheckpointError: the model holds no decoder.
    """
    steps = shown_steps(len(predicted))
    chosen = [step - 1 for step in steps]
    drawn, expected = model.pictures(came[chosen]), model.pictures(predicted[chosen])
    now = model.pictures(start)
    differences = [difference(*pair) for pair in zip(expected, drawn, strict=True)]
    period = 1.0 / model.card.control_rate_hz
    return PictureGrid(
        title,
        ("start", *(f"+{step * period:.2f} s" for step in steps)),
        (
            _row("camera", [cameras[0], *(cameras[step] for step in steps)]),
            _row("what came, drawn", [now, *drawn]),
            _row("predicted, drawn", [now, *expected]),
            _row("difference", [np.zeros_like(now), *differences]),
        ),
    )


def difference(first: Picture, second: Picture) -> Picture:
    """How much two pictures differ at each place: black is not at all."""
    amount = np.abs(first.astype(np.float32) - second.astype(np.float32)).mean(axis=-1) / 255.0
    level = np.clip(amount / _FULL_DIFFERENCE, 0.0, 1.0) * 255.0
    return np.asarray(cv2.applyColorMap(level.astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1], dtype=np.uint8)


def _row(label: str, pictures: Iterable[Picture]) -> PictureRow:
    return PictureRow(label, tuple(jpeg(_square(picture)) for picture in pictures))


def _square(picture: Picture) -> Picture:
    """The central square, as the encoder sees it, at the grid's size."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    method = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    square = np.ascontiguousarray(picture[top : top + side, left : left + side])
    return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=method), dtype=np.uint8)
