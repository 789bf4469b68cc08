"""Bags, LeRobot datasets and training episodes: a way there and back loses nothing."""

import os
import shutil

import numpy as np
import pytest
from lerobot_files import CAMERA, POSE, Recipe, number_of, numbered_picture, poses
from lerobot_files import write as write_foreign
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
    LeRobotWriter,
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


def test_a_dataset_of_single_precision_without_names_and_stamps_becomes_a_bag_with_its_episodes_apart(tmp_path, capsys):
    states = np.linspace(0.3, 0.5, 35, dtype=np.float32).reshape(5, 7)
    features = {STATE: Feature("float32", (7,)), ACTION: Feature("float32", (7,))}
    description = DatasetDescription(4, "x", features, {"observation.images.camera": (16, 16)})
    pictures = np.zeros((5, 16, 16, 3), np.uint8)
    episodes = [Episode({STATE: states, ACTION: states}, {"observation.images.camera": pictures})] * 2
    write_dataset(tmp_path / "dataset", description, lambda first: episodes[first:])
    assert run(tmp_path / "dataset", tmp_path / "bag") == 1
    assert "without names: what they are cannot be known" in capsys.readouterr().err
    assert run(tmp_path / "dataset", tmp_path / "bag", "--state-columns", STATE) == 0
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


def test_a_bag_that_cannot_be_used_is_named_and_the_others_are_converted(tmp_path, capsys):
    for name, recipe in {"a": BagRecipe(), "b": BagRecipe(joints=False), "c": BagRecipe(frames=16)}.items():
        write_bag(tmp_path / "bags" / name, recipe)
    write_bag(tmp_path / "damaged.mcap").rename(tmp_path / "bags" / "d")
    (file,) = (tmp_path / "bags" / "d").glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-100])
    assert run(tmp_path / "bags", tmp_path / "dataset") == 1
    errors = capsys.readouterr().err
    assert "bags/b: expected joint states" in errors and "bags/d: the bag is damaged" in errors
    assert [record.length for record in LeRobotDataset(tmp_path / "dataset").episodes] == [12, 8]
    assert not list(tmp_path.glob(".*"))


def test_several_bags_of_which_none_can_be_used_are_all_named(tmp_path, capsys):
    for name in ("a", "b"):
        write_bag(tmp_path / "bags" / name, BagRecipe(joints=False))
    assert run(tmp_path / "bags", tmp_path / "dataset") == 1
    errors = capsys.readouterr().err
    assert "bags/a: expected joint states" in errors and "bags/b: expected joint states" in errors
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


def foreign(folder, **changes):
    return write_foreign(folder, Recipe(**{"lengths": (10, 10), "fps": 4} | changes))


def numbers(folder):
    """The numbers of the pictures of each episode."""
    dataset = LeRobotDataset(folder)
    (camera,) = dataset.cameras
    return [[number_of(picture) for picture in dataset.pictures(number, camera)] for number in range(len(dataset))]


EPISODES = ("--to", "episodes", "--image-size", "32")


def test_gaps_in_pictures_and_rows_end_episodes(tmp_path, capsys):
    def video(length):
        kept = [row for row in range(length) if row not in (4, 5)]
        return kept, [row / 4 for row in kept]

    for version in ("v2.1", "v3.0"):
        source = foreign(tmp_path / version, video=video, version=version)
        assert run(source, tmp_path / f"{version}-episodes", *EPISODES) == 0
        report = capsys.readouterr().out
        assert "2 gaps in rows or pictures" in report and "4 rows left out: no picture" in report
        assert numbers(tmp_path / f"{version}-episodes") == [[0, 1, 2, 3], [6, 7, 8, 9]] * 2
    late = foreign(
        tmp_path / "rows",
        lengths=(8,),
        times=lambda _: np.array([0, 1, 2, 3, 7, 8, 9, 10]) / 4,
        video=lambda _: (list(range(12)), [row / 4 for row in range(12)]),
    )
    assert run(late, tmp_path / "rows-episodes", *EPISODES) == 0
    assert numbers(tmp_path / "rows-episodes") == [[0, 1, 2, 3], [7, 8, 9, 10]]


def test_rows_before_the_first_picture_are_told(tmp_path, capsys):
    source = foreign(
        tmp_path / "data", video=lambda length: (list(range(length)), [(i + 3) / 4 for i in range(length)])
    )
    assert run(source, tmp_path / "episodes", *EPISODES) == 0
    assert "6 rows left out: no picture at their time" in capsys.readouterr().out
    assert numbers(tmp_path / "episodes") == [list(range(7))] * 2


def test_every_nth_row_is_kept_by_time(tmp_path):
    source = foreign(
        tmp_path / "data", lengths=(32,), fps=30, video=lambda _: (list(range(64)), [i / 60 for i in range(64)])
    )
    assert run(source, tmp_path / "episodes", *EPISODES) == 0
    assert numbers(tmp_path / "episodes") == [[0, 16, 32, 48]]


