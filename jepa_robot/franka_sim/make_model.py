"""The arm for franka-sim, as MJCF: it would download one otherwise.

    python -m jepa_robot.franka_sim.make_model OUT.xml

Kinematics and inertias are those of the robot description, joint limits the FR3's, collision bodies those of
gymnasium-robotics.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

from jepa_common.whole_files import write_whole
from jepa_planner.limits import fr3_limits
from jepa_sim.meshes import mesh_folder
from jepa_sim.robot_description import ARM_JOINTS, Inertial, Joint, Link, franka_panda

# Friction and motor inertia of an FR3's joints, as its published MuJoCo models have them.
_JOINT = {"damping": "0.21", "armature": "0.195", "frictionloss": "1.137"}


def arm_model() -> str:
    """The MJCF: links `link0` to `link7`, joints `joint1` to `joint7`, and the flange `link8`."""
    robot, limits = franka_panda(), fr3_limits(ARM_JOINTS)
    links = {link.name: link for link in robot.links}
    root = ElementTree.Element("mujoco", model="fr3")
    ElementTree.SubElement(root, "compiler", angle="radian", meshdir=str(mesh_folder()), autolimits="true")
    ElementTree.SubElement(root, "option", integrator="implicitfast")
    assets = ElementTree.SubElement(root, "asset")
    parent = ElementTree.SubElement(root, "worldbody")
    parent = _add_body(parent, assets, links["panda_link0"], "link0", "0 0 0")
    for index, name in enumerate(ARM_JOINTS):
        joint = robot.joint(name)
        parent = _add_body(parent, assets, links[joint.child], f"link{index + 1}", _numbers(joint.xyz), joint)
        ends = _numbers((float(limits.lower[index]), float(limits.upper[index])))
        element = ElementTree.Element("joint", _JOINT | {"name": f"joint{index + 1}", "axis": "0 0 1", "range": ends})
        parent.insert(0, element)
    ElementTree.SubElement(parent, "body", name="link8", pos=_numbers(robot.joint("panda_joint8").xyz))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_body(
    parent: ElementTree.Element,
    assets: ElementTree.Element,
    link: Link,
    name: str,
    position: str,
    joint: Joint | None = None,
) -> ElementTree.Element:
    turn = _numbers(joint.rpy) if joint else "0 0 0"
    body = ElementTree.SubElement(parent, "body", name=name, pos=position, euler=turn)
    if link.inertial is not None:
        body.append(_inertial(link.inertial))
    ElementTree.SubElement(assets, "mesh", name=name, file=f"{link.mesh}.stl")
    ElementTree.SubElement(body, "geom", name=f"{name}_collision", type="mesh", mesh=name, mass="0")
    return body


def _inertial(inertial: Inertial) -> ElementTree.Element:
    values = {"pos": _numbers(inertial.center), "mass": repr(inertial.mass), "fullinertia": _numbers(inertial.inertia)}
    return ElementTree.Element("inertial", values)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(repr(value) for value in values)


def main() -> int:
    """Writes the file."""
    if len(sys.argv) != 2:
        print("usage: python -m jepa_robot.franka_sim.make_model OUT.xml", file=sys.stderr)
        return 2
    write_whole(Path(sys.argv[1]), arm_model())
    return 0


if __name__ == "__main__":
    sys.exit(main())
