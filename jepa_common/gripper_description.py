"""How a gripper's joints tell how far it is closed: one description for nodes, bags, data sets and robots."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GripperDescription:
    """The joints of a gripper, and what they read at both ends, in their own unit: m or rad.

    The mean position of the joints counts. Which end is the larger one is up to the gripper: the fingers of a Franka
    hand slide from 0.04 m open to 0 closed, the knuckle of a Robotiq 2F-85 turns from 0 open to 0.8 rad closed. Of
    joints that mirror each other with opposite signs, name one.

    Attributes:
        joints: names, as in joint states and trajectories; empty: no gripper.
        open: position of the joints when the gripper is fully open.
        closed: position of the joints when it is fully closed, with nothing between the fingers.
    """

    joints: tuple[str, ...]
    open: float
    closed: float

    def __post_init__(self) -> None:
        """Raises ValueError for ends that are not finite, or are the same; and for a joint that is named twice."""
        # The difference, too: two finite ends may be further apart than a number can be.
        if not math.isfinite(self.closed - self.open) or self.closed == self.open:
            raise ValueError(
                "a gripper needs two different finite positions, open and closed, in m or rad, "
                f"got open {self.open:g} and closed {self.closed:g}"
            )
        if len(set(self.joints)) != len(self.joints):
            raise ValueError(f"a gripper's joints must differ, got {', '.join(self.joints)}")

    @property
    def travel(self) -> float:
        """How far the joints move between the ends, m or rad; never negative."""
        return abs(self.closed - self.open)

    def closedness(self, positions: npt.ArrayLike) -> Array:
        """0 (open) ... 1 (closed) at these joint positions, m or rad, of any shape; clipped. NaN stays NaN."""
        return np.clip(self._share(positions), 0.0, 1.0)

    def clipped(self, positions: npt.ArrayLike) -> Array:
        """By how much `closedness` clips these joint positions, in closedness.

        0 between the ends, negative beyond the open one, positive beyond the closed one; NaN stays NaN. A gripper in
        percent that was described as a width in m shows here in hundreds, and one with its ends swapped not at all.
        """
        share = self._share(positions)
        return np.asarray(share - np.clip(share, 0.0, 1.0))

    def positions(self, closedness: npt.ArrayLike) -> Array:
        """Joint positions, m or rad, at 0 (open) ... 1 (closed), of any shape; what lies outside is clipped."""
        share = np.clip(np.asarray(closedness, dtype=np.float64), 0.0, 1.0)
        return np.asarray(self.open + share * (self.closed - self.open))

    def _share(self, positions: npt.ArrayLike) -> Array:
        return np.asarray((np.asarray(positions, dtype=np.float64) - self.open) / (self.closed - self.open))
