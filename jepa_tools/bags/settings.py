"""Which topics of a bag mean what, on which robot, and how they become episodes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import yaml

from jepa_common.gripper_description import GripperDescription
from jepa_common.robots import FER

ActionSource = Literal["states", "commands"]


@dataclass(frozen=True)
class BagSettings:
    """How a bag is read. Empty topics are found in the bag, if only one can be meant.

    Attributes:
        image: topic of the camera, raw or compressed.
        joint_states: topic of the joint positions.
        tool_pose: topic of the tool's pose (PoseStamped), for bags without the arm's joints.
        commands: topic of the commanded joint trajectories.
        robot_description: topic of the URDF.
        urdf: file with the URDF, instead of the bag's.
        base_link: link in whose frame states are.
        tip_link: link whose pose is the state.
        arm_joints: names in the URDF and in the joint states, in order.
        finger_joints: whose mean position says how far the gripper is closed; empty without a gripper.
        finger_open: that position when the gripper is open, m or rad.
        finger_closed: the same when it is closed; may be the larger one.
        rate_hz: frames per second; 0 takes the model's control rate.
        actions: "states": differences of measured states; "commands": from each state to where it was sent.
        frame_bound: a frame may lie this share of a period beside its time.
        state_bound: s that the nearest joint state may lie beside a frame.
        longest_episode: frames; longer ones are cut, so that memory stays flat.
    """

    image: str = ""
    joint_states: str = ""
    tool_pose: str = ""
    commands: str = ""
    robot_description: str = ""
    urdf: str = ""
    base_link: str = FER.base_link
    tip_link: str = FER.tip_link
    arm_joints: tuple[str, ...] = FER.joints
    finger_joints: tuple[str, ...] = FER.hand.joints
    finger_open: float = FER.hand.open
    finger_closed: float = FER.hand.closed
    rate_hz: float = 0.0
    actions: ActionSource = "states"
    frame_bound: float = 0.4
    state_bound: float = 0.1
    longest_episode: int = 240

    def __post_init__(self) -> None:
        if not 0 < self.frame_bound < 0.5:
            raise ValueError(f"frame_bound: expected more than 0 and less than 0.5 periods, got {self.frame_bound}")
        if not (self.state_bound > 0 and self.rate_hz >= 0):
            raise ValueError(
                f"state_bound must be positive and rate_hz not negative, got {self.state_bound} and {self.rate_hz}"
            )
        self.gripper()
        if self.longest_episode < 2:
            raise ValueError(f"longest_episode: expected at least 2 frames, got {self.longest_episode}")
        if self.actions not in get_args(ActionSource):
            raise ValueError(f"actions: expected {' or '.join(get_args(ActionSource))}, got {self.actions!r}")

    def gripper(self) -> GripperDescription:
        """What the finger joints tell. Raises ValueError for ends that tell nothing."""
        try:
            return GripperDescription(self.finger_joints, self.finger_open, self.finger_closed)
        except ValueError as error:
            raise ValueError(f"finger_joints, finger_open, finger_closed: {error}") from error


def load_settings(path: Path | None) -> BagSettings:
    """Settings from a YAML file of names and values; the defaults without a file.

    Raises:
        ValueError: the file holds something else, an unknown name or a value of the wrong type.
        OSError: the file cannot be read.
    """
    if path is None:
        return BagSettings()
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected names and values, got {type(values).__name__}")
    if "finger_travel" in values:
        raise ValueError(
            f"{path}: finger_travel does not tell which end is open: give finger_open and finger_closed instead, the "
            "mean position of the finger_joints, m or rad, when the gripper is open and when it is closed"
        )
    known = {field.name for field in fields(BagSettings)}
    if unknown := sorted(set(map(str, values)) - known):
        raise ValueError(f"{path}: unknown {', '.join(unknown)}; expected some of {', '.join(sorted(known))}")
    types = get_type_hints(BagSettings)
    return BagSettings(**{name: _checked(path, name, value, types[name]) for name, value in values.items()})


def _checked(path: Path, name: str, value: Any, wanted: Any) -> Any:
    if isinstance(value, list) and all(isinstance(item, str) for item in value) and wanted == tuple[str, ...]:
        return tuple(value)
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if wanted is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and wanted not in (float, int, tuple[str, ...]):
        return value
    raise ValueError(f"{path}: {name} has a value of the wrong type: {value!r}")
