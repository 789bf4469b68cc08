"""What can be seen of a task from outside the simulation, by those who only watch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sightings:
    """What was seen of the thing that a task is about, the tool or an object.

    Attributes:
        start: its position [3] when the episode began, m.
        positions: its position [K, 3] from the end of the episode on.
        seconds: how long that was.
        closedness: of the gripper at the end of it, 0 open to 1 closed.
    """

    start: Array
    positions: Array
    seconds: float
    closedness: float

    @property
    def speed(self) -> float:
        """Mean speed while it was watched, m/s."""
        return float(np.linalg.norm(self.positions[-1] - self.positions[0])) / max(self.seconds, 1e-9)

    def distance(self, place: Array) -> float:
        """From where it ended to `place` [3], m."""
        return float(np.linalg.norm(self.positions[-1] - place))
