"""What a bag of the demo says happened: pictures, joint positions, and the planner's steps. Needs no ROS."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader

from jepa_planner.kinematics import Kinematics
from jepa_tools.operation.table_operator import arm_positions, table_kinematics
from jepa_world_model.picture_strip import squares

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]

_IMAGINED = "imagined"
_TOPICS = ("image", "goal_image", "joint_states", "planner_status", "robot_description")


class IncompleteBagError(ValueError):
    """The bag lacks a topic that the report needs."""


@dataclass(frozen=True, eq=False)
class DemoTrace:
    """One run from the goal's publication on. Times in seconds of the recording's clock.

    Attributes:
        goal: picture [H, W, 3], RGB uint8.
        frame_times: [F]. frames: the camera's pictures from the first after the goal was shown.
        state_times: [J]. tool_positions: [J, 3], m, where the joint states put the tool.
        step_times: [K]. energies: [K], latent distance to the goal before each step, and at the end.
        imagined_times: [P]. imagined: the end of the plan that was made at each of them, as the model draws it; empty
            where the model holds no picture decoder.
    """

    goal: Picture
    frame_times: Array
    frames: tuple[Picture, ...]
    state_times: Array
    tool_positions: Array
    step_times: Array
    energies: Array
    imagined_times: Array = field(default_factory=lambda: np.empty(0))
    imagined: tuple[Picture, ...] = ()

    def imagined_at(self, time: float) -> Picture | None:
        """The imagined end of the plan that was the newest at `time` (s); None before the first."""
        index = int(np.searchsorted(self.imagined_times, time, side="right")) - 1
        return self.imagined[index] if index >= 0 else None

    def distances(self, target: Array, times: Array) -> Array:
        """Distance of the tool to `target` [3] at `times` [K], m, interpolated between joint states."""
        distances = np.linalg.norm(self.tool_positions - target, axis=1)
        return np.interp(times, self.state_times, distances)


def read_demo_trace(bag: Path, since: float = 0.0) -> DemoTrace:
    """Reads what happened from `since` (seconds) on.

    Raises:
        IncompleteBagError: a topic is missing or silent.
    """
    messages = _messages(bag)
    kinematics = table_kinematics(messages["robot_description"][-1][1].data)
    frames = [(time, _pixels(message)) for time, message in messages["image"] if time >= since]
    states = [(time, message) for time, message in messages["joint_states"] if time >= since]
    steps = _steps([message for time, message in messages["planner_status"] if time >= since])
    imagined = [(time, _planned_end(message)) for time, message in messages[_IMAGINED] if time >= since]
    if not frames or not states or not steps:
        raise IncompleteBagError(f"{bag}: no picture, joint state or planner step after {since:.2f} s")
    return DemoTrace(
        goal=_pixels(messages["goal_image"][-1][1]),
        frame_times=np.array([time for time, _ in frames]),
        frames=tuple(frame for _, frame in frames),
        state_times=np.array([time for time, _ in states]),
        tool_positions=_tool_positions(kinematics, [message for _, message in states]),
        step_times=np.array([time for time, _ in steps]),
        energies=np.array([energy for _, energy in steps]),
        imagined_times=np.array([time for time, _ in imagined]),
        imagined=tuple(end for _, end in imagined),
    )


def _messages(bag: Path) -> dict[str, list[tuple[float, Any]]]:
    """(seconds, message) of every topic that is needed, by the last part of its name."""
    messages: dict[str, list[tuple[float, Any]]] = defaultdict(list)
    with AnyReader([bag]) as reader:
        wanted = [
            item
            for item in reader.connections
            if item.topic.rsplit("/", 1)[-1] in _TOPICS or item.topic.endswith(f"/{_IMAGINED}/compressed")
        ]
        for connection, stamp, data in reader.messages(wanted):
            messages[_name(connection.topic)].append((stamp * 1e-9, reader.deserialize(data, connection.msgtype)))
    missing = [name for name in _TOPICS if not messages[name]]
    if missing:
        raise IncompleteBagError(f"{bag}: expected messages on {', '.join(_TOPICS)}, none on {', '.join(missing)}")
    return messages


def _name(topic: str) -> str:
    """The last part of a topic's name, without what names its transport."""
    return topic.removesuffix("/compressed").rsplit("/", 1)[-1]


def _planned_end(message: Any) -> Picture:
    """The last step of a strip, before the goal."""
    pixels = cv2.imdecode(np.asarray(message.data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"imagined: expected a JPEG file, got {len(message.data)} bytes that are none")
    return squares(np.asarray(pixels[:, :, ::-1], dtype=np.uint8))[-2]


def _pixels(message: Any) -> Picture:
    """Pixels [H, W, 3] of an rgb8 image message."""
    if message.encoding != "rgb8":
        raise ValueError(f"image: expected the simulator's rgb8, got {message.encoding}")
    rows = np.asarray(message.data).reshape(message.height, message.step)
    return rows[:, : message.width * 3].reshape(message.height, message.width, 3)


def _steps(statuses: list[Any]) -> list[tuple[float, float]]:
    """(seconds, energy) of the first status of each step, and of the last status."""
    measured = [status for status in statuses if np.isfinite(status.energy)]
    firsts = {status.step: status for status in reversed(measured)}
    chosen = [firsts[step] for step in sorted(firsts)]
    if measured and measured[-1] is not chosen[-1]:
        chosen.append(measured[-1])
    return [(_seconds(status.header.stamp), float(status.energy)) for status in chosen]


def _seconds(stamp: Any) -> float:
    return float(stamp.sec + stamp.nanosec * 1e-9)


def _tool_positions(kinematics: Kinematics, states: list[Any]) -> Array:
    return np.array([kinematics.pose(arm_positions(state))[:3] for state in states])
