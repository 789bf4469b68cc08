"""What a plan leads to, as one picture: now, each imagined step, and the goal, side by side."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from jepa_world_model.action_scoring import ChosenPlan
from jepa_world_model.world_model import WorldModel

_JPEG_QUALITY = 90


def imagined_strip(model: WorldModel, plan: ChosenPlan) -> NDArray[np.uint8]:
    """RGB ``[S, (horizon + 2) S, 3]``: squares from left to right, the first one now, the last one the goal.

    All of them are drawn from latents, so that they can be compared: what the latent does not tell is in none.

    Raises:
        CheckpointError: the model has no picture decoder, or no predictor.
    """
    future = model.rollout(plan.context, plan.states, plan.actions)[0].cpu().numpy()
    return side_by_side(model.pictures(np.concatenate([plan.context[-1:], future, plan.goal[None]])))


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
