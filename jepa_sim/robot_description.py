"""The Franka FER ("panda") arm with its hand, written down once.

The URDF that nodes read, the MuJoCo scene and the controllers' limits are all made from :func:`franka_panda`.
Numbers are the manufacturer's published kinematics and limits; the link inertias are the published identification
of C. Gaz et al., "Dynamic Identification of the Franka Emika Panda Robot with Retrieval of Feasible Parameters"
(RA-L 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from jepa_common.gripper_description import GripperDescription

BASE_LINK = "panda_link0"
TCP_LINK = "panda_hand_tcp"
ARM_JOINTS = tuple(f"panda_joint{index}" for index in range(1, 8))
FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
FINGER_LINKS = ("panda_leftfinger", "panda_rightfinger")
FINGER_TRAVEL = 0.04
"""Travel of each finger in metres: 0 closed, 0.04 open."""
HAND = GripperDescription(FINGER_JOINTS, open=FINGER_TRAVEL, closed=0.0)
"""What the finger joints tell."""

HOME_POSITIONS = (0.0, -math.pi / 4, 0.0, -3 * math.pi / 4, 0.0, math.pi / 2, math.pi / 4)
"""Arm joint positions (rad) at home: gripper pointing down in front of the robot."""

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Inertial:
    """Mass in kg, centre of mass in m, inertia (ixx, iyy, izz, ixy, ixz, iyz) in kg m^2 about it, in the link frame."""

    mass: float
    center: Vector
    inertia: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Link:
    """A rigid body; ``mesh`` is the stem of its collision mesh file, None for a frame without a body."""

    name: str
    inertial: Inertial | None = None
    mesh: str | None = None


@dataclass(frozen=True)
class JointLimits:
    """Position, velocity, acceleration, jerk and effort limits in rad or m, s, and Nm or N."""

    lower: float
    upper: float
    velocity: float
    acceleration: float
    jerk: float
    effort: float


@dataclass(frozen=True)
class Joint:
    """A joint and the pose (m, rad, extrinsic xyz) of its child frame in its parent at position zero.

    ``kind`` is ``revolute``, ``prismatic`` or ``fixed``; a fixed joint has no limits.
    """

    name: str
    kind: str
    parent: str
    child: str
    xyz: Vector = (0.0, 0.0, 0.0)
    rpy: Vector = (0.0, 0.0, 0.0)
    axis: Vector = (0.0, 0.0, 1.0)
    limits: JointLimits | None = None
    mimic: str | None = None


@dataclass(frozen=True)
class RobotDescription:
    """A kinematic tree: links and joints, parents before children."""

    name: str
    links: tuple[Link, ...]
    joints: tuple[Joint, ...]

    def joint(self, name: str) -> Joint:
        """The joint called ``name``.

        Raises:
            KeyError: there is none.
        """
        for joint in self.joints:
            if joint.name == name:
                return joint
        raise KeyError(f"{self.name} has no joint {name!r}; it has {[joint.name for joint in self.joints]}")

    def limits(self, names: tuple[str, ...]) -> tuple[JointLimits, ...]:
        """Limits of the joints ``names`` in that order.

        Raises:
            KeyError: an unknown joint, or one without limits.
        """
        limits = []
        for name in names:
            joint = self.joint(name)
            if joint.limits is None:
                raise KeyError(f"joint {name!r} is {joint.kind} and has no limits")
            limits.append(joint.limits)
        return tuple(limits)

    def to_urdf(self, meshes: Path | None = None) -> str:
        """The tree as URDF text: kinematics, limits, inertias, and with a folder of meshes what links look like.

        Without one it needs no other file.
        """
        root = ElementTree.Element("robot", name=self.name)
        for link in self.links:
            _append_link(root, link, meshes)
        for joint in self.joints:
            _append_joint(root, joint)
        ElementTree.indent(root)
        return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def franka_panda() -> RobotDescription:
    """The arm ``panda_link0`` to ``panda_link8``, the hand, two fingers and the tool frame ``panda_hand_tcp``."""
    return RobotDescription(name="panda", links=_links(), joints=(*_arm_joints(), *_hand_joints()))


# Origins of panda_joint1..7 in the preceding link: translation (m), rotation about x (rad).
_ARM_ORIGINS: tuple[tuple[Vector, float], ...] = (
    ((0.0, 0.0, 0.333), 0.0),
    ((0.0, 0.0, 0.0), -math.pi / 2),
    ((0.0, -0.316, 0.0), math.pi / 2),
    ((0.0825, 0.0, 0.0), math.pi / 2),
    ((-0.0825, 0.384, 0.0), -math.pi / 2),
    ((0.0, 0.0, 0.0), math.pi / 2),
    ((0.088, 0.0, 0.0), math.pi / 2),
)
_ARM_LIMITS = (
    JointLimits(-2.8973, 2.8973, 2.175, 15.0, 7500.0, 87.0),
    JointLimits(-1.7628, 1.7628, 2.175, 7.5, 3750.0, 87.0),
    JointLimits(-2.8973, 2.8973, 2.175, 10.0, 5000.0, 87.0),
    JointLimits(-3.0718, -0.0698, 2.175, 12.5, 6250.0, 87.0),
    JointLimits(-2.8973, 2.8973, 2.61, 15.0, 7500.0, 12.0),
    JointLimits(-0.0175, 3.7525, 2.61, 20.0, 10000.0, 12.0),
    JointLimits(-2.8973, 2.8973, 2.61, 20.0, 10000.0, 12.0),
)
_FLANGE_OFFSET = 0.107
_FINGER_OFFSET = 0.0584
_TCP_OFFSET = 0.1034
_FINGER_LIMITS = JointLimits(0.0, FINGER_TRAVEL, 0.2, 5.0, 100.0, 70.0)

_LINK_INERTIALS = (
    Inertial(0.629769, (-0.041018, -0.00014, 0.049974), (0.00315, 0.00388, 0.004285, 8.2904e-07, 0.00015, 8.2299e-06)),
    Inertial(4.970684, (0.003875, 0.002081, -0.04762), (0.70337, 0.70661, 0.009117, -0.000139, 0.006772, 0.019169)),
    Inertial(0.646926, (-0.003141, -0.02872, 0.003495), (0.007962, 0.02811, 0.025995, -0.003925, 0.010254, 0.000704)),
    Inertial(3.228604, (0.027518, 0.039252, -0.066502), (0.037242, 0.036155, 0.01083, -0.004761, -0.011396, -0.012805)),
    Inertial(3.587895, (-0.05317, 0.104419, 0.027454), (0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641)),
    Inertial(
        1.225946, (-0.011953, 0.041065, -0.038437), (0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229)
    ),
    Inertial(1.666555, (0.060149, -0.014117, -0.010517), (0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341)),
    Inertial(
        0.735522, (0.010517, -0.004252, 0.061597), (0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741)
    ),
)
_HAND_INERTIAL = Inertial(0.73, (-0.01, 0.0, 0.03), (0.001, 0.0025, 0.0017, 0.0, 0.0, 0.0))
_TURNED_FINGER = f"0 0 {math.pi!r}"  # both fingers have one mesh
_FINGER_INERTIAL = Inertial(0.015, (0.0, 0.0, 0.03), (2.375e-06, 2.375e-06, 7.5e-07, 0.0, 0.0, 0.0))


def _links() -> tuple[Link, ...]:
    arm = tuple(Link(f"panda_link{index}", inertial, f"link{index}") for index, inertial in enumerate(_LINK_INERTIALS))
    fingers = tuple(Link(f"panda_{side}finger", _FINGER_INERTIAL, "finger") for side in ("left", "right"))
    return (*arm, Link("panda_link8"), Link("panda_hand", _HAND_INERTIAL, "hand"), *fingers, Link(TCP_LINK))


def _arm_joints() -> tuple[Joint, ...]:
    rows = enumerate(zip(ARM_JOINTS, _ARM_ORIGINS, _ARM_LIMITS, strict=True))
    return tuple(
        Joint(name, "revolute", f"panda_link{index}", f"panda_link{index + 1}", xyz, (roll, 0.0, 0.0), limits=limits)
        for index, (name, (xyz, roll), limits) in rows
    )


def _hand_joints() -> tuple[Joint, ...]:
    finger_origin = (0.0, 0.0, _FINGER_OFFSET)
    left, right = FINGER_JOINTS
    return (
        Joint("panda_joint8", "fixed", "panda_link7", "panda_link8", (0.0, 0.0, _FLANGE_OFFSET)),
        Joint("panda_hand_joint", "fixed", "panda_link8", "panda_hand", rpy=(0.0, 0.0, -math.pi / 4)),
        Joint(left, "prismatic", "panda_hand", "panda_leftfinger", finger_origin, (0.0, 0.0, 0.0),
              (0.0, 1.0, 0.0), _FINGER_LIMITS),
        Joint(right, "prismatic", "panda_hand", "panda_rightfinger", finger_origin, (0.0, 0.0, 0.0),
              (0.0, -1.0, 0.0), _FINGER_LIMITS, mimic=left),
        Joint("panda_hand_tcp_joint", "fixed", "panda_hand", TCP_LINK, (0.0, 0.0, _TCP_OFFSET)),
    )  # fmt: skip


def _append_link(root: ElementTree.Element, link: Link, meshes: Path | None) -> None:
    element = ElementTree.SubElement(root, "link", name=link.name)
    if meshes is not None and link.mesh is not None:
        visual = ElementTree.SubElement(element, "visual")
        turned = _TURNED_FINGER if link.name == FINGER_LINKS[1] else "0 0 0"
        ElementTree.SubElement(visual, "origin", xyz="0 0 0", rpy=turned)
        geometry = ElementTree.SubElement(visual, "geometry")
        ElementTree.SubElement(geometry, "mesh", filename=(meshes / f"{link.mesh}.stl").as_uri())
    if link.inertial is None:
        return
    inertial = ElementTree.SubElement(element, "inertial")
    ElementTree.SubElement(inertial, "origin", xyz=_numbers(link.inertial.center), rpy="0 0 0")
    ElementTree.SubElement(inertial, "mass", value=repr(link.inertial.mass))
    names = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
    moments = {name: repr(value) for name, value in zip(names, link.inertial.inertia, strict=True)}
    ElementTree.SubElement(inertial, "inertia", moments)


def _append_joint(root: ElementTree.Element, joint: Joint) -> None:
    element = ElementTree.SubElement(root, "joint", name=joint.name, type=joint.kind)
    ElementTree.SubElement(element, "parent", link=joint.parent)
    ElementTree.SubElement(element, "child", link=joint.child)
    ElementTree.SubElement(element, "origin", xyz=_numbers(joint.xyz), rpy=_numbers(joint.rpy))
    if joint.limits is None:
        return
    limits = joint.limits
    ElementTree.SubElement(element, "axis", xyz=_numbers(joint.axis))
    ElementTree.SubElement(element, "limit", lower=repr(limits.lower), upper=repr(limits.upper),
                           velocity=repr(limits.velocity), effort=repr(limits.effort))  # fmt: skip
    if joint.mimic is not None:
        ElementTree.SubElement(element, "mimic", joint=joint.mimic)


def _numbers(values: Vector) -> str:
    return " ".join(repr(value) for value in values)
