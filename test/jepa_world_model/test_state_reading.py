"""States go by what their columns mean: names, units and ranges, and what a person says where they do not tell."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_files import CAMERA, POSE, Recipe, number_of, poses, write
from scipy.spatial.transform import Rotation

from jepa_world_model.data import lerobot_episodes
from jepa_world_model.data.episodes import DatasetError, load_episodes
from jepa_world_model.data.lerobot import LeRobotDataset, LeRobotError
from jepa_world_model.data.lerobot.reader import flat_names
from jepa_world_model.data.state_names import meaning_of
from jepa_world_model.data.state_reading import StateReading, state_columns

LENGTHS = (10, 10)
TURN = ("roll", "pitch", "yaw")


def dataset(folder: Path, names, states=poses, units=None) -> LeRobotDataset:
    return LeRobotDataset(write(folder / "data", Recipe(LENGTHS, 4, names=names, units=units, states=states)))


def read(folder: Path, names, states=poses, units=None, **reading) -> np.ndarray:
    """The states of the first episode, if they pass."""
    columns = state_columns(dataset(folder, names, states, units), StateReading(**reading))
    columns.survey()
    return columns.states(0)


def changed(columns: slice, value) -> object:
    """Rows of poses with other numbers in some columns; `value` is a function of the row's share of the episode."""

    def states(length: int) -> np.ndarray:
        rows = poses(length)
        rows[:, columns] = value(np.linspace(0, 1, length))[:, None] if callable(value) else value
        return rows

    return states


def joint_angles(length: int) -> np.ndarray:
    row = np.array([0, -0.78, 0, -2.35, 0, 1.57, 0.78], np.float32)
    return row + 0.02 * np.sin(np.arange(length, dtype=np.float32) / 8)[:, None]


@pytest.mark.parametrize(
    "names",
    [
        POSE,
        {"motors": POSE},
        {"pose": POSE[:6], "hand": POSE[6:]},
        [POSE[:3], POSE[3:]],
        dict(zip(POSE, range(7), strict=True)),
    ],
)
def test_a_pose_is_known_by_its_names_however_they_are_nested(tmp_path: Path, names) -> None:
    np.testing.assert_array_equal(read(tmp_path, names), poses(10))
    assert load_episodes(tmp_path / "data", image_size=32).states.shape[2] == 7


@pytest.mark.parametrize("nest", [list, lambda names: {"motors": names}], ids=["list", "dict"])
@pytest.mark.parametrize("name", ["joint_{}", "panda_joint{}", "q{}", "j{}.pos", "JointPosition_{}"])
def test_joint_angles_are_no_pose_and_are_named(tmp_path: Path, name: str, nest) -> None:
    names = [name.format(index) for index in range(1, 8)]
    write(tmp_path / "data", Recipe(LENGTHS, 4, names=nest(names), states=joint_angles))
    with pytest.raises(LeRobotError, match=f"{names[0]}, .*{names[6]}.*: joint angles.*--state-columns"):
        load_episodes(tmp_path / "data", image_size=32)
    with pytest.raises(LeRobotError, match=f"not the place of {names[0]}"):
        read(tmp_path / "again", nest(names), joint_angles, columns=("observation.state",))


@pytest.mark.parametrize("names", [None, ["state"], {"motors": ["motors"]}])
def test_numbers_without_names_are_asked_for(tmp_path: Path, names) -> None:
    with pytest.raises(
        LeRobotError, match=r"\[7\] numbers without names: what they are cannot be known.*--state-columns"
    ):
        read(tmp_path, names)
    np.testing.assert_array_equal(read(tmp_path / "told", names, columns=("observation.state",)), poses(10))


def test_named_parts_are_found_among_others(tmp_path: Path) -> None:
    def wide(length: int) -> np.ndarray:
        rows = poses(length)
        return np.concatenate([np.full((length, 1), 9, np.float32), rows[:, :6], rows[:, :1], rows[:, 6:]], axis=1)

    names = ["joint_0", "eef.x", "eef.y", "eef.z", *TURN, "pad", "gripper_closed"]
    np.testing.assert_array_equal(read(tmp_path, names, wide), poses(10))
    told = ("observation.state[1:4]", "observation.state[4:7]", "observation.state[8]")
    np.testing.assert_array_equal(read(tmp_path / "told", names, wide, columns=told), poses(10))


