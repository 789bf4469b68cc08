"""`ros2 run jepa_ros send_goal a.png b.png`: has the arm reach what the pictures show, with progress."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import numpy.typing as npt
import rclpy.utilities
import tyro

from jepa_planner.client import JepaPlanner, PlannerClientError, ReachResult

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class SendGoalConfig:
    """Shows the planner one picture after the other and waits until the arm is there.

    Attributes:
        images: Picture files of the goal, in order.
        gripper: Closedness for each picture, 0 open to 1 closed; nan leaves it to the planner.
        steps: Step budget for each picture; 0 is the planner's.
        tolerance: Latent energy that counts as reached; 0 is the planner's.
        tolerance_m: The same as a distance, m, where the model's card tells its energy; counts before the energy.
        timeout: Seconds to wait for the end; 0 waits as long as it takes. The goal is cancelled after that.
        action: Name of the planner's action, with its namespace.
    """

    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    gripper: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()
    tolerance: float = 0.0
    tolerance_m: float = 0.0
    timeout: float = 0.0
    action: str = "reach_goal"


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """An RGB picture [height, width, 3] from a file. Raises ValueError when it is none."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if picture is None:
        raise ValueError(f"{path}: expected a picture file such as PNG or JPEG, found none that can be read")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def send_goal(config: SendGoalConfig) -> int:
    """Sends the goal and reports every step. Returns the exit code: 0 when the goal was reached."""
    try:
        pictures = [read_picture(path) for path in config.images]
        with JepaPlanner(name=config.action) as planner:
            grips = [None if np.isnan(value) else value for value in config.gripper]
            planner.reach(pictures, grips, config.steps, config.tolerance, config.tolerance_m, block=False)
            result = _watch(planner, config.timeout)
    except (ValueError, PlannerClientError) as error:
        print(f"send_goal: {error}", file=sys.stderr)
        return 2
    print(f"{result.code.name.lower().replace('_', ' ')} after {result.steps} steps: {result.message}")
    return 0 if result.reached else 1


def _watch(planner: JepaPlanner, timeout: float) -> ReachResult:
    """Prints each step until the goal has ended; cancels it when the time is up or on Ctrl-C."""
    deadline = time.monotonic() + timeout if timeout > 0 else float("inf")
    shown = 0
    try:
        while not planner.is_done and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            for step in planner.feedback[shown:]:
                print(
                    f"step {step.step:3d}  goal {step.sub_goal + 1}  energy {step.energy:.4f}  "
                    f"planned in {step.plan_seconds * 1e3:.0f} ms",
                    flush=True,
                )
            shown = len(planner.feedback)
    except KeyboardInterrupt:
        print("cancelling", file=sys.stderr)
    planner.cancel()
    return planner.result(timeout=10.0)


def main() -> int:
    """Reads the command line, without what belongs to ROS."""
    arguments = rclpy.utilities.remove_ros_args(sys.argv)[1:]
    return send_goal(tyro.cli(SendGoalConfig, prog="send_goal", args=arguments))


if __name__ == "__main__":
    sys.exit(main())
