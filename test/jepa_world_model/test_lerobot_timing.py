"""A row's picture is the one at its time: other rates, gaps, shared files and offsets shift nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lerobot_files import CAMERA, Recipe, number_of, write

from jepa_world_model.data.lerobot import LeRobotDataset, LeRobotError

VERSIONS = ("v2.0", "v2.1", "v3.0")


def shown(dataset: LeRobotDataset, episode: int, *part: int) -> list[int]:
    return [number_of(picture) for picture in dataset.pictures(episode, CAMERA, *part)]


def twice_as_often(length: int):
    return [row for row in range(length) for _ in "ab"], [moment / 60 for moment in range(2 * length)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_camera_that_is_faster_than_the_rows_gives_each_row_its_picture(tmp_path: Path, version: str) -> None:
    dataset = LeRobotDataset(write(tmp_path / "data", Recipe((5, 6, 7), version=version, video=twice_as_often)))
    assert [shown(dataset, episode) for episode in range(3)] == [list(range(length)) for length in (5, 6, 7)]
    assert shown(dataset, 1, 2, 5) == [2, 3, 4]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_slower_camera_shows_each_picture_until_the_next_of_its_own_episode(tmp_path: Path, version: str) -> None:
    def every_third(length: int):
        return list(range(0, length, 3)), [row / 30 for row in range(0, length, 3)]

    dataset = LeRobotDataset(write(tmp_path / "data", Recipe((9, 9), version=version, video=every_third)))
    assert shown(dataset, 0) == shown(dataset, 1) == [0, 0, 3, 3, 3, 6, 6, 6, 6]


def test_half_way_between_two_pictures_the_earlier_one_counts(tmp_path: Path) -> None:
    def every_other(length: int):
        return list(range(0, length, 2)), [row / 30 for row in range(0, length, 2)]

    dataset = LeRobotDataset(write(tmp_path / "data", Recipe((20,), video=every_other)))
    assert shown(dataset, 0) == [row - row % 2 for row in range(20)]


def without(*lost: int):
    def video(length: int):
        kept = [row for row in range(length) if row not in lost]
        return kept, [row / 30 for row in kept]

    return video


@pytest.mark.parametrize("version", VERSIONS)
def test_lost_pictures_are_a_gap_and_shift_nothing(tmp_path: Path, version: str) -> None:
    dataset = LeRobotDataset(write(tmp_path / "data", Recipe(version=version, video=without(4, 5))))
    for episode in range(2):
        assert np.flatnonzero(~dataset.has_picture(episode, CAMERA)).tolist() == [4, 5]
        assert shown(dataset, episode, 6) == list(range(6, dataset.episodes[episode].length))
        with pytest.raises(LeRobotError, match=r"2 rows have no picture at their time, the first is row 4"):
            shown(dataset, episode)


def test_the_first_picture_of_the_next_episode_does_not_stand_in_for_a_lost_last_one(tmp_path: Path) -> None:
    dataset = LeRobotDataset(write(tmp_path / "data", Recipe((10, 10, 12), version="v3.0", video=without(9))))
    assert dataset.has_picture(0, CAMERA).tolist() == [True] * 9 + [False]
    assert shown(dataset, 1, 0, 9) == list(range(9))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_video_that_is_too_short_for_its_rows_is_an_error(tmp_path: Path, version: str) -> None:
    # Pictures were lost and the rest closed up: which ones cannot be known.
    def closed_up(length: int):
        return [row for row in range(length) if row not in (2, 3)], [row / 30 for row in range(length - 2)]

    dataset = LeRobotDataset(write(tmp_path / "data", Recipe((10,), version=version, video=closed_up)))
    with pytest.raises(LeRobotError, match=r"up to 0\.333 s, the video ends at 0\.267 s"):
        shown(dataset, 0)


def test_pictures_that_lack_in_a_shared_file_spoil_all_of_its_episodes(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", Recipe((10, 10), version="v3.0"))
    short = write(tmp_path / "short", Recipe((10, 9), version="v3.0"))
    video = f"videos/{CAMERA}/chunk-000/file-000.mp4"
    (short / video).replace(folder / video)
    with pytest.raises(LeRobotError, match="which ones are missing"):
        shown(LeRobotDataset(folder), 0)


def test_rows_at_uneven_times_take_the_pictures_of_those_times(tmp_path: Path) -> None:
    rows = np.array([0, 1, 2, 8, 9]) / 30
    recipe = Recipe((5,), times=lambda _: rows, video=lambda _: (list(range(12)), [row / 30 for row in range(12)]))
    assert shown(LeRobotDataset(write(tmp_path / "data", recipe)), 0) == [0, 1, 2, 8, 9]


@pytest.mark.parametrize("beside", [0.004, -0.004])
def test_times_that_are_a_little_beside_take_the_nearest_picture(tmp_path: Path, beside: float) -> None:
    recipe = Recipe(times=lambda length: np.arange(length) / 30 + beside)
    assert shown(LeRobotDataset(write(tmp_path / "data", recipe)), 0) == list(range(10))


def test_times_with_an_offset_that_the_video_shares_find_their_pictures(tmp_path: Path) -> None:
    def late(length: int):
        return list(range(length)), [2 + row / 30 for row in range(length)]

    recipe = Recipe(times=lambda length: 2 + np.arange(length) / 30, video=late)
    assert shown(LeRobotDataset(write(tmp_path / "data", recipe)), 1) == list(range(12))
    alone = Recipe(times=lambda length: 2 + np.arange(length) / 30)
    with pytest.raises(LeRobotError, match="video ends at"):
        shown(LeRobotDataset(write(tmp_path / "alone", alone)), 1)


def test_pictures_of_uneven_times_are_found(tmp_path: Path) -> None:
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, 12) / 30
    jitter[0] = 0

    def uneven(length: int):
        return list(range(length)), (np.arange(length) / 30 + jitter[:length]).tolist()

    dataset = LeRobotDataset(write(tmp_path / "data", Recipe(video=uneven)))
    assert [shown(dataset, episode) for episode in range(2)] == [list(range(10)), list(range(12))]


def test_times_that_go_back_are_refused(tmp_path: Path) -> None:
    recipe = Recipe(times=lambda length: np.where(np.arange(length) == 5, 0.1, np.arange(length) / 30))
    with pytest.raises(LeRobotError, match=r"timestamps that grow, got 0\.1 s in row 5"):
        shown(LeRobotDataset(write(tmp_path / "data", recipe)), 0)


def test_a_colon_in_a_path_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "at:10:30")
    monkeypatch.chdir(tmp_path)
    assert shown(LeRobotDataset(Path("at:10:30")), 0) == list(range(10))
