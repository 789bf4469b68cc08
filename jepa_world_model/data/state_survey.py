"""Ranges of a data set's states: what is outside of what can be, and what was clipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jepa_common.gripper_description import GripperDescription

FARTHEST = 10.0
"""No arm reaches further, m."""

_BEYOND_PI = np.pi + 1e-3
_SLACK = 0.05
"""Share of its range by which a gripper may overshoot; more is clipped and told in a few rows, and refused in many."""

_FEW = 0.01
_ROUNDING = 1e-6
MOVES = 0.02
"""What a gripper's number must change by to count as moving."""

_WIDEST = 0.11
"""A gripper whose number moves and never exceeds this tells a width or a finger's position in metres."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StateSurvey:
    """Ranges of the numbers that become states.

    Attributes:
        ranges: name, least and largest value of each number as it is stored.
        rows: looked at.
        clipped: rows whose gripper lies outside of its range.
        excess: the furthest of them, as a share of the range.
        closedness: least and largest, after clipping.
        refusals: why the numbers cannot be what they are taken for.
        problems: what a person should look at.
    """

    ranges: tuple[tuple[str, float, float], ...]
    rows: int
    clipped: int
    excess: float
    closedness: tuple[float, float]
    refusals: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = ", ".join(f"{name} {low:.4g} to {high:.4g}" for name, low, high in self.ranges)
        low, high = self.closedness
        clipped = f", by up to {100 * self.excess:.1f} % of the gripper's range" if self.clipped else ""
        return (
            f"as stored: {told}\n"
            f"gripper: closedness {low:.3f} to {high:.3f}, {self.clipped} of {self.rows} rows clipped{clipped}"
        )


@dataclass
class Surveyor:
    """Collects ranges, episode by episode.

    Attributes:
        names: of the numbers.
        rotation: how the rotation is told.
        gripper: what its number means.
        metres: of a unit of length.
        asserted: what a person said, and is not doubted: "rotation", "gripper".
    """

    names: Sequence[str]
    rotation: str
    gripper: GripperDescription
    metres: float
    asserted: frozenset[str]
    _low: list[Floats] = field(default_factory=list)
    _high: list[Floats] = field(default_factory=list)
    _norms: list[tuple[float, float]] = field(default_factory=list)
    _rows: int = 0
    _clipped: int = 0
    _far: int = 0
    _excess: float = 0.0

    def add(self, raw: Floats) -> None:
        """Looks at an episode's numbers [T, N]; rows that are not finite are counted and else ignored."""
        finite = raw[np.isfinite(raw).all(axis=1)]
        self._rows += len(raw)
        if not len(finite):
            return
        self._low.append(finite.min(0))
        self._high.append(finite.max(0))
        # Without the gripper a quaternion has the norm 1; so it has where its last number is taken for a gripper's.
        rotation = finite[:, 3:7] if finite.shape[1] == 7 and self.rotation == "euler" else finite[:, 3:-1]
        norms = np.linalg.norm(rotation, axis=1)
        self._norms.append((float(norms.min()), float(norms.max())))
        excess = self.gripper.excess(finite[:, -1])
        self._clipped += int(np.count_nonzero(excess > _ROUNDING))
        self._far += int(np.count_nonzero(excess > _SLACK))
        self._excess = max(self._excess, float(excess.max()))

    def result(self) -> StateSurvey:
        """What was found; there must have been a finite row."""
        if not self._low:
            return StateSurvey((), self._rows, 0, 0.0, (0.0, 0.0), ("no row of the states is finite",))
        low, high = np.min(self._low, axis=0), np.max(self._high, axis=0)
        ends = self.gripper.closedness([low[-1], high[-1]])
        ranges = tuple((name, float(a), float(b)) for name, a, b in zip(self.names, low, high, strict=True))
        refusals = (*self._position(low, high), *self._turn(low, high), *self._hand(low, high))
        problems = tuple(self._clipping())
        closedness = (float(ends.min()), float(ends.max()))
        return StateSurvey(ranges, self._rows, self._clipped, self._excess, closedness, refusals, problems)

    def _position(self, low: Floats, high: Floats) -> Iterator[str]:
        reach = float(np.abs([low[:3], high[:3]]).max()) * self.metres
        if reach > FARTHEST:
            yield f"positions reach {reach:.4g} m, further than any arm: say --length-unit mm or cm"

    def _turn(self, low: Floats, high: Floats) -> Iterator[str]:
        names = ", ".join(self.names[3:-1])
        shortest, longest = min(norm for norm, _ in self._norms), max(norm for _, norm in self._norms)
        largest = float(np.abs([low[3:-1], high[3:-1]]).max())
        if self.rotation.startswith("quaternion") and not 0.98 < shortest <= longest < 1.02:
            yield f"{names}: expected quaternions of length 1, got lengths from {shortest:.4g} to {longest:.4g}"
        if self.rotation == "rotation-vector" and longest > 2 * _BEYOND_PI:
            yield f"{names}: expected rotation vectors in rad, got one of length {longest:.4g}"
        if self.rotation != "euler" or "rotation" in self.asserted:
            return
        if largest > _BEYOND_PI:
            yield (
                f"{names} reach {largest:.4g}: angles beyond pi; say --rotation euler-degrees if they are degrees, or"
                " --rotation euler if they are radians that run on past a half turn, to"
                " `jepa convert DATASET TARGET --to episodes`"
            )
        turns = np.count_nonzero(high[3:7] - low[3:7] > 1e-3) > 1
        if len(low) == 7 and turns and 0.999 < shortest <= longest < 1.001:
            told = f"{names}, {self.names[-1]} have the length 1 in every row"
            yield f"{told}: a quaternion; name the gripper's column, too"

    def _hand(self, low: Floats, high: Floats) -> Iterator[str]:
        least, most, name = float(low[-1]), float(high[-1]), self.names[-1]
        how = (
            "say --gripper OPEN CLOSED, the values of the open and of the closed gripper, to"
            " `jepa convert DATASET TARGET --to episodes`"
        )
        range_ = (
            f"{least:.4g} and {most:.4g}, expected {self.gripper.open:g} (open) to {self.gripper.closed:g} (closed)"
        )
        if self._far > _FEW * self._rows:
            yield f"{name} lies between {range_}: {self._far} rows would be clipped; {how}"
        elif "gripper" not in self.asserted and most - least > MOVES and max(-least, most) <= _WIDEST:
            yield f"{name} moves between {range_}: a width in metres? {how}"

    def _clipping(self) -> Iterator[str]:
        if self._far:
            share = f"by up to {100 * self._excess:.0f} % of its range"
            yield f"the gripper was clipped in {self._clipped} of {self._rows} rows, {share}"
