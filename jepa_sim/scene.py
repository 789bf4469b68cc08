"""The MuJoCo scene: the Franka of :mod:`jepa_sim.robot_description` at a table with a cup and a box.

The world frame is the robot's base frame; the table top is z = 0. Everything is built from typed data with
``mujoco.MjSpec``; the light collision meshes that the ``gymnasium-robotics`` package carries serve as visuals,
because they render many times faster than the detailed ones and look alike at camera resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from jepa_sim.meshes import mesh_folder
from jepa_sim.robot_description import (
    ARM_JOINTS,
    BASE_LINK,
    FINGER_JOINTS,
    Joint,
    Link,
    RobotDescription,
    Vector,
    franka_panda,
)

CAMERA_NAME = "camera"
CUP = "cup"
BOX = "box"
OBJECTS = (CUP, BOX)

Color = tuple[float, float, float, float]


@dataclass(frozen=True)
class CameraConfig:
    """A fixed pinhole camera: ``position`` and ``target`` in m (base frame), vertical field of view in degrees."""

    position: Vector = (1.30, 0.62, 0.78)
    target: Vector = (0.40, -0.02, 0.24)
    vertical_fov: float = 42.0


@dataclass(frozen=True)
class ServoConfig:
    """Joint servos: stiffness (Nm/rad) and damping (Nm s/rad) per arm joint; N/m, N s/m and N for the fingers."""

    stiffness: tuple[float, ...] = (4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0)
    damping: tuple[float, ...] = (450.0, 450.0, 350.0, 350.0, 200.0, 200.0, 200.0)
    armature: float = 0.1
    finger_stiffness: float = 1200.0
    finger_damping: float = 60.0
    finger_force: float = 40.0


@dataclass(frozen=True)
class LightConfig:
    """One lamp far away and the light from all around: direction of its rays, and brightness in 0..1 per colour."""

    direction: Vector = (-0.35, -0.25, -1.0)
    lamp: Vector = (0.55, 0.55, 0.52)
    ambient: Vector = (0.42, 0.42, 0.42)


Shape = Literal["box", "cylinder", "ellipsoid"]
Pattern = Literal["plain", "checker", "gradient", "speckle"]


@dataclass(frozen=True)
class TextureConfig:
    """A pattern in two colours, repeated ``repeat`` times across a surface; "plain" is the surface's own colour."""

    pattern: Pattern = "plain"
    first: Vector = (0.8, 0.8, 0.8)
    second: Vector = (0.4, 0.4, 0.4)
    repeat: int = 4


@dataclass(frozen=True)
class SceneConfig:
    """What stands in the scene. Sizes in m, masses in kg, colours RGBA in 0..1.

    The cup is as wide as its radius says and the box as long as its size, whatever their shape; ``table_height`` is
    the table top's z in the robot's base frame.
    """

    camera: CameraConfig = CameraConfig()
    light: LightConfig = LightConfig()
    servo: ServoConfig = ServoConfig()
    timestep: float = 0.005
    table_height: float = 0.0
    table_texture: TextureConfig = TextureConfig()
    floor_texture: TextureConfig = TextureConfig()
    cup_texture: TextureConfig = TextureConfig()
    box_texture: TextureConfig = TextureConfig()
    cup_shape: Shape = "cylinder"
    box_shape: Shape = "box"
    cup_radius: float = 0.029
    cup_height: float = 0.085
    cup_mass: float = 0.08
    box_size: float = 0.05
    box_mass: float = 0.08
    arm_color: Color = (0.92, 0.93, 0.95, 1.0)
    joint_color: Color = (0.62, 0.65, 0.70, 1.0)
    hand_color: Color = (0.22, 0.23, 0.26, 1.0)
    left_finger_color: Color = (1.0, 0.62, 0.05, 1.0)
    right_finger_color: Color = (0.10, 0.75, 0.35, 1.0)
    table_color: Color = (0.74, 0.60, 0.45, 1.0)
    floor_color: Color = (0.40, 0.44, 0.50, 1.0)
    cup_color: Color = (0.85, 0.12, 0.12, 1.0)
    cup_inside_color: Color = (0.35, 0.03, 0.03, 1.0)
    box_color: Color = (0.13, 0.30, 0.85, 1.0)
    sky_color: Vector = (0.72, 0.80, 0.88)
    horizon_color: Vector = (0.90, 0.92, 0.94)


