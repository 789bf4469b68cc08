"""Where collected episodes go: files that each hold some episodes, there completely or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from jepa_common.whole_files import whole_file
from jepa_sim.scene import OBJECTS
from jepa_world_model.data.lerobot import (
    ACTION,
    STATE,
    DatasetDescription,
    Feature,
    LeRobotWriter,
    table,
)
from jepa_world_model.data.lerobot import Episode as LeRobotEpisode
from jepa_world_model.data.lerobot.layout import EPISODES_PATH, numbered
from jepa_world_model.data.state_names import POSE_NAMES
from jepa_world_model.data.state_reading import CLOSEDNESS_FROM
from jepa_world_model.poses import difference

Format = Literal["lerobot", "npz"]

CAMERA_KEY = "observation.images.camera"
OBJECTS_KEY = "observation.environment_state"
TASK = "Move about, reach for places, pick objects up and put them down."


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


@dataclass(frozen=True)
class Shard:
    """One file: `episodes` episodes of seeds from `first_seed` on; `first_episode` is its first one's number."""

    index: int
    first_seed: int
    first_episode: int
    episodes: int


class EpisodeStore(Protocol):
    """A folder of shards. Several processes may write different shards."""

    def is_complete(self, shard: Shard) -> bool:
        """Whether the file is there and has all the episodes, also when fewer were asked for before."""

    @property
    def last(self) -> int:
        """The highest index of a file that is there; -1 where there is none. Killed processes leave gaps before it."""

    def write(self, shard: Shard, episodes: Sequence[Episode]) -> None:
        """Makes the file; what is left of an earlier try does not matter."""

    def finish(self) -> None:
        """Called when all shards are complete."""


class NpzStore:
    """`shard_*.npz`: arrays `images`, `states`, `actions` and `objects` with a first axis for the episodes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, shard: Shard) -> Path:
        """Where a shard is once it is complete."""
        return self._folder / f"shard_{shard.index:05d}.npz"

    def is_complete(self, shard: Shard) -> bool:
        """See `EpisodeStore`."""
        path = self.path(shard)
        if not path.exists():
            return False
        with np.load(path, allow_pickle=False) as arrays:
            return bool(len(arrays["states"]) >= shard.episodes)

    @property
    def last(self) -> int:
        """See `EpisodeStore`."""
        return max((int(path.stem.rpartition("_")[2]) for path in self._folder.glob("shard_*.npz")), default=-1)

    def write(self, shard: Shard, episodes: Sequence[Episode]) -> None:
        """See `EpisodeStore`."""
        states = np.stack([episode.states for episode in episodes])
        with whole_file(self.path(shard)) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                images=np.stack([episode.images for episode in episodes]),
                states=states.astype(np.float32),
                actions=difference(states[:, :-1], states[:, 1:]).astype(np.float32),
                objects=np.stack([episode.objects for episode in episodes]),
            )

    def finish(self) -> None:
        """Nothing is left to do."""


class LeRobotStore:
    """The LeRobot v3 layout, its pictures as a video that loses nothing.

    An action leads from its frame's state to the next one's, as measured; the last one of an episode is zero.
    """

    def __init__(self, folder: Path, image_size: int, frames: int, rate_hz: float) -> None:
        """Raises `LeRobotError` when the control rate is no whole number, which the layout asks for."""
        self._folder, self._frames = folder, frames
        self._writer = LeRobotWriter(folder, _description(image_size, rate_hz))

    def is_complete(self, shard: Shard) -> bool:
        """See `EpisodeStore`."""
        if not self._writer.has_file(shard.index):
            return False
        rows = table.read(self._folder / numbered(EPISODES_PATH, shard.index), columns=["length"])
        return bool(rows.num_rows >= shard.episodes)

    @property
    def last(self) -> int:
        """See `EpisodeStore`."""
        return self._writer.last_file

    def write(self, shard: Shard, episodes: Sequence[Episode]) -> None:
        """See `EpisodeStore`."""
        first_frame = shard.first_episode * self._frames
        self._writer.write_file(shard.index, map(_lerobot_episode, episodes), shard.first_episode, first_frame)

    def finish(self) -> None:
        """Writes what makes the files a dataset."""
        self._writer.finish()


def _description(image_size: int, rate_hz: float) -> DatasetDescription:
    positions = tuple(f"{name}.{axis}" for name in OBJECTS for axis in "xyz")
    return DatasetDescription(
        fps=rate_hz,  # type: ignore[arg-type]  # refused there unless it is a whole number
        robot_type="panda",
        features={
            STATE: Feature("float32", (7,), POSE_NAMES),
            ACTION: Feature("float32", (7,), tuple(f"d_{name}" for name in POSE_NAMES)),
            OBJECTS_KEY: Feature("float32", (len(positions),), positions),
        },
        cameras={CAMERA_KEY: (image_size, image_size)},
        tasks=(TASK,),
        extra={CLOSEDNESS_FROM: "the simulated fingers"},
    )


def _lerobot_episode(episode: Episode) -> LeRobotEpisode:
    actions = np.zeros(episode.states.shape, np.float32)
    actions[:-1] = difference(episode.states[:-1], episode.states[1:])
    columns = {
        STATE: episode.states.astype(np.float32),
        ACTION: actions,
        OBJECTS_KEY: episode.objects.reshape(len(episode.objects), -1),
    }
    return LeRobotEpisode(columns, {CAMERA_KEY: episode.images}, TASK)
