"""Reads from a robot description what kinematics need, which is the chain of joints between two links, and no more.

A parser of whole URDFs refuses an arm for what is wrong elsewhere on the robot, says why on stderr only, and takes a
link and a joint of the same name for each other. So the chain is cut out, checked, and written anew for the parser.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from jepa_planner.urdf_check import check_urdf

Element = ElementTree.Element

MOVING = ("revolute", "continuous", "prismatic", "floating", "planar")
DRIVEN = ("revolute", "continuous", "prismatic")
# Parsers follow the chain by recursion, and no arm is longer.
_LONGEST_CHAIN = 200
_AFTER_XACRO = "; was xacro run over the file?"


@dataclass(frozen=True, eq=False)
class UrdfJoint:
    """A joint as it stands in the description; names are empty where they are missing."""

    name: str
    kind: str
    parent: str
    child: str
    element: Element

    @property
    def follows(self) -> str:
        """The joint that this one mimics; empty when it moves by itself."""
        mimic = _child(self.element, "mimic")
        return "" if mimic is None else mimic.get("joint", "")


@dataclass(frozen=True)
class Chain:
    """A chain cut out of a robot description.

    Attributes:
        urdf: a description of the chain alone, in which all names are plain and different.
        base, tip: names of its first and last link there.
        joints: names of the driven joints there, in the order in which they were asked for.
        held: names, in the robot description, of joints between the links that move but are not driven.
    """

    urdf: str
    base: str
    tip: str
    joints: tuple[str, ...]
    held: tuple[str, ...] = ()


class RobotUrdf:
    """A robot description, read leniently: what is wrong with a part matters when that part is asked for."""

    def __init__(self, text: str) -> None:
        """Raises ValueError for text that is no URDF, with what it is instead where that can be told."""
        root = urdf_root(text)
        self.joints = tuple(_joint(element) for element in root if _tag(element) == "joint")
        links = [element.get("name", "") for element in root if _tag(element) == "link"]
        ends = [link for joint in self.joints for link in (joint.parent, joint.child)]
        self.links = tuple(dict.fromkeys(filter(None, [*links, *ends])))
        if not self.links:
            raise ValueError("not a URDF: <robot> holds no links")

    @property
    def moving_joints(self) -> tuple[str, ...]:
        """Names of the joints that move."""
        return tuple(joint.name for joint in self.joints if joint.kind in MOVING)

    def chain(self, base: str, tip: str, joint_names: Sequence[str]) -> Chain:
        """The chain between two links in which ``joint_names`` move and all other joints stay at zero.

        Raises ValueError for links or joints that are missing, beside the chain, or described in a way that cannot be
        used.
        """
        if not joint_names or len(set(joint_names)) != len(joint_names):
            raise ValueError(f"expected the names of different joints, got {list(joint_names)}")
        driven = [self._driven(name) for name in self._existing(joint_names)]
        to_base, to_tip = self._paths(base, tip)
        idle = [joint.name for joint in driven if joint not in to_tip]
        if idle:
            raise ValueError(f"joints {idle} do not move the tip link: check joint_names and tip_link")
        for joint in (*to_base, *to_tip):
            if joint.follows in joint_names:
                raise ValueError(
                    f"joint {joint.name} between {base} and {tip} follows {joint.follows} (mimic): arms with coupled "
                    "joints are not supported"
                )
        return _written(to_base, to_tip, driven)

    def _existing(self, joint_names: Sequence[str]) -> Sequence[str]:
        described = {joint.name for joint in self.joints}
        missing = [name for name in joint_names if name not in described]
        if missing:
            raise ValueError(f"the URDF has no moving joints {missing}; it has {list(self.moving_joints)}")
        return joint_names

    def _driven(self, name: str) -> UrdfJoint:
        joint, *others = [joint for joint in self.joints if joint.name == name]
        if others:
            raise ValueError(f"the URDF has {len(others) + 1} joints that are called {name}")
        if joint.kind not in DRIVEN:
            raise ValueError(
                f"joint {name} is {joint.kind or 'without a type'}: expected the arm's joints to be {_one_of(DRIVEN)}"
            )
        if joint.follows:
            raise ValueError(f"joint {name} follows {joint.follows} (mimic), so it cannot be driven by itself")
        return joint

    def _paths(self, base: str, tip: str) -> tuple[list[UrdfJoint], list[UrdfJoint]]:
        """Joints from the last common link to ``base`` and to ``tip``."""
        above_base, above_tip = self._above(base), self._above(tip)
        # From the root on, as long as both go the same way.
        while above_base and above_tip and above_base[0] is above_tip[0]:
            above_base, above_tip = above_base[1:], above_tip[1:]
        roots = [path[0].parent if path else link for path, link in ((above_base, base), (above_tip, tip))]
        if roots[0] != roots[1]:
            raise ValueError(
                f"no joints connect {base} with {tip}: they belong to different trees, of {roots[0]} and of {roots[1]}"
            )
        return above_base, above_tip

    def _above(self, link: str) -> list[UrdfJoint]:
        """Joints from the root to ``link``."""
        if link not in self.links:
            raise ValueError(f"the URDF has no link {link}; it has {list(self.links)}")
        path: list[UrdfJoint] = []
        parents = self._joints_by_child()
        while link in parents:
            joint, *others = parents[link]
            if others:
                names = ", ".join(joint.name for joint in parents[link])
                raise ValueError(f"link {link} has several parents, by the joints {names}: a URDF is a tree")
            if len(path) == _LONGEST_CHAIN:
                raise ValueError(
                    f"more than {_LONGEST_CHAIN} joints lead to a link, or they go round in a circle: "
                    f"{path[0].name}, {path[1].name} ..."
                )
            path.append(joint)
            link = joint.parent
        return path[::-1]

    def _joints_by_child(self) -> dict[str, list[UrdfJoint]]:
        parents: dict[str, list[UrdfJoint]] = {}
        for joint in self.joints:
            if joint.child:
                parents.setdefault(joint.child, []).append(joint)
        return parents


def urdf_root(text: str) -> Element:
    """The element of a robot description; raises ValueError for what is none, or is not safe to read."""
    bare = text.lstrip("\ufeff \t\r\n").rstrip("\0")
    if not bare.strip():
        raise ValueError("empty: expected a URDF; does the publisher of robot_description have one?")
    check_urdf(bare)
    try:
        root = ElementTree.fromstring(bare)  # noqa: S314 - what makes XML dangerous is refused above
    except ElementTree.ParseError as error:
        hint = _xacro_hint() if "xacro:" in bare else str(error)
        raise ValueError(f"not a URDF: {hint}") from error
    if _tag(root) != "robot":
        raise ValueError(f"not a URDF: expected <robot>, got <{_tag(root)}>")
    if any("xacro" in element.tag.rpartition("}")[0] for element in root.iter()):
        raise ValueError(f"not a URDF: {_xacro_hint()}")
    return root


def _xacro_hint() -> str:
    return "it is xacro, from which `xacro FILE` makes one"


def _tag(element: Element) -> str:
    """The tag without a namespace."""
    return element.tag.rpartition("}")[2]


def _child(element: Element, tag: str) -> Element | None:
    return next((child for child in element if _tag(child) == tag), None)


def _joint(element: Element) -> UrdfJoint:
    parent, child = _child(element, "parent"), _child(element, "child")
    ends = ["" if end is None else end.get("link", "") for end in (parent, child)]
    return UrdfJoint(element.get("name", ""), element.get("type", ""), ends[0], ends[1], element)


def _one_of(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


# --- the chain, written anew ------------------------------------------------------------------------------------


def _written(to_base: Sequence[UrdfJoint], to_tip: Sequence[UrdfJoint], driven: Sequence[UrdfJoint]) -> Chain:
    """The two branches of a chain as a URDF of its own; numbers are copied as they stand, so that none changes."""
    root = ElementTree.Element("robot", name="chain")
    ElementTree.SubElement(root, "link", name="link")
    names: dict[int, str] = {}
    ends = []
    for branch, joints in (("base", to_base), ("tip", to_tip)):
        parent = "link"
        for number, joint in enumerate(joints):
            child = f"{branch}_link_{number}"
            names[id(joint)] = f"{branch}_joint_{number}"
            ElementTree.SubElement(root, "link", name=child)
            root.append(_written_joint(joint, names[id(joint)], parent, child, joint in driven))
            parent = child
        ends.append(parent)
    text = ElementTree.tostring(root, encoding="unicode")
    held = tuple(joint.name for joint in (*to_base, *to_tip) if joint.kind in MOVING and joint not in driven)
    return Chain(text, ends[0], ends[1], tuple(names[id(joint)] for joint in driven), held)


def _written_joint(joint: UrdfJoint, name: str, parent: str, child: str, driven: bool) -> Element:
    """A continuous joint may turn by half a turn either way, where it does not matter whether its driver counts turns.

    Without a limit of velocity, 0 stands for none.
    """
    kind = "fixed" if not driven else "revolute" if joint.kind == "continuous" else joint.kind
    element = ElementTree.Element("joint", name=name, type=kind)
    ElementTree.SubElement(element, "parent", link=parent)
    ElementTree.SubElement(element, "child", link=child)
    ElementTree.SubElement(element, "origin", dict(_triples(joint, "origin", "xyz", "rpy")))
    if driven:
        ElementTree.SubElement(element, "axis", dict(_axis(joint)))
        lower, upper, velocity = _limits(joint)
        ElementTree.SubElement(element, "limit", lower=lower, upper=upper, velocity=velocity, effort="0")
    return element


def _triples(joint: UrdfJoint, tag: str, *attributes: str) -> Iterator[tuple[str, str]]:
    """Those attributes of a joint's element ``tag``, each of three numbers, as they stand."""
    element = _child(joint.element, tag)
    for attribute in attributes:
        text = None if element is None else element.get(attribute)
        if text is None:
            continue
        if len(_numbers(text)) != 3:
            raise ValueError(
                f"joint {joint.name}: expected three numbers as {attribute} of its <{tag}>, got {text!r}{_AFTER_XACRO}"
            )
        yield attribute, text


