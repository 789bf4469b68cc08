"""A robot's links as triangles, from its URDF, and where they are at joint positions.

What the description shows as `<visual>` is drawn if it can be found here; a robot without any gets rods from joint to
joint.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import coal
import numpy as np
import numpy.typing as npt
import pinocchio as pin

from jepa_planner.robot_urdf import DRIVEN, RobotUrdf, UrdfJoint, urdf_root

Vector = npt.NDArray[np.float64]
Element = ElementTree.Element

_GREY = (0.75, 0.77, 0.8)
_ROD_RADIUS, _SHORTEST_ROD = 0.025, 0.02
_CORNERS = 24
_MOST_TRIANGLES = 500_000
"""Of the whole robot; more would keep a phone busy."""


@dataclass(frozen=True, eq=False)
class Body:
    """What is drawn of a link. vertices: [V, 3], m, in its frame. triangles: [T, 3]. color: RGB, 0 to 1."""

    link: str
    vertices: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.uint32]
    color: tuple[float, float, float] = _GREY


class ArmShape:
    """The bodies of a robot, and where they are. One thread at a time."""

    def __init__(self, urdf: str) -> None:
        """Raises ValueError for text that is no usable robot description; meshes that are not here are left out."""
        robot, root = RobotUrdf(urdf), urdf_root(urdf)
        self._joints = _parents_first(robot.joints)
        self._origins = [_pose(joint.element.find("origin")) for joint in self._joints]
        self._axes = [_axis(joint.element) for joint in self._joints]
        self.missing: list[str] = []
        bodies = list(self._visuals(root))
        if not bodies or sum(len(body.triangles) for body in bodies) > _MOST_TRIANGLES:
            bodies = list(self._rods())
        self.bodies = tuple(bodies)

    def placements(self, positions: Mapping[str, float]) -> dict[str, Vector]:
        """[x y z (m) qx qy qz qw] of every link in the frame of the first one; joints not told are at zero."""
        return {link: np.asarray(pin.SE3ToXYZQUAT(place)) for link, place in self._placed(positions).items()}

    def in_first_frame(self, points: Vector, link: str, positions: Mapping[str, float]) -> Vector:
        """Points [N, 3] of the frame of `link` in that of the first link; unchanged for a link that is unknown."""
        place = self._placed(positions).get(link)
        return points if place is None else points @ place.rotation.T + place.translation

    def _placed(self, positions: Mapping[str, float]) -> dict[str, pin.SE3]:
        places: dict[str, pin.SE3] = {}
        for joint, origin, axis in zip(self._joints, self._origins, self._axes, strict=True):
            parent = places.setdefault(joint.parent, pin.SE3.Identity())
            places[joint.child] = parent * origin * _motion(joint, axis, _position(joint, positions))
        return places

    def _visuals(self, root: Element) -> Iterator[Body]:
        materials = {item.get("name", ""): color for item in root.iter("material") if (color := _color(item))}
        for link in root.findall("link"):
            for visual in link.findall("visual"):
                body = self._visual(link.get("name", ""), visual, materials)
                if body is not None:
                    yield body

    def _visual(self, link: str, visual: Element, materials: Mapping[str, tuple[float, float, float]]) -> Body | None:
        geometry = visual.find("geometry")
        shape = None if geometry is None else next(iter(geometry), None)
        if shape is None:
            return None
        try:
            vertices, triangles = _triangles(shape)
        except (OSError, ValueError, RuntimeError) as error:  # coal says so of files that it cannot read
            self.missing.append(str(error))
            return None
        place, material = _pose(visual.find("origin")), visual.find("material")
        placed = vertices @ place.rotation.T + place.translation
        color = None if material is None else _color(material) or materials.get(material.get("name", ""))
        return Body(link, placed.astype(np.float32), triangles.astype(np.uint32), color or _GREY)

    def _rods(self) -> Iterator[Body]:
        for joint, origin in zip(self._joints, self._origins, strict=True):
            length = float(np.linalg.norm(origin.translation))
            if length > _SHORTEST_ROD:
                vertices, triangles = _cylinder(_ROD_RADIUS, length)
                turn = pin.Quaternion.FromTwoVectors(np.array([0.0, 0.0, 1.0]), origin.translation).matrix()
                placed = vertices @ turn.T + origin.translation / 2
                yield Body(joint.parent, placed.astype(np.float32), triangles.astype(np.uint32))


def _parents_first(joints: Sequence[UrdfJoint]) -> list[UrdfJoint]:
    """In an order in which no joint stands before the one that carries it; the description is a tree."""
    above = {joint.child: joint for joint in joints}

    def depth(joint: UrdfJoint) -> int:
        parent = above.get(joint.parent)
        return 0 if parent is None else 1 + depth(parent)

    return sorted(joints, key=depth)


def _position(joint: UrdfJoint, positions: Mapping[str, float]) -> float:
    if joint.name in positions or not joint.follows:
        return positions.get(joint.name, 0.0)
    mimic = joint.element.find("mimic")
    factor, offset = (1.0, 0.0) if mimic is None else (_number(mimic, "multiplier", 1.0), _number(mimic, "offset", 0.0))
    return factor * positions.get(joint.follows, 0.0) + offset


def _motion(joint: UrdfJoint, axis: Vector, position: float) -> pin.SE3:
    if joint.kind not in DRIVEN:
        return pin.SE3.Identity()
    if joint.kind == "prismatic":
        return pin.SE3(np.eye(3), axis * position)
    return pin.SE3(pin.exp3(axis * position), np.zeros(3))


def _axis(element: Element) -> Vector:
    axis = _numbers(element.find("axis"), "xyz", (1.0, 0.0, 0.0))
    return axis / max(float(np.linalg.norm(axis)), 1e-9)


def _pose(origin: Element | None) -> pin.SE3:
    return pin.SE3(pin.rpy.rpyToMatrix(_numbers(origin, "rpy")), _numbers(origin, "xyz"))


def _number(element: Element, name: str, otherwise: float) -> float:
    return float(_numbers(element, name, (otherwise,))[0])


def _numbers(element: Element | None, name: str, otherwise: Sequence[float] = (0.0, 0.0, 0.0)) -> Vector:
    """The finite numbers of an attribute, as many as `otherwise` has. Raises ValueError."""
    text = None if element is None else element.get(name)
    values = np.array(otherwise if text is None else [float(word) for word in text.split()])
    if values.shape != (len(otherwise),) or not np.isfinite(values).all():
        raise ValueError(f"robot_description: expected {len(otherwise)} numbers as {name}, got {text!r}")
    return values


def _color(material: Element) -> tuple[float, float, float] | None:
    color = material.find("color")
    if color is None:
        return None
    red, green, blue, _ = _numbers(color, "rgba", (0.0, 0.0, 0.0, 1.0))
    return float(red), float(green), float(blue)


def _triangles(shape: Element) -> tuple[Vector, npt.NDArray[np.int64]]:
    """Vertices [V, 3] and triangles [T, 3] of a geometry. Raises ValueError, or what coal raises of a file."""
    if shape.tag == "mesh":
        return _mesh(mesh_file(shape.get("filename", "")), _numbers(shape, "scale", (1.0, 1.0, 1.0)))
    if shape.tag == "box":
        return _box(_numbers(shape, "size", (0.1, 0.1, 0.1)))
    if shape.tag == "cylinder":
        return _cylinder(_number(shape, "radius", 0.05), _number(shape, "length", 0.1))
    if shape.tag == "sphere":
        return _sphere(_number(shape, "radius", 0.05))
    raise ValueError(f"expected a mesh, box, cylinder or sphere, got <{shape.tag}>")


def mesh_file(name: str) -> Path:
    """The file that a URDF names: `package://NAME/...`, `file:///...` or a path.

    Raises:
        FileNotFoundError: it is not on this machine.
    """
    if name.startswith("package://"):
        package, _, rest = name.removeprefix("package://").partition("/")
        prefixes = filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
        places = [Path(prefix) / "share" / package / rest for prefix in prefixes]
    else:
        places = [Path(unquote(name.removeprefix("file://")))]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{name} is not on this machine")
    return found


def _mesh(path: Path, scale: Vector) -> tuple[Vector, npt.NDArray[np.int64]]:
    mesh = coal.MeshLoader().load(str(path), scale)
    faces = (mesh.tri_indices(index) for index in range(mesh.num_tris))
    return np.array(mesh.vertices()), np.array([[face[0], face[1], face[2]] for face in faces], dtype=np.int64)


def _box(size: Vector) -> tuple[Vector, npt.NDArray[np.int64]]:
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * size
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners, np.array([half for a, b, c, d in sides for half in ((a, b, c), (a, c, d))])


def _cylinder(radius: float, length: float) -> tuple[Vector, npt.NDArray[np.int64]]:
    """Along z, about the origin."""
    return _turned([(0.0, -length / 2), (radius, -length / 2), (radius, length / 2), (0.0, length / 2)])


def _sphere(radius: float) -> tuple[Vector, npt.NDArray[np.int64]]:
    angles = np.linspace(-math.pi / 2, math.pi / 2, _CORNERS // 2 + 1)
    return _turned([(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles])


def _turned(outline: Sequence[tuple[float, float]]) -> tuple[Vector, npt.NDArray[np.int64]]:
    """A body of revolution about z, from (distance to the axis, height) from bottom to top."""
    angles = np.linspace(0.0, 2 * math.pi, _CORNERS, endpoint=False)
    rings = [np.stack([r * np.cos(angles), r * np.sin(angles), np.full(_CORNERS, z)], axis=1) for r, z in outline]
    triangles = []
    for ring in range(len(outline) - 1):
        low, corner = ring * _CORNERS, np.arange(_CORNERS)
        following = (corner + 1) % _CORNERS
        a, b, c, d = low + corner, low + following, low + _CORNERS + following, low + _CORNERS + corner
        triangles += [np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]
    return np.concatenate(rings), np.concatenate(triangles)
