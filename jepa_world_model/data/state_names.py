"""What the name of a number in a robot's state tells: which part of a pose, a joint's angle, or the gripper."""

from __future__ import annotations

import re
from dataclasses import dataclass
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
_CLOSED, _OPEN = {"closedness", "closed", "closure"}, {"open", "opening", "openness"}


@dataclass(frozen=True)
class Meaning:
    """What one number is.

    Attributes:
        part: of the state; "turn" is a rotation of an unknown kind, "unknown" a name that tells nothing.
        axis: "x", "y", "z" or "w"; empty where there is none.
        degrees: whether the name says so.
        ends: of a gripper, the values of open and closed, where the name tells which end is which.
    """

    part: Part
    axis: str = ""
    degrees: bool = False
    ends: tuple[float, float] | None = None


def meaning_of(name: str) -> Meaning:
    """What a number of this name is."""
    words = _words(name)
    if words & _MOVING:
        return Meaning("other")
    if words & _GRIPPER:
        ends = (0.0, 1.0) if words & _CLOSED else (1.0, 0.0) if words & _OPEN else None
        return Meaning("gripper", ends=ends)
    if words & _JOINT or any(re.fullmatch(r"joints?\d*|[jq]\d+|theta\d*", word) for word in words):
        return Meaning("joint", degrees=bool(words & _DEGREES))
    return _part_of_pose(words)


def _part_of_pose(words: set[str]) -> Meaning:
    degrees = bool(words & _DEGREES)
    for axis, angle in zip("xyz", ("roll", "pitch", "yaw"), strict=True):
        if angle in words:
            return Meaning("euler", axis, degrees)
    axis = next((word for word in words if word in set("xyzw")), "")
    if not axis:
        return Meaning("unknown")
    if words & _QUATERNION:
        return Meaning("quaternion", axis)
    if words & _VECTOR:
        return Meaning("rotation-vector", axis, degrees)
    return Meaning("turn" if words & _TURNED or axis == "w" else "position", axis, degrees)


def _words(name: str) -> set[str]:
    """The words of a name in small letters; the axis of "qx", "rx", "px" or "axis_angle1" stands alone."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words: set[str] = set()
    for word in re.findall(r"[a-z0-9]+", spaced):
        if found := re.fullmatch(r"(q|r|p|rot|pos|quat)([xyzw])", word):
            words |= set(found.groups())
        elif found := re.fullmatch(r"(angle|axisangle|rotvec|aa)([123])", word):
            words |= {found.group(1), "xyz"[int(found.group(2)) - 1]}
        else:
            words.add(word)
    return words
