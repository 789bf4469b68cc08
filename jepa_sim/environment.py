"""The table as an environment without ROS: images and states out, actions in, one step per control period."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from jepa_sim.inverse_kinematics import InverseKinematics
from jepa_sim.reset import ResetConfig, checked_joint_positions, reset_scene
from jepa_sim.robot_description import HAND
from jepa_sim.scene import OBJECTS, SceneConfig
from jepa_sim.simulation import Simulation, Snapshot
from jepa_sim.smooth_motion import MotionRates, MotionState, SmoothMotion, SmoothMotionConfig
from jepa_world_model.poses import POSE_DIM, integrate

Vector = NDArray[np.float64]

REST_SPEED = 0.02
"""Joints slower than this, rad/s, stand still."""
# An action takes no longer than so many control periods.
_LONGEST_FINISH = 8


@dataclass(frozen=True)
class EnvironmentConfig:
    """How actions become motion.

    Attributes:
        scene: what stands on the table and where the camera is.
        reset: what a reset draws.
        motion: how fast the arm moves.
        control_rate_hz: actions per second.
        slack_below: how far below the workspace the tool may be sent, m: fingers that grasp touch the table.
        gripper_share: share of a control period in which the fingers' target reaches its new value.
        camera_latency_s: how old a picture is when it is seen, s; less than a control period.
        view_turn_deg: by how much the camera is turned about the scene's middle; recorded states are told in axes that
            are turned along with it.
    """

    scene: SceneConfig = field(default_factory=SceneConfig)
    reset: ResetConfig = field(default_factory=ResetConfig)
    motion: MotionRates = field(default_factory=lambda: SmoothMotionConfig().rates)
    control_rate_hz: float = 4.0
    slack_below: float = 0.005
    gripper_share: float = 0.6
    camera_latency_s: float = 0.0
    view_turn_deg: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.camera_latency_s < 1.0 / self.control_rate_hz:
            raise ValueError(
                f"camera_latency_s: expected from 0 to less than {1.0 / self.control_rate_hz} s, got"
                f" {self.camera_latency_s}"
            )


@dataclass(frozen=True, eq=False)
class EnvironmentSnapshot:
    """Everything that the environment's future depends on."""

    simulation: Snapshot
    motion: MotionState
    closedness: float


