"""The view test agrees with what the renderer shows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jepa_sim.camera_view import in_turned_axes, is_in_view, turned
from jepa_sim.scene import CameraConfig, look_at


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


def seen(camera: CameraConfig, state: np.ndarray) -> np.ndarray:
    """Position and orientation [3, 4] of a tool in the camera's own axes."""
    rotation = Rotation.from_quat(look_at(camera.position, camera.target), scalar_first=True).inv()
    axes = (rotation * Rotation.from_euler("xyz", state[3:6])).as_matrix()
    return np.column_stack([rotation.apply(state[:3] - camera.position), axes])


@pytest.mark.parametrize("degrees", [-60.0, 0.0, 25.0])
def test_a_turned_camera_sees_a_tool_where_the_other_one_sees_its_state_in_turned_axes(degrees: float) -> None:
    state = np.array([0.5, 0.2, 0.3, 3.0, 0.2, -0.4, 0.7])
    other = in_turned_axes(state, degrees)
    np.testing.assert_allclose(seen(turned(CameraConfig(), degrees), state), seen(CameraConfig(), other), atol=1e-9)
    assert other[6] == state[6]
