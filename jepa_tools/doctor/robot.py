"""What a running robot or simulator says, judged without ROS: rates, sizes, clocks, names of joints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jepa_planner.robot_urdf import RobotUrdf
from jepa_tools.doctor.finding import Finding, ok, problem, unknown, warning

LEAST_CAMERA_HZ = 4.0
"""The rate of actions; a slower camera makes the arm act on what it has seen before."""

LEAST_JOINT_STATES_HZ = 20.0
"""Below it, a lost message is as old as the planner's default safety.max_joint_state_age allows."""

OLDEST_IMAGE_SECONDS = 0.5
OLDEST_JOINT_STATE_SECONDS = 0.1


@dataclass(frozen=True, eq=False)
class Stream:
    """Messages of one topic: when they came and what their stamps said, s."""

    received: Sequence[float]
    stamps: Sequence[float]

    @property
    def rate(self) -> float:
        """Messages per second of their own clock; NaN for fewer than two."""
        if len(self.stamps) < 2 or self.stamps[-1] <= self.stamps[0]:
            return float("nan")
        return (len(self.stamps) - 1) / (self.stamps[-1] - self.stamps[0])

    @property
    def age(self) -> float:
        """Median of arrival minus stamp, s; NaN without messages."""
        if not self.stamps:
            return float("nan")
        return float(np.median(np.subtract(self.received, self.stamps)))


def judge_stream(topic: str, stream: Stream, least_rate: float, oldest: float, remedy: str) -> Iterator[Finding]:
    """Rate and age of a topic's messages. ``remedy``: what to do when nothing or too little comes."""
    if not stream.stamps:
        yield problem(topic, "no message came", remedy)
        return
    if len(stream.stamps) > 1 and len(set(stream.stamps)) == 1:
        yield problem(topic, "all stamps are equal: the driver does not stamp its messages", "stamp at capture time")
        return
    rate = f"{stream.rate:.1f} Hz"
    if stream.rate >= least_rate:
        yield ok(f"{topic} rate", rate)
    else:
        yield warning(f"{topic} rate", f"{rate}, expected at least {least_rate:g} Hz", remedy)
    yield _judge_age(topic, stream.age, oldest)


def _judge_age(topic: str, age: float, oldest: float) -> Finding:
    if age < -0.05:
        return problem(
            f"{topic} clock",
            f"stamps lie {-age:.2f} s in the future",
            "use_sim_time must be the same everywhere; synchronise the machines' clocks (chrony)",
        )
    if age > oldest:
        return problem(
            f"{topic} clock",
            f"stamps are {age:.2f} s old on arrival, the planner's default allows {oldest:g} s",
            "use_sim_time must be the same everywhere; synchronise clocks; look for a slow network or driver",
        )
    return ok(f"{topic} clock", f"stamps are {1000 * age:.0f} ms old on arrival")


def judge_picture(width: int, height: int, encoding: str, image_size: int) -> Iterator[Finding]:
    """A camera picture's size and encoding. ``image_size``: what the model sees, pixels; 0 when unknown."""
    size = f"{width} x {height}, {encoding}"
    if min(width, height) < image_size:
        yield warning("camera picture", f"{size}; the model sees {image_size} px", "set a larger camera resolution")
    elif max(width, height) > 2 * min(width, height):
        yield warning(
            "camera picture", f"{size}: the sides are cut off to a square", "crop so that arm and table are inside"
        )
    else:
        yield ok("camera picture", size)


def judge_joints(urdf: str, published: Sequence[str], commanded: Sequence[str]) -> Iterator[Finding]:
    """Names of joints: in the URDF, on joint_states, and those that the planner is to drive (empty: unknown)."""
    try:
        described = RobotUrdf(urdf).moving_joints
    except ValueError as error:
        yield problem("robot_description", str(error), "publish the URDF as a string, with xacro expanded")
        return
    foreign = sorted(set(published) - set(described))
    if foreign:
        yield warning(
            "joint names", f"joint_states has {foreign}, the URDF has not", "use one description for driver and planner"
        )
    if not commanded:
        yield unknown(
            "planner's joints", "the planner does not run", "start it, or see arm.joints in config/robot.yaml"
        )
        return
    missing = [name for name in commanded if name not in described or name not in published]
    if missing:
        yield problem(
            "planner's joints",
            f"arm.joints has {missing}; the URDF has {list(described)}, joint_states {list(published)}",
            "set arm.joints and arm.finger_joints to the robot's names (config/robot.yaml)",
        )
    else:
        yield ok("planner's joints", f"all {len(commanded)} are in the URDF and on joint_states")
