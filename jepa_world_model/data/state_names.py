"""What the name of a number in a robot's state tells: which part of a pose, a joint's angle, or the gripper."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

Part = Literal["position", "euler", "quaternion", "rotation-vector", "turn", "joint", "gripper", "other", "unknown"]

POSE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "closedness")
"""Of a state: m, rad (extrinsic xyz), and 0 open to 1 closed, in the robot's base frame."""

_GRIPPER = {"gripper", "finger", "fingers", "jaw", "claw", "closedness"}
_JOINT = {"shoulder", "elbow", "wrist", "waist", "forearm", "upperarm", "lift", "pan", "flex"}
_MOVING = {"vel", "velocity", "acc", "effort", "torque", "force", "current", "delta", "d", "target", "goal", "cmd"}
_TURNED = {"rot", "rotation", "orientation", "ori", "euler", "angle", "r"}
_VECTOR = {"axis", "axisangle", "rotvec", "aa"}
_QUATERNION = {"quat", "quaternion", "q"}
_DEGREES = {"deg", "degs", "degree", "degrees"}
_RADIANS = {"rad", "rads", "radian", "radians"}
_PERCENT = {"percent", "pct"}
_NO_UNIT = {"none", "normalized", "normalised", "unitless", "dimensionless", "1"}
METRES = {
    word: metres
    for metres, words in {
        1.0: ("m", "metre", "metres", "meter", "meters"),
        0.01: ("cm", "centimetre", "centimetres", "centimeter", "centimeters"),
        0.001: ("mm", "millimetre", "millimetres", "millimeter", "millimeters"),
    }.items()
    for word in words
}
"""Of a unit of length, by its name."""
_CLOSED, _OPEN = {"closedness", "closed", "closure"}, {"open", "opening", "openness"}


@dataclass(frozen=True)
class Meaning:
    """What one number is.

    Attributes:
        part: of the state; "turn" is a rotation of an unknown kind, "unknown" a name that tells nothing.
        axis: "x", "y", "z" or "w"; empty where there is none.
        degrees: whether name or unit say so.
        ends: of a gripper, the values of open and closed, where the name tells which end is which.
        metres: of the unit of length that name or unit tell; None where they tell none, or several.
    """

    part: Part
    axis: str = ""
    degrees: bool = False
    ends: tuple[float, float] | None = None
    metres: float | None = None


def is_known_unit(unit: str) -> bool:
    """Whether a unit tells anything about lengths, angles or shares."""
    return not {*METRES, *_DEGREES, *_RADIANS, *_PERCENT, *_NO_UNIT}.isdisjoint(_unit_words(unit))


def meaning_of(name: str, unit: str = "") -> Meaning:
    """What a number of this name is, in the unit that stands beside it."""
    words, units = _words(name), _unit_words(unit)
    if words & _MOVING:
        return Meaning("other")
    if words & _GRIPPER:
        return Meaning("gripper", ends=_ends(words, words | units))
    degrees = bool((units or words) & _DEGREES)
    if words & _JOINT or any(re.fullmatch(r"joints?\d*|[jq]\d+|theta\d*", word) for word in words):
        return Meaning("joint", degrees=degrees)
    lengths = {METRES[word] for word in words | units if word in METRES}
    return replace(_part_of_pose(words), degrees=degrees, metres=lengths.pop() if len(lengths) == 1 else None)


def _ends(words: set[str], units: set[str]) -> tuple[float, float] | None:
    """Values of the open and of the closed gripper, where the name tells which is which, and the unit how much."""
    is_length, is_angle = not units.isdisjoint(METRES), bool(units & (_DEGREES | _RADIANS))
    # Where lengths and angles are told together, it is the pose's units that are told.
    if not words & (_CLOSED | _OPEN) or (is_length != is_angle and not units & _PERCENT):
        return None
    largest = 100.0 if units & _PERCENT else 1.0
    return (0.0, largest) if words & _CLOSED else (largest, 0.0)


def _part_of_pose(words: set[str]) -> Meaning:
    for axis, angle in zip("xyz", ("roll", "pitch", "yaw"), strict=True):
        if angle in words:
            return Meaning("euler", axis)
    axes = words & set("xyzw")
    if len(axes) != 1:
        return Meaning("unknown")
    axis = axes.pop()
    if words & _QUATERNION:
        return Meaning("quaternion", axis)
    if words & _VECTOR:
        return Meaning("rotation-vector", axis)
    return Meaning("turn" if words & _TURNED or axis == "w" else "position", axis)


def _unit_words(unit: str) -> set[str]:
    return _words(unit.replace("°", " deg ").replace("%", " percent "))


def _words(name: str) -> set[str]:
    """The words of a name in small letters; the axis of "qx", "rx", "px", "wx" or "axis_angle1" stands alone."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words: set[str] = set()
    for word in re.findall(r"[a-z0-9]+", spaced):
        if found := re.fullmatch(r"(q|r|p|rot|pos|quat)([xyzw])", word):
            words |= set(found.groups())
        elif found := re.fullmatch(r"w([xyz])", word):
            words |= {"rot", found.group(1)}
        elif found := re.fullmatch(r"(angle|axisangle|rotvec|aa)([123])", word):
            words |= {found.group(1), "xyz"[int(found.group(2)) - 1]}
        else:
            words.add(word)
    return words
