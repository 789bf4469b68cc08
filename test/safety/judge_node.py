"""The judge of motion beside running nodes: `python test/safety/judge_node.py --seconds 60`.

Listens to `joint_states`, `desired_joint_states` and `joint_trajectory` in the present ROS domain, prints what was
judged, and ends with exit code 1 when a rule was broken. Starts and disturbs nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from motion_judge import MotionJudge, TrajectoryCommand
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from jepa_common.stamps import NANOSECONDS_PER_SECOND, to_nanoseconds
from jepa_tools.operation.ros_client import RosClient

_PUT_ELSEWHERE = 20.0  # rad/s: no arm moves so fast, a simulator does
_ANOTHER_SIMULATOR = 1.0  # s that stamps go back when a simulator starts again


@dataclass(frozen=True)
class JudgeConfig:
    """Judges commands and motion of a running Franka or its simulation.

    Attributes:
        seconds: For so long.
        json: File for all violations.
        ignored_frame: Messages with this frame_id are not judged: those of a test that forges some.
    """

    seconds: float = 60.0
    json: Path | None = None
    ignored_frame: str = "hostile"


class JudgeNode:
    """Feeds a judge from the topics. Threads: as the client's."""

    def __init__(self, client: RosClient, ignored_frame: str) -> None:
        """Subscribes; `client` is to be polled often."""
        self.judge = MotionJudge()
        self._ignored_frame = ignored_frame
        self._last: tuple[float, np.ndarray] | None = None
        self._last_desired: tuple[float, np.ndarray] | None = None
        many = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)
        for kind, topic, judge, qos in (
            (JointState, "joint_states", self._on_joint_state, many),
            (JointState, "desired_joint_states", self._on_desired, many),
            (JointTrajectory, "joint_trajectory", self._on_command, QoSProfile(depth=100)),
        ):
            client.subscribe(kind, topic, self._unless_ignored(judge), qos)

    def _unless_ignored(self, judge: Callable[[Any], None]) -> Callable[[Any], None]:
        def on_message(message: Any) -> None:
            if message.header.frame_id != self._ignored_frame:
                judge(message)

        return on_message

    def _on_joint_state(self, message: JointState) -> None:
        time_s, positions = _seconds(message.header.stamp), self._column(message.name, message.position)
        if _was_placed(self._last, (time_s, positions)):
            self.judge.placed(time_s)
        self._last = time_s, positions
        self.judge.joint_state(time_s, positions.tolist(), self._column(message.name, message.velocity).tolist())

    def _on_desired(self, message: JointState) -> None:
        time_s, positions = _seconds(message.header.stamp), self._column(message.name, message.position)
        if _was_placed(self._last_desired, (time_s, positions)):
            self.judge.placed(time_s)
        self._last_desired = time_s, positions
        self.judge.followed(time_s, positions.tolist())

    def _on_command(self, message: JointTrajectory) -> None:
        points = message.points
        rows = [np.array([list(getattr(point, name)) for point in points], dtype=object) for name in _MOTIONS]
        arrays = [np.array(row.tolist(), dtype=np.float64) if row.ndim == 2 else np.zeros((0, 0)) for row in rows]
        times = np.array([point.time_from_start.sec + point.time_from_start.nanosec * 1e-9 for point in points])
        start, names = _seconds(message.header.stamp), tuple(message.joint_names)
        arrived = self._last[0] if self._last is not None else start
        self.judge.command(arrived, TrajectoryCommand(start, names, times, arrays[0], arrays[1], arrays[2]))

    def _column(self, names: list[str], values: list[float]) -> np.ndarray:
        known = dict(zip(names, values, strict=False))
        return np.array([known.get(name, np.nan) for name in self.judge.rules.joints])


_MOTIONS = ("positions", "velocities", "accelerations")


def _seconds(stamp: object) -> float:
    return to_nanoseconds(stamp) / NANOSECONDS_PER_SECOND


def _was_placed(before: tuple[float, np.ndarray] | None, after: tuple[float, np.ndarray]) -> bool:
    """Whether a simulator, or another one, has put the arm elsewhere in between: no arm moves so fast."""
    if before is None or after[0] == before[0]:
        return False
    if after[0] < before[0] - _ANOTHER_SIMULATOR:
        return True
    return float(np.max(np.abs(after[1] - before[1]))) > _PUT_ELSEWHERE * (after[0] - before[0])


def report(judge: MotionJudge) -> str:
    """What was judged, the peaks, and what was broken."""
    peaks = [f"{kind:40s} {value:10.3f}" for kind, value in sorted(judge.peaks.items())]
    broken = [f"BROKEN {count:5d} times: {kind}" for kind, count in judge.counts.most_common()]
    examples = [f"  at {found.time:.3f} s: {found.kind}: {found.detail}" for found in judge.violations[:10]]
    return "\n".join([f"{judge.commands} commands, {judge.states} joint states", *peaks, *broken, *examples])


def main(config: JudgeConfig) -> int:
    """Judges for as long as told; returns the exit code."""
    with RosClient("motion_judge") as client:
        node, until = JudgeNode(client, config.ignored_frame), time.monotonic() + config.seconds
        while time.monotonic() < until:
            client.poll()
            time.sleep(0.005)
    print(report(node.judge))
    if config.json is not None:
        found = [asdict(violation) for violation in node.judge.violations]
        config.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if node.judge.violations or not node.judge.states else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(JudgeConfig)))
