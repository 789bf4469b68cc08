"""LeRobot datasets: what is written is read back, exactly, and only when it is complete."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from lerobot_files import write as write_foreign

from jepa_world_model.data.lerobot import (
    DatasetDescription,
    Episode,
    Feature,
    LeRobotDataset,
    LeRobotError,
    LeRobotWriter,
    VideoOptions,
    write_dataset,
)

CAMERA = "observation.images.front"
LENGTHS = (5, 3, 6)
LOSSLESS = (VideoOptions(), VideoOptions(codec="png"))


def description(video=LOSSLESS[0]):
    features = {
        "observation.state": Feature("float64", (7,), (*"xyzabc", "closedness")),
        "stamp": Feature("int64", (1,)),
    }
    return DatasetDescription(4, "franka", features, {CAMERA: (32, 48)}, ("reach", "push"), video)


def episode(number):
    generator = np.random.default_rng(number)
    length = LENGTHS[number]
    columns = {
        "observation.state": generator.normal(size=(length, 7)),
        "stamp": 10**18 + generator.integers(1000, size=length),
    }
    pictures = generator.integers(256, size=(length, 32, 48, 3), dtype=np.uint8)
    return Episode(columns, {CAMERA: pictures}, ("reach", "push")[number % 2])


def episodes_from(first):
    return (episode(number) for number in range(first, len(LENGTHS)))


def make(folder, video=LOSSLESS[0]):
    return write_dataset(folder, description(video), episodes_from, episodes_per_file=2)


@pytest.mark.parametrize("video", LOSSLESS, ids=["video", "png"])
def test_what_is_written_is_read_back_exactly(tmp_path, video):
    dataset = LeRobotDataset(make(tmp_path / "data", video))
    assert len(dataset) == 3 and dataset.fps == 4 and dataset.tasks == ("reach", "push")
    for number in range(3):
        written, read = episode(number), dataset.episode(number)
        assert read.task == written.task
        for name, values in written.columns.items():
            np.testing.assert_array_equal(read.columns[name], values)
        np.testing.assert_array_equal(list(read.frames[CAMERA]), written.frames[CAMERA])


@pytest.mark.parametrize("video", LOSSLESS, ids=["video", "png"])
def test_part_of_an_episode_begins_at_the_frame_that_was_asked_for(tmp_path, video):
    dataset = LeRobotDataset(make(tmp_path / "data", video))
    read = list(dataset.pictures(1, CAMERA, 1, 3))
    np.testing.assert_array_equal(read, episode(1).frames[CAMERA][1:3])


def test_lossy_video_keeps_the_pictures_about_as_they_are(tmp_path):
    smooth = np.linspace(0, 255, 32 * 48 * 3).reshape(32, 48, 3).astype(np.uint8)
    shown = Episode(episode(0).columns, {CAMERA: [smooth] * LENGTHS[0]}, "reach")
    video = VideoOptions("libx264", "yuv420p", {"crf": "18"})
    write_dataset(tmp_path / "data", description(video), lambda first: [shown][first:])
    read = next(LeRobotDataset(tmp_path / "data").pictures(0, CAMERA))
    assert np.abs(read.astype(int) - smooth).mean() < 8


def test_indices_count_through_files_and_episodes(tmp_path):
    dataset = LeRobotDataset(make(tmp_path / "data"))
    columns = [dataset.columns(number, ["index", "frame_index", "episode_index", "timestamp"]) for number in range(3)]
    assert np.concatenate([item["index"] for item in columns]).tolist() == list(range(sum(LENGTHS)))
    assert columns[2]["frame_index"].tolist() == list(range(6))
    assert set(columns[1]["episode_index"]) == {1}
    np.testing.assert_allclose(columns[0]["timestamp"], np.arange(5) / 4)


def test_layout_is_the_documented_one(tmp_path):
    folder = make(tmp_path / "data")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-001.parquet",
        "data/chunk-000/file-000.parquet",
        "data/chunk-000/file-001.parquet",
        f"videos/{CAMERA}/chunk-000/file-000.mp4",
        f"videos/{CAMERA}/chunk-000/file-001.mp4",
    }
    information = json.loads((folder / "meta/info.json").read_text())
    assert information["codebase_version"] == "v3.0" and information["splits"] == {"train": "0:3"}
    assert information["features"][CAMERA]["info"]["video.codec"] == "h264"
    rows = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert rows[1]["dataset_from_index"] == 5 and rows[1][f"videos/{CAMERA}/from_timestamp"] == 1.25
    assert pq.ParquetFile(folder / "data/chunk-000/file-000.parquet").num_row_groups == 2


def test_statistics_are_those_of_all_frames(tmp_path):
    statistics = json.loads((make(tmp_path / "data") / "meta/stats.json").read_text())
    states = np.concatenate([episode(number).columns["observation.state"] for number in range(3)])
    pixels = np.concatenate([episode(number).frames[CAMERA] for number in range(3)]) / 255
    np.testing.assert_allclose(statistics["observation.state"]["mean"], states.mean(0))
    np.testing.assert_allclose(statistics["observation.state"]["std"], states.std(0))
    np.testing.assert_allclose(np.ravel(statistics[CAMERA]["mean"]), pixels.mean((0, 1, 2)))
    np.testing.assert_allclose(np.ravel(statistics[CAMERA]["std"]), pixels.std((0, 1, 2)), rtol=1e-6)
    assert np.shape(statistics[CAMERA]["max"]) == (3, 1, 1) and statistics["stamp"]["count"] == [14]


def test_interrupted_dataset_is_absent_and_goes_on_where_it_was(tmp_path):
    asked = []

    def interrupted(first):
        asked.append(first)
        for number in range(first, len(LENGTHS)):
            if number == 2 and len(asked) == 1:
                raise KeyboardInterrupt
            yield episode(number)

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "data", description(), interrupted, episodes_per_file=2)
    assert not (tmp_path / "data").exists()
    write_dataset(tmp_path / "data", description(), interrupted, episodes_per_file=2)
    assert asked == [0, 2]
    assert [record.length for record in LeRobotDataset(tmp_path / "data").episodes] == list(LENGTHS)


def test_files_may_be_written_in_any_order(tmp_path):
    writer = LeRobotWriter(tmp_path, description())
    writer.write_file(1, [episode(2)], first_episode=2, first_frame=8)
    with pytest.raises(LeRobotError, match="expected episode 0"):
        writer.finish()
    writer.write_file(0, [episode(0), episode(1)], first_episode=0, first_frame=0)
    writer.finish()
    np.testing.assert_array_equal(list(LeRobotDataset(tmp_path).pictures(2, CAMERA)), episode(2).frames[CAMERA])


def test_existing_dataset_is_not_overwritten(tmp_path):
    make(tmp_path / "data")
    with pytest.raises(FileExistsError, match="exists already"):
        make(tmp_path / "data")


def changed(columns=None, pictures=None, task=None):
    item = episode(0)
    return Episode(
        columns or item.columns, {CAMERA: item.frames[CAMERA] if pictures is None else pictures}, task or item.task
    )


@pytest.mark.parametrize(
    ("misfit", "message"),
    [
        (changed(pictures=episode(0).frames[CAMERA][:-1]), "expected 5 pictures, got 4"),
        (changed(pictures=episode(0).frames[CAMERA][:, :8]), "expected pictures uint8"),
        (changed(task="dance"), "'dance' is not among"),
        (changed(columns={"stamp": episode(0).columns["stamp"]}), r"expected .*observation\.state"),
    ],
    ids=["too few pictures", "small pictures", "unknown task", "no states"],
)
def test_episode_that_does_not_fit_is_refused_and_leaves_nothing(tmp_path, misfit, message):
    with pytest.raises(LeRobotError, match=message):
        write_dataset(tmp_path / "data", description(), lambda first: [misfit])
    assert not (tmp_path / "data").exists()
    assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.rglob("*.parquet"))


def test_unfinished_folder_is_not_read(tmp_path):
    with pytest.raises(LeRobotError, match="finished dataset"):
        LeRobotDataset(tmp_path)


def test_damaged_table_is_named(tmp_path):
    folder = make(tmp_path / "data")
    path = folder / "data/chunk-000/file-001.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(LeRobotError, match="file-001"):
        LeRobotDataset(folder).columns(2)


def test_damaged_video_is_named(tmp_path):
    folder = make(tmp_path / "data")
    path = folder / f"videos/{CAMERA}/chunk-000/file-001.mp4"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(LeRobotError, match="file-001"):
        list(LeRobotDataset(folder).pictures(2, CAMERA))


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1234567\n"


@pytest.mark.parametrize("text", [LFS, "<!DOCTYPE html><html><head><title>404</title></head></html>"])
@pytest.mark.parametrize(
    "name",
    [
        "meta/info.json",
        "meta/episodes.jsonl",
        "data/chunk-000/episode_000000.parquet",
        f"videos/chunk-000/{CAMERA}/episode_000000.mp4",
    ],
)
def test_a_file_that_was_not_downloaded_is_called_what_it_is(tmp_path, name, text):
    folder = write_foreign(tmp_path / "data")
    (folder / name).write_text(text)
    with pytest.raises(
        LeRobotError, match=f"{name}: expected .* but it is a {'Git LFS' if text == LFS else 'web page'}"
    ):
        list(LeRobotDataset(folder).episode(0).frames[CAMERA])


def test_datasets_of_the_predecessor_with_a_file_per_episode_are_read(tmp_path):
    folder = tmp_path / "old"
    for number in range(2):
        writer = LeRobotWriter(tmp_path / f"part{number}", description())
        writer.write_file(0, [episode(number)], first_episode=number, first_frame=0)
        for source, target in (
            ("data/chunk-000/file-000.parquet", f"data/chunk-000/episode_{number:06d}.parquet"),
            (f"videos/{CAMERA}/chunk-000/file-000.mp4", f"videos/chunk-000/{CAMERA}/episode_{number:06d}.mp4"),
        ):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"part{number}" / source).rename(folder / target)
    information = json.loads((make(tmp_path / "new") / "meta/info.json").read_text())
    information |= {
        "codebase_version": "v2.1",
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (folder / "meta").mkdir()
    (folder / "meta/info.json").write_text(json.dumps(information))
    rows = [{"episode_index": number, "tasks": ["reach"], "length": LENGTHS[number]} for number in range(2)]
    (folder / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    read = LeRobotDataset(folder).episode(1)
    np.testing.assert_array_equal(list(read.frames[CAMERA]), episode(1).frames[CAMERA])
    np.testing.assert_array_equal(read.columns["observation.state"], episode(1).columns["observation.state"])
