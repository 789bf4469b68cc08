"""Bags, LeRobot datasets and training episodes: a way there and back loses nothing."""

import numpy as np
import pytest
from recorded_bags import BagRecipe, write_bag

from jepa_tools.bags import BagError, BagSettings, read_bag
from jepa_tools.cli import main
from jepa_tools.conversion.columns import JOINTS, STAMP
from jepa_tools.conversion.validation import validate_dataset
from jepa_world_model.data.lerobot import (
    ACTION,
    STATE,
    DatasetDescription,
    Episode,
    Feature,
    LeRobotDataset,
    write_dataset,
)
from jepa_world_model.poses import difference

DROID = ("observation.state.cartesian_position", "observation.state.gripper_position")


def run(*arguments):
    return main(["convert", *map(str, arguments)])


def read(path):
    return read_bag(path, BagSettings(), 4.0)


@pytest.mark.parametrize("storage", ["lossless", "png"])
@pytest.mark.parametrize(
    "recipe", [BagRecipe(gap_after=10), BagRecipe(joints=False, poses=True, urdf=False)], ids=["joints", "poses"]
)
def test_a_bag_that_became_a_dataset_and_a_bag_again_has_the_same_frames_stamps_and_states(tmp_path, recipe, storage):
    bag, dataset, again = write_bag(tmp_path / "bag", recipe), tmp_path / "dataset", tmp_path / "again"
    assert run(bag, dataset, "--storage", storage) == 0
    assert run(dataset, again) == 0
    before, after = read(bag), read(again)
    assert len(before.episodes) == len(after.episodes)
    for old, new in zip(before.episodes, after.episodes, strict=True):
        np.testing.assert_array_equal(new.stamps, old.stamps)
        np.testing.assert_allclose(new.states, old.states, atol=1e-9)
        np.testing.assert_allclose(new.actions, old.actions, atol=1e-9)
        np.testing.assert_array_equal(list(new.pictures()), list(old.pictures()))


@pytest.mark.parametrize("folder", ["2026-11-27T10:30:00", "100%41done", "q?uest#hash"])
def test_relative_paths_may_hold_what_means_something_elsewhere(tmp_path, monkeypatch, folder):
    write_bag(tmp_path / folder / "bag", BagRecipe(frames=16))
    monkeypatch.chdir(tmp_path)
    assert run(f"{folder}/bag", f"{folder}/dataset") == 0 and run(f"{folder}/dataset", f"{folder}/again") == 0
    assert [episode.length for episode in read(tmp_path / folder / "again").episodes] == [8]
    assert sorted(item.name for item in (tmp_path / folder).iterdir()) == ["again", "bag", "dataset"]