def test_two_arms_are_not_mixed(tmp_path: Path) -> None:
    names = [f"{side}_{name}" for side in ("left", "right") for name in POSE]
    with pytest.raises(LeRobotError, match=r"left_x.*--state-columns"):
        read(tmp_path, names, lambda length: np.tile(poses(length), 2))
    told = ("observation.state[7:14]",)
    again = read(tmp_path / "told", names, lambda length: np.tile(poses(length), 2), columns=told)
    np.testing.assert_array_equal(again, poses(10))


def test_degrees_are_refused_until_somebody_says_so(tmp_path: Path) -> None:
    degrees = changed(slice(3, 6), np.array([179.5, 0, 45]))
    with pytest.raises(LeRobotError, match=r"roll, pitch, yaw reach 179\.5: angles beyond pi.*euler-degrees"):
        read(tmp_path, POSE, degrees)
    with pytest.raises(LeRobotError, match="angles beyond pi"):
        load_episodes(tmp_path / "data", image_size=32)
    states = read(tmp_path / "told", POSE, degrees, rotation="euler-degrees")
    np.testing.assert_allclose(states[:, 3:6], np.deg2rad([[179.5, 0, 45]] * 10))
    named = [*POSE[:3], "roll_deg", "pitch_deg", "yaw_deg", "closedness"]
    np.testing.assert_allclose(read(tmp_path / "named", named, degrees), states)


def test_radians_that_run_on_past_a_half_turn_are_turned_back_when_told(tmp_path: Path) -> None:
    states = read(tmp_path, POSE, changed(slice(5, 6), 4.0), rotation="euler")
    np.testing.assert_allclose(states[:, 5], 4.0 - 2 * np.pi)


def quaternions(length: int, order: str = "xyzw") -> np.ndarray:
    rows = poses(length)
    turned = Rotation.from_euler("xyz", rows[:, 3:6] + 0.1 * np.linspace(0, 1, length)[:, None])
    parts = turned.as_quat()
    parts = parts if order == "xyzw" else np.roll(parts, 1, axis=1)
    return np.concatenate([rows[:, :3], parts, rows[:, 6:]], axis=1)


@pytest.mark.parametrize("order", ["xyzw", "wxyz"])
def test_quaternions_are_known_by_names_or_asked_for(tmp_path: Path, order: str) -> None:
    expected = quaternions(10)
    names = ["x", "y", "z", *(f"q{axis}" for axis in order), "closedness"]
    states = read(tmp_path, names, lambda length: quaternions(length, order))
    turned = Rotation.from_euler("xyz", states[:, 3:6]).as_quat()
    np.testing.assert_allclose(np.abs(np.sum(turned * expected[:, 3:7], axis=1)), 1.0, atol=1e-6)
    bare = tmp_path / "bare"
    with pytest.raises(LeRobotError, match=r"what kind of rotation this is cannot be known.*quaternion-wxyz"):
        read(bare, None, lambda length: quaternions(length, order), columns=("observation.state",))
    told = {"columns": ("observation.state",), "rotation": f"quaternion-{order}"}
    again = read(tmp_path / "told", None, lambda length: quaternions(length, order), **told)
    np.testing.assert_allclose(again, states, atol=1e-6)


def test_a_quaternion_is_not_taken_for_angles_and_a_gripper(tmp_path: Path) -> None:
    def seven(length: int) -> np.ndarray:
        return quaternions(length)[:, :7]

    with pytest.raises(LeRobotError, match="length 1 in every row: a quaternion"):
        read(tmp_path, None, seven, columns=("observation.state",))
    with pytest.raises(LeRobotError, match="0 numbers for the gripper"):
        read(tmp_path / "named", ["x", "y", "z", "qx", "qy", "qz", "qw"], seven)


