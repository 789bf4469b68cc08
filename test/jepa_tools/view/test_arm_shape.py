"""A robot's links as triangles: where its URDF puts them, and what is drawn of robots without meshes."""

import numpy as np
import pytest

from jepa_planner.kinematics import Kinematics
from jepa_sim.meshes import mesh_folder
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK, HOME_POSITIONS, TCP_LINK, franka_panda
from jepa_tools.view.arm_shape import ArmShape

HOME = dict(zip(ARM_JOINTS, HOME_POSITIONS, strict=True))
TOY = """<robot name="toy"><material name="red"><color rgba="1 0 0 1"/></material>
<link name="base"><visual><origin xyz="0 0 1"/><geometry><box size="2 4 6"/></geometry><material name="red"/></visual>
</link>
<link name="arm"><visual><geometry><cylinder radius="1" length="2"/></geometry></visual>
<visual><geometry><mesh filename="package://nowhere/part.stl"/></geometry></visual></link>
<link name="ball"><visual><geometry><sphere radius="0.5"/></geometry></visual></link>
<joint name="slide" type="prismatic"><parent link="base"/><child link="arm"/><axis xyz="0 2 0"/>
<limit lower="0" upper="1" velocity="1" effort="1"/></joint>
<joint name="follow" type="revolute"><parent link="arm"/><child link="ball"/><origin xyz="1 0 0"/><axis xyz="0 0 1"/>
<mimic joint="slide" multiplier="2" offset="0.1"/><limit lower="0" upper="3" velocity="1" effort="1"/></joint>
</robot>"""


def size(body):
    return np.ptp(body.vertices, axis=0)


def volume(body):
    """Of a closed body whose triangles all turn the same way; negative if they turn inward."""
    corners = body.vertices[body.triangles].astype(float)
    return np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6


def test_the_links_are_where_kinematics_puts_them():
    urdf = franka_panda().to_urdf(mesh_folder())
    place = ArmShape(urdf).placements(HOME)[TCP_LINK]
    kinematics = Kinematics.from_urdf(urdf, BASE_LINK, TCP_LINK, ARM_JOINTS)
    assert np.allclose(place[:3], kinematics.pose(HOME_POSITIONS)[:3])
    assert abs(place[3]) == pytest.approx(1.0), "the tool points down"


def test_the_simulators_robot_has_its_meshes_and_one_without_them_has_rods():
    drawn, bare = ArmShape(franka_panda().to_urdf(mesh_folder())), ArmShape(franka_panda().to_urdf())
    links = [link.name for link in franka_panda().links if link.mesh is not None]
    assert [body.link for body in drawn.bodies] == links and drawn.missing == []
    tall = max(bare.bodies, key=lambda body: size(body).max())
    assert size(tall).max() == pytest.approx(0.394, abs=0.06) and 5 < len(bare.bodies) < len(links)


def test_simple_shapes_stand_where_and_as_large_as_described():
    shape = ArmShape(TOY)
    box, cylinder, ball = shape.bodies
    assert np.allclose(size(box), (2, 4, 6)) and box.vertices[:, 2].max() == 4 and box.color == (1.0, 0.0, 0.0)
    assert abs(volume(box)) == pytest.approx(48)
    assert np.allclose(size(cylinder), (2, 2, 2), atol=0.02) and abs(volume(cylinder)) == pytest.approx(6.28, rel=0.02)
    assert np.allclose(size(ball), 1.0, atol=0.02)
    assert shape.missing == ["package://nowhere/part.stl is not on this machine"]


def test_joints_slide_and_turn_and_followers_follow():
    places = ArmShape(TOY).placements({"slide": 0.5})
    assert np.allclose(places["arm"][:3], (0, 0.5, 0)) and np.allclose(places["ball"][:3], (1, 0.5, 0))
    assert 2 * np.arcsin(places["ball"][5]) == pytest.approx(1.1)
    points = ArmShape(TOY).in_first_frame(np.array([[1.0, 0.0, 0.0]]), "arm", {"slide": 0.5})
    assert np.allclose(points, (1, 0.5, 0))


@pytest.mark.parametrize("text", ["", "<robot/>", TOY.replace('xyz="0 0 1"/>', 'xyz="up"/>')])
def test_what_is_no_robot_is_refused(text):
    with pytest.raises(ValueError, match=r"URDF|expected|could not convert"):
        ArmShape(text)
