"""The simulated robot as its controllers present it: trajectories in, joint states and pictures out, one clock."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jepa_sim.entities import Body, EntityError, EntityState
from jepa_sim.inverse_kinematics import InverseKinematics
from jepa_sim.reset import ResetConfig, reset_scene
from jepa_sim.robot_description import ARM_JOINTS, FINGER_JOINTS, HAND, franka_panda
from jepa_sim.scene import OBJECTS, SceneConfig
from jepa_sim.simulation import Simulation
from jepa_sim.task_names import REACH, TASKS
from jepa_sim.trajectory_controller import (
    DesiredState,
    Trajectory,
    TrajectoryController,
    TrajectoryControllerConfig,
)

Vector = NDArray[np.float64]

JOINT_NAMES = (*ARM_JOINTS, *FINGER_JOINTS)


@dataclass(frozen=True, eq=False)
class JointReadings:
    """Positions (rad, m) and velocities of `JOINT_NAMES`, each [9], at `time_ns` of the simulation's clock."""

    time_ns: int
    positions: Vector
    velocities: Vector


@dataclass(frozen=True, eq=False)
class Picture:
    """The camera's RGB image uint8 [height, width, 3], at `time_ns` of the simulation's clock."""

    time_ns: int
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class ControlledSimulationConfig:
    """What stands in the scene, how strict the controllers are, and what a reset draws."""

    scene: SceneConfig = field(default_factory=SceneConfig)
    controllers: TrajectoryControllerConfig = field(default_factory=TrajectoryControllerConfig)
    reset: ResetConfig = field(default_factory=ResetConfig)


class ControlledSimulation:
    """A simulation whose servos follow an arm and a gripper controller.

    The clock counts every step and goes on at a reset, as nodes that follow it expect. All methods may be called
    from any thread, except that `picture` and `close` belong to one thread, because their OpenGL context does.
    """

    def __init__(self, config: ControlledSimulationConfig = ControlledSimulationConfig()) -> None:
        """Raises `jepa_sim.meshes.SceneError` when the robot's meshes are not installed."""
        self._lock = threading.Lock()
        self._config = config
        self._simulation = Simulation(config.scene)
        self._kinematics = InverseKinematics(self._simulation.model)
        description = franka_panda()
        self._arm = TrajectoryController(ARM_JOINTS, description.limits(ARM_JOINTS), config.controllers)
        self._gripper = TrajectoryController(FINGER_JOINTS, description.limits(FINGER_JOINTS), config.controllers)
        self._timestep_ns = round(self._simulation.timestep * 1e9)
        self._time_ns = 0
        self.reset(0)

    @property
    def timestep(self) -> float:
        """Seconds of one physics step."""
        return self._simulation.timestep

    @property
    def vertical_fov(self) -> float:
        """The camera's vertical field of view, degrees."""
        return self._config.scene.camera.vertical_fov

    @property
    def time_ns(self) -> int:
        """The clock, nanoseconds; 0 before the first step."""
        return self._time_ns

    def reset(self, seed: int, task: str = REACH, joint_positions: Sequence[float] = ()) -> None:
        """Puts the scene into the state that `seed` and `task` name, with both controllers holding still.

        What was spawned is removed.

        Args:
            seed: not negative.
            task: one of `jepa_sim.task_names.TASK_NAMES`.
            joint_positions: of the arm [7], rad; drawn from the seed when empty.

        Raises:
            ValueError: an unknown task, or joint positions outside the arm's limits; then nothing has changed.
        """
        TASKS.load(task)
        arm = joint_positions if len(joint_positions) else None
        with self._lock:
            for name in self._simulation.spawned:
                self._simulation.remove_object(name)
            closedness = reset_scene(self._simulation, self._kinematics, seed, arm, self._config.reset, task)
            self._arm.reset(self._simulation.arm_positions(), self._seconds())
            self._gripper.reset(np.full(len(FINGER_JOINTS), HAND.value(closedness)), self._seconds())

    def follow_arm(self, trajectory: Trajectory) -> None:
        """Gives the arm a trajectory, as of now; raises TrajectoryRefusedError."""
        with self._lock:
            self._arm.accept(trajectory, self._seconds())

    def follow_gripper(self, trajectory: Trajectory) -> None:
        """Gives the fingers a trajectory, as of now; raises TrajectoryRefusedError."""
        with self._lock:
            self._gripper.accept(trajectory, self._seconds())

    def advance(self, steps: int = 1) -> JointReadings:
        """Simulates `steps` physics steps and reads the joints."""
        with self._lock:
            for _ in range(steps):
                self._time_ns += self._timestep_ns
                time = self._seconds()
                self._simulation.command_arm(self._arm.sample(time).positions)
                self._simulation.command_fingers(self._gripper.sample(time).positions)
                self._simulation.step()
            return self._readings()

    def desired_arm(self) -> tuple[int, DesiredState]:
        """The clock, ns, and what the arm's controller wants its joints to do now."""
        with self._lock:
            return self._time_ns, self._arm.sample(self._seconds())

    def state(self) -> Vector:
        """Tool pose and gripper closedness [7], see `Simulation.state`."""
        with self._lock:
            self._simulation.refresh()
            return self._simulation.state()

    def picture(self, width: int, height: int) -> Picture:
        """What the camera sees now."""
        with self._lock:
            self._simulation.refresh()
            return Picture(self._time_ns, self._simulation.render(width, height))

    # --- entities -------------------------------------------------------------------------------------------

    def entity_names(self) -> tuple[str, ...]:
        """The scene's objects and what was spawned."""
        with self._lock:
            return (*OBJECTS, *self._simulation.spawned)

    def entity_state(self, name: str) -> EntityState:
        """Pose and velocity of an object; raises `jepa_sim.entities.UnknownEntityError`."""
        with self._lock:
            self._simulation.refresh()
            return self._simulation.object_state(name)

    def set_entity_state(self, name: str, state: EntityState) -> None:
        """Puts an object somewhere; raises `jepa_sim.entities.EntityError`."""
        checked = state.checked()
        with self._lock:
            self._simulation.set_object_state(name, checked)

    def spawn(self, name: str, body: Body, state: EntityState) -> None:
        """Adds an object; raises `jepa_sim.entities.EntityError`."""
        checked = state.checked()
        with self._lock:
            try:
                self._simulation.add_object(name, body, checked)
            except KeyError as error:
                raise EntityError(str(error.args[0])) from error

    def delete(self, name: str) -> None:
        """Removes what was spawned; raises `jepa_sim.entities.UnknownEntityError`."""
        with self._lock:
            self._simulation.remove_object(name)

    def close(self) -> None:
        """Frees the OpenGL context."""
        with self._lock:
            self._simulation.close()

    def _readings(self) -> JointReadings:
        simulation = self._simulation
        return JointReadings(
            self._time_ns,
            np.concatenate([simulation.arm_positions(), simulation.finger_positions()]),
            np.concatenate([simulation.arm_velocities(), simulation.finger_velocities()]),
        )

    def _seconds(self) -> float:
        return self._time_ns * 1e-9
