"""Any gripper's joints become closedness, whichever way they move, and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded_bags import BagRecipe, alter_bag, write_bag

from jepa_tools.bags import BagError, BagSettings, RecordedBag, load_settings, read_bag
from jepa_tools.cli import main

TURNING = BagRecipe(fingers=("knuckle",), finger_ends=(0.0, 0.8))
SETTINGS = "finger_joints: [knuckle]\nfinger_open: 0.0\nfinger_closed: 0.8\n"


def read(path: Path, **settings) -> RecordedBag:
    return read_bag(path, BagSettings(**settings), 4.0)


def closedness(bag: RecordedBag) -> list[float]:
    return bag.episodes[0].states[:, 6].tolist()


@pytest.mark.parametrize("lone_fingers", [False, True], ids=["with the arm", "in messages of their own"])
@pytest.mark.parametrize("ends", [(0.04, 0.0), (0.0, 0.8), (0.085, 0.0), (100.0, 0.0), (-1.0, 1.0)])
def test_open_is_0_and_closed_is_1_for_any_gripper(tmp_path: Path, ends: tuple[float, float], lone_fingers: bool):
    recipe = BagRecipe(fingers=("left", "right"), finger_ends=ends, lone_fingers=lone_fingers)
    bag = read(
        write_bag(tmp_path / "bag", recipe), finger_joints=("left", "right"), finger_open=ends[0], finger_closed=ends[1]
    )
    assert closedness(bag) == pytest.approx([0.0] * 6 + [1.0] * 6)
    assert not bag.notes


@pytest.mark.parametrize("ends", [(0.0, 0.8), (0.085, 0.0), (100.0, 0.0)])
def test_gripper_that_its_description_does_not_fit_is_refused(tmp_path: Path, ends: tuple[float, float]):
    bag = write_bag(tmp_path / "bag", BagRecipe(finger_ends=ends))
    told = (
        rf"beyond the gripper's ends, 0\.04 \(open\) and 0 \(closed\): they reach from {min(ends):g} to {max(ends):g};"
    )
    with pytest.raises(BagError, match=rf"{told} say finger_open and finger_closed"):
        read(bag)
    assert not any(closedness(read(bag, finger_joints=())))


def test_single_finger_positions_beyond_the_ends_are_noted(tmp_path: Path):
    def disturbed(number, message):
        return replace(message, position=np.append(message.position[:-2], [0.09, 0.09])) if number == 1 else message

    bag = alter_bag(write_bag(tmp_path / "sound"), tmp_path / "bag", "/joint_states", disturbed)
    (note,) = read(bag).notes
    assert note.startswith("1 of ") and note.endswith("they reach from 0 to 0.09")


def test_turning_gripper_survives_the_way_to_a_dataset_and_back(tmp_path: Path):
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS)
    bag, dataset, again = write_bag(tmp_path / "bag", TURNING), tmp_path / "dataset", tmp_path / "again"
    for source, target in ((bag, dataset), (dataset, again)):
        assert main(["convert", str(source), str(target), "--settings", str(settings)]) == 0
    before, after = (read_bag(path, load_settings(settings), 4.0) for path in (bag, again))
    assert closedness(before) == pytest.approx([0.0] * 6 + [1.0] * 6)
    np.testing.assert_allclose(closedness(after), closedness(before), atol=1e-9)


def test_travel_that_does_not_tell_which_end_is_open_is_refused_with_what_to_say_instead(tmp_path: Path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("finger_joints: [knuckle]\nfinger_travel: 0.8\n")
    with pytest.raises(ValueError, match="finger_travel does not tell which end is open: give finger_open and"):
        load_settings(settings)


@pytest.mark.parametrize("ends", [(0.8, 0.8), (float("nan"), 0.0), (0.0, float("inf"))])
def test_ends_that_tell_nothing_are_refused_by_name(ends: tuple[float, float]):
    with pytest.raises(ValueError, match="finger_joints, finger_open, finger_closed: a gripper needs two different"):
        BagSettings(finger_open=ends[0], finger_closed=ends[1])