class TableEnvironment:
    """A Franka at a table with a cup and a box, deterministic by seed. Not thread-safe.

    An action is applied to the measured tool pose; inverse kinematics and a jerk-limited motion, replanned every
    step from the desired joint state, lead there. State and action are those of `jepa_world_model.poses`.
    """

    def __init__(self, config: EnvironmentConfig | None = None) -> None:
        """Raises `jepa_sim.meshes.SceneError` when the robot's meshes are not installed."""
        config = EnvironmentConfig() if config is None else config
        self.config = config
        self.simulation = Simulation(config.scene)
        self.kinematics = InverseKinematics(self.simulation.model)
        self._motion = SmoothMotion(config.motion)
        self._closedness = 0.0
        steps = max(1, round(1.0 / (config.control_rate_hz * self.simulation.timestep)))
        self._times = self.simulation.timestep * np.arange(1.0, steps + 1.0)
        # What the camera sees at the end of a period happened after this many of its physics steps.
        self._seen_after = steps - round(config.camera_latency_s / self.simulation.timestep)
        self._seen: Snapshot | None = None
        self._destination: Vector | None = None
        self._gripper_ramp = np.minimum(1.0, np.arange(1, steps + 1) / (config.gripper_share * steps))

    def __enter__(self) -> TableEnvironment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the OpenGL context."""
        self.simulation.close()

    def reset(self, seed: int, task: str = "reach", joint_positions: ArrayLike | None = None) -> None:
        """Puts the scene into the state that `seed` and `task` name.

        Args:
            seed: not negative.
            task: one of `jepa_sim.task_names.TASK_NAMES`; those that use the gripper begin with it open.
            joint_positions: of the arm [7], rad; drawn from the seed when None. Gripper and objects are always the
                seed's.

        Raises:
            ValueError: an unknown task, a negative seed, or joint positions outside the arm's limits.
        """
        self._closedness = reset_scene(self.simulation, self.kinematics, seed, joint_positions, self.config.reset, task)
        self._motion.rest_at(self.simulation.arm_positions())
        self._seen = self._destination = None

    def step(self, action: ArrayLike) -> Vector:
        """Carries out one action [7] and returns the state [7] one control period later.

        Targets outside the workspace are clipped to it; where the arm does not reach it goes as near as it can.

        Raises:
            ValueError: not 7 finite numbers.
        """
        target = self._target(action)
        rotation = Rotation.from_euler("xyz", target[3:6]).as_matrix()
        joints = self.kinematics.solve(target[:3], rotation, self._motion.state.positions).positions
        self._closedness = float(target[6])
        return self._go_toward(joints)

    def finish(self) -> Vector:
        """Lets the arm carry out its last action to the end, and returns the state [7] then.

        Robots whose planner thinks for seconds stand still while it does; those that replan every period never do.
        """
        for _ in range(_LONGEST_FINISH):
            if self._destination is None or self.rests:
                break
            self._go_toward(self._destination)
        return self.state()

    def _go_toward(self, joints: Vector) -> Vector:
        """One control period on the way to arm joint positions [7] and to the commanded closedness."""
        self._destination = joints
        simulation, before = self.simulation, self.simulation.commanded_fingers().mean()
        change = float(HAND.value(self._closedness)) - before
        moves = zip(self._motion.move(joints, self._times), self._gripper_ramp, strict=True)
        for index, (positions, share) in enumerate(moves):
            if index == self._seen_after:
                self._seen = simulation.save()
            simulation.command_arm(positions)
            simulation.command_fingers(before + share * change)
            simulation.step()
        simulation.refresh()
        return self.state()

    @property
    def rests(self) -> bool:
        """Whether the arm stands still."""
        return bool(np.max(np.abs(self.joint_velocities())) <= REST_SPEED)

    def settle(self) -> None:
        """Lets the arm come to rest where it is, within a second."""
        for _ in range(round(self.config.control_rate_hz)):
            if self.rests:
                return
            self.step(np.zeros(POSE_DIM))

    def render(self, width: int = 256, height: int = 256) -> NDArray[np.uint8]:
        """The camera's picture, RGB uint8 [height, width, 3]; of a moment ago where the camera has a latency."""
        if self._seen is None:
            return self.simulation.render(width, height)
        present = self.simulation.save()
        self.simulation.restore(self._seen)
        image = self.simulation.render(width, height)
        self.simulation.restore(present)
        return image

    def state(self) -> Vector:
        """Tool pose and gripper closedness [7], from the simulated joints."""
        return self.simulation.state()

    @property
    def commanded_closedness(self) -> float:
        """What the gripper was told last; the measured one stays below it while something is held."""
        return self._closedness

    def joint_positions(self) -> Vector:
        """Of the arm [7], rad."""
        return self.simulation.arm_positions()

    def joint_velocities(self) -> Vector:
        """Of the arm [7], rad/s."""
        return self.simulation.arm_velocities()

    def object_positions(self) -> dict[str, Vector]:
        """Centre [3] of each object, m."""
        return {name: self.simulation.object_position(name) for name in OBJECTS}

    def place_arm(self, joint_positions: ArrayLike) -> None:
        """Moves the arm there at once, at rest, and leaves everything else; for pictures of other poses.

        Raises:
            ValueError: not 7 joint positions, or one outside the arm's limits.
        """
        self.simulation.place_arm(checked_joint_positions(joint_positions))
        self._motion.rest_at(self.simulation.arm_positions())
        self._seen = self._destination = None

    def place_gripper(self, closedness: float) -> None:
        """Opens or closes the fingers at once; raises ValueError outside 0 (open) to 1 (closed)."""
        if not 0.0 <= closedness <= 1.0:
            raise ValueError(f"expected a closedness from 0 to 1, got {closedness}")
        self.simulation.place_fingers(closedness)
        self._closedness = closedness
        self._seen = self._destination = None

    def save(self) -> EnvironmentSnapshot:
        """The present state, for `restore`."""
        return EnvironmentSnapshot(self.simulation.save(), self._motion.state, self._closedness)

    def restore(self, snapshot: EnvironmentSnapshot) -> None:
        """Returns to a saved state; the same actions then lead to the same states, bit by bit."""
        self.simulation.restore(snapshot.simulation)
        self._motion.continue_from(snapshot.motion)
        self._closedness = snapshot.closedness
        self._seen = self._destination = None

    def _target(self, action: ArrayLike) -> Vector:
        values = np.asarray(action, dtype=np.float64)
        if values.shape != (POSE_DIM,) or not np.isfinite(values).all():
            raise ValueError(f"expected an action of {POSE_DIM} finite numbers, got {values}")
        # The gripper continues from its command: fingers that hold something never get to what they were told.
        present = np.concatenate([self.state()[:6], [self._closedness]])
        target = integrate(present, values)
        target[:3] = self.config.reset.workspace.clip(target[:3], self.config.slack_below)
        return target
