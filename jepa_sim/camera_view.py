"""Where a camera stands, and which points of the scene it shows, without rendering."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from jepa_sim.scene import CameraConfig, Vector, look_at

MIDDLE: Vector = (0.45, 0.0, 0.0)
"""Point on the table about which cameras are turned, m, base frame."""


def is_in_view(camera: CameraConfig, point: ArrayLike, margin: float = 0.05) -> bool:
    """Whether the camera's square picture shows `point` [3] (m, base frame), at least `margin` from its border.

    `margin` is a share of the picture's side. What hides the point is not considered.
    """
    rotation = Rotation.from_quat(look_at(camera.position, camera.target), scalar_first=True)
    right, up, backward = rotation.inv().apply(np.subtract(point, camera.position))
    # The camera looks along -z; at depth 1 half the picture is the tangent of half its angle.
    half = (1.0 - 2.0 * margin) * np.tan(np.radians(camera.vertical_fov) / 2.0) * -backward
    return bool(backward < 0.0 and max(abs(right), abs(up)) <= half)


def turned(camera: CameraConfig, degrees: float) -> CameraConfig:
    """The camera, moved around the vertical line through `MIDDLE`, counterclockwise seen from above."""
    if degrees == 0.0:
        return camera
    rotation = Rotation.from_euler("z", degrees, degrees=True)

    def move(point: Vector) -> Vector:
        x, y, z = rotation.apply(np.subtract(point, MIDDLE)) + MIDDLE
        return float(x), float(y), float(z)

    return replace(camera, position=move(camera.position), target=move(camera.target))


def in_turned_axes(state: ArrayLike, degrees: float) -> NDArray[np.float64]:
    """A tool state [..., 7] in the base frame's axes turned about the vertical line through `MIDDLE`.

    A camera that is turned as far (see `turned`) sees the tool where the camera that was not turned would see a tool
    at this state.
    """
    if degrees == 0.0:
        return np.array(state, dtype=np.float64)
    turn = Rotation.from_euler("z", -degrees, degrees=True)
    values = np.array(state, dtype=np.float64)
    flat = values.reshape(-1, values.shape[-1])
    flat[:, :3] = turn.apply(flat[:, :3] - MIDDLE) + MIDDLE
    flat[:, 3:6] = (turn * Rotation.from_euler("xyz", flat[:, 3:6])).as_euler("xyz")
    return flat.reshape(values.shape)
