"""Collection: the same dataset for any number of workers, complete or absent shards, and going on after an end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from jepa_sim import collect
from jepa_sim.collect import CollectConfig, CollectError, collect_episodes, record_episode
from jepa_sim.environment import TableEnvironment
from jepa_world_model.data.episodes import load_episodes
from jepa_world_model.poses import integrate


def small(out: Path, **changes: object) -> CollectConfig:
    """Four episodes of three frames in two shards."""
    settings: dict[str, object] = {"episodes": 4, "frames": 3, "shard_episodes": 2, "image_size": 32, "workers": 1}
    return CollectConfig(out, **(settings | changes))


def contents(folder: Path) -> dict[str, np.ndarray]:
    """Every array of every shard, by file and name."""
    return {
        f"{path.name}/{name}": array
        for path in sorted(folder.glob("shard_*.npz"))
        for name, array in np.load(path).items()
    }


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert np.array_equal(array, other[name]), name


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
    assert_same(contents(tmp_path), contents(dataset))


def test_an_episode_does_not_depend_on_those_before_it(dataset: Path):
    with TableEnvironment() as environment:
        episode = record_episode(environment, 3, small(dataset))
    arrays = contents(dataset)
    assert np.array_equal(episode.images, arrays["shard_00001.npz/images"][1])


def test_a_missing_shard_is_made_again_and_the_others_are_kept(dataset: Path, tmp_path: Path):
    first = tmp_path / "shard_00000.npz"
    for path in dataset.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "shard_00001.npz").unlink()
    kept = first.stat().st_mtime_ns
    collect_episodes(small(tmp_path), progress=False)
    assert first.stat().st_mtime_ns == kept
    assert_same(contents(tmp_path), contents(dataset))


def test_a_dataset_can_grow(dataset: Path, tmp_path: Path):
    collect_episodes(small(tmp_path, episodes=1), progress=False)
    collect_episodes(small(tmp_path), progress=False)
    assert_same(contents(tmp_path), contents(dataset))


def test_other_settings_do_not_mix_into_a_dataset(dataset: Path):
    with pytest.raises(CollectError, match="other values of frames, seed"):
        collect_episodes(small(dataset, seed=100, frames=4), progress=False)


def test_a_full_disk_leaves_no_half_shard(tmp_path: Path):
    def fill(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        collect._write_complete(tmp_path / "shard_00000.npz", fill)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["episodes", "frames", "image_size", "shard_episodes"])
def test_counts_below_one_are_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=name):
        small(tmp_path, **{name: 0})


_ENDLESS = """
import sys
from pathlib import Path
from jepa_sim.collect import CollectConfig, collect_episodes
if __name__ == "__main__":
    collect_episodes(CollectConfig(Path(sys.argv[1]), 400, 3, shard_episodes=2, image_size=32, workers=2))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_collection_goes_on_where_it_was(dataset: Path, tmp_path: Path, how: signal.Signals):
    script, out = tmp_path / "endless.py", tmp_path / "data"
    script.write_text(_ENDLESS)
    with subprocess.Popen([sys.executable, str(script), str(out)], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 300
        while not all((out / f"shard_0000{index}.npz").exists() for index in (0, 1)):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        assert process.wait(300) != 0
    _, left = psutil.wait_procs(workers, timeout=300)
    assert not left, "no worker outlives what started it"
    made = sorted(out.glob("shard_*.npz"))
    assert 2 <= len(made) < 200
    assert [path.name for path in made[:2]] == ["shard_00000.npz", "shard_00001.npz"]
    collect_episodes(small(out), progress=False)
    expected = contents(dataset)
    assert_same({name: array for name, array in contents(out).items() if name in expected}, expected)
