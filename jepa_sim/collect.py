"""Collects episodes from the simulated table into the shards that `jepa_world_model.data` reads.

Every episode is a function of its seed alone, so a dataset is the same however many processes make it, and however
often its collection was interrupted: a shard is there completely or not at all.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_sim.environment import EnvironmentConfig, TableEnvironment
from jepa_sim.policies import MixedPolicy, PolicyConfig
from jepa_sim.scene import OBJECTS
from jepa_world_model.poses import difference

SETTINGS_FILE = "collection.json"


class CollectError(RuntimeError):
    """The dataset cannot be collected as asked; the message says what to change."""


@dataclass(frozen=True)
class CollectConfig:
    """What to collect.

    Attributes:
        out: the dataset's folder; what is complete there is kept.
        episodes: how many; a multiple of `shard_episodes`, or the last shard is shorter.
        frames: per episode, one control period apart.
        seed: of the first episode; the next ones follow. Datasets with overlapping seeds share episodes.
        workers: processes; 0 takes one per processor that this process may use, 1 works in this very process.
        image_size: side of the stored square images, pixels.
        render_size: side of the rendered image, as the camera gives it; reduced by area averaging.
        shard_episodes: episodes per file.
        environment: the scene and how actions become motion.
        policy: what the robot does.
    """

    out: Path
    episodes: int = 3000
    frames: int = 24
    seed: int = 0
    workers: int = 0
    image_size: int = 96
    render_size: int = 256
    shard_episodes: int = 100
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)

    def __post_init__(self) -> None:
        for name in ("episodes", "image_size", "render_size", "shard_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.frames < 2:
            raise ValueError(f"frames: expected at least 2, so that there is an action, got {self.frames}")
        if self.seed < 0 or self.workers < 0:
            raise ValueError(f"expected a seed and a number of workers from 0, got {self.seed} and {self.workers}")

    def shards(self) -> tuple[Shard, ...]:
        """The files that make up the dataset."""
        starts = range(0, self.episodes, self.shard_episodes)
        return tuple(
            Shard(index, self.seed + start, min(self.shard_episodes, self.episodes - start))
            for index, start in enumerate(starts)
        )


@dataclass(frozen=True)
class Shard:
    """One file: `episodes` episodes from `first_seed` on."""

    index: int
    first_seed: int
    episodes: int

    def path(self, folder: Path) -> Path:
        """Where it is once it is complete."""
        return folder / f"shard_{self.index:05d}.npz"


@dataclass(frozen=True, eq=False)
class Episode:
    """One recorded episode.

    Attributes:
        images: uint8 [T, S, S, 3] RGB.
        states: float64 [T, 7].
        objects: float32 [T, objects, 3]: their centres, m, in the order of `jepa_sim.scene.OBJECTS`.
    """

    images: NDArray[np.uint8]
    states: NDArray[np.float64]
    objects: NDArray[np.float32]


def collect_episodes(config: CollectConfig, progress: bool = True) -> Path:
    """Collects what is missing of the dataset and returns its folder.

    Ctrl-C ends it within an episode's time and loses only the shards in work; call it again to go on.

    Args:
        config: what to collect.
        progress: whether to show a progress bar on standard error.

    Raises:
        CollectError: the folder holds a dataset that was collected in another way.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    _claim_folder(config)
    shards = config.shards()
    missing = [shard for shard in shards if not _is_complete(shard, config.out)]
    total = sum(shard.episodes for shard in shards)
    with tqdm(total=total, desc="collect", unit="episode", disable=not progress) as bar:
        bar.update(total - sum(shard.episodes for shard in missing))
        if missing and config.workers == 1:
            _collect_here(config, missing, bar)
        elif missing:
            _collect_in_processes(config, missing, bar)
    return config.out


def record_episode(environment: TableEnvironment, seed: int, config: CollectConfig) -> Episode:
    """Resets to `seed` and lets the mixed policy act for `config.frames` frames."""
    environment.reset(seed)
    policy = MixedPolicy(environment, np.random.default_rng((seed, 1)), config.policy)
    images, states, objects = [], [], []
    for frame in range(config.frames):
        if frame:
            environment.step(policy.act())
        images.append(_picture(environment, config))
        states.append(environment.state())
        positions = environment.object_positions()
        objects.append([positions[name] for name in OBJECTS])
    return Episode(np.stack(images), np.stack(states), np.array(objects, dtype=np.float32))


def _picture(environment: TableEnvironment, config: CollectConfig) -> NDArray[np.uint8]:
    image = environment.render(config.render_size, config.render_size)
    size = (config.image_size, config.image_size)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


# --- the folder ---------------------------------------------------------------------------------------------


def _claim_folder(config: CollectConfig) -> None:
    """Writes down how the dataset is collected, or checks that it is what an earlier run wrote down."""
    path, settings = config.out / SETTINGS_FILE, _settings(config)
    if not path.exists():
        _write_complete(path, lambda temporary: temporary.write_text(json.dumps(settings, indent=2) + "\n"))
        return
    found = json.loads(path.read_text())
    changed = sorted(name for name in settings if found.get(name) != settings[name])
    if changed:
        raise CollectError(
            f"{config.out} was collected with other values of {', '.join(changed)} (see {path}): "
            "use the same ones to go on, or another folder"
        )


