"""LeRobot datasets of other robots and labs (DROID and the like) become episodes that our training reads.

Those are LeRobot datasets too: at the model's rate, with end-effector states and square pictures of one camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_tools.bags.resampling import NANOSECONDS, resample
from jepa_tools.conversion.bag_to_dataset import padded_actions
from jepa_tools.conversion.columns import IMAGES, VIDEO_OPTIONS, Storage, pose_features
from jepa_tools.conversion.dataset_to_bag import chosen_camera
from jepa_tools.conversion.source_files import SourceFiles
from jepa_world_model.data.lerobot import (
    ACTION,
    STATE,
    DatasetDescription,
    Episode,
    LeRobotDataset,
    LeRobotError,
    write_dataset,
)
from jepa_world_model.data.lerobot.timing import Times
from jepa_world_model.data.state_reading import CLOSEDNESS_FROM, StateColumns, StateReading, state_columns
from jepa_world_model.data.state_survey import StateSurvey
from jepa_world_model.poses import difference
from jepa_world_model.preprocess import resize_and_crop

FRAME_BOUND = 0.4
"""Share of a period by which a frame may lie beside its time; without one, an episode ends."""


@dataclass(frozen=True)
class EpisodeConversion:
    """How a dataset becomes training episodes.

    Attributes:
        rate_hz: about how many frames per second to keep; every n-th stored frame is.
        camera: name of the camera; empty takes the only one.
        reading: how columns become states. Of DROID: the columns observation.state.cartesian_position and
            observation.state.gripper_position.
        image_size: side of the square pictures, pixels; the short side is scaled to it and the middle cut.
        storage: how pictures are stored.
    """

    rate_hz: float = 4.0
    camera: str = ""
    reading: StateReading = field(default_factory=StateReading)
    image_size: int = 256
    storage: Storage = "lossless"


@dataclass
class ConversionReport:
    """What a conversion found in its source.

    Attributes:
        survey: ranges of the states as they are stored, and what was clipped.
        unseen: rows without a picture at their time, which were left out.
        gaps: places where rows or pictures are missing, at each of which an episode ends.
        short: stretches of fewer than two frames at the target's rate, which were left out.
        broken: episodes that were left out, and why.
    """

    survey: StateSurvey
    unseen: int = 0
    gaps: int = 0
    short: int = 0
    broken: dict[int, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [str(self.survey)]
        if self.unseen:
            lines.append(f"{self.unseen} rows left out: no picture at their time")
        if self.gaps:
            lines.append(f"{self.gaps} gaps in rows or pictures: an episode ends at each")
        if self.short:
            lines.append(f"{self.short} episodes left out: shorter than two frames")
        return "\n".join(lines)

    @property
    def problems(self) -> tuple[str, ...]:
        """What training should know."""
        return (*self.survey.problems, *(f"episode {number} left out: {why}" for number, why in self.broken.items()))


def convert_to_episodes(source: Path, target: Path, conversion: EpisodeConversion) -> ConversionReport:
    """Writes the training episodes, and says what was found.

    Raises:
        LeRobotError: the dataset is damaged, lacks the camera, holds states that cannot be, or changed meanwhile.
        FileExistsError: `target` exists.
    """
    dataset = LeRobotDataset(source)
    camera = chosen_camera(dataset, conversion.camera)
    files = SourceFiles(source, dataset.files(camera))
    columns = state_columns(dataset, conversion.reading)
    maker = _EpisodeMaker(columns, camera, conversion, ConversionReport(columns.survey()))

    def episodes_from(first: int) -> Iterator[Episode]:
        yield from maker.episodes(first)
        files.check_unchanged()

    identity = f"episodes {camera} {conversion!r} {files.identity}"
    write_dataset(target, maker.description(), episodes_from, source=identity)
    return maker.report


class _EpisodeMaker:
    """Cuts a dataset's episodes where something is missing, and counts what it leaves out."""

    def __init__(
        self, columns: StateColumns, camera: str, conversion: EpisodeConversion, report: ConversionReport
    ) -> None:
        self._columns, self._dataset = columns, columns.dataset
        self._camera, self._conversion, self.report = camera, conversion, report
        self._stride = max(1, round(self._dataset.fps / conversion.rate_hz))

    def description(self) -> DatasetDescription:
        """Of the target."""
        dataset, size = self._dataset, self._conversion.image_size
        extra = {"source": dataset.folder.name, "source_fps": dataset.fps, "source_stride": self._stride}
        if "gripper" in self._columns.asserted:
            extra[CLOSEDNESS_FROM] = str(self._columns.gripper)
        return DatasetDescription(
            fps=max(1, round(dataset.fps / self._stride)),
            robot_type=dataset.robot_type or "unknown",
            features=pose_features(),
            cameras={f"{IMAGES}.camera": (size, size)},
            tasks=dataset.tasks or ("",),
            video=VIDEO_OPTIONS[self._conversion.storage],
            extra=extra,
        )

    def episodes(self, first: int) -> Iterator[Episode]:
        """Episodes of the target from the given number on.

        Raises:
            LeRobotError: none of the source's episodes can be used.
        """
        made = 0
        for number in tqdm(range(len(self._dataset)), desc="convert", unit="episode", disable=None):
            for rows in self._stretches(number):
                made += 1
                if made > first:
                    yield self._episode(number, rows)
        if not made and self.report.broken:
            raise LeRobotError(next(iter(self.report.broken.values())))

    def _stretches(self, number: int) -> list[NDArray[np.int64]]:
        """Rows to keep of an episode, cut at gaps; none of a broken one."""
        try:
            shown = np.flatnonzero(self._dataset.has_picture(number, self._camera))
            times = self._dataset.times(number)[shown]
            self._check_finite(number)
        except LeRobotError as error:
            self.report.broken[number] = str(error)
            return []
        parts = self._resampled(times)
        kept = [shown[part] for part in parts if len(part) > 1]
        self.report.unseen += self._dataset.episodes[number].length - len(shown)
        self.report.gaps += max(0, len(parts) - 1)
        self.report.short += max(1, len(parts)) - len(kept)
        return kept

    def _resampled(self, times: Times) -> list[NDArray[np.int64]]:
        """Every n-th of rows at these times, s, or the one nearest to where it should be; cut where there is none."""
        if not len(times):
            return []
        since = (times - times[0]) * self._dataset.fps
        last = np.floor((since[-1] + 0.5) / self._stride) * self._stride
        stamps = np.rint(times[since <= last + 0.5] * NANOSECONDS).astype(np.int64)
        return resample(stamps, self._dataset.fps / self._stride, FRAME_BOUND)

    def _check_finite(self, number: int) -> None:
        if not np.isfinite(self._columns.raw(number)).all():
            raise LeRobotError(f"{self._dataset.folder}, episode {number}: the states are not all finite")

    def _episode(self, number: int, rows: NDArray[np.int64]) -> Episode:
        states = self._columns.states(number)[rows]
        columns = {STATE: states, ACTION: padded_actions(difference(states[:-1], states[1:]))}
        stored = self._dataset.pictures_at(number, self._camera, rows.tolist())
        size = self._conversion.image_size
        pictures = (resize_and_crop(item, size, size) for item in stored)
        tasks = self._dataset.episodes[number].tasks or self._dataset.tasks or ("",)
        return Episode(columns, {f"{IMAGES}.camera": pictures}, tasks[0])