def _axis(joint: UrdfJoint) -> Iterator[tuple[str, str]]:
    for attribute, text in _triples(joint, "axis", "xyz"):
        if not any(_numbers(text)):
            raise ValueError(f"joint {joint.name}: its axis has no direction, {text!r}")
        yield attribute, text


def _limits(joint: UrdfJoint) -> tuple[str, str, str]:
    """Lowest and highest position and velocity, as they stand."""
    limit = _child(joint.element, "limit")
    if limit is None and joint.kind != "continuous":
        raise ValueError(
            f"joint {joint.name} has no <limit>: a {joint.kind} joint needs one with lower, upper, effort and velocity"
        )
    given = {} if limit is None else limit.attrib
    lower, upper, velocity = (given.get(name, "0") for name in ("lower", "upper", "velocity"))
    if joint.kind == "continuous":
        lower, upper = repr(-math.pi), repr(math.pi)
    for name, text in (("lower", lower), ("upper", upper), ("velocity", velocity)):
        if len(_numbers(text)) != 1:
            raise ValueError(
                f"joint {joint.name}: expected a number as {name} of its <limit>, got {text!r}{_AFTER_XACRO}"
            )
    if not float(lower) < float(upper):
        raise ValueError(
            f"joint {joint.name}: its range is empty, lower {lower} to upper {upper}: give it its limits, or call it "
            "continuous if it turns without end"
        )
    return lower, upper, velocity


def _numbers(text: str) -> list[float]:
    """The finite numbers of a text; none if something else is among them."""
    try:
        # Python alone takes 1_000 for a number.
        values = [float(word.replace("_", "?")) for word in text.split()]
    except ValueError:
        return []
    return values if all(math.isfinite(value) for value in values) else []
