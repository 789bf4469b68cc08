"""Domain randomisation: off by default, a function of the seed, and visible in pictures, sizes and latency."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jepa_sim.camera_view import in_turned_axes
from jepa_sim.collect import CollectConfig, collect_episodes
from jepa_sim.environment import EnvironmentConfig, TableEnvironment
from jepa_sim.randomization import RandomizationConfig, randomized_environment
from jepa_sim.scene import build_model
from jepa_world_model.data.episodes import load_episodes

EVERYTHING = RandomizationConfig(
    camera_position_m=0.1,
    camera_target_m=0.05,
    camera_fov_deg=3.0,
    camera_turn_deg=60.0,
    light_direction=0.3,
    light_brightness=0.3,
    color=0.2,
    texture_share=1.0,
    object_size=0.3,
    object_shape_share=1.0,
    table_height_m=0.03,
    camera_latency_s=0.1,
    episodes_per_scene=1,
)


def test_nothing_is_drawn_by_default():
    assert randomized_environment(EnvironmentConfig(), RandomizationConfig(), 7) == EnvironmentConfig()


def test_a_scene_is_a_function_of_its_number():
    first, again, other = (randomized_environment(EnvironmentConfig(), EVERYTHING, scene) for scene in (3, 3, 4))
    assert first == again
    assert first.scene != other.scene


def test_one_aspect_leaves_the_others_alone():
    everything = randomized_environment(EnvironmentConfig(), EVERYTHING, 5)
    without_camera = replace(
        EVERYTHING, camera_position_m=0.0, camera_target_m=0.0, camera_fov_deg=0.0, camera_turn_deg=0.0
    )
    fixed = randomized_environment(EnvironmentConfig(), without_camera, 5)
    assert fixed.scene.camera == EnvironmentConfig().scene.camera
    assert replace(everything.scene, camera=fixed.scene.camera) == fixed.scene
    assert abs(everything.view_turn_deg) > 0.0 == fixed.view_turn_deg


@pytest.mark.parametrize("scene", range(4))
def test_a_randomised_scene_compiles_and_its_objects_fit_the_gripper(scene: int):
    config = randomized_environment(EnvironmentConfig(), EVERYTHING, scene).scene
    model = build_model(config)
    assert 2 * config.cup_radius <= 0.07 and config.box_size <= 0.07
    assert model.ntex > 1, "surfaces have textures beside the sky"
    table = model.geom("table")
    assert table.pos[2] + table.size[2] == pytest.approx(config.table_height)


def test_objects_stand_on_a_table_of_another_height():
    config = randomized_environment(EnvironmentConfig(), RandomizationConfig(table_height_m=0.05), 2)
    assert abs(config.scene.table_height) > 0.01
    with TableEnvironment(config) as environment:
        environment.reset(0)
        environment.step(np.zeros(7))
        bottom = environment.object_positions()["box"][2] - config.scene.box_size / 2
    assert bottom == pytest.approx(config.scene.table_height, abs=2e-3)


def test_a_latent_camera_shows_an_earlier_moment_and_changes_no_state():
    action = np.array([0.05, 0.0, 0.05, 0.0, 0.0, 0.0, 0.0])
    pictures, states = [], []
    for latency in (0.0, 0.2):
        with TableEnvironment(EnvironmentConfig(camera_latency_s=latency)) as environment:
            environment.reset(1)
            environment.step(action)
            pictures.append(environment.render(64, 64).astype(float))
            states.append(environment.step(action))
    assert np.array_equal(states[0], states[1])
    assert np.abs(pictures[0] - pictures[1]).max() > 30


def test_a_latency_of_a_whole_period_is_refused():
    with pytest.raises(ValueError, match="camera_latency_s"):
        EnvironmentConfig(camera_latency_s=0.25)


def test_randomised_episodes_do_not_depend_on_the_number_of_workers(tmp_path: Path):
    datasets = []
    for workers in (1, 2):
        config = CollectConfig(
            tmp_path / str(workers), 2, 2, shard_episodes=1, image_size=32, workers=workers, randomization=EVERYTHING
        )
        datasets.append(load_episodes(collect_episodes(config, progress=False)))
    assert np.array_equal(datasets[0].images, datasets[1].images)
    assert np.array_equal(datasets[0].states, datasets[1].states)


def test_a_share_of_the_cameras_is_turned_and_the_others_stay():
    config = RandomizationConfig(camera_turn_deg=30.0, camera_turn_share=0.5)
    turns = [randomized_environment(EnvironmentConfig(), config, scene).view_turn_deg for scene in range(60)]
    assert 15 < sum(turn == 0.0 for turn in turns) < 45
    assert 20.0 < max(map(abs, turns)) <= 30.0


def test_states_are_recorded_in_the_axes_of_a_turned_camera(tmp_path: Path):
    straight = CollectConfig(tmp_path / "a", 1, frames=3, seed=20, workers=1, format="npz")
    turn = RandomizationConfig(camera_turn_deg=60.0)
    collect_episodes(straight, progress=False)
    collect_episodes(replace(straight, out=tmp_path / "b", randomization=turn), progress=False)
    first, second = (load_episodes(tmp_path / name).states[0] for name in "ab")
    degrees = randomized_environment(EnvironmentConfig(), turn, 2).view_turn_deg
    np.testing.assert_allclose(second, in_turned_axes(first, degrees), atol=1e-5)
    assert abs(degrees) > 5.0