def test_a_broken_episode_is_left_out_and_named(tmp_path, capsys):
    def video(length):
        return list(range(length)), [row / 4 for row in range(length)]

    source = foreign(tmp_path / "data", video=video)
    short = foreign(tmp_path / "short", lengths=(10, 7))
    path = f"videos/chunk-000/{CAMERA}/episode_000001.mp4"
    (short / path).replace(source / path)
    assert run(source, tmp_path / "episodes", *EPISODES) == 0
    told = capsys.readouterr().out
    assert "problem: episode 1 left out: " in told and "the video ends at 1.750 s" in told and "\nvalid" not in told
    assert numbers(tmp_path / "episodes") == [list(range(10))]


def test_a_bag_of_a_dataset_has_the_gaps_and_times_of_its_rows(tmp_path):
    def video(length):
        kept = [row for row in range(length) if row not in (4, 5)]
        return kept, [row / 4 for row in kept]

    assert run(foreign(tmp_path / "data", lengths=(10,), video=video), tmp_path / "bag") == 0
    lengths = [episode.length for episode in read(tmp_path / "bag").episodes]
    assert lengths == [4, 4]


def percent(length):
    rows = poses(length)
    rows[:, 6] *= 100
    return rows


def test_the_report_shows_ranges_and_what_was_clipped(tmp_path, capsys):
    source = foreign(tmp_path / "data", states=percent)
    for target, options in (("bag", ()), ("episodes", EPISODES)):
        assert run(source, tmp_path / target, *options) == 1
        error = capsys.readouterr().err
        assert "closedness lies between 0 and 100" in error and "--gripper OPEN CLOSED" in error
        assert sorted(item.name for item in tmp_path.iterdir()) == ["data"]
    assert run(source, tmp_path / "episodes", *EPISODES, "--gripper", 2, 98) == 0
    told = capsys.readouterr().out
    assert "closedness 0 to 100" in told and "4 of 20 rows clipped, by up to 2.1 %" in told
    assert "gripper: closedness 0.000 to 1.000" in told and "\nvalid" in told
    assert run(source, tmp_path / "bag", "--gripper", 0, 100) == 0
    closedness = read(tmp_path / "bag").episodes[0].states[:, 6]
    np.testing.assert_allclose(closedness, np.linspace(0, 1, 10), atol=1e-6)


def test_a_gripper_that_only_moves_in_one_half_is_a_problem_unless_its_ends_were_told(tmp_path, capsys):
    def half(length):
        rows = poses(length)
        rows[:, 6] *= 0.4
        return rows

    source = foreign(tmp_path / "data", states=half)
    assert run(source, tmp_path / "doubted", *EPISODES) == 0
    assert "problem: the gripper stays between 0.00 and 0.40 of closedness" in capsys.readouterr().out
    assert run(source, tmp_path / "told", *EPISODES, "--gripper", 0, 1) == 0
    assert "\nvalid" in capsys.readouterr().out


@pytest.mark.parametrize("target", [(), EPISODES], ids=["bag", "episodes"])
def test_joint_angles_and_degrees_are_refused_with_what_to_do(tmp_path, capsys, target):
    joints = foreign(tmp_path / "joints", names={"motors": [f"joint_{index}" for index in range(1, 8)]})
    assert run(joints, tmp_path / "new", *target) == 1
    assert "joint_1, joint_2" in capsys.readouterr().err
    degrees = foreign(tmp_path / "degrees", states=lambda length: poses(length) * [1, 1, 1, 59, 1, 1, 1])
    assert run(degrees, tmp_path / "new", *target) == 1
    assert "angles beyond pi" in capsys.readouterr().err
    assert run(degrees, tmp_path / "new", *target, "--rotation", "euler-degrees") == 0
    assert "as stored: x 0.4 to 0.418" in capsys.readouterr().out


# --- what an unfinished conversion may go on with ------------------------------------------------------------


@pytest.fixture
def interrupted(monkeypatch):
    """Converts until its first file of episodes is complete, and is interrupted there."""

    def convert(*arguments):
        write_file = LeRobotWriter.write_file

        def once(*values):
            write_file(*values)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(LeRobotWriter, "write_file", once)
            assert run(*arguments) == 130

    return convert


def two_cameras(folder, number, also=None):
    """Two episodes of two frames, whose second camera shows pictures 20 higher; `number` is the first picture's."""
    cameras = {"observation.images.left": (32, 32), "observation.images.right": (32, 32)}
    states = Feature("float32", (7,), tuple(POSE))
    extra = {f"observation.{name}": Feature("float32", (7,)) for name in ("other",)}
    description = DatasetDescription(4, "arm", {STATE: states, **extra}, cameras)
    left = [numbered_picture(number), numbered_picture(number + 1)]
    right = [numbered_picture(number + 20), numbered_picture(number + 21)]
    columns = {STATE: poses(2), "observation.other": poses(2) * 0.5}
    episode = Episode(columns, dict(zip(cameras, (left, right), strict=True)))
    return write_dataset(folder, description, lambda first: [episode] * (2 - first))


