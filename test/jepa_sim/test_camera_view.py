"""The view test agrees with what the renderer shows."""

from __future__ import annotations

import numpy as np

from jepa_sim.camera_view import is_in_view
from jepa_sim.scene import CameraConfig


def test_the_target_is_in_view_and_what_is_behind_or_beside_the_camera_is_not() -> None:
    camera = CameraConfig()
    position, target = np.array(camera.position), np.array(camera.target)
    assert is_in_view(camera, target)
    assert not is_in_view(camera, 2 * position - target)
    assert not is_in_view(camera, target + np.array([0.0, 0.0, 1.0]))


def test_the_border_lies_at_half_the_field_of_view() -> None:
    camera = CameraConfig(position=(0.0, -1.0, 0.0), target=(0.0, 0.0, 0.0), vertical_fov=90.0)
    assert is_in_view(camera, (0.0, 0.0, 0.99), margin=0.0)
    assert not is_in_view(camera, (0.0, 0.0, 1.01), margin=0.0)
    assert not is_in_view(camera, (0.0, 0.0, 0.95), margin=0.05)