def test_a_dataset_from_a_bag_holds_stamps_joints_and_measured_actions(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag")
    assert run(bag, tmp_path / "dataset", "--task", "wave") == 0
    assert "1 episodes of 12 to 12 frames" in capsys.readouterr().out
    columns = LeRobotDataset(tmp_path / "dataset").columns(0)
    (episode,) = read(bag).episodes
    np.testing.assert_array_equal(columns[STAMP], episode.stamps)
    np.testing.assert_array_equal(columns[JOINTS], episode.joint_positions)
    np.testing.assert_allclose(columns[ACTION][:-1], difference(episode.states[:-1], episode.states[1:]))
    assert LeRobotDataset(tmp_path / "dataset").tasks == ("wave",)


def test_a_dataset_of_single_precision_without_stamps_becomes_a_bag_with_its_episodes_apart(tmp_path):
    states = np.linspace(0.3, 0.5, 35, dtype=np.float32).reshape(5, 7)
    features = {STATE: Feature("float32", (7,)), ACTION: Feature("float32", (7,))}
    description = DatasetDescription(4, "x", features, {"observation.images.camera": (16, 16)})
    pictures = np.zeros((5, 16, 16, 3), np.uint8)
    episodes = [Episode({STATE: states, ACTION: states}, {"observation.images.camera": pictures})] * 2
    write_dataset(tmp_path / "dataset", description, lambda first: episodes[first:])
    assert run(tmp_path / "dataset", tmp_path / "bag") == 0
    bag = read(tmp_path / "bag")
    assert [episode.length for episode in bag.episodes] == [5, 5]
    np.testing.assert_allclose(bag.episodes[1].states, states, atol=1e-6)


def test_several_bags_become_one_dataset_and_a_bag_per_episode_again(tmp_path, capsys):
    first, second = write_bag(tmp_path / "bags" / "a"), write_bag(tmp_path / "bags" / "b", BagRecipe(frames=16))
    assert run(tmp_path / "bags", tmp_path / "dataset") == 0
    assert [record.length for record in LeRobotDataset(tmp_path / "dataset").episodes] == [12, 8]
    assert run(tmp_path / "dataset", tmp_path / "one") == 1
    assert "--bag-per-episode" in capsys.readouterr().err and not (tmp_path / "one").exists()
    assert run(tmp_path / "dataset", tmp_path / "many", "--bag-per-episode") == 0
    lengths = [read(tmp_path / "many" / f"episode_{number:06d}").episodes[0].length for number in range(2)]
    assert lengths == [12, 8] and read(first).episodes[0].length == 12 and read(second).episodes[0].length == 8


def test_bags_of_different_pictures_are_refused_and_leave_nothing(tmp_path, capsys):
    write_bag(tmp_path / "bags" / "a")
    write_bag(tmp_path / "bags" / "b", BagRecipe(size=(48, 64)))
    assert run(tmp_path / "bags", tmp_path / "dataset") == 1
    assert "pictures of one size" in capsys.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["bags"]


def test_nothing_is_overwritten(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag")
    assert run(bag, tmp_path / "dataset") == 0
    for source, target in ((bag, tmp_path / "dataset"), (tmp_path / "dataset", bag)):
        assert run(source, target) == 1
        assert "exists already" in capsys.readouterr().err


def test_a_rate_that_the_layout_cannot_hold_is_refused(tmp_path, capsys):
    assert run(write_bag(tmp_path / "bag"), tmp_path / "dataset", "--rate-hz", "2.5") == 1
    assert "whole numbers" in capsys.readouterr().err


def droid_like(folder, frames=16):
    generator = np.random.default_rng(0)
    states = generator.uniform(0.3, 0.31, (frames, 7))
    features = {
        DROID[0]: Feature("float32", (6,)),
        DROID[1]: Feature("float32", (1,)),
        "observation.state": Feature("float32", (8,)),
        "action": Feature("float32", (7,)),
    }
    columns = {
        DROID[0]: states[:, :6],
        DROID[1]: states[:, 6],
        "observation.state": np.zeros((frames, 8)),
        "action": np.zeros((frames, 7)),
    }
    cameras = {"observation.images.exterior": (36, 64), "observation.images.wrist": (36, 64)}
    pictures = generator.integers(256, size=(frames, 36, 64, 3), dtype=np.uint8)
    description = DatasetDescription(15, "franka", features, cameras, ("do it",))
    episodes = [Episode(columns, dict.fromkeys(cameras, pictures), "do it")]
    return write_dataset(folder, description, lambda first: episodes[first:]), states


def test_another_labs_dataset_becomes_training_episodes_at_our_rate(tmp_path, capsys):
    source, states = droid_like(tmp_path / "droid")
    options = (
        "--to",
        "episodes",
        "--image-size",
        32,
        "--camera",
        "observation.images.exterior",
        "--state-columns",
        *DROID,
    )
    assert run(source, tmp_path / "episodes", *options) == 0
    assert "valid" in capsys.readouterr().out
    dataset = LeRobotDataset(tmp_path / "episodes")
    columns = dataset.columns(0, [STATE, ACTION])
    np.testing.assert_allclose(columns[STATE], states[::4], atol=1e-6)
    np.testing.assert_allclose(columns[ACTION][:-1], difference(columns[STATE][:-1], columns[STATE][1:]), atol=1e-9)
    assert dataset.fps == 4 and dataset.tasks == ("do it",)
    assert [picture.shape for picture in dataset.pictures(0, "observation.images.camera")] == [(32, 32, 3)] * 4


def test_states_of_another_kind_are_refused_with_what_to_do(tmp_path, capsys):
    source, _ = droid_like(tmp_path / "droid")
    assert run(source, tmp_path / "new", "--to", "episodes", "--camera", "observation.images.wrist") == 1
    assert "--state-columns" in capsys.readouterr().err
    assert run(source, tmp_path / "new", "--to", "episodes", "--state-columns", *DROID) == 1
    assert "expected one camera" in capsys.readouterr().err


def test_the_validation_finds_jumps_and_actions_that_do_not_fit(tmp_path):
    states = np.zeros((4, 7))
    states[2:, 0] = 0.5
    features = {STATE: Feature("float64", (7,)), ACTION: Feature("float64", (7,))}
    description = DatasetDescription(4, "x", features, {"observation.images.camera": (16, 16)})
    pictures = np.zeros((4, 16, 16, 3), np.uint8)
    episode = Episode({STATE: states, ACTION: states}, {"observation.images.camera": pictures})
    write_dataset(tmp_path / "dataset", description, lambda first: [episode][first:])
    problems = validate_dataset(tmp_path / "dataset").problems
    assert problems == (
        "episode 0: the tool jumps by 50 cm",
        "episode 0: the actions are not the differences of the states (commanded ones?)",
    )


def test_a_damaged_bag_leaves_no_dataset(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag")
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-100])
    assert run(bag, tmp_path / "dataset") == 1
    assert "damaged or was cut off" in capsys.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["bag"]
    with pytest.raises(BagError):
        read(bag)