LEFT = (*EPISODES, "--camera", "observation.images.left")


@pytest.fixture
def unfinished(tmp_path, interrupted, capsys):
    """A source, and where a conversion of its left camera was interrupted."""
    source, made = two_cameras(tmp_path / "source", 1), tmp_path / "made"
    interrupted(source, made, *LEFT)
    assert (tmp_path / ".made.partial").exists()
    capsys.readouterr()
    return source, made


def test_an_unfinished_conversion_goes_on(unfinished, tmp_path, capsys):
    source, made = unfinished
    kept = (tmp_path / ".made.partial/data/chunk-000/file-000.parquet").stat().st_mtime_ns
    assert run(source, made, *LEFT) == 0
    assert numbers(made) == [[1, 2]] * 2
    assert (made / "data/chunk-000/file-000.parquet").stat().st_mtime_ns == kept
    assert "begun anew" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((*EPISODES, "--camera", "observation.images.right"), [21, 22]),
        ((*LEFT, "--state-columns", "observation.other"), [1, 2]),
        ((*LEFT, "--gripper", "1", "0"), [1, 2]),
        ((*LEFT, "--rotation", "euler"), [1, 2]),
        ((*LEFT, "--rate-hz", "3.9"), [1, 2]),
        ((*LEFT[:-3], "16", *LEFT[-2:]), [1, 2]),
        ((*LEFT, "--storage", "png"), [1, 2]),
    ],
    ids=["camera", "state columns", "gripper", "rotation", "rate", "size", "storage"],
)
def test_an_unfinished_conversion_with_other_options_begins_anew(unfinished, capsys, options, expected):
    source, made = unfinished
    assert run(source, made, *options) == 0
    assert numbers(made) == [expected] * 2
    assert "begun anew" in capsys.readouterr().err


def test_an_unfinished_conversion_of_a_source_that_changed_in_place_begins_anew(unfinished, capsys):
    source, made = unfinished
    shutil.rmtree(source)
    two_cameras(source, 3)
    assert run(source, made, *LEFT) == 0
    assert numbers(made) == [[3, 4]] * 2
    assert "begun anew" in capsys.readouterr().err


def test_a_source_that_changes_while_it_is_converted_is_refused(tmp_path, capsys, monkeypatch):
    source = foreign(tmp_path / "data")
    from jepa_tools.conversion import dataset_to_episodes

    shrink = dataset_to_episodes.resize_and_crop

    def touched(*arguments):
        os.utime(source / f"videos/chunk-000/{CAMERA}/episode_000001.mp4")
        return shrink(*arguments)

    monkeypatch.setattr(dataset_to_episodes, "resize_and_crop", touched)
    assert run(source, tmp_path / "made", *EPISODES) == 1
    assert "was changed while it was converted" in capsys.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    "change",
    [
        "image: /image\nstate_bound: 0.2\n",
        "tip_link: panda_link8\n",
        "actions: commands\n",
        "finger_open: 0.05\n",
    ],
)
def test_an_unfinished_conversion_of_bags_read_in_another_way_begins_anew(tmp_path, interrupted, capsys, change):
    bag, partial = write_bag(tmp_path / "bag"), tmp_path / ".made.partial"
    interrupted(bag, tmp_path / "made")
    settings = tmp_path / "settings.yaml"
    settings.write_text(change)
    before = (partial / "data/chunk-000/file-000.parquet").stat().st_mtime_ns
    assert run(bag, tmp_path / "made", "--settings", settings) == 0
    assert "begun anew" in capsys.readouterr().err
    assert (tmp_path / "made/data/chunk-000/file-000.parquet").stat().st_mtime_ns != before


def test_an_unfinished_conversion_of_a_bag_that_changed_in_place_begins_anew(tmp_path, interrupted, capsys):
    bag = write_bag(tmp_path / "bag")
    interrupted(bag, tmp_path / "made")
    shutil.rmtree(bag)
    write_bag(tmp_path / "bag", BagRecipe(frames=16))
    assert run(bag, tmp_path / "made") == 0
    assert "begun anew" in capsys.readouterr().err
    assert [record.length for record in LeRobotDataset(tmp_path / "made").episodes] == [8]


def test_a_conversion_that_fails_leaves_nothing(tmp_path, capsys):
    source = foreign(tmp_path / "data", lengths=(10, 10))
    video = source / f"videos/chunk-000/{CAMERA}/episode_000001.mp4"
    data = bytearray(video.read_bytes())
    start = data.index(b"mdat") + 200
    data[start : start + 2000] = bytes(2000)
    video.write_bytes(data)
    for target, options in (("bag", ()), ("bags", ("--bag-per-episode",))):
        assert run(source, tmp_path / target, *options) == 1
        assert "it cannot be read" in capsys.readouterr().err
        assert [item.name for item in tmp_path.iterdir()] == ["data"]
