"""Square pictures in a row, as a strip shows them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_JPEG_QUALITY = 90


def side_by_side(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures ``[N, S, S, 3]`` as one ``[S, N S, 3]``."""
    return np.concatenate(list(pictures), axis=1)


def squares(strip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pictures ``[N, S, S, 3]`` of a strip ``[S, N S, 3]``.

    Raises:
        ValueError: it does not consist of squares.
    """
    height, width = strip.shape[:2]
    if not height or width % height:
        raise ValueError(f"expected a strip of squares, got {width} x {height} pixels")
    return np.stack(np.split(strip, width // height, axis=1))


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """An RGB picture as a JPEG file."""
    return cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
