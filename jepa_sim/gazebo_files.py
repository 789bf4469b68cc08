"""The MuJoCo scene written down for Gazebo: the arm's links with their looks (xacro) and the world (SDF).

Everything is read from the specification that MuJoCo compiles, so that both show the same. After a change of the scene:
`python -m jepa_sim.gazebo_files` writes the files again.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from jepa_common.resources import find_resource
from jepa_common.whole_files import write_whole
from jepa_sim.robot_description import franka_panda
from jepa_sim.scene import CAMERA_NAME, OBJECTS, CameraConfig, SceneConfig, build_spec, look_at

Element = ElementTree.Element

CAMERA_RATE = 10.0
IMAGE_SIZE = 256
"""Width and height of the camera's image, pixels."""

CAMERA_FRAME = "camera_optical_frame"
CAMERA_TOPIC = "table_camera/image"
XACRO = "http://www.ros.org/wiki/xacro"
VISUAL_GROUP = 0
NOTE = " Written by `python -m jepa_sim.gazebo_files` from jepa_sim/scene.py: change that and write this again. "


class Gazebo(enum.Enum):
    """Which Gazebo a world is for, and the version of SDF that it reads."""

    SIM = "1.9"
    CLASSIC = "1.6"


# --- the arm ------------------------------------------------------------------------------------------------


def links_xacro(config: SceneConfig | None = None) -> str:
    """Links and joints of the arm with the scene's shapes and colours; `$(arg meshes)` is the meshes' folder as URI."""
    description = franka_panda()
    spec = build_spec(config or SceneConfig())
    root = ElementTree.fromstring(description.to_urdf())  # noqa: S314 - made here
    for element in root.iter("link"):
        _add_looks(element, spec.body(element.get("name")))
    looks = [_gazebo_color(link.name, spec.body(link.name)) for link in description.links]
    root.extend(look for look in looks if look is not None)
    root.attrib = {"xmlns:xacro": XACRO}
    return _text(root)


def _add_looks(link: Element, body: mujoco.MjsBody) -> None:
    for geom in body.geoms:
        if geom.group == VISUAL_GROUP:
            visual = _add(link, "visual")
            _add_urdf_shape(visual, geom)
            material = _add(visual, "material", name=f"{body.name}_color")
            _add(material, "color", rgba=_numbers(geom.rgba))
        if geom.contype or geom.conaffinity:
            _add_urdf_shape(_add(link, "collision"), geom)


def _add_urdf_shape(parent: Element, geom: mujoco.MjsGeom) -> None:
    angles = Rotation.from_quat(geom.quat, scalar_first=True).as_euler("xyz")
    _add(parent, "origin", xyz=_numbers(geom.pos), rpy=_numbers(angles))
    geometry = _add(parent, "geometry")
    if geom.type == mujoco.mjtGeom.mjGEOM_MESH:
        _add(geometry, "mesh", filename=f"$(arg meshes)/{geom.meshname}.stl")
    elif geom.type == mujoco.mjtGeom.mjGEOM_SPHERE:
        _add(geometry, "sphere", radius=_numbers(geom.size[:1]))
    else:
        _add(geometry, "box", size=_numbers(2.0 * np.asarray(geom.size)))


def _gazebo_color(name: str, body: mujoco.MjsBody) -> Element | None:
    """Gazebo's own way to colour a link, which both Gazebos read."""
    colors = [geom.rgba for geom in body.geoms if geom.group == VISUAL_GROUP]
    if not colors:
        return None
    element = Element("gazebo", reference=name)
    _add(element, "visual").append(_material(colors[0]))
    return element


# --- the world ----------------------------------------------------------------------------------------------


def world_sdf(gazebo: Gazebo, config: SceneConfig | None = None) -> str:
    """Table, floor, cup, box, lights and camera as a world for `gazebo`; the arm is spawned into it."""
    config = config or SceneConfig()
    spec = build_spec(config)
    root = Element("sdf", version=gazebo.value)
    world = _add(root, "world", name="table")
    _add_physics(world, gazebo)
    _add_systems(world, gazebo)
    _add_scene(world, spec, config)
    for light in spec.lights:
        _add_light(world, light)
    for geom in spec.worldbody.geoms:
        _add_model(world, geom.name, [geom], geom.pos, static=True)
    for name in OBJECTS:
        body = spec.body(name)
        _add_model(world, name, list(body.geoms), body.pos, static=False)
    _add_camera(world, config.camera, gazebo)
    return _text(root)