# Collision masks: the robot meets table and objects; objects meet everything; the robot does not meet itself.
_ROBOT_TYPE, _WORLD_TYPE, _OBJECT_TYPE = 1, 2, 4
_VISUAL_GROUP, _COLLISION_GROUP = 0, 3
_GRIP_FRICTION = (1.6, 0.02, 0.0005)
# A pad is a grid of spheres, 21 mm wide and 31 mm high. Their contacts have a closed form. A box in their place is left
# through its narrow side now and then by what it has sunk into by a millimetre: the object is thrown out of the hand.
_PAD_RADIUS = 0.0075
_PAD_ACROSS = (-0.007, 0.0, 0.007)
_PAD_ALONG = (0.0305, 0.0385, 0.0465)


def build_model(config: SceneConfig = SceneConfig()) -> mujoco.MjModel:
    """Compile the scene.

    Joints carry the robot description's names, each arm joint and finger has a position servo of the same name,
    and each object is a free body called ``cup`` or ``box``.

    Raises:
        SceneError: the meshes are not installed.
    """
    return build_spec(config).compile()


def build_spec(config: SceneConfig = SceneConfig()) -> mujoco.MjSpec:
    """The scene before compilation, for those who add to it."""
    spec = mujoco.MjSpec()
    spec.modelname = "franka_table"
    spec.compiler.degree = False
    _set_options(spec, config)
    _add_surroundings(spec, config)
    _add_robot(spec, config, franka_panda())
    _add_servos(spec, config.servo, franka_panda())
    _add_cup(spec, config)
    _add_box(spec, config)
    return spec


def look_at(position: Vector, target: Vector) -> np.ndarray:
    """Quaternion (w, x, y, z) of a camera at ``position`` that looks at ``target`` (-z forward, y up)."""
    backward = np.subtract(position, target)
    backward = backward / np.linalg.norm(backward)
    right = np.cross((0.0, 0.0, 1.0), backward)
    right = right / np.linalg.norm(right)
    axes = np.column_stack((right, np.cross(backward, right), backward))
    return Rotation.from_matrix(axes).as_quat(scalar_first=True)


def _set_options(spec: mujoco.MjSpec, config: SceneConfig) -> None:
    spec.option.timestep = config.timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # Elliptic cones and a high frictional impedance keep grasped objects from creeping out of the fingers.
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.visual.global_.offwidth = 1280
    spec.visual.global_.offheight = 1280
    spec.visual.quality.offsamples = 0
    spec.visual.map.znear = 0.02
    spec.visual.headlight.ambient = config.light.ambient
    spec.visual.headlight.diffuse = (0.25, 0.25, 0.25)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)


def _add_surroundings(spec: mujoco.MjSpec, config: SceneConfig) -> None:
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=config.sky_color, rgb2=config.horizon_color, width=64, height=64,
    )  # fmt: skip
    world = spec.worldbody
    world.add_light(
        name="lamp", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=(0.6, 0.3, 2.0), dir=config.light.direction,
        diffuse=config.light.lamp, specular=(0.1, 0.1, 0.1), castshadow=False,
    )  # fmt: skip
    box, fixed = mujoco.mjtGeom.mjGEOM_BOX, {"contype": _WORLD_TYPE, "conaffinity": _ROBOT_TYPE | _OBJECT_TYPE}
    table = world.add_geom(name="table", type=box, size=(0.65, 0.70, 0.03), pos=(0.35, 0.0, config.table_height - 0.03),
                           rgba=config.table_color, friction=(0.9, 0.01, 0.0005), **fixed)  # fmt: skip
    floor = world.add_geom(name="floor", type=box, size=(3.0, 3.0, 0.05), pos=(0.0, 0.0, -0.80),
                           rgba=config.floor_color, **fixed)  # fmt: skip
    _paint(spec, table, config.table_texture)
    _paint(spec, floor, config.floor_texture)
    world.add_camera(
        name=CAMERA_NAME, pos=config.camera.position, quat=look_at(config.camera.position, config.camera.target),
        fovy=config.camera.vertical_fov,
    )  # fmt: skip


