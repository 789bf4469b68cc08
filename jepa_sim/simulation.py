"""The scene as a running simulation: joints, servos, objects, pictures, and states that can be saved."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from jepa_sim.entities import Body, EntityState, UnknownEntityError
from jepa_sim.graphics import rendering_error
from jepa_sim.robot_description import ARM_JOINTS, FINGER_JOINTS, FINGER_LINKS, HAND, TCP_LINK, franka_panda
from jepa_sim.scene import CAMERA_NAME, OBJECTS, SceneConfig, build_spec
from jepa_sim.spawned_body import add_spawned_body

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything that the simulation's future depends on; `values` is MuJoCo's integration state."""

    values: Vector


@dataclass(frozen=True, eq=False)
class JointRange:
    """Lower and upper position limits of the arm, rad, each [7]."""

    lower: Vector
    upper: Vector


def arm_range() -> JointRange:
    """The Franka's published position limits."""
    limits = franka_panda().limits(ARM_JOINTS)
    return JointRange(np.array([limit.lower for limit in limits]), np.array([limit.upper for limit in limits]))


class JointAddresses:
    """Where the arm's and the fingers' numbers lie in MuJoCo's vectors, in the order of the robot description."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.arm_position = _addresses(model, ARM_JOINTS, "qposadr")
        self.arm_velocity = _addresses(model, ARM_JOINTS, "dofadr")
        self.finger_position = _addresses(model, FINGER_JOINTS, "qposadr")
        self.finger_velocity = _addresses(model, FINGER_JOINTS, "dofadr")
        self.arm_servo = np.array([model.actuator(name).id for name in ARM_JOINTS])
        self.finger_servo = np.array([model.actuator(name).id for name in FINGER_JOINTS])


def _addresses(model: mujoco.MjModel, names: tuple[str, ...], attribute: str) -> NDArray[np.intp]:
    return np.array([getattr(model.joint(name), attribute)[0] for name in names])


class Simulation:
    """The table with its robot. Angles in rad, lengths in m, in the robot's base frame.

    Not thread-safe. Pictures come from an OpenGL context that belongs to the thread of the first `render`: later
    calls of `render` and `close` must come from the same thread.
    """

    def __init__(self, config: SceneConfig | None = None) -> None:
        """Raises `jepa_sim.meshes.SceneError` when the robot's meshes are not installed."""
        self._spec = build_spec(SceneConfig() if config is None else config)
        self.model = self._spec.compile()
        self.data = mujoco.MjData(self.model)
        self._spawned: tuple[str, ...] = ()
        self._renderer: mujoco.Renderer | None = None
        self._index()
        self.clear()

    def _index(self) -> None:
        """Looks up where everything is in the model."""
        self._at = JointAddresses(self.model)
        self._tcp = self.model.body(TCP_LINK).id
        self._objects = {name: self.model.body(name).id for name in (*OBJECTS, *self._spawned)}
        self._fingers = {self.model.body(finger).id for finger in FINGER_LINKS}
        self._object_address = {name: self.model.joint(f"{name}_joint").qposadr[0] for name in self._objects}

    def __enter__(self) -> Simulation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the OpenGL context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    # --- time -----------------------------------------------------------------------------------------------

    @property
    def timestep(self) -> float:
        """Seconds of one physics step."""
        return float(self.model.opt.timestep)

    @property
    def time(self) -> float:
        """Simulated seconds since the last `clear`."""
        return float(self.data.time)

    def clear(self) -> None:
        """Back to the scene as it was built, at time zero."""
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)

    def step(self) -> None:
        """One physics step. Poses and pictures follow after `refresh`."""
        mujoco.mj_step(self.model, self.data)

    def refresh(self) -> None:
        """Brings link and object poses up to the joint positions, which `step` leaves one step ahead of them."""
        mujoco.mj_kinematics(self.model, self.data)

    def save(self) -> Snapshot:
        """The present state, for `restore`."""
        values = np.empty(mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(self.model, self.data, values, mujoco.mjtState.mjSTATE_INTEGRATION)
        return Snapshot(values)

    def restore(self, snapshot: Snapshot) -> None:
        """Returns to a saved state; what follows is what would have followed then, bit by bit."""
        mujoco.mj_setState(self.model, self.data, snapshot.values, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(self.model, self.data)
        # mj_forward leaves its own warm start for the contact solver.
        mujoco.mj_setState(self.model, self.data, snapshot.values, mujoco.mjtState.mjSTATE_INTEGRATION)

    # --- robot ----------------------------------------------------------------------------------------------

    def arm_positions(self) -> Vector:
        """Joint positions [7]."""
        return self.data.qpos[self._at.arm_position]

    def arm_velocities(self) -> Vector:
        """Joint velocities [7], rad/s."""
        return self.data.qvel[self._at.arm_velocity]

    def finger_positions(self) -> Vector:
        """Finger positions [2], m: 0 closed."""
        return self.data.qpos[self._at.finger_position]

    def finger_velocities(self) -> Vector:
        """Finger velocities [2], m/s."""
        return self.data.qvel[self._at.finger_velocity]

    def place_arm(self, positions: ArrayLike) -> None:
        """Puts the arm at joint positions [7], at rest, with its servos holding it there."""
        self.data.qpos[self._at.arm_position] = positions
        self.data.qvel[self._at.arm_velocity] = 0.0
        self.command_arm(positions)
        mujoco.mj_forward(self.model, self.data)

    def place_fingers(self, closedness: float) -> None:
        """Puts both fingers at `closedness` (0 open to 1 closed), at rest, with their servos holding them there."""
        opening = float(HAND.value(closedness))
        self.data.qpos[self._at.finger_position] = opening
        self.data.qvel[self._at.finger_velocity] = 0.0
        self.command_fingers(opening)
        mujoco.mj_forward(self.model, self.data)

    def command_arm(self, positions: ArrayLike) -> None:
        """Sets the arm servos' targets [7]."""
        self.data.ctrl[self._at.arm_servo] = positions

    def commanded_arm(self) -> Vector:
        """The arm servos' targets [7]."""
        return self.data.ctrl[self._at.arm_servo]

    def command_fingers(self, positions: ArrayLike) -> None:
        """Sets the finger servos' targets, m: one number or [2]."""
        self.data.ctrl[self._at.finger_servo] = positions

    def commanded_fingers(self) -> Vector:
        """The finger servos' targets [2], m."""
        return self.data.ctrl[self._at.finger_servo]

    def tool_pose(self) -> tuple[Vector, Vector]:
        """Position [3] and rotation matrix [3, 3] of the tool frame between the fingertips."""
        return self.data.xpos[self._tcp].copy(), self.data.xmat[self._tcp].reshape(3, 3).copy()

    def state(self) -> Vector:
        """The end-effector state [7]: x, y, z, roll, pitch, yaw (extrinsic xyz), closedness 0 (open) to 1."""
        position, rotation = self.tool_pose()
        closedness = HAND.closedness(self.finger_positions().mean())
        return np.concatenate([position, Rotation.from_matrix(rotation).as_euler("xyz"), [closedness]])

    # --- objects --------------------------------------------------------------------------------------------

    def object_position(self, name: str) -> Vector:
        """Centre [3] of the object `name`; raises KeyError for one that is not in the scene."""
        return self.data.xpos[self._objects[name]].copy()

    def object_velocity(self, name: str) -> Vector:
        """Velocity [3] of the object's centre, m/s; raises KeyError for one that is not in the scene."""
        address = self.model.joint(f"{name}_joint").dofadr[0]
        return self.data.qvel[address : address + 3].copy()

    def is_held(self, name: str) -> bool:
        """Whether both fingers' pads touch the object; raises KeyError for one that is not in the scene."""
        body, touching = self._objects[name], set()
        for contact in self.data.contact:
            first, second = (int(self.model.geom_bodyid[geom]) for geom in contact.geom)
            touching |= {finger for finger, other in ((first, second), (second, first)) if other == body}
        return touching >= self._fingers

    def place_object(self, name: str, position: ArrayLike, yaw: float = 0.0) -> None:
        """Puts an object upright, at rest, with its centre at `position`: [2] keeps its height, [3] sets it too.

        Raises KeyError for an object that is not in the scene.
        """
        values = np.asarray(position, dtype=np.float64)
        address = self._object_address[name]
        self.data.qpos[address : address + len(values)] = values
        self.data.qpos[address + 3 : address + 7] = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        velocity = self.model.joint(f"{name}_joint").dofadr[0]
        self.data.qvel[velocity : velocity + 6] = 0.0
        mujoco.mj_forward(self.model, self.data)

    @property
    def spawned(self) -> tuple[str, ...]:
        """Names of the objects that were added."""
        return self._spawned

    def add_object(self, name: str, body: Body, state: EntityState) -> None:
        """Adds an object; everything else goes on as it is. Snapshots taken before cannot be restored any more.

        Raises KeyError when something of that name is in the scene already.
        """
        if any(body.name == name for body in self._spec.bodies):
            raise KeyError(f"expected a name that is free, got {name!r} again")
        add_spawned_body(self._spec, name, body)
        self._spawned = (*self._spawned, name)
        self._recompile()
        self.set_object_state(name, state)

    def remove_object(self, name: str) -> None:
        """Removes an object that was added; raises UnknownEntityError when it was not."""
        if name not in self._spawned:
            raise UnknownEntityError(f"expected one of the spawned objects {list(self._spawned)}, got {name!r}")
        self._spec.delete(self._spec.body(name))
        self._spawned = tuple(other for other in self._spawned if other != name)
        self._recompile()

    def _recompile(self) -> None:
        """Compiles the changed scene; positions and velocities of what stays are kept."""
        self.model, self.data = self._spec.recompile(self.model, self.data)
        self._index()
        mujoco.mj_forward(self.model, self.data)

    def object_state(self, name: str) -> EntityState:
        """Pose and velocity of an object; raises UnknownEntityError for one that is not in the scene."""
        body = self.data.body(self._object_id(name))
        w, x, y, z = map(float, body.xquat)
        velocity = np.empty(6)
        mujoco.mj_objectVelocity(self.model, self.data, mujoco.mjtObj.mjOBJ_BODY, body.id, velocity, 0)
        px, py, pz = map(float, body.xpos)
        wx, wy, wz, vx, vy, vz = map(float, velocity)
        return EntityState((px, py, pz), (x, y, z, w), (vx, vy, vz), (wx, wy, wz))

    def set_object_state(self, name: str, state: EntityState) -> None:
        """Puts an object somewhere; raises UnknownEntityError for one that is not in the scene."""
        self._object_id(name)
        rotation = Rotation.from_quat(state.orientation)
        address = self._object_address[name]
        self.data.qpos[address : address + 3] = state.position
        self.data.qpos[address + 3 : address + 7] = rotation.as_quat(scalar_first=True)
        velocity = self.model.joint(f"{name}_joint").dofadr[0]
        self.data.qvel[velocity : velocity + 3] = state.linear_velocity
        # A free joint's angular velocity is in the body's own frame.
        self.data.qvel[velocity + 3 : velocity + 6] = rotation.inv().apply(state.angular_velocity)
        mujoco.mj_forward(self.model, self.data)

    def _object_id(self, name: str) -> int:
        if name not in self._objects:
            raise UnknownEntityError(f"expected one of the objects {', '.join(self._objects)}, got {name!r}")
        return int(self._objects[name])

    # --- camera ---------------------------------------------------------------------------------------------

    def render(self, width: int = 256, height: int = 256) -> NDArray[np.uint8]:
        """The camera's picture, RGB uint8 [height, width, 3].

        Raises:
            RenderingError: there is no OpenGL for it.
        """
        renderer = self._renderer
        if renderer is None or renderer.model is not self.model or (renderer.width, renderer.height) != (width, height):
            self.close()
            renderer = self._renderer = self._new_renderer(width, height)
        renderer.update_scene(self.data, camera=CAMERA_NAME)
        return renderer.render()

    def _new_renderer(self, width: int, height: int) -> mujoco.Renderer:
        try:
            return mujoco.Renderer(self.model, height, width)
        except (mujoco.FatalError, RuntimeError, ImportError, AttributeError) as error:  # by backend and what it lacks
            raise rendering_error(error) from error