def test_what_is_no_quaternion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LeRobotError, match="expected quaternions of length 1"):
        read(
            tmp_path,
            ["x", "y", "z", "qx", "qy", "qz", "qw", "closedness"],
            lambda length: np.tile(poses(length), 2)[:, :8],
        )


def test_rotation_vectors_are_known_by_names_and_rx_ry_rz_are_asked_for(tmp_path: Path) -> None:
    vector = np.array([2.0, 1.0, -0.5])
    rows = changed(slice(3, 6), vector)
    expected = Rotation.from_rotvec(vector).as_euler("xyz")
    names = ["x", "y", "z", "axis_angle1", "axis_angle2", "axis_angle3", "closedness"]
    np.testing.assert_allclose(read(tmp_path, names, rows)[0, 3:6], expected, atol=1e-6)
    open_names = ["x", "y", "z", "rx", "ry", "rz", "closedness"]
    with pytest.raises(LeRobotError, match="rx, ry, rz: what kind of rotation this is cannot be known"):
        read(tmp_path / "asked", open_names, rows)
    told = read(tmp_path / "told", open_names, rows, rotation="rotation-vector")
    np.testing.assert_allclose(told[0, 3:6], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "ends", "words"),
    [
        (lambda share: 100 * share, (0, 100), "between 0 and 100, expected 0 .open. to 1"),
        (lambda share: 0.08 * (1 - share), (0.08, 0), "between 0 and 0.08.* a width in metres"),
        (lambda share: 2 * share - 1, (-1, 1), "between -1 and 1"),
        (lambda share: 1 - 2 * share, (1, -1), "between -1 and 1"),
        (lambda share: 255 * (1 - share), (255, 0), "between 0 and 255"),
        (lambda share: -0.04 * (1 - share), (-0.04, 0), "between -0.04 and"),
    ],
    ids=["percent", "width", "signs", "signs inverted", "bytes inverted", "negative finger"],
)
def test_a_gripper_in_other_units_is_refused_until_its_ends_are_told(tmp_path: Path, value, ends, words: str) -> None:
    rows = changed(slice(6, 7), value)
    write(tmp_path / "train", Recipe(LENGTHS, 4, states=rows))
    with pytest.raises(LeRobotError, match=f"{words}.*--gripper OPEN CLOSED"):
        load_episodes(tmp_path / "train", image_size=32)
    states = read(tmp_path, POSE, rows, gripper=ends)
    np.testing.assert_allclose(states[:, 6], np.linspace(0, 1, 10), atol=1e-6)


@pytest.mark.parametrize("name", ["gripper", "gripper_position", "gripper.pos", "gripper_width", "finger_joint"])
def test_a_gripper_of_unknown_polarity_is_asked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(LeRobotError, match=f"{name} lies between 0 and 1, and its name does not tell .*--gripper OPEN"):
        read(tmp_path, [*POSE[:6], name])
    inverted = read(tmp_path / "told", [*POSE[:6], name], gripper=(1.0, 0.0))
    np.testing.assert_allclose(inverted[:, 6], 1 - poses(10)[:, 6], atol=1e-6)


def test_a_name_may_tell_which_end_is_open(tmp_path: Path) -> None:
    np.testing.assert_allclose(read(tmp_path, [*POSE[:6], "gripper_open"])[:, 6], 1 - poses(10)[:, 6], atol=1e-6)


def test_a_little_overshoot_is_clipped_and_told(tmp_path: Path) -> None:
    rows = changed(slice(6, 7), lambda share: -0.02 + 1.04 * share)
    survey = state_columns(dataset(tmp_path, POSE, rows)).survey()
    assert (survey.clipped, survey.rows) == (4, 20) and survey.closedness == (0.0, 1.0)
    assert "4 of 20 rows clipped, by up to 2.0 %" in str(survey) and "closedness -0.02 to 1.02" in str(survey)


