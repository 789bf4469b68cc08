"""Things in a simulated scene that can be moved, added and removed: their states, and simple bodies read from XML."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

MAX_DESCRIPTION_LENGTH = 100_000
DEFAULT_MASS = 0.1
DEFAULT_COLOR = (0.6, 0.6, 0.6, 1.0)
SIZES = {"box": 3, "cylinder": 2, "sphere": 1}
"""How many numbers a shape's size has: a box's edges, a cylinder's radius and length, a sphere's radius; m."""

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


class EntityError(ValueError):
    """There is no such entity, or it cannot be what was asked of it; the message says which and why."""


class UnknownEntityError(EntityError):
    """There is no entity of that name."""


class EntityDescriptionError(EntityError):
    """The description of a new entity cannot be used; the message says why."""


@dataclass(frozen=True)
class EntityState:
    """Where an entity is and how it moves, in the world frame.

    Attributes:
        position: of its origin, m.
        orientation: unit quaternion x, y, z, w.
        linear_velocity: of its origin, m/s.
        angular_velocity: rad/s.
    """

    position: Vector
    orientation: Quaternion = (0.0, 0.0, 0.0, 1.0)
    linear_velocity: Vector = (0.0, 0.0, 0.0)
    angular_velocity: Vector = (0.0, 0.0, 0.0)

    def checked(self) -> EntityState:
        """The same with a quaternion of length 1.

        Raises:
            EntityError: a number is not finite, or the quaternion's length is far from 1.
        """
        numbers = np.array(
            (*self.position, *self.orientation, *self.linear_velocity, *self.angular_velocity), dtype=np.float64
        )
        if not np.isfinite(numbers).all():
            raise EntityError(f"expected finite numbers in an entity's state, got {self}")
        length = math.hypot(*self.orientation)
        if abs(length - 1.0) > 0.01:
            raise EntityError(f"expected a quaternion of length 1, got {self.orientation} of length {length:.3f}")
        x, y, z, w = (value / length for value in self.orientation)
        return EntityState(self.position, (x, y, z, w), self.linear_velocity, self.angular_velocity)


@dataclass(frozen=True)
class Body:
    """A rigid body of one shape.

    Attributes:
        shape: a name in `SIZES`.
        size: as `SIZES` says, m.
        color: red, green, blue and opacity, 0..1.
        mass: kg.
    """

    shape: str
    size: tuple[float, ...]
    color: tuple[float, ...] = DEFAULT_COLOR
    mass: float = DEFAULT_MASS

    def __post_init__(self) -> None:
        expected = SIZES.get(self.shape)
        if expected is None:
            raise EntityDescriptionError(f"expected one of the shapes {', '.join(SIZES)}, got {self.shape!r}")
        if len(self.size) != expected or not all(0.0 < value < 10.0 for value in self.size):
            raise EntityDescriptionError(
                f"expected {expected} lengths between 0 and 10 m for a {self.shape}, got {self.size}"
            )
        if not 0.0 < self.mass < 100.0:
            raise EntityDescriptionError(f"expected a mass between 0 and 100 kg, got {self.mass}")
        if len(self.color) != 4 or not all(0.0 <= value <= 1.0 for value in self.color):
            raise EntityDescriptionError(f"expected four numbers from 0 to 1 for a colour, got {self.color}")

    @property
    def half_extents(self) -> NDArray[np.float64]:
        """What MuJoCo calls the size [3]: half lengths, radii first."""
        if self.shape == "box":
            return np.array(self.size) / 2
        radius = self.size[0]
        return np.array((radius, self.size[1] / 2 if self.shape == "cylinder" else 0.0, 0.0))


def body_from_xml(text: str) -> Body:
    """The body that an SDF or URDF description means: the first box, cylinder or sphere in it, its mass and colour.

    Raises:
        EntityDescriptionError: it is not such XML, or holds none of these shapes.
    """
    if len(text) > MAX_DESCRIPTION_LENGTH or "<!" in text.replace("<!--", ""):
        raise EntityDescriptionError(
            f"expected at most {MAX_DESCRIPTION_LENGTH} characters of SDF or URDF without declarations such as "
            "<!DOCTYPE>: they are how XML grows without bounds"
        )
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - declarations, which make XML dangerous, are refused above
    except ElementTree.ParseError as error:
        raise EntityDescriptionError(f"expected SDF or URDF, got XML that does not parse: {error}") from error
    shape, size = _geometry(root)
    return Body(shape, size, _color(root), _mass(root))


def _geometry(root: ElementTree.Element) -> tuple[str, tuple[float, ...]]:
    for geometry in root.iter("geometry"):
        for element in geometry:
            if element.tag in SIZES:
                return element.tag, _size(element)
    raise EntityDescriptionError(
        f"expected a <geometry> with one of {', '.join(SIZES)}: this simulator spawns nothing else"
    )


def _size(element: ElementTree.Element) -> tuple[float, ...]:
    """Lengths of a shape: children in SDF, attributes in URDF."""
    names = ("size",) if element.tag == "box" else ("radius", "length")[: SIZES[element.tag]]
    texts = [element.get(name) or element.findtext(name) or "" for name in names]
    return _numbers(" ".join(texts), f"the size of a {element.tag}")


def _mass(root: ElementTree.Element) -> float:
    element = root.find(".//inertial/mass")
    if element is None:
        return DEFAULT_MASS
    (mass,) = _numbers(element.get("value") or element.text or "", "the mass")[:1]
    return mass


def _color(root: ElementTree.Element) -> tuple[float, ...]:
    element = root.find(".//material/color")
    text = element.get("rgba") if element is not None else root.findtext(".//material/diffuse")
    return _numbers(text, "the colour") if text else DEFAULT_COLOR


def _numbers(text: str, what: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in text.split())
    except ValueError as error:
        raise EntityDescriptionError(f"expected numbers for {what}, got {text!r}") from error
    if not numbers:
        raise EntityDescriptionError(f"expected numbers for {what}, got none")
    return numbers