def _add_robot(spec: mujoco.MjSpec, config: SceneConfig, description: RobotDescription) -> None:
    folder = mesh_folder()
    for stem in sorted({link.mesh for link in description.links if link.mesh is not None}):
        spec.add_mesh(name=stem, file=str(folder / f"{stem}.stl"))
    links = {link.name: link for link in description.links}
    bodies = {BASE_LINK: spec.worldbody.add_body(name=BASE_LINK)}
    _fill_link(bodies[BASE_LINK], links[BASE_LINK], config)
    for joint in description.joints:
        body = bodies[joint.parent].add_body(
            name=joint.child, pos=joint.xyz, quat=Rotation.from_euler("xyz", joint.rpy).as_quat(scalar_first=True)
        )
        bodies[joint.child] = body
        _add_joint(body, joint, config.servo)
        _fill_link(body, links[joint.child], config)


def _add_joint(body: mujoco.MjsBody, joint: Joint, servo: ServoConfig) -> None:
    if joint.limits is None:
        return
    sliding = joint.kind == "prismatic"
    body.add_joint(
        name=joint.name,
        type=mujoco.mjtJoint.mjJNT_SLIDE if sliding else mujoco.mjtJoint.mjJNT_HINGE,
        axis=joint.axis,
        range=(joint.limits.lower, joint.limits.upper),
        limited=True,
        armature=0.05 if sliding else servo.armature,
    )


def _fill_link(body: mujoco.MjsBody, link: Link, config: SceneConfig) -> None:
    body.gravcomp = 1.0
    if link.inertial is not None:
        body.explicitinertial = True
        body.mass, body.ipos, body.fullinertia = link.inertial.mass, link.inertial.center, link.inertial.inertia
    if link.mesh == "finger":
        _add_finger_geoms(body, config, left=link.name == "panda_leftfinger")
    elif link.mesh is not None:
        _add_mesh_geom(body, link.mesh, _link_color(link.mesh, config), collides=link.mesh not in ("link0", "link1"))


def _link_color(mesh: str, config: SceneConfig) -> Color:
    if mesh == "hand":
        return config.hand_color
    # Alternating shades tell the links apart.
    return config.joint_color if mesh in ("link1", "link3", "link5", "link7") else config.arm_color


def _add_mesh_geom(body: mujoco.MjsBody, mesh: str, color: Color, collides: bool) -> None:
    masks = (_ROBOT_TYPE, _WORLD_TYPE | _OBJECT_TYPE) if collides else (0, 0)
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh, rgba=color, group=_VISUAL_GROUP,
        contype=masks[0], conaffinity=masks[1],
    )  # fmt: skip


def _add_finger_geoms(body: mujoco.MjsBody, config: SceneConfig, left: bool) -> None:
    """A coloured mesh and bulky coloured back that the camera sees, and a flat pad that grips."""
    side = 1.0 if left else -1.0
    color = config.left_finger_color if left else config.right_finger_color
    half_turn = (1.0, 0.0, 0.0, 0.0) if left else (0.0, 0.0, 0.0, 1.0)
    box, visual = mujoco.mjtGeom.mjGEOM_BOX, {"contype": 0, "conaffinity": 0, "group": _VISUAL_GROUP}
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="finger", quat=half_turn, rgba=color, **visual)
    body.add_geom(type=box, size=(0.0105, 0.006, 0.0265), pos=(0.0, side * 0.0145, 0.0265), rgba=color, **visual)
    for x, z in product(_PAD_ACROSS, _PAD_ALONG):
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(_PAD_RADIUS, 0.0, 0.0), pos=(x, side * (_PAD_RADIUS + 0.0001), z),
            rgba=color, group=_COLLISION_GROUP, contype=_ROBOT_TYPE, conaffinity=_WORLD_TYPE | _OBJECT_TYPE,
            condim=4, friction=_GRIP_FRICTION, priority=1, solimp=(0.95, 0.99, 0.001, 0.5, 2.0),
        )  # fmt: skip


