"""Collection: the same dataset for any number of workers, complete or absent shards, and going on after an end."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from jepa_sim.collect import SETTINGS_FILE, CollectConfig, CollectError, collect_episodes, record_episode
from jepa_sim.environment import EnvironmentConfig, TableEnvironment
from jepa_sim.randomization import RandomizationConfig
from jepa_world_model.data.episodes import load_episodes
from jepa_world_model.data.lerobot import ACTION, STATE, LeRobotDataset
from jepa_world_model.poses import integrate


def small(out: Path, **changes: object) -> CollectConfig:
    """Four episodes of three frames in two shards."""
    settings: dict[str, object] = {"episodes": 4, "frames": 3, "shard_episodes": 2, "image_size": 32, "workers": 1}
    return CollectConfig(out, **(settings | changes))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of episodes, by its place."""
    paths = sorted(path for kind in ("data", "videos") for path in (folder / kind).rglob("file-*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def file_of(index: int) -> Path:
    """The table of episodes of a shard, which is put in place last."""
    return Path(f"meta/episodes/chunk-000/file-{index:03d}.parquet")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset made by one worker."""
    return collect_episodes(small(tmp_path_factory.mktemp("dataset")), progress=False)


def test_a_dataset_can_be_trained_on(dataset: Path):
    episodes = load_episodes(dataset)
    assert episodes.images.shape == (4, 3, 32, 32, 3)
    assert episodes.images.std() > 10
    assert np.abs(episodes.actions).max() > 1e-3


def test_actions_lead_from_each_state_to_the_next(dataset: Path):
    episodes = load_episodes(dataset)
    reached = integrate(episodes.states[:, :-1], episodes.actions)
    assert np.allclose(reached[..., :3], episodes.states[:, 1:, :3], atol=1e-5)
    assert np.allclose(reached[..., 6], episodes.states[:, 1:, 6], atol=1e-5)


def test_the_dataset_does_not_depend_on_the_number_of_workers(dataset: Path, tmp_path: Path):
    collect_episodes(small(tmp_path, workers=2), progress=False)
    assert contents(tmp_path) == contents(dataset)


def test_an_episode_does_not_depend_on_those_before_it(dataset: Path):
    with TableEnvironment() as environment:
        episode = record_episode(environment, 3, small(dataset))
    assert np.array_equal(episode.images, load_episodes(dataset).images[3])


def test_a_missing_shard_is_made_again_and_the_others_are_kept(dataset: Path, tmp_path: Path):
    out = tmp_path / "copy"
    shutil.copytree(dataset, out)
    (out / file_of(1)).unlink()
    kept = (out / file_of(0)).stat().st_mtime_ns
    collect_episodes(small(out), progress=False)
    assert (out / file_of(0)).stat().st_mtime_ns == kept
    assert contents(out) == contents(dataset)


def test_both_formats_hold_the_same_episodes(dataset: Path, tmp_path: Path):
    collect_episodes(small(tmp_path, format="npz"), progress=False)
    plain, lerobot = load_episodes(tmp_path), load_episodes(dataset)
    assert np.array_equal(plain.images, lerobot.images), "the video loses nothing"
    assert np.array_equal(plain.states, lerobot.states)
    assert np.allclose(plain.actions, lerobot.actions, atol=1e-6)


def test_other_programs_find_states_actions_and_objects(dataset: Path):
    reader = LeRobotDataset(dataset)
    columns = reader.columns(1, [STATE, ACTION, "observation.environment_state"])
    assert (reader.fps, len(reader), reader.robot_type) == (4.0, 4, "panda")
    assert columns[ACTION].shape == (3, 7) and not columns[ACTION][-1].any()
    assert columns["observation.environment_state"].shape == (3, 6)


def test_a_dataset_can_grow(dataset: Path, tmp_path: Path):
    collect_episodes(small(tmp_path, episodes=1), progress=False)
    collect_episodes(small(tmp_path), progress=False)
    assert contents(tmp_path) == contents(dataset)


def test_other_settings_do_not_mix_into_a_dataset(dataset: Path):
    with pytest.raises(CollectError, match="other values of frames, seed"):
        collect_episodes(small(dataset, seed=100, frames=4), progress=False)


@pytest.mark.parametrize("name", ["episodes", "frames", "image_size", "shard_episodes"])
def test_counts_below_one_are_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=name):
        small(tmp_path, **{name: 0})


_PROGRAM = """
import resource, sys
from collections.abc import Iterator
from pathlib import Path
from jepa_sim.collect import CollectConfig, collect_episodes
if __name__ == "__main__":
    episodes, workers, largest_file = map(int, sys.argv[2:])
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    collect_episodes(CollectConfig(Path(sys.argv[1]), episodes, 3, shard_episodes=2, image_size=32, workers=workers))
"""


def program(folder: Path, *arguments: object) -> list[str]:
    """The command of a collection in a process of its own."""
    script = folder / "collection.py"
    script.write_text(_PROGRAM)
    return [sys.executable, str(script), *map(str, arguments)]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_collection_goes_on_where_it_was(dataset: Path, tmp_path: Path, how: signal.Signals):
    out = tmp_path / "data"
    with subprocess.Popen(program(tmp_path, out, 400, 2, -1), stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 300
        while not all((out / file_of(index)).exists() for index in (0, 1)):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        assert process.wait(300) != 0
    _, left = psutil.wait_procs(workers, timeout=300)
    assert not left, "no worker outlives what started it"
    made = sorted((out / file_of(0)).parent.glob("file-*"))
    assert 2 <= len(made) < 200
    collect_episodes(small(out), progress=False)
    found, expected = contents(out), contents(dataset)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("kind", ["lerobot", "npz"])
def test_a_gap_that_killed_workers_left_is_filled_also_when_fewer_are_asked_for(tmp_path: Path, kind: str):
    out, whole = tmp_path / "gap", tmp_path / "whole"
    for folder in (out, whole):
        collect_episodes(small(folder, episodes=5, format=kind), progress=False)
    for path in (path for path in out.rglob("*") if path.stem in ("file-001", "shard_00001")):
        path.unlink()
    assert len(list(out.rglob("*"))) < len(list(whole.rglob("*")))
    collect_episodes(small(out, episodes=2, format=kind), progress=False)
    for name in ("images", "states", "actions"):
        np.testing.assert_array_equal(getattr(load_episodes(out), name), getattr(load_episodes(whole), name))
    assert len(load_episodes(out).states) == 5


def test_a_full_disk_leaves_no_half_shard(dataset: Path, tmp_path: Path):
    out = tmp_path / "data"
    # No file may become larger than this: the settings fit, a shard's files do not.
    ended = subprocess.run(program(tmp_path, out, 4, 1, 5000), capture_output=True, text=True, timeout=300)
    assert ended.returncode != 0
    assert "too large" in ended.stderr.lower(), ended.stderr
    assert contents(out) == {}
    collect_episodes(small(out), progress=False)
    assert contents(out) == contents(dataset)


def child_commands(pid: int) -> Iterator[str]:
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):  # short-lived helpers end meanwhile
            yield " ".join(child.cmdline())


def test_ctrl_c_while_workers_start_shows_no_traceback(tmp_path: Path):
    command = [sys.executable, "-m", "jepa_tools.cli", "collect", "--out", str(tmp_path / "data"), "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 300
        # The first worker is there, and has not imported anything yet.
        while not any("spawn_main" in text for text in child_commands(process.pid)):
            assert time.monotonic() < deadline and process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted" in errors and "Traceback" not in errors


def test_a_setting_that_an_older_collection_did_not_have_counts_with_its_default(dataset: Path, tmp_path: Path):
    out = tmp_path / "copy"
    shutil.copytree(dataset, out)
    settings = json.loads((out / SETTINGS_FILE).read_text())
    del settings["randomization"], settings["environment"]["view_turn_deg"]
    (out / SETTINGS_FILE).write_text(json.dumps(settings))
    collect_episodes(small(out), progress=False)
    with pytest.raises(CollectError, match=r"environment\.view_turn_deg, randomization\.camera_position_m"):
        environment = EnvironmentConfig(view_turn_deg=30.0)
        randomization = RandomizationConfig(camera_position_m=0.05)
        collect_episodes(small(out, environment=environment, randomization=randomization), progress=False)


@pytest.mark.parametrize("what", ["meta/info.json", "shard_00000.npz"])
def test_episodes_that_were_not_collected_are_not_continued(tmp_path: Path, what: str):
    (tmp_path / what).parent.mkdir(exist_ok=True)
    (tmp_path / what).write_text("{}")
    with pytest.raises(CollectError, match="not collected"):
        collect_episodes(small(tmp_path), progress=False)
