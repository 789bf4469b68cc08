"""Bags of any kind become episodes at the model's rate, or a clear message."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from recorded_bags import (
    ARM,
    FINGERS,
    HOME,
    SECOND,
    START,
    URDF,
    BagRecipe,
    alter_bag,
    joints_at,
    picture,
    split_bag,
    write_bag,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from jepa_planner.kinematics import Kinematics
from jepa_tools.bags import BagError, BagSettings, find_bags, load_settings, read_bag
from jepa_tools.bags.resampling import resample, split_runs
from jepa_world_model.poses import difference

RATE = 4.0


def stamps(*seconds):
    return np.array([round(second * SECOND) for second in seconds], dtype=np.int64)


def read(path, **settings):
    return read_bag(path, BagSettings(**settings), RATE)


@pytest.mark.parametrize(("storage", "version"), [("mcap", 9), ("sqlite3", 9), ("sqlite3", 8)])
def test_every_second_frame_of_a_camera_twice_as_fast_as_the_model_is_taken(tmp_path, storage, version):
    bag = read(write_bag(tmp_path / "bag", storage=storage, version=version))
    (episode,) = bag.episodes
    assert episode.length == 12 and bag.rate_hz == RATE and not bag.notes
    np.testing.assert_allclose(episode.times, np.arange(12) / RATE)
    pictures = list(episode.pictures())
    assert len(pictures) == 12
    for number, shown in enumerate(pictures):
        np.testing.assert_array_equal(shown, picture(2 * number))


@pytest.mark.parametrize(("storage", "compression"), [("mcap", "storage"), ("sqlite3", "file"), ("sqlite3", "message")])
def test_compressed_bags_are_read(tmp_path, storage, compression):
    (episode,) = read(write_bag(tmp_path / "bag", storage=storage, compression=compression)).episodes
    np.testing.assert_array_equal(list(episode.pictures())[-1], picture(22))


def test_split_bags_are_read_as_one(tmp_path):
    whole = write_bag(tmp_path / "whole")
    (before,), (after,) = (read(path).episodes for path in (whole, split_bag(whole, tmp_path / "split")))
    np.testing.assert_array_equal(after.stamps, before.stamps)
    np.testing.assert_array_equal(after.states, before.states)
    np.testing.assert_array_equal(list(after.pictures()), list(before.pictures()))


def test_states_are_the_forward_kinematics_of_the_joints_at_the_stamps_of_the_images(tmp_path):
    (episode,) = read(write_bag(tmp_path / "bag")).episodes
    arm = Kinematics.from_urdf(
        URDF.read_text(), "panda_link0", "panda_hand_tcp", [f"panda_joint{n}" for n in range(1, 8)]
    )
    for time, state in zip(episode.times, episode.states, strict=True):
        np.testing.assert_allclose(state[:3], arm.pose(joints_at(time))[:3], atol=1e-4)
    assert episode.states[0, 6] == 0 and episode.states[-1, 6] == 1
    np.testing.assert_allclose(episode.actions, difference(episode.states[:-1], episode.states[1:]))


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_compressed_images_are_read(tmp_path, kind):
    bag = read(write_bag(tmp_path / "bag", BagRecipe(compressed=kind)))
    shown = next(bag.episodes[0].pictures())
    assert np.abs(shown.astype(int) - picture(0)).mean() < 5


def test_colour_order_of_the_encoding_is_undone(tmp_path):
    bag = read(write_bag(tmp_path / "bag", BagRecipe(encoding="bgr8")))
    np.testing.assert_array_equal(next(bag.episodes[0].pictures()), picture(0))


def test_a_gap_ends_the_episode(tmp_path):
    bag = read(write_bag(tmp_path / "bag", BagRecipe(gap_after=10)))
    assert [episode.length for episode in bag.episodes] == [5, 7]
    assert "1 gaps" in bag.notes[0]
    np.testing.assert_array_equal(next(bag.episodes[1].pictures()), picture(10))


def test_long_episodes_are_cut(tmp_path):
    bag = read(write_bag(tmp_path / "bag"), longest_episode=5)
    assert [episode.length for episode in bag.episodes] == [4, 4, 4]


def test_without_stamps_the_time_of_recording_counts(tmp_path):
    (episode,) = read(write_bag(tmp_path / "bag", BagRecipe(stamped=False))).episodes
    assert episode.stamps[0] == START and episode.length == 12


def test_a_clock_that_was_set_back_begins_a_new_episode(tmp_path):
    recipe = BagRecipe(clock_reset_after=12)
    with pytest.raises(BagError, match="different clocks"):
        read(write_bag(tmp_path / "other", BagRecipe(joint_delay=500.0)))
    bag = read(write_bag(tmp_path / "bag", recipe))
    assert "set back" in bag.notes[0]
    assert [episode.length for episode in bag.episodes] == [6]


def test_recorded_poses_stand_in_for_joints(tmp_path):
    bag = read(write_bag(tmp_path / "bag", BagRecipe(joints=False, poses=True, urdf=False)))
    (episode,) = bag.episodes
    np.testing.assert_allclose(episode.states[4, :3], [0.5 + 0.1 * np.sin(1.0), 0.1, 0.3], atol=1e-6)
    assert episode.joint_positions is None and "no finger" in bag.notes[0]


def test_a_given_urdf_stands_in_for_the_bags(tmp_path):
    path = write_bag(tmp_path / "bag", BagRecipe(urdf=False))
    with pytest.raises(BagError, match="robot_description"):
        read(path)
    assert read(path, urdf=str(URDF)).episodes[0].length == 12


def test_actions_from_commands_lead_to_where_the_arm_was_sent(tmp_path):
    path = write_bag(tmp_path / "bag", BagRecipe(command=tuple(HOME + 0.1)))
    (episode,) = read(path, actions="commands").episodes
    target = Kinematics.from_urdf(URDF.read_text(), "panda_link0", "panda_hand_tcp", ARM).pose(HOME + 0.1)
    np.testing.assert_allclose(episode.states[4, :3] + episode.actions[4, :3], target[:3], atol=1e-6)
    np.testing.assert_array_equal(episode.actions[3, :3], 0)


@pytest.mark.parametrize("topic", ["/goal_image", "/imagined/compressed", "/cell/depth/image_raw"])
def test_pictures_that_no_camera_took_are_not_taken_for_one(tmp_path, topic):
    assert read(write_bag(tmp_path / "bag", BagRecipe(second_camera=topic))).topics.image == "/image"


def test_several_cameras_need_a_name(tmp_path):
    path = write_bag(tmp_path / "bag", BagRecipe(second_camera="/wrist/image_raw"))
    with pytest.raises(BagError, match="several cameras, /image, /wrist/image_raw"):
        read(path)
    assert read(path, image="/wrist/image_raw").topics.image == "/wrist/image_raw"
    with pytest.raises(BagError, match="expected the image on /head"):
        read(path, image="/head")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (BagRecipe(images=False), "expected a camera's images"),
        (BagRecipe(joints=False), "expected joint states"),
        (BagRecipe(frames=1), "at least two images on .image that can be read, found 1"),
        (BagRecipe(camera_hz=1.0), "no two images follow each other at 4 Hz"),
    ],
    ids=["no images", "no joints", "one image", "slow camera"],
)
def test_what_is_missing_is_named(tmp_path, recipe, message):
    with pytest.raises(BagError, match=message):
        read(write_bag(tmp_path / "bag", recipe))


def test_a_bag_without_messages_is_called_empty(tmp_path):
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP):
        pass
    with pytest.raises(BagError, match="empty"):
        read(tmp_path / "bag")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.95])
def test_a_bag_that_was_cut_off_is_called_so(tmp_path, storage, kept):
    path = write_bag(tmp_path / "bag", storage=storage)
    (file,) = [item for item in path.iterdir() if item.suffix in (".mcap", ".db3")]
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(BagError, match=r"damaged or was cut off|is empty"):
        read(path)


def test_an_image_that_contradicts_itself_is_refused_with_its_time(tmp_path):
    with pytest.raises(BagError, match=r"(?s)found 0.*/image: 24 messages .* at 1700000000\.000 s: image: .*16UC7"):
        read(write_bag(tmp_path / "bag", BagRecipe(encoding="16UC7")))


def cut_picture(*numbers):
    """Cuts off the data of these pictures."""

    def change(number, message):
        return replace(message, data=message.data[: len(message.data) // 2]) if number in numbers else message

    return change


@pytest.mark.parametrize("compressed", ["", "jpg", "png"])
def test_a_picture_that_does_not_decode_is_left_out_with_a_note(tmp_path, compressed):
    topic = "/image/compressed" if compressed else "/image"
    sound = write_bag(tmp_path / "sound", BagRecipe(compressed=compressed))
    bag = read(alter_bag(sound, tmp_path / "bag", topic, cut_picture(10)))
    first, second = bag.episodes
    assert (first.length, second.length) == (5, 6)
    gap, note = bag.notes
    assert "1 gaps in the images" in gap
    assert f"{topic}: 1 messages left out, the first because: at 1700000001.250 s: " in note
    assert np.abs(next(second.pictures()).astype(int) - picture(12)).mean() < 5


def test_a_picture_beside_a_bad_one_stands_in_for_it(tmp_path):
    sound = write_bag(tmp_path / "sound", BagRecipe(frames=60, camera_hz=40.0))
    bag = read(alter_bag(sound, tmp_path / "bag", "/image", cut_picture(20, 21)))
    (episode,) = bag.episodes
    np.testing.assert_array_equal(list(episode.pictures())[2], picture(19))
    assert "/image: 2 messages left out" in bag.notes[0]


def test_a_message_that_is_no_picture_is_left_out(tmp_path):
    sound = write_bag(tmp_path / "sound")
    bag = read(
        alter_bag(sound, tmp_path / "bag", "/image", lambda number, message: b"\0\1" if number == 3 else message)
    )
    assert "2 bytes are no sensor_msgs/msg/Image" in bag.notes[0] and bag.episodes[0].length == 12


def test_pictures_that_change_their_size_are_refused_with_the_time(tmp_path):
    def change(number, message):
        large = np.zeros((32, 40, 3), np.uint8)
        small = replace(message, height=32, width=40, step=120, data=large.reshape(-1))
        return message if number < 12 else small

    sound = write_bag(tmp_path / "sound")
    with pytest.raises(BagError, match=r"80 x 64 pixels at first and 40 x 32 from 1700000001\.500 s on"):
        read(alter_bag(sound, tmp_path / "bag", "/image", change))


def test_a_finger_that_is_not_finite_does_not_spoil_the_arm(tmp_path):
    sound = write_bag(tmp_path / "sound")

    def spoil(number, message):
        return replace(message, position=np.append(message.position[:8], np.nan)) if number % 2 else message

    bag = read(alter_bag(sound, tmp_path / "bag", "/joint_states", spoil))
    (before,), (after,) = read(sound).episodes, bag.episodes
    np.testing.assert_array_equal(before.states[:, :6], after.states[:, :6])
    (note,) = bag.notes
    assert "/joint_states, fingers: " in note and "position of panda_finger_joint2 is not finite" in note


def test_without_any_finite_finger_the_gripper_counts_as_open(tmp_path):
    sound = write_bag(tmp_path / "sound")
    spoiled = np.full(2, np.nan)
    bag = read(
        alter_bag(
            sound,
            tmp_path / "bag",
            "/joint_states",
            lambda _, message: replace(message, position=np.append(message.position[:7], spoiled)),
        )
    )
    assert bag.episodes[0].length == 12 and not bag.episodes[0].states[:, 6].any()
    assert "the gripper counts as open" in bag.notes[0] and "/joint_states, fingers" in bag.notes[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda message: replace(message, position=message.position[:7]), "9 names, 7 positions"),
        (lambda message: replace(message, position=message.position[:0]), "9 names, 0 positions"),
        (
            lambda message: replace(message, position=np.append([np.nan], message.position[1:])),
            "the position of panda_joint1 is not finite",
        ),
        (
            lambda message: replace(message, name=[*message.name[:-1], message.name[0]]),
            "panda_joint1 more than once",
        ),
    ],
)
def test_the_reason_why_no_joint_state_could_be_used_is_told(tmp_path, change, reason):
    sound = write_bag(tmp_path / "sound")
    with pytest.raises(BagError) as error:
        read(alter_bag(sound, tmp_path / "bag", "/joint_states", lambda _, message: change(message)))
    assert f"the first because: {reason}" in str(error.value)


def test_joint_states_in_degrees_are_refused(tmp_path):
    def degrees(number, message):
        return replace(message, position=np.append(np.rad2deg(message.position[:7]), message.position[7:]))

    sound = write_bag(tmp_path / "sound")
    with pytest.raises(BagError, match=r"beyond the URDF's limits: panda_joint\d reaches .* are they degrees"):
        read(alter_bag(sound, tmp_path / "bag", "/joint_states", degrees))


def test_joints_a_little_beyond_their_limits_are_noted(tmp_path):
    def beyond(number, message):
        return replace(message, position=np.append([3.3], message.position[1:])) if number == 3 else message

    sound = write_bag(tmp_path / "sound")
    (note,) = read(alter_bag(sound, tmp_path / "bag", "/joint_states", beyond)).notes
    assert note.startswith("1 of ") and "panda_joint1 reaches from" in note and "to 3.3, expected -2.897" in note


def test_velocities_that_are_not_finite_do_not_matter(tmp_path):
    sound = write_bag(tmp_path / "sound")
    velocities = np.full(len([*ARM, *FINGERS]), np.nan)
    bag = read(
        alter_bag(sound, tmp_path / "bag", "/joint_states", lambda _, message: replace(message, velocity=velocities))
    )
    assert not bag.notes and bag.episodes[0].length == 12


def test_a_lone_storage_file_is_a_bag(tmp_path):
    path = write_bag(tmp_path / "bag")
    (file,) = path.glob("*.mcap")
    assert read(file).episodes[0].length == 12


def test_bags_are_found_below_folders_and_hidden_ones_are_not(tmp_path):
    first, second = write_bag(tmp_path / "a"), write_bag(tmp_path / "b" / "c")
    write_bag(tmp_path / ".unfinished")
    assert find_bags([tmp_path]) == [first, second]
    with pytest.raises(BagError, match="there is nothing"):
        find_bags([tmp_path / "absent"])
    (tmp_path / "text").mkdir()
    with pytest.raises(BagError, match="found none"):
        find_bags([tmp_path / "text"])


def test_settings_come_from_yaml_and_unknown_ones_are_refused(tmp_path):
    file = tmp_path / "bags.yaml"
    file.write_text("image: /camera\narm_joints: [one, two]\nrate_hz: 5\n")
    assert load_settings(file) == BagSettings(image="/camera", arm_joints=("one", "two"), rate_hz=5.0)
    for text, message in (("images: /camera", "unknown images"), ("rate_hz: fast", "wrong type"), ("- a", "names and")):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_settings(file)


def test_the_settings_file_that_comes_with_the_package_lists_the_defaults():
    file = Path(__file__).resolve().parents[3] / "config/bags.yaml"
    assert load_settings(file) == BagSettings()
    assert set(yaml.safe_load(file.read_text())) == {field.name for field in fields(BagSettings)}


def test_the_nearest_message_is_taken_and_none_twice():
    (taken,) = resample(stamps(0, 0.11, 0.24, 0.37, 0.49, 0.61, 0.76), 4.0, 0.4)
    assert taken.tolist() == [0, 2, 4, 6]


def test_a_time_without_a_message_near_it_cuts():
    parts = resample(stamps(0, 0.25, 1.0, 1.25, 1.5), 4.0, 0.4)
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3, 4]]


def test_late_messages_are_put_in_order_but_a_reset_clock_is_not():
    recorded = np.arange(6)
    (run,) = split_runs(stamps(0, 0.3, 0.2, 0.4, 0.6, 0.5), recorded)
    assert run.order.tolist() == [0, 2, 1, 3, 5, 4]
    first, second = split_runs(stamps(10, 11, 12, 0, 1, 2), recorded)
    assert second.stamps.tolist() == stamps(0, 1, 2).tolist() and first.last == 2