def _add_physics(world: Element, gazebo: Gazebo) -> None:
    physics = _add(world, "physics", name="steps", type="ode")
    _leaf(physics, "max_step_size", "0.001")
    _leaf(physics, "real_time_factor", "1.0")
    if gazebo is Gazebo.CLASSIC:
        _leaf(physics, "real_time_update_rate", "1000")
    _leaf(world, "gravity", "0 0 -9.81")


def _add_systems(world: Element, gazebo: Gazebo) -> None:
    if gazebo is Gazebo.CLASSIC:
        _add(world, "plugin", name="gazebo_ros_state", filename="libgazebo_ros_state.so")
        return
    for name in ("Physics", "UserCommands", "SceneBroadcaster", "Sensors", "Contact"):
        words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
        plugin = _add(world, "plugin", name=f"gz::sim::systems::{name}", filename=f"gz-sim{words}-system")
        if name == "Sensors":
            _leaf(plugin, "render_engine", "ogre2")


def _add_scene(world: Element, spec: mujoco.MjSpec, config: SceneConfig) -> None:
    scene = _add(world, "scene")
    _leaf(scene, "ambient", _numbers((*spec.visual.headlight.ambient, 1.0)))
    _leaf(scene, "background", _numbers((*config.sky_color, 1.0)))
    _leaf(scene, "shadows", "false")
    _leaf(scene, "grid", "false")


def _add_light(world: Element, light: mujoco.MjsLight) -> None:
    element = _add(world, "light", name=light.name, type="directional")
    _leaf(element, "pose", _numbers((*light.pos, 0.0, 0.0, 0.0)))
    _leaf(element, "cast_shadows", str(bool(light.castshadow)).lower())
    _leaf(element, "diffuse", _numbers((*light.diffuse, 1.0)))
    _leaf(element, "specular", _numbers((*light.specular, 1.0)))
    _leaf(element, "direction", _numbers(light.dir))


def _add_model(world: Element, name: str, geoms: list[mujoco.MjsGeom], position: ArrayLike, static: bool) -> None:
    """A model of one link; positions of geoms are relative to it, except that a static one's is the model's."""
    model = _add(world, "model", name=name)
    _leaf(model, "static", str(static).lower())
    _leaf(model, "pose", _numbers((*np.asarray(position), 0.0, 0.0, 0.0)))
    link = _add(model, "link", name="link")
    if not static:
        _add_inertial(link, geoms[0])
    for number, geom in enumerate(geoms):
        offset = np.zeros(3) if static else np.asarray(geom.pos)
        visual = _add(link, "visual", name=f"visual_{number}")
        _add_sdf_shape(visual, geom, offset)
        visual.append(_material(geom.rgba))
        if geom.contype or geom.conaffinity:
            collision = _add(link, "collision", name=f"collision_{number}")
            _add_sdf_shape(collision, geom, offset)
            _add_friction(collision, geom)


def _add_sdf_shape(parent: Element, geom: mujoco.MjsGeom, offset: NDArray[np.float64]) -> None:
    _leaf(parent, "pose", _numbers((*offset, 0.0, 0.0, 0.0)))
    geometry = _add(parent, "geometry")
    if geom.type == mujoco.mjtGeom.mjGEOM_BOX:
        _leaf(_add(geometry, "box"), "size", _numbers(2.0 * np.asarray(geom.size)))
        return
    cylinder = _add(geometry, "cylinder")
    _leaf(cylinder, "radius", _numbers((geom.size[0],)))
    _leaf(cylinder, "length", _numbers((2.0 * geom.size[1],)))


def _add_friction(collision: Element, geom: mujoco.MjsGeom) -> None:
    ode = _add(_add(_add(collision, "surface"), "friction"), "ode")
    for name in ("mu", "mu2"):
        _leaf(ode, name, _numbers((geom.friction[0],)))


