"""The scene that a seed names: where the arm, the gripper, the cup and the box are at the start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from jepa_sim.inverse_kinematics import InverseKinematics
from jepa_sim.robot_description import ARM_JOINTS, HOME_POSITIONS, Vector
from jepa_sim.scene import BOX, OBJECTS
from jepa_sim.simulation import Simulation, arm_range
from jepa_sim.task_names import REACH, TASKS

Array = NDArray[np.float64]

POINTING_DOWN = Rotation.from_euler("x", np.pi)
"""Rotation of the tool when the gripper points straight down with its fingers along y."""


@dataclass(frozen=True)
class Workspace:
    """The box in which the tool moves, m, in the robot's base frame."""

    lower: Vector = (0.30, -0.30, 0.02)
    upper: Vector = (0.70, 0.30, 0.45)

    def clip(self, position: Array, slack_below: float = 0.0) -> Array:
        """The nearest position inside the box, which may reach `slack_below` metres further down."""
        return np.clip(position, np.subtract(self.lower, (0.0, 0.0, slack_below)), self.upper)

    def draw(self, generator: np.random.Generator, margin: Vector = (0.0, 0.0, 0.0)) -> Array:
        """A position, uniform in the box less `margin` on both sides of each axis."""
        return generator.uniform(np.add(self.lower, margin), np.subtract(self.upper, margin))


@dataclass(frozen=True)
class ResetConfig:
    """What is drawn at a reset. Lengths in m, angles in rad.

    Attributes:
        tilt: standard deviation of the gripper's roll and pitch about pointing down.
        yaw: standard deviation of its yaw.
        object_lower, object_upper: rectangle (x, y) in which objects stand.
        object_distance: least distance between two objects' centres.
        tool_distance: least horizontal distance of an object to a tool that is lower than `tool_height`.
        tool_height: from here on up the tool is above all objects.
    """

    workspace: Workspace = Workspace()
    tilt: float = 0.1
    yaw: float = 0.35
    object_lower: tuple[float, float] = (0.35, -0.25)
    object_upper: tuple[float, float] = (0.65, 0.25)
    object_distance: float = 0.11
    tool_distance: float = 0.09
    tool_height: float = 0.2


@dataclass(frozen=True, eq=False)
class ToolPose:
    """Position [3], m, and rotation matrix [3, 3] of the tool, with arm joint positions [7] that reach it."""

    position: Array
    rotation: Array
    joint_positions: Array


# What is drawn again when it cannot be had: poses that the arm does not reach, objects that collide.
_POSE_ATTEMPTS = 20
_OBJECT_ATTEMPTS = 100
_POSE_ITERATIONS = 100
_POSE_TOLERANCE = 2e-3


def reset_scene(
    simulation: Simulation,
    kinematics: InverseKinematics,
    seed: int,
    joint_positions: ArrayLike | None = None,
    config: ResetConfig = ResetConfig(),
    task: str = REACH,
) -> float:
    """Puts everything where `seed` says, at rest, and returns the gripper's closedness.

    Args:
        simulation: the scene to change.
        kinematics: of the same model.
        seed: the scene's name; not negative.
        joint_positions: of the arm [7], rad. The gripper and the objects are the seed's all the same, so that a
            picture can be taken of the same scene with the arm elsewhere.
        config: what is drawn.
        task: one of `jepa_sim.task_names.TASK_NAMES`; those that use the gripper begin with it open.

    Raises:
        ValueError: an unknown task, a negative seed, not 7 joint positions, or one outside the arm's limits.
    """
    opens = TASKS.load(task).uses_gripper
    if seed < 0:
        raise ValueError(f"expected a seed that is not negative, got {seed}")
    arm = None if joint_positions is None else checked_joint_positions(joint_positions)
    generator = np.random.default_rng(seed)
    pose = draw_tool_pose(generator, kinematics, config)
    drawn = float(generator.choice([0.0, 0.0, 1.0, generator.uniform()]))
    closedness = 0.0 if opens else drawn
    simulation.clear()
    _place_objects(simulation, generator, pose.position, config)
    simulation.place_arm(pose.joint_positions if arm is None else arm)
    simulation.place_fingers(closedness)
    return closedness


def checked_joint_positions(joint_positions: ArrayLike) -> Array:
    """Joint positions [7] of the arm as an array.

    Raises:
        ValueError: not 7 finite numbers, or one outside the arm's limits.
    """
    values, limits = np.asarray(joint_positions, dtype=np.float64), arm_range()
    if values.shape != (len(ARM_JOINTS),):
        raise ValueError(f"expected {len(ARM_JOINTS)} joint positions of the arm, got {list(values.shape)}")
    # Written so that NaN is refused too.
    inside = (values >= limits.lower) & (values <= limits.upper)
    if not inside.all():
        joint = int(np.flatnonzero(~inside)[0])
        raise ValueError(
            f"{ARM_JOINTS[joint]}: expected a position from {limits.lower[joint]} to {limits.upper[joint]} rad, "
            f"got {values[joint]}"
        )
    return values


def draw_tool_pose(
    generator: np.random.Generator, kinematics: InverseKinematics, config: ResetConfig = ResetConfig()
) -> ToolPose:
    """A pose in the workspace, the gripper nearly pointing down, that the arm reaches.

    The last draw is returned in the very unlikely case that none of twenty can be reached: then the joint
    positions are the nearest that were found.
    """
    for _ in range(_POSE_ATTEMPTS):
        position = config.workspace.draw(generator)
        angles = generator.normal(0.0, (config.tilt, config.tilt, config.yaw))
        rotation = (Rotation.from_euler("xyz", angles) * POINTING_DOWN).as_matrix()
        solution = kinematics.solve(position, rotation, np.array(HOME_POSITIONS), _POSE_ITERATIONS)
        if solution.position_error < _POSE_TOLERANCE:
            break
    return ToolPose(position, rotation, solution.positions)


def _place_objects(simulation: Simulation, generator: np.random.Generator, tool: Array, config: ResetConfig) -> None:
    placed: list[Array] = []
    for name in OBJECTS:
        for _ in range(_OBJECT_ATTEMPTS):
            center = generator.uniform(config.object_lower, config.object_upper)
            if _is_free(center, placed, tool, config):
                break
        placed.append(center)
        simulation.place_object(name, center, generator.uniform(0.0, np.pi) if name == BOX else 0.0)


def _is_free(center: Array, placed: list[Array], tool: Array, config: ResetConfig) -> bool:
    below_tool = tool[2] > config.tool_height or np.linalg.norm(center - tool[:2]) > config.tool_distance
    return bool(below_tool) and all(np.linalg.norm(center - other) > config.object_distance for other in placed)
