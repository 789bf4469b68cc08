"""Checks a converted dataset by reading it again, and says what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jepa_world_model.data.lerobot import ACTION, STATE, LeRobotDataset
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
    position_range: tuple[tuple[float, float], ...]
    longest_step: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        ranges = ", ".join(
            f"{axis} {low:.3f} to {high:.3f} m" for axis, (low, high) in zip("xyz", self.position_range, strict=True)
        )
        lines = [
            f"{self.folder}: {self.episodes} episodes of {self.shortest} to {self.longest} frames, "
            f"{self.frames} in all at {self.fps:g} Hz, {self.camera}",
            f"tool: {ranges}; longest step {100 * self.longest_step:.1f} cm",
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
    positions, steps, problems = [], [], []
    for number, record in enumerate(dataset.episodes):
        columns = dataset.columns(number, [STATE, ACTION])
        states, actions = columns[STATE], columns[ACTION]
        positions.append(states[:, :3])
        steps.append(float(np.linalg.norm(np.diff(states[:, :3], axis=0), axis=1).max(initial=0.0)))
        problems += [f"episode {number}: {text}" for text in _problems(states, actions)]
        count = sum(picture.shape[:2] == size for picture in dataset.pictures(number, camera))
        if count != record.length:
            problems.append(f"episode {number}: {record.length} frames but {count} pictures of {size}")
    lengths = [record.length for record in dataset.episodes]
    every = np.concatenate(positions)
    ranges = tuple(zip(every.min(0).tolist(), every.max(0).tolist(), strict=True))
    return ValidationReport(
        folder, len(lengths), sum(lengths), dataset.fps, f"{camera} {size[1]} x {size[0]}", min(lengths), max(lengths),
        ranges, max(steps), tuple(problems),
    )  # fmt: skip


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