def _add_inertial(link: Element, geom: mujoco.MjsGeom) -> None:
    inertial = _add(link, "inertial")
    _leaf(inertial, "mass", _numbers((geom.mass,)))
    inertia = _add(inertial, "inertia")
    for name, value in zip(("ixx", "iyy", "izz"), moments(geom), strict=True):
        _leaf(inertia, name, _numbers((value,)))
    for name in ("ixy", "ixz", "iyz"):
        _leaf(inertia, name, "0")


def moments(geom: mujoco.MjsGeom) -> NDArray[np.float64]:
    """Principal moments of inertia [3] of a solid box or cylinder about its centre, kg m^2."""
    if geom.type == mujoco.mjtGeom.mjGEOM_BOX:
        squares = (2.0 * np.asarray(geom.size)) ** 2
        return geom.mass / 12.0 * (squares.sum() - squares)
    radius, length = geom.size[0], 2.0 * geom.size[1]
    across = geom.mass * (3.0 * radius**2 + length**2) / 12.0
    return np.array((across, across, geom.mass * radius**2 / 2.0))


def _add_camera(world: Element, camera: CameraConfig, gazebo: Gazebo) -> None:
    model = _add(world, "model", name=CAMERA_NAME)
    _leaf(model, "static", "true")
    _leaf(model, "pose", _numbers(camera_pose(camera)))
    sensor = _add(_add(model, "link", name="link"), "sensor", name=CAMERA_NAME, type="camera")
    _leaf(sensor, "update_rate", _numbers((CAMERA_RATE,)))
    _leaf(sensor, "always_on", "true")
    if gazebo is Gazebo.SIM:
        _leaf(sensor, "topic", CAMERA_TOPIC)
    element = _add(sensor, "camera")
    _leaf(element, "horizontal_fov", _numbers((np.radians(camera.vertical_fov),)))
    image = _add(element, "image")
    for name, value in (("width", IMAGE_SIZE), ("height", IMAGE_SIZE), ("format", "R8G8B8")):
        _leaf(image, name, str(value))
    clip = _add(element, "clip")
    _leaf(clip, "near", "0.02")
    _leaf(clip, "far", "20")
    if gazebo is Gazebo.SIM:
        _leaf(element, "optical_frame_id", CAMERA_FRAME)
        return
    plugin = _add(sensor, "plugin", name="camera_controller", filename="libgazebo_ros_camera.so")
    _leaf(plugin, "camera_name", "camera")
    _leaf(plugin, "frame_name", CAMERA_FRAME)


def camera_pose(camera: CameraConfig) -> NDArray[np.float64]:
    """Position (m) and extrinsic xyz angles (rad) [6] of a camera that looks along x with z up, as Gazebo's do."""
    mujoco_axes = Rotation.from_quat(look_at(camera.position, camera.target), scalar_first=True).as_matrix()
    right, up, backward = mujoco_axes.T
    axes = Rotation.from_matrix(np.column_stack((-backward, -right, up)))
    return np.concatenate([camera.position, axes.as_euler("xyz")])


# --- XML ----------------------------------------------------------------------------------------------------


def _material(color: ArrayLike) -> Element:
    material = Element("material")
    for name in ("ambient", "diffuse"):
        _leaf(material, name, _numbers(color))
    _leaf(material, "specular", "0.1 0.1 0.1 1")
    return material


def _add(parent: Element, tag: str, /, **attributes: str) -> Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _leaf(parent: Element, tag: str, text: str) -> None:
    _add(parent, tag).text = text


def _numbers(values: ArrayLike | Iterable[float]) -> str:
    """Six decimals are a micrometre; a last digit that differs between machines would change the files."""
    return " ".join(f"{value + 0.0:.6g}" if abs(value) > 1e-9 else "0" for value in np.asarray(values, dtype=float))


def _text(root: Element) -> str:
    root.insert(0, ElementTree.Comment(NOTE))
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def files() -> dict[Path, str]:
    """What each generated file is to contain."""
    models = find_resource("models")
    return {
        models / "franka" / "panda.urdf": franka_panda().to_urdf(),
        models / "franka" / "panda_links.xacro": links_xacro(),
        models / "worlds" / "table.sdf": world_sdf(Gazebo.SIM),
        models / "worlds" / "table_classic.world": world_sdf(Gazebo.CLASSIC),
    }


def main() -> int:
    """Writes the files again."""
    for path, text in files().items():
        write_whole(path, text)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
