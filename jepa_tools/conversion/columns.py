"""Names that our LeRobot datasets use beside the layout's own."""

from __future__ import annotations

from typing import Literal

from jepa_world_model.data.lerobot import ACTION, STATE, Feature, VideoOptions
from jepa_world_model.data.state_names import POSE_NAMES

STAMP = "stamp_ns"
"""Stamp of each picture, ns: the layout's own timestamps only count frames."""

JOINTS = "observation.joint_positions"
"""Arm joint positions, rad."""

IMAGES = "observation.images"
ROBOT_DESCRIPTION = "robot_description"
"""Entry of info.json with the robot's URDF."""

Storage = Literal["lossless", "png", "av1"]
VIDEO_OPTIONS = {
    "lossless": VideoOptions(),
    "png": VideoOptions(codec="png"),
    "av1": VideoOptions("libsvtav1", "yuv420p", {"crf": "30", "g": "2"}),
}


def pose_features() -> dict[str, Feature]:
    """States and actions of the end effector; exact, so that a way there and back loses nothing."""
    actions = tuple(f"d_{name}" for name in POSE_NAMES)
    return {STATE: Feature("float64", (7,), POSE_NAMES), ACTION: Feature("float64", (7,), actions)}