def _is_complete(shard: Shard, folder: Path) -> bool:
    """Whether the file is there and has all the episodes, also when fewer were asked for before."""
    path = shard.path(folder)
    if not path.exists():
        return False
    with np.load(path, allow_pickle=False) as arrays:
        return bool(len(arrays["states"]) >= shard.episodes)


def _settings(config: CollectConfig) -> dict[str, Any]:
    """What determines the episodes of a shard; more episodes may be added to a dataset at any time."""
    settings = asdict(config)
    for name in ("out", "episodes", "workers"):
        del settings[name]
    return dict(json.loads(json.dumps(settings)))


def _write_complete(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, and renames it when it is safely on disk."""
    # The same name at every try, so that what a killed process left is overwritten, not kept.
    temporary = path.with_name(f".{path.name}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# --- the work -----------------------------------------------------------------------------------------------


def _collect_shard(
    environment: TableEnvironment, config: CollectConfig, shard: Shard, on_episode: Callable[[], bool]
) -> None:
    """Makes one file; gives up without it as soon as `on_episode`, called after every episode, returns False."""
    episodes = []
    for seed in range(shard.first_seed, shard.first_seed + shard.episodes):
        episodes.append(record_episode(environment, seed, config))
        if not on_episode():
            return
    _write_complete(shard.path(config.out), lambda path: _write_shard(path, episodes))


def _write_shard(path: Path, episodes: Sequence[Episode]) -> None:
    states = np.stack([episode.states for episode in episodes])
    np.savez(
        path,
        images=np.stack([episode.images for episode in episodes]),
        states=states.astype(np.float32),
        actions=difference(states[:, :-1], states[:, 1:]).astype(np.float32),
        objects=np.stack([episode.objects for episode in episodes]),
    )


def _collect_here(config: CollectConfig, shards: Sequence[Shard], bar: Any) -> None:
    def on_episode() -> bool:
        bar.update()
        return True

    with TableEnvironment(config.environment) as environment:
        for shard in shards:
            _collect_shard(environment, config, shard, on_episode)


def _collect_in_processes(config: CollectConfig, shards: Sequence[Shard], bar: Any) -> None:
    workers = min(config.workers or len(os.sched_getaffinity(0)), len(shards))
    # A forked process would inherit this one's OpenGL and threads.
    context = multiprocessing.get_context("spawn")
    finished, stopping = context.Value("q", 0), context.Event()
    with _single_threaded_children():
        pool = ProcessPoolExecutor(workers, context, _start_worker, (config, finished, stopping))
        futures = [pool.submit(_collect_in_worker, shard) for shard in shards]
        try:
            _show_progress(futures, finished, bar)
        finally:
            stopping.set()
            pool.shutdown(cancel_futures=True)
    for future in futures:
        _raise_failure(future)


def _show_progress(futures: Sequence[Future[None]], finished: Any, bar: Any) -> None:
    """Returns when all is done, or as soon as something failed."""
    shown, waiting = 0, set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=0.5)
        if finished.value > shown:
            bar.update(finished.value - shown)
            shown = finished.value
        if any(future.exception() for future in done):
            return


def _raise_failure(future: Future[None]) -> None:
    try:
        future.result()
    except BrokenProcessPool as error:
        raise CollectError(
            "a collecting process was killed (out of memory?): collect again to go on, perhaps with fewer workers"
        ) from error


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Processes started meanwhile use one thread for linear algebra: there is one process per core already."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Worker:
    """What a worker process keeps between shards, and what it shares with the one that started it."""

    def __init__(self, config: CollectConfig, finished: Any, stopping: Any) -> None:
        self._config, self._finished, self._stopping = config, finished, stopping
        self._environment: TableEnvironment | None = None

    def collect(self, shard: Shard) -> None:
        if self._stopping.is_set():
            return
        if self._environment is None:
            self._environment = TableEnvironment(self._config.environment)
        _collect_shard(self._environment, self._config, shard, self._count)

    def _count(self) -> bool:
        with self._finished.get_lock():
            self._finished.value += 1
        return not self._stopping.is_set()


# Set once in each worker process, before its first shard.
_workers: list[_Worker] = []


def _start_worker(config: CollectConfig, finished: Any, stopping: Any) -> None:
    # Ctrl-C reaches every process of the terminal; the parent tells this one when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _workers[:] = [_Worker(config, finished, stopping)]
    # Before the interpreter is taken down: OpenGL and the motion library end in order only while it stands.
    atexit.register(_workers.clear)


def _end_with_parent() -> None:
    """Ends this process when the one that started it is killed: nobody else would tell it to."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _collect_in_worker(shard: Shard) -> None:
    (worker,) = _workers
    worker.collect(shard)
