"""Checks a converted dataset by reading it again, and says what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jepa_common.gripper_description import GripperDescription
from jepa_world_model.data.lerobot import ACTION, STATE, LeRobotDataset
from jepa_world_model.data.state_names import POSE_NAMES
from jepa_world_model.data.state_reading import CLOSEDNESS_FROM
from jepa_world_model.data.state_survey import MOVES, StateSurvey, Surveyor
from jepa_world_model.poses import difference

_TOLERANCE = 1e-5
LARGE_STEP = 0.2
"""A tool that moves further than this between two frames, m, jumped or was recorded badly."""


@dataclass(frozen=True)
class ValidationReport:
    """What a dataset holds. problems: what training should know; empty if nothing is wrong."""

    folder: Path
    episodes: int
    frames: int
    fps: float
    camera: str
    shortest: int
    longest: int
    state_range: tuple[tuple[str, float, float], ...]
    longest_step: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        ranges = [f"{name} {low:.3f} to {high:.3f}" for name, low, high in self.state_range]
        lines = [
            f"{self.folder}: {self.episodes} episodes of {self.shortest} to {self.longest} frames, "
            f"{self.frames} in all at {self.fps:g} Hz, {self.camera}",
            f"tool: {', '.join(ranges[:3])} m, {', '.join(ranges[3:6])} rad, gripper: {', '.join(ranges[6:])};"
            f" longest step {100 * self.longest_step:.1f} cm",
            *(f"problem: {problem}" for problem in self.problems),
        ]
        return "\n".join([*lines, "valid" if not self.problems else f"{len(self.problems)} problems"])


def validate_dataset(folder: Path) -> ValidationReport:
    """Reads all numbers and all pictures of a dataset with our columns.

    Raises:
        LeRobotError: something cannot be read.
    """
    dataset = LeRobotDataset(folder)
    camera, size = next(iter(dataset.cameras.items()))
    steps, problems = [], []
    known = CLOSEDNESS_FROM in dataset.information
    asserted = frozenset({"gripper"} if known else ())
    surveyor = Surveyor(POSE_NAMES, "euler", GripperDescription((), 0.0, 1.0), 1.0, asserted)
    for number, record in enumerate(dataset.episodes):
        columns = dataset.columns(number, [STATE, ACTION])
        states, actions = columns[STATE], columns[ACTION]
        surveyor.add(states)
        steps.append(float(np.linalg.norm(np.diff(states[:, :3], axis=0), axis=1).max(initial=0.0)))
        problems += [f"episode {number}: {text}" for text in _problems(states, actions)]
        count = sum(picture.shape[:2] == size for picture in dataset.pictures(number, camera))
        if count != record.length:
            problems.append(f"episode {number}: {record.length} frames but {count} pictures of {size}")
    lengths = [record.length for record in dataset.episodes]
    survey = surveyor.result()
    problems += [*survey.refusals, *survey.problems, *_one_sided(survey, known)]
    return ValidationReport(
        folder, len(lengths), sum(lengths), dataset.fps, f"{camera} {size[1]} x {size[0]}", min(lengths), max(lengths),
        survey.ranges, max(steps), tuple(problems),
    )  # fmt: skip


def _one_sided(survey: StateSurvey, known: bool) -> list[str]:
    """A gripper that moves in one half of its range may be described wrongly, unless somebody said what it means."""
    low, high = survey.closedness
    if known or high - low <= MOVES or low < 0.5 < high:
        return []
    return [
        f"the gripper stays between {low:.2f} and {high:.2f} of closedness, 0 open to 1 closed; if it opened and closed"
        " all the way, convert again with --gripper OPEN CLOSED"
    ]


def _problems(states: np.ndarray, actions: np.ndarray) -> list[str]:
    found = []
    if not (np.isfinite(states).all() and np.isfinite(actions).all()):
        return ["states or actions are not finite"]
    step = np.linalg.norm(np.diff(states[:, :3], axis=0), axis=1).max(initial=0.0)
    if step > LARGE_STEP:
        found.append(f"the tool jumps by {100 * step:.0f} cm")
    if len(states) > 1 and not np.allclose(actions[:-1], difference(states[:-1], states[1:]), atol=_TOLERANCE):
        found.append("the actions are not the differences of the states (commanded ones?)")
    return found
