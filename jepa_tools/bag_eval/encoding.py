"""Episodes as latents: every frame is encoded once, and a small picture of it is kept for the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_tools.bag_eval.stopwatch import Stopwatch
from jepa_tools.bags import BagEpisode
from jepa_world_model.world_model import WorldModel

BATCH = 8
THUMBNAIL = 144
"""Height of the small pictures, pixels."""

_JPEG_QUALITY = 80


@dataclass(frozen=True, eq=False)
class EncodedEpisode:
    """An episode as the model sees it.

    Attributes:
        latents: [T, tokens, dim], on the model's device.
        states: [T, 7].
        actions: [T - 1, 7].
        times: s since the first frame, [T].
        start_ns: stamp of the first frame.
        thumbnails: a JPEG file per frame.
    """

    latents: Tensor
    states: NDArray[np.float64]
    actions: NDArray[np.float64]
    times: NDArray[np.float64]
    start_ns: int
    thumbnails: tuple[bytes, ...]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.latents)


def encode_episode(model: WorldModel, episode: BagEpisode, watch: Stopwatch) -> EncodedEpisode:
    """Reads an episode's pictures, a few at a time, and encodes them.

    Raises:
        BagError: a picture cannot be read.
    """
    latents: list[Tensor] = []
    thumbnails: list[bytes] = []
    pictures = episode.pictures()
    while batch := _next_batch(pictures, watch):
        with watch("encode"):
            latents.append(model.encode(np.stack(batch)))
        with watch("pictures"):
            thumbnails.extend(map(_thumbnail, batch))
    return EncodedEpisode(
        torch.cat(latents),
        episode.states,
        episode.actions,
        episode.times,
        int(episode.stamps[0]),
        tuple(thumbnails),
    )


def _next_batch(pictures: Iterator[NDArray[np.uint8]], watch: Stopwatch) -> list[NDArray[np.uint8]]:
    with watch("read"):
        return list(islice(pictures, BATCH))


def _thumbnail(picture: NDArray[np.uint8]) -> bytes:
    height, width = picture.shape[:2]
    size = (max(1, round(width * THUMBNAIL / height)), THUMBNAIL)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
