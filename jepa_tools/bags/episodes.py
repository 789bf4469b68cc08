"""Bags as episodes: frames at the model's rate with the states and actions between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_tools.bags.bag_file import BagError, OpenBag, open_bag
from jepa_tools.bags.bag_index import BagIndex, Series, index_bag
from jepa_tools.bags.pictures import CheckedPictures, PicturesOfEpisode, check_pictures
from jepa_tools.bags.resampling import NANOSECONDS, Run, resample, split_runs
from jepa_tools.bags.robot_states import RobotStates, StatesOfRun
from jepa_tools.bags.settings import BagSettings
from jepa_tools.bags.topics import BagTopics, choose_topics
from jepa_world_model.poses import difference

READER_VERSION = 2
"""To be raised when the same bag becomes other episodes, so that what was made of them before is not gone on with.

1 refused a whole bag for one bad picture, and closed every gripper by its smaller positions.
"""

Array = NDArray[np.float64]
Stamps = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BagEpisode:
    """A stretch of a bag without gaps. Its pictures stay in the bag until they are asked for.

    Attributes:
        stamps: of the pictures, ns, [T].
        recorded: when they were recorded, ns, [T].
        states: [T, 7] at those stamps.
        actions: [T - 1, 7].
        joint_positions: arm joints [T, joints], rad, or None.
        pictures: called, opens the bag and yields the T pictures, uint8 [H, W, 3] RGB, one by one.
    """

    stamps: Stamps
    recorded: Stamps
    states: Array
    actions: Array
    joint_positions: Array | None
    pictures: PicturesOfEpisode

    @property
    def length(self) -> int:
        """Frames."""
        return len(self.stamps)

    @property
    def times(self) -> Array:
        """Seconds since the first frame, [T]."""
        return np.asarray((self.stamps - self.stamps[0]) / NANOSECONDS)


@dataclass(frozen=True, eq=False)
class RecordedBag:
    """A bag, ready to be evaluated or converted.

    Attributes:
        path: of the bag.
        rate_hz: frames per second of its episodes.
        topics: which topic was taken for what.
        episodes: at least one, each of at least two frames.
        notes: what was left out and why, for people.
        metadata: what its recorder noted.
        urdf: the robot's description; empty if poses were recorded.
    """

    path: Path
    rate_hz: float
    topics: BagTopics
    episodes: tuple[BagEpisode, ...]
    notes: tuple[str, ...]
    metadata: dict[str, str]
    urdf: str


def read_bag(path: Path, settings: BagSettings, rate_hz: float) -> RecordedBag:
    """Reads a bag but for its pictures.

    Args:
        path: a rosbag2 folder, or one .mcap or .db3 file.
        settings: topics and robot.
        rate_hz: of the model; the settings' own rate counts if there is one.

    Raises:
        BagError: the bag is damaged or lacks what an evaluation needs.
    """
    rate = settings.rate_hz or rate_hz
    with open_bag(path) as bag:
        topics = choose_topics(bag, settings)
        index = index_bag(bag, topics, settings)
        states = RobotStates(path, index, settings)
        maker = _EpisodeMaker(path, topics, index, states, settings, rate)
        episodes, maker = _usable_episodes(bag, maker)
    return RecordedBag(path, rate, topics, episodes, tuple(maker.notes()), bag.metadata, states.urdf)


def _usable_episodes(bag: OpenBag, maker: _EpisodeMaker) -> tuple[tuple[BagEpisode, ...], _EpisodeMaker]:
    """Episodes whose pictures all decode, and who made them.

    Only the pictures of the episodes are tried. When one is bad, others beside it may stand in: then all are tried.

    Raises:
        BagError: there is no episode, or the size of the pictures changes.
    """
    episodes = maker.some_episodes()
    checked = check_pictures(bag, maker.topics.image, _moments(episodes))
    if checked.refused:
        checked = check_pictures(bag, maker.topics.image)
        maker = maker.without(checked)
        episodes = maker.some_episodes()
    checked.same_size(bag.path, _moments(episodes))
    return episodes, maker


def _moments(episodes: Sequence[BagEpisode]) -> set[tuple[int, int]]:
    return {moment for episode in episodes for moment in episode.pictures.moments}


class _EpisodeMaker:
    """Cuts the runs of a bag into episodes and counts what it leaves out."""

    def __init__(
        self,
        path: Path,
        topics: BagTopics,
        index: BagIndex,
        states: RobotStates,
        settings: BagSettings,
        rate_hz: float,
    ) -> None:
        self._path, self.topics, self._index, self._states = path, topics, index, states
        self._settings, self._rate = settings, rate_hz
        self._runs = split_runs(index.frames.stamps, index.frames.recorded)
        self._stateless = self._short = self._gaps = 0

    def without(self, checked: CheckedPictures) -> _EpisodeMaker:
        """A maker that does not know the pictures that were refused."""
        frames = self._index.frames
        moments = zip(frames.recorded.tolist(), frames.stamps.tolist(), strict=True)
        usable = np.array([moment not in checked.refused for moment in moments], dtype=bool)
        count, reason = self._index.refused.get(self.topics.image, (0, next(iter(checked.refused.values()))))
        index = replace(
            self._index,
            frames=Series(frames.stamps[usable], frames.recorded[usable], frames.values[usable]),
            refused=self._index.refused | {self.topics.image: (count + len(checked.refused), reason)},
        )
        return _EpisodeMaker(self._path, self.topics, index, self._states, self._settings, self._rate)

    def some_episodes(self) -> tuple[BagEpisode, ...]:
        """At least one episode.

        Raises:
            BagError: there is none.
        """
        if episodes := tuple(self.episodes()):
            return episodes
        raise BagError("\n  ".join([self._why_none(), *self._index.notes, *self._index.refusals()]))

    def episodes(self) -> Iterator[BagEpisode]:
        for run in self._runs:
            states = self._states.within(run, only_run=len(self._runs) == 1)
            stretches = resample(run.stamps, self._rate, self._settings.frame_bound)
            self._gaps += max(0, len(stretches) - 1)
            for stretch in stretches:
                for piece in self._with_state(run, states, stretch):
                    yield self._episode(run, states, piece)

    def _with_state(self, run: Run, states: StatesOfRun, stretch: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Parts of a stretch in which the state is known, none too long and none of a single frame."""
        known = states.known(run.stamps[stretch])
        self._stateless += int(np.count_nonzero(~known))
        cuts = np.flatnonzero(np.diff(known.astype(np.int8))) + 1
        for piece, valid in zip(np.split(stretch, cuts), np.split(known, cuts), strict=True):
            if not valid[0]:
                continue
            for part in _parts(piece, self._settings.longest_episode):
                if len(part) < 2:
                    self._short += len(part)
                else:
                    yield part

    def _episode(self, run: Run, states: StatesOfRun, piece: NDArray[np.int64]) -> BagEpisode:
        stamps, recorded = run.stamps[piece], self._index.frames.recorded[run.order[piece]]
        values = states.states(stamps)
        commanded = self._settings.actions == "commands"
        actions = states.commanded_actions(stamps, values) if commanded else difference(values[:-1], values[1:])
        joints = states.joint_positions(stamps)
        pictures = PicturesOfEpisode(self._path, self.topics.image, stamps, recorded)
        return BagEpisode(stamps, recorded, values, actions, joints, pictures)

    def notes(self) -> Iterator[str]:
        """What was left out."""
        if len(self._runs) > 1:
            yield f"the clock was set back {len(self._runs) - 1} times: each part counts as an episode of its own"
        if self._gaps:
            yield f"{self._gaps} gaps in the images: an episode ends at each"
        if self._stateless:
            yield f"{self._stateless} frames left out: no robot state within {self._settings.state_bound:g} s of them"
        if self._short:
            yield f"{self._short} frames left out: alone between gaps"
        if self._settings.finger_joints and not len(self._index.fingers):
            yield "no finger's position was recorded: the gripper counts as open"
        yield from self._states.doubts
        if self._settings.actions == "commands" and not len(self._index.commands):
            yield "no arm command was recorded: all commanded actions are zero"
        yield from self._index.notes
        yield from self._index.refusals()

    def _why_none(self) -> str:
        count = len(self._index.frames)
        if count < 2:
            return f"{self._path}: expected at least two images on {self.topics.image} that can be read, found {count}"
        if self._stateless:
            return (
                f"{self._path}: no image has a robot state within {self._settings.state_bound:g} s: "
                "images and joint states seem to be stamped by different clocks"
            )
        return f"{self._path}: no two images follow each other at {self._rate:g} Hz: the camera is too slow or has gaps"


def _parts(piece: NDArray[np.int64], longest: int) -> list[NDArray[np.int64]]:
    """Cuts an episode into parts of at most `longest` frames, about equally long."""
    return np.array_split(piece, -(-len(piece) // longest))