def _add_servos(spec: mujoco.MjSpec, servo: ServoConfig, description: RobotDescription) -> None:
    rows = zip(ARM_JOINTS, servo.stiffness, servo.damping, description.limits(ARM_JOINTS), strict=True)
    for name, stiffness, damping, limits in rows:
        _add_servo(spec, name, stiffness, damping, limits.effort)
    for name in FINGER_JOINTS:
        _add_servo(spec, name, servo.finger_stiffness, servo.finger_damping, servo.finger_force)
    left, right = FINGER_JOINTS
    equality = spec.add_equality(
        name="finger_coupling", type=mujoco.mjtEq.mjEQ_JOINT, name1=left, name2=right,
        objtype=mujoco.mjtObj.mjOBJ_JOINT, solref=(0.01, 1.0), solimp=(0.95, 0.99, 0.001, 0.5, 2.0),
    )  # fmt: skip
    equality.data[:5] = (0.0, 1.0, 0.0, 0.0, 0.0)


def _add_servo(spec: mujoco.MjSpec, joint: str, stiffness: float, damping: float, force: float) -> None:
    servo = spec.add_actuator(
        name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT, forcelimited=True, forcerange=(-force, force)
    )
    servo.set_to_position(kp=stiffness, kv=damping)


def _add_cup(spec: mujoco.MjSpec, config: SceneConfig) -> None:
    half, radius = config.cup_height / 2, config.cup_radius
    body = _add_object(spec, CUP, (0.5, 0.12, config.table_height + half))
    geom = body.add_geom(**_solid(config.cup_shape, radius, half), rgba=config.cup_color, mass=config.cup_mass,
                         **_object_contact())  # fmt: skip
    _paint(spec, geom, config.cup_texture)
    if config.cup_shape == "cylinder":
        # A dark disc just above the rim makes the solid cylinder look hollow.
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(radius * 0.84, 0.0005, 0.0),
                      pos=(0.0, 0.0, half + 0.0004), rgba=config.cup_inside_color, mass=0.0, contype=0,
                      conaffinity=0)  # fmt: skip


def _add_box(spec: mujoco.MjSpec, config: SceneConfig) -> None:
    half = config.box_size / 2
    body = _add_object(spec, BOX, (0.5, -0.12, config.table_height + half))
    geom = body.add_geom(**_solid(config.box_shape, half, half), rgba=config.box_color, mass=config.box_mass,
                         **_object_contact())  # fmt: skip
    _paint(spec, geom, config.box_texture)


def _solid(shape: Shape, half_width: float, half_height: float) -> dict[str, object]:
    """A geom that is twice ``half_width`` wide and deep, and twice ``half_height`` high."""
    if shape == "cylinder":
        return {"type": mujoco.mjtGeom.mjGEOM_CYLINDER, "size": (half_width, half_height, 0.0)}
    kind = mujoco.mjtGeom.mjGEOM_BOX if shape == "box" else mujoco.mjtGeom.mjGEOM_ELLIPSOID
    return {"type": kind, "size": (half_width, half_width, half_height)}


_BUILTIN = {
    "checker": mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
    "gradient": mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
    "speckle": mujoco.mjtBuiltin.mjBUILTIN_FLAT,
}


def _paint(spec: mujoco.MjSpec, geom: mujoco.MjsGeom, texture: TextureConfig) -> None:
    """Covers a named or object geom with a texture; a plain one keeps its colour."""
    if texture.pattern == "plain":
        return
    name = f"{geom.name or geom.parent.name}_texture"
    speckles = mujoco.mjtMark.mjMARK_RANDOM if texture.pattern == "speckle" else mujoco.mjtMark.mjMARK_NONE
    spec.add_texture(
        name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=_BUILTIN[texture.pattern], mark=speckles, random=0.2,
        rgb1=texture.first, rgb2=texture.second, markrgb=texture.second, width=128, height=128,
    )  # fmt: skip
    material = spec.add_material(name=name, texrepeat=(texture.repeat, texture.repeat))
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    geom.material, geom.rgba = name, (1.0, 1.0, 1.0, 1.0)


def _add_object(spec: mujoco.MjSpec, name: str, position: Vector) -> mujoco.MjsBody:
    body = spec.worldbody.add_body(name=name, pos=position)
    body.add_freejoint(name=f"{name}_joint")
    return body


def _object_contact() -> dict[str, object]:
    return {
        "contype": _OBJECT_TYPE,
        "conaffinity": _ROBOT_TYPE | _WORLD_TYPE | _OBJECT_TYPE,
        "condim": 4,
        "friction": (0.9, 0.01, 0.0005),
        "group": _VISUAL_GROUP,
    }