def test_millimetres_are_refused_until_somebody_says_so(tmp_path: Path) -> None:
    rows = changed(slice(0, 3), np.array([412.0, 5.0, 300.0]))
    with pytest.raises(LeRobotError, match=r"positions reach 412 m.*--length-unit"):
        read(tmp_path, POSE, rows)
    np.testing.assert_allclose(read(tmp_path / "told", POSE, rows, length_unit="mm")[0, :3], [0.412, 0.005, 0.3])


def measured(length: int) -> np.ndarray:
    """The usual poses in mm, degrees and percent; no number is so large that its unit would show."""
    rows = poses(length)
    rows[:, :3], rows[:, 3:6], rows[:, 6] = [1.5, 2.0, 3.0], [1.0, 2.0, 3.0], np.linspace(0, 100, length)
    return rows


SEVERAL = ["mm", "mm", "mm", "deg", "deg", "deg", "percent"]


@pytest.mark.parametrize(
    ("names", "units"),
    [
        (POSE, SEVERAL),
        (POSE, dict(zip(POSE, SEVERAL, strict=True))),
        (POSE, dict(zip(reversed(POSE), reversed(SEVERAL), strict=True))),
        (POSE, {"position": ["mm"] * 3, "rotation": ["°"] * 3, "hand": ["%"]}),
        (POSE, ["mm", "degrees", "%"]),
        (POSE, "millimetres, degrees, percent"),
        (["x_mm", "y_mm", "z_mm", "roll_deg", "pitch_deg", "yaw_deg", "closedness_percent"], None),
    ],
    ids=["list", "by name", "in another order", "groups", "fewer", "sentence", "names"],
)
def test_units_are_read(tmp_path: Path, names, units) -> None:
    state = read(tmp_path, names, measured, units)[-1]
    np.testing.assert_allclose(state, [0.0015, 0.002, 0.003, *np.deg2rad([1, 2, 3]), 1], atol=1e-6)


def test_units_of_the_pose_alone_leave_the_gripper_what_its_name_says(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, POSE, units="m, rad"), poses(10))


def test_units_hold_for_columns_without_names_and_give_way_to_what_a_person_says(tmp_path: Path) -> None:
    columns = ("observation.state",)
    told = read(tmp_path, None, measured, SEVERAL, columns=columns, gripper=(0, 100))
    np.testing.assert_allclose(told[0, :6], [0.0015, 0.002, 0.003, *np.deg2rad([1, 2, 3])], atol=1e-6)
    said = read(tmp_path / "said", POSE, measured, SEVERAL, length_unit="cm", rotation="euler")
    np.testing.assert_allclose(said[0, :6], [0.015, 0.02, 0.03, 1, 2, 3], atol=1e-6)


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (["mm", "m", "mm", *SEVERAL[3:]], r"x \(mm\), y \(m\), z \(mm\): which unit of length .*--length-unit"),
        (["inch", "inch", "inch", *SEVERAL[3:]], r"x \(inch\).*--length-unit"),
        ([*SEVERAL[:3], "deg", "rad", "rad", "percent"], "roll, pitch, yaw: what kind of rotation"),
        ([*SEVERAL[:3], "turns", "turns", "turns", "percent"], "roll, pitch, yaw: what kind of rotation"),
        ([*SEVERAL[:6], "mm"], "closedness lies between 0 and 100, .*--gripper OPEN CLOSED"),
    ],
)
def test_units_that_do_not_tell_are_asked_for(tmp_path: Path, units, words: str) -> None:
    with pytest.raises(LeRobotError, match=words):
        read(tmp_path, POSE, measured, units)


