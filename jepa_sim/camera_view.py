"""Where a camera stands, and which points of the scene it shows, without rendering."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
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
    rotation = Rotation.from_euler("z", degrees, degrees=True)

    def move(point: Vector) -> Vector:
        x, y, z = rotation.apply(np.subtract(point, MIDDLE)) + MIDDLE
        return float(x), float(y), float(z)

    return replace(camera, position=move(camera.position), target=move(camera.target))
