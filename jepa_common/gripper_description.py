"""How a gripper's joints tell how far it is closed: one description for nodes, bags, data sets and robots."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PLAY = 0.1
"""Calibration lets grippers read a little beyond their ends; an `excess` over this speaks against the description."""


@dataclass(frozen=True)
class GripperDescription:
    """The joints of a gripper, and what they read at both ends, in their own unit: m, rad, percent ...

    The mean position of the joints counts. Which end is the larger one is up to the gripper: the fingers of a Franka
    hand slide from 0.04 m open to 0 closed, the knuckle of a Robotiq 2F-85 turns from 0 open to 0.8 rad closed. Of
    joints that mirror each other with opposite signs, name one.

    Attributes:
        joints: names, as in joint states and trajectories; empty: no gripper, or a value that has no joints, such as a
            data set's column.
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
                "a gripper needs two different finite positions, open and closed, "
                f"got open {self.open:g} and closed {self.closed:g}"
            )
        if len(set(self.joints)) != len(self.joints):
            raise ValueError(f"a gripper's joints must differ, got {', '.join(self.joints)}")

    @property
    def travel(self) -> float:
        """How far the joints move between the ends, m or rad; never negative."""
        return abs(self.closed - self.open)

    def closedness(self, value: npt.ArrayLike) -> Array:
        """0 (open) ... 1 (closed) of joint positions of any shape; clipped, see `excess`. NaN stays NaN."""
        return np.clip(self._share(value), 0.0, 1.0)

    def excess(self, value: npt.ArrayLike) -> Array:
        """How far `closedness` clips joint positions, as a share of the way from open to closed; 0 between the ends.

        A gripper in percent that was described in m shows here in thousands; one with its ends swapped, not at all.
        """
        share = self._share(value)
        return np.asarray(np.abs(share - np.clip(share, 0.0, 1.0)))

    def value(self, closedness: npt.ArrayLike) -> Array:
        """Joint positions at 0 (open) ... 1 (closed), of any shape; what lies outside is clipped."""
        share = np.clip(np.asarray(closedness, dtype=np.float64), 0.0, 1.0)
        return np.asarray(self.closed + (self.open - self.closed) * (1.0 - share))

    def _share(self, value: npt.ArrayLike) -> Array:
        opening = (np.asarray(value, dtype=np.float64) - self.closed) / (self.open - self.closed)
        return np.asarray(1.0 - opening)
