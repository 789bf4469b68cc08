"""Between the planner's types and ROS messages."""

from __future__ import annotations

import array
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration, Time
from jepa_ros.action import ReachGoal
from jepa_ros.msg import Latent, PlannerStatus, SubGoal
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from jepa_common.gripper_description import GripperDescription
from jepa_common.latent_messages import LatentKind, LatentRefusedError, message_to_latent
from jepa_common.stamps import NANOSECONDS_PER_SECOND, to_stamp
from jepa_planner.control_loop import Status, StepReport
from jepa_planner.goal_images import GoalImage
from jepa_planner.goal_machine import GoalResult
from jepa_planner.motion import Segment

Vector = npt.NDArray[np.float64]


class GoalRefusedError(ValueError):
    """A goal that cannot be pursued; the text says what was expected and what came."""


def seconds_to_stamp(seconds: float) -> Time:
    """The message form of a time, s."""
    return to_stamp(round(seconds * NANOSECONDS_PER_SECOND))


def seconds_to_duration(seconds: float) -> Duration:
    """The message form of a length of time, s."""
    whole, rest = divmod(round(seconds * NANOSECONDS_PER_SECOND), NANOSECONDS_PER_SECOND)
    return Duration(sec=whole, nanosec=rest)


def arm_message(segment: Segment, joint_names: Sequence[str]) -> JointTrajectory:
    """A segment for a JointTrajectoryController, stamped with its start."""
    message = JointTrajectory(joint_names=list(joint_names))
    message.header.stamp = seconds_to_stamp(segment.start)
    rows = zip(segment.times, segment.positions, segment.velocities, segment.accelerations, strict=True)
    message.points = [_point(time, *motion) for time, *motion in rows]
    # Controllers refuse a trajectory whose last velocity is not exactly 0.
    message.points[-1].velocities = array.array("d", bytes(8 * len(joint_names)))
    return message


def _point(time: float, positions: Vector, velocities: Vector, accelerations: Vector) -> JointTrajectoryPoint:
    return JointTrajectoryPoint(
        positions=array.array("d", positions),
        velocities=array.array("d", velocities),
        accelerations=array.array("d", accelerations),
        time_from_start=seconds_to_duration(time),
    )


def gripper_message(closedness: float, gripper: GripperDescription, seconds: float) -> JointTrajectory:
    """Sends the fingers to 0 (open) ... 1 (closed) within ``seconds``, beginning at once."""
    fingers = len(gripper.joints)
    point = JointTrajectoryPoint(
        positions=array.array("d", [float(gripper.value(closedness))] * fingers),
        velocities=array.array("d", [0.0] * fingers),
        time_from_start=seconds_to_duration(seconds),
    )
    return JointTrajectory(joint_names=list(gripper.joints), points=[point])


def status_message(status: Status, stamp: Time, model: str) -> PlannerStatus:
    """The message form of a status."""
    message = PlannerStatus(
        state=int(status.state),
        reason=status.reason,
        step=status.step,
        sub_goal=status.sub_goal,
        sub_goals=status.sub_goals,
        energy=status.energy,
        predicted_energy=status.predicted_energy,
        surprise=status.surprise,
        plan_seconds=status.plan_seconds,
        image_age=status.image_age,
        joint_state_age=status.joint_state_age,
        action=array.array("d", status.action),
        model=model,
    )
    message.header.stamp = stamp
    return message


def result_message(result: GoalResult) -> ReachGoal.Result:
    """The message form of a goal's result."""
    return ReachGoal.Result(
        error_code=int(result.code),
        error_msg=result.message,
        energies=array.array("d", result.energies),
        steps=result.steps,
    )


def feedback_message(report: StepReport) -> ReachGoal.Feedback:
    """The message form of a step."""
    return ReachGoal.Feedback(
        step=report.step,
        sub_goal=report.sub_goal,
        energy=report.energy,
        action=array.array("d", report.action),
        plan_seconds=report.plan_seconds,
    )


def goal_images(request: ReachGoal.Goal, accepted: LatentKind) -> list[GoalImage[Image | Latent]]:
    """The sub-goals of a request, checked.

    Raises:
        GoalRefusedError: none at all, an empty one, another model's latent, or numbers out of range.
    """
    if not request.goals:
        raise GoalRefusedError("expected at least one goal image or latent, got none")
    if not (math.isfinite(request.tolerance) and request.tolerance >= 0):
        raise GoalRefusedError(f"tolerance: expected an energy of at least 0, got {request.tolerance}")
    return [_goal_image(index, goal, accepted) for index, goal in enumerate(request.goals, start=1)]


def _goal_image(index: int, goal: SubGoal, accepted: LatentKind) -> GoalImage[Image | Latent]:
    gripper = None if math.isnan(goal.gripper) else float(goal.gripper)
    if gripper is not None and not 0 <= gripper <= 1:
        raise GoalRefusedError(f"goal {index}: expected a gripper from 0 (open) to 1 (closed) or NaN, got {gripper}")
    max_steps = goal.max_steps or None
    if len(goal.latent.shape):
        try:
            message_to_latent(goal.latent, accepted)
        except LatentRefusedError as error:
            raise GoalRefusedError(f"goal {index}: {error}") from error
        return GoalImage(goal.latent, max_steps, gripper)
    if goal.image.height == 0 or goal.image.width == 0:
        raise GoalRefusedError(f"goal {index}: expected an image or a latent, got neither")
    return GoalImage(goal.image, max_steps, gripper)
