"""Judges tasks with an object from what can be seen from outside: where the object is, and how far the fingers are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_sim.object_tasks import DROPPED, NOT_AT_REST, NOT_LIFTED, NOT_RELEASED, TOO_FAR
from jepa_sim.tasks import TaskConfig

Array = NDArray[np.float64]

# Fingers that are less closed than this hold none of the objects.
_OPEN = 0.1
# An object that is not this far above its start is on the table, m.
_IN_THE_AIR = 0.01


@dataclass(frozen=True, eq=False)
class ObjectSightings:
    """What was seen of an object.

    Attributes:
        start: its centre [3] when the episode began, m.
        positions: its centre [K, 3] from the end of the episode on.
        seconds: how long that was.
        closedness: of the gripper at the end of it, 0 open to 1 closed.
    """

    start: Array
    positions: Array
    seconds: float
    closedness: float


def object_of(task: str) -> str:
    """The object that a task is about: the last word of its name."""
    return task.rpartition("_")[2]


def why_object_failed(task: str, place: Array, seen: ObjectSightings, config: TaskConfig) -> str:
    """Why a grasp or pick-and-place failed, in the words of the tasks in process; empty for a success.

    place: where the object should be [3], m. What nobody dropped and is in the air is held.
    """
    if task.startswith("grasp"):
        return _why_not_lifted(seen, config)
    if seen.closedness > _OPEN:
        return NOT_RELEASED
    if np.linalg.norm(seen.positions[-1] - place) >= config.object_tolerance:
        return TOO_FAR
    speed = np.linalg.norm(seen.positions[-1] - seen.positions[0]) / max(seen.seconds, 1e-9)
    return NOT_AT_REST if speed >= config.rest_speed else ""


def _why_not_lifted(seen: ObjectSightings, config: TaskConfig) -> str:
    lifted = seen.positions[:, 2] - seen.start[2]
    if (lifted >= config.lift_height).all():
        return ""
    return NOT_LIFTED if lifted[-1] > _IN_THE_AIR else DROPPED
