"""The scene: what the camera sees, what the fingers can hold, and what a missing package looks like."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from jepa_sim import meshes
from jepa_sim.meshes import SceneError
from jepa_sim.robot_description import HOME_POSITIONS
from jepa_sim.scene import BOX, CUP, OBJECTS, SceneConfig, build_model, look_at
from jepa_sim.simulation import Simulation


@pytest.fixture(scope="module")
def simulation():
    with Simulation() as made:
        yield made


def pixels_of(image: np.ndarray, color: tuple[float, ...]) -> np.ndarray:
    """Where the picture has nearly this hue."""
    wanted = np.array(color[:3]) / np.linalg.norm(color[:3])
    vectors = image.astype(float) + 1e-6
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)) @ wanted > 0.985


def test_the_camera_sees_robot_table_and_objects(simulation: Simulation):
    simulation.clear()
    simulation.place_arm(HOME_POSITIONS)
    simulation.place_fingers(0.0)
    image, config = simulation.render(), SceneConfig()
    assert image.shape == (256, 256, 3) and image.dtype == np.uint8
    for color in (config.cup_color, config.box_color, config.left_finger_color, config.right_finger_color):
        assert pixels_of(image, color).sum() > 60, f"nothing of colour {color} in the picture"
    assert pixels_of(image, config.table_color).mean() > 0.2


def test_the_opening_of_the_gripper_shows_in_the_picture(simulation: Simulation):
    simulation.clear()
    simulation.place_arm(HOME_POSITIONS)
    columns = []
    for closedness in (0.0, 1.0):
        simulation.place_fingers(closedness)
        image = simulation.render()
        left, right = (
            np.nonzero(pixels_of(image, color))[1].mean()
            for color in (SceneConfig().left_finger_color, SceneConfig().right_finger_color)
        )
        columns.append(abs(left - right))
    assert columns[0] - columns[1] > 8


def test_the_camera_frame_looks_along_minus_z():
    import mujoco

    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, look_at((1.0, 2.0, 3.0), (0.0, 0.0, 0.0)))
    assert np.allclose(-rotation.reshape(3, 3)[:, 2], -np.array((1.0, 2.0, 3.0)) / np.sqrt(14.0))
    assert rotation.reshape(3, 3)[2, 1] > 0, "up in the picture is up in the world"


def test_objects_rest_on_the_table(simulation: Simulation):
    simulation.clear()
    before = {name: simulation.object_position(name) for name in OBJECTS}
    for _ in range(200):
        simulation.step()
    simulation.refresh()
    for name in OBJECTS:
        assert np.allclose(simulation.object_position(name), before[name], atol=2e-3)


def test_gravity_compensation_holds_the_arm_where_it_is_told(simulation: Simulation):
    simulation.clear()
    simulation.place_arm(HOME_POSITIONS)
    for _ in range(200):
        simulation.step()
    assert np.allclose(simulation.arm_positions(), HOME_POSITIONS, atol=1e-6)


@pytest.mark.parametrize("name", [CUP, BOX])
def test_closed_fingers_hold_an_object_against_gravity(simulation: Simulation, name: str):
    simulation.clear()
    simulation.place_arm(HOME_POSITIONS)
    simulation.place_fingers(0.0)
    tool, _ = simulation.tool_pose()
    simulation.place_object(name, tool)
    simulation.command_fingers(0.0)
    # Weightless until the fingers have closed, then held for two seconds.
    gravity = simulation.model.opt.gravity.copy()
    simulation.model.opt.gravity[:] = 0.0
    for _ in range(200):
        simulation.step()
    simulation.model.opt.gravity[:] = gravity
    for _ in range(400):
        simulation.step()
    simulation.refresh()
    assert np.linalg.norm(simulation.object_position(name) - tool) < 0.01
    assert simulation.finger_positions().min() > 0.02, "the object keeps the fingers apart"


def test_colours_and_sizes_are_configuration():
    model = build_model(replace(SceneConfig(), box_size=0.04, timestep=0.002))
    assert model.opt.timestep == 0.002
    assert np.allclose(model.geom(model.body(BOX).geomadr[0]).size, 0.02)


def test_missing_meshes_say_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SceneError, match="pip install --no-deps gymnasium-robotics"):
        meshes.mesh_folder()
