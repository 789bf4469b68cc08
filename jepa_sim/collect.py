"""Collects episodes from the simulated table into a dataset that `jepa_world_model.data` reads.

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
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_common.settings_changes import changed_settings, plain
from jepa_common.whole_files import write_whole
from jepa_sim.camera_view import in_turned_axes
from jepa_sim.environment import EnvironmentConfig, TableEnvironment
from jepa_sim.episode_store import (
    Episode,
    EpisodeStore,
    Format,
    LeRobotStore,
    NpzStore,
    Shard,
)
from jepa_sim.policies import MixedPolicy, PolicyConfig
from jepa_sim.randomization import RandomizationConfig, randomized_environment
from jepa_sim.scene import OBJECTS

SETTINGS_FILE = "collection.json"
_MAY_CHANGE = frozenset({"out", "episodes", "workers"})
"""What does not determine the episodes of a shard; more episodes may be added to a dataset at any time."""


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
        format: "lerobot", the LeRobot v3 layout with lossless video, or "npz", plain arrays.
        environment: the scene and how actions become motion.
        policy: what the robot does.
        randomization: how scenes differ from each other; nothing by default.
    """

    out: Path
    episodes: int = 3000
    frames: int = 24
    seed: int = 0
    workers: int = 0
    image_size: int = 96
    render_size: int = 256
    shard_episodes: int = 100
    format: Format = "lerobot"
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    randomization: RandomizationConfig = field(default_factory=RandomizationConfig)

    def __post_init__(self) -> None:
        for name in ("episodes", "image_size", "render_size", "shard_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.frames < 2:
            raise ValueError(f"frames: expected at least 2, so that there is an action, got {self.frames}")
        if self.seed < 0 or self.workers < 0:
            raise ValueError(f"expected a seed and a number of workers from 0, got {self.seed} and {self.workers}")

    def store(self) -> EpisodeStore:
        """Where the episodes go."""
        if self.format == "npz":
            return NpzStore(self.out)
        return LeRobotStore(self.out, self.image_size, self.frames, self.environment.control_rate_hz)

    def shards(self) -> tuple[Shard, ...]:
        """The files that make up the dataset."""
        starts = range(0, self.episodes, self.shard_episodes)
        return tuple(
            Shard(index, self.seed + start, start, min(self.shard_episodes, self.episodes - start))
            for index, start in enumerate(starts)
        )


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
    store = config.store()
    # Workers that were killed leave shards behind a gap: it is closed, also where fewer episodes are asked for now.
    shards = replace(config, episodes=max(config.episodes, store.last * config.shard_episodes)).shards()
    missing = [shard for shard in shards if not store.is_complete(shard)]
    total = sum(shard.episodes for shard in shards)
    with tqdm(total=total, desc="collect", unit="episode", disable=not progress) as bar:
        bar.update(total - sum(shard.episodes for shard in missing))
        if missing and config.workers == 1:
            _collect_here(config, missing, bar)
        elif missing:
            _collect_in_processes(config, missing, bar)
    store.finish()
    return config.out


def record_episode(environment: TableEnvironment, seed: int, config: CollectConfig) -> Episode:
    """Resets to `seed` and lets the mixed policy act for `config.frames` frames.

    States are told in axes that are turned along with the camera, objects in the base frame.
    """
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
    told = in_turned_axes(np.stack(states), environment.config.view_turn_deg)
    return Episode(np.stack(images), told, np.array(objects, dtype=np.float32))


def _picture(environment: TableEnvironment, config: CollectConfig) -> NDArray[np.uint8]:
    image = environment.render(config.render_size, config.render_size)
    size = (config.image_size, config.image_size)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


# --- the folder ---------------------------------------------------------------------------------------------


def _claim_folder(config: CollectConfig) -> None:
    """Writes down how the dataset is collected, or checks that it is what an earlier run wrote down."""
    path = config.out / SETTINGS_FILE
    settings = {name: value for name, value in plain(config).items() if name not in _MAY_CHANGE}
    if not path.exists():
        if _holds_others(config.out):
            raise CollectError(
                f"{config.out} holds episodes that were not collected, or without {SETTINGS_FILE}, which says how:"
                " take another folder"
            )
        write_whole(path, json.dumps(settings, indent=2) + "\n")
        return
    # Before there was a choice of format it was npz.
    changed = changed_settings({"format": "npz", **json.loads(path.read_text())}, config, _MAY_CHANGE)
    if changed:
        raise CollectError(
            f"{config.out} was collected with other values of {', '.join(changed)} (see {path}): "
            "use the same ones to go on, or another folder"
        )


def _holds_others(folder: Path) -> bool:
    """Whether a folder holds episodes that no collection wrote down."""
    return any((folder / name).exists() for name in ("meta", "data", "videos")) or any(folder.glob("shard_*.npz"))


# --- the work -----------------------------------------------------------------------------------------------


class SceneKeeper:
    """The environment of the scene in which an episode plays; builds another only when the scene changes."""

    def __init__(self, config: CollectConfig) -> None:
        self._config, self._scene = config, -1
        self._environment: TableEnvironment | None = None

    def __enter__(self) -> SceneKeeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._environment is not None:
            self._environment.close()

    def environment(self, seed: int) -> TableEnvironment:
        """Where the episode `seed` plays; the one returned before is closed when it is another."""
        randomization = self._config.randomization
        scene = randomization.scene_of(seed) if randomization.enabled else 0
        if self._environment is None or scene != self._scene:
            if self._environment is not None:
                self._environment.close()
            self._scene = scene
            self._environment = TableEnvironment(randomized_environment(self._config.environment, randomization, scene))
        return self._environment


def _collect_shard(scenes: SceneKeeper, config: CollectConfig, shard: Shard, on_episode: Callable[[], bool]) -> None:
    """Makes one file; gives up without it as soon as `on_episode`, called after every episode, returns False."""
    episodes = []
    for seed in range(shard.first_seed, shard.first_seed + shard.episodes):
        episodes.append(record_episode(scenes.environment(seed), seed, config))
        if not on_episode():
            return
    config.store().write(shard, episodes)


def _collect_here(config: CollectConfig, shards: Sequence[Shard], bar: Any) -> None:
    def on_episode() -> bool:
        bar.update()
        return True

    with SceneKeeper(config) as scenes:
        for shard in shards:
            _collect_shard(scenes, config, shard, on_episode)


def _collect_in_processes(config: CollectConfig, shards: Sequence[Shard], bar: Any) -> None:
    workers = min(config.workers or len(os.sched_getaffinity(0)), len(shards))
    # A forked process would inherit this one's OpenGL and threads.
    context = multiprocessing.get_context("spawn")
    finished, stopping = context.Value("q", 0), context.Event()
    with _single_threaded_children():
        pool = ProcessPoolExecutor(workers, context, _start_worker, (config, finished, stopping))
        try:
            with _interruption_later():
                futures = [pool.submit(_collect_in_worker, shard) for shard in shards]
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
def _interruption_later() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, and never reaches processes that are started in it.

    Until such a process has imported what it needs to ignore the signal, it would end with a traceback; so it would if
    this one ended before it has told the other what to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C interrupts the main thread alone
        return
    asked: list[int] = []
    # The mask is for the processes, which inherit it; here another thread may receive the signal all the same.
    handler = signal.signal(signal.SIGINT, lambda number, _frame: asked.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if asked:
            signal.raise_signal(signal.SIGINT)


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
        self._scenes = SceneKeeper(config)

    def collect(self, shard: Shard) -> None:
        if not self._stopping.is_set():
            _collect_shard(self._scenes, self._config, shard, self._count)

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