def test_names_that_tell_no_rotation_are_not_taken_for_angles(tmp_path: Path) -> None:
    for names in (["ee.x", "ee.y", "ee.z", "ee.wx", "ee.wy", "ee.wz", "closedness"], [*POSE[:3], *"abc", "closedness"]):
        with pytest.raises(LeRobotError, match="what kind of rotation this is cannot be known"):
            read(tmp_path / names[3], names, columns=("observation.state",))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("x", "position"), ("ee_pos_x", "position"), ("TcpY", "position"), ("roll", "euler"), ("qw", "quaternion"),
        ("quat.z", "quaternion"), ("rz", "turn"), ("rotvec_x", "rotation-vector"), ("x_vel", "other"),
        ("shoulder_pan.pos", "joint"), ("wrist_roll.pos", "joint"), ("left_finger_joint", "gripper"),
        ("motor_3", "unknown"), ("delta_x", "other"), ("dx", "unknown"), ("pad", "unknown"),
        ("ee.wx", "turn"), ("x_y", "unknown"), ("x_mm", "position"),
    ],
)  # fmt: skip
def test_names_tell_parts(name: str, part: str) -> None:
    assert meaning_of(name).part == part


def test_names_are_flattened_in_their_order() -> None:
    assert flat_names({"a": ["x", {"b": ["y"]}], "c": "z"}) == ("x", "y", "z")
    assert flat_names({"second": 1, "first": 0}) == ("first", "second")
    assert flat_names(None) == ()


def test_rows_that_lack_within_an_episode_are_not_trained_over(tmp_path: Path) -> None:
    times = np.arange(12) / 4 + np.where(np.arange(12) > 5, 0.5, 0)
    recipe = Recipe((12,), fps=4, times=lambda _: times, video=lambda _: (list(range(12)), times.tolist()))
    with pytest.raises(
        ValueError, match=r"episode 0: expected 1 rows at 4 Hz from row 5 on to take 0\.250 s.*0\.750 s"
    ):
        load_episodes(write(tmp_path / "data", recipe), image_size=32)


def pictures_of(folder: Path) -> list[int]:
    episodes = load_episodes(folder, image_size=32)
    return [number_of(picture) for picture in episodes.images[0]]


def test_decoded_pictures_are_those_of_the_rows_times_and_are_decoded_once(tmp_path: Path) -> None:
    def often(length: int):
        return [row for row in range(length) for _ in "ab"], [moment / 8 for moment in range(2 * length)]

    folder = write(tmp_path / "data", Recipe(LENGTHS, 4, video=often))
    assert pictures_of(folder) == list(range(10))
    (decoded,) = (folder / ".decoded").glob("[!.]*.npy")
    before = decoded.stat().st_mtime_ns
    assert pictures_of(folder) == list(range(10)) and decoded.stat().st_mtime_ns == before


@pytest.mark.parametrize("changed", ["data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"])
def test_decoded_pictures_are_not_taken_when_the_tables_changed_in_place(tmp_path: Path, changed: str) -> None:
    folder = write(tmp_path / "data", Recipe(LENGTHS, 4, "v3.0"))
    assert pictures_of(folder) == list(range(10))
    # The second episode's rows for those of the first: the video stays.
    path = folder / changed
    rows = pq.read_table(path).to_pylist()
    if changed.startswith("meta"):
        name = f"videos/{CAMERA}/"
        begins = [(row[f"{name}from_timestamp"], row[f"{name}to_timestamp"]) for row in reversed(rows)]
        for row, (begin, end) in zip(rows, begins, strict=True):
            row |= {f"{name}from_timestamp": begin, f"{name}to_timestamp": end}
    else:
        rows = [row | {"timestamp": row["timestamp"] + 0.05} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert pictures_of(folder) == list(range(10))
    assert len(list((folder / ".decoded").glob("[!.]*.npy"))) == 2


def test_a_dataset_that_changes_while_it_is_decoded_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "data", Recipe(LENGTHS, 4))
    shrink = lerobot_episodes.resize_and_crop

    def touched(*arguments):
        os.utime(folder / f"videos/chunk-000/{CAMERA}/episode_000001.mp4")
        return shrink(*arguments)

    monkeypatch.setattr(lerobot_episodes, "resize_and_crop", touched)
    with pytest.raises(DatasetError, match="was changed while its pictures were decoded"):
        load_episodes(folder, image_size=32)
    assert not list((folder / ".decoded").glob("[!.]*.npy"))
