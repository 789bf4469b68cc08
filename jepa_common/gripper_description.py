"""What a gripper's reported number means: which value is open, which is closed, in whatever unit it is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class GripperDescription:
    """A gripper's joints, and the values between which they move. Either value may be the larger one.

    Examples: Franka's fingers, 0.04 m open and 0 closed; Robotiq's joint, 0 open and 0.8 rad closed; a data set's
    column in percent, 0 open and 100 closed.

    Attributes:
        joints: names whose mean position is the value; empty where the value has no joints, as in a data set's column.
        open: value of an open gripper: m, rad or whatever the source reports.
        closed: value of a closed gripper, in the same unit.
    """

    joints: tuple[str, ...]
    open: float
    closed: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.open) and np.isfinite(self.closed)) or self.open == self.closed:
            raise ValueError(f"expected two different values for open and closed, got {self.open} and {self.closed}")

    def closedness(self, value: ArrayLike) -> NDArray[np.float64]:
        """0 open to 1 closed of values of any shape; what lies outside is clipped, see `excess`; NaN stays NaN."""
        return np.clip(self._share(value), 0.0, 1.0)

    def excess(self, value: ArrayLike) -> NDArray[np.float64]:
        """How far `closedness` clips each value, as a share of the way from open to closed: 0 where it does not."""
        share = self._share(value)
        return np.abs(share - np.clip(share, 0.0, 1.0))

    def value(self, closedness: ArrayLike) -> NDArray[np.float64]:
        """The reported value of a closedness: the way back."""
        return self.open + np.asarray(closedness, dtype=np.float64) * (self.closed - self.open)

    def _share(self, value: ArrayLike) -> NDArray[np.float64]:
        return (np.asarray(value, dtype=np.float64) - self.open) / (self.closed - self.open)
