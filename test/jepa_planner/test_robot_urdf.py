"""What is needed of a robot description is read, what is not is ignored, and what is wrong is named."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from franka import HOME, URDF

from jepa_planner.kinematics import Kinematics
from jepa_planner.planner_parameters import LimitParameters
from jepa_planner.robot_urdf import RobotUrdf
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK, TCP_LINK

POSE = Kinematics.from_urdf(URDF, BASE_LINK, TCP_LINK, ARM_JOINTS).pose(HOME)
Change = Callable[[str], str]


def read(text: str, base: str = BASE_LINK, tip: str = TCP_LINK, joints: tuple[str, ...] = ARM_JOINTS) -> Kinematics:
    return Kinematics.from_urdf(text, base, tip, joints)


def with_joint(name: str, change: Change) -> str:
    """The Panda's description with one joint's element changed."""
    element = re.search(rf'<joint name="{name}".*?</joint>', URDF, re.DOTALL).group()
    changed = change(element)
    assert changed != element
    return URDF.replace(element, changed)


def with_more(elements: str) -> str:
    return URDF.replace("</robot>", f"{elements}</robot>")


def joint(name: str, kind: str, parent: str, child: str, more: str = "") -> str:
    return f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>{more}</joint>'


LIMIT = '<limit lower="-1" upper="1" effort="1" velocity="1"/>'
MESH = '<visual><geometry><mesh filename="package://nowhere/arm.dae"/></geometry></visual>'


@pytest.mark.parametrize(
    ("text", "base", "tip"),
    [
        (URDF.replace('"panda_link4"', '"panda_joint4"'), BASE_LINK, TCP_LINK),
        (URDF.replace(f'"{TCP_LINK}"', f'"{TCP_LINK}_joint"'), BASE_LINK, f"{TCP_LINK}_joint"),
        (URDF.replace(f'"{BASE_LINK}"', '"panda_joint1"'), "panda_joint1", TCP_LINK),
        (URDF.replace(f'"{BASE_LINK}"', '"universe"'), "universe", TCP_LINK),
        (URDF.replace('"panda_link3"', '"glied/drei Größe 关节"'), BASE_LINK, TCP_LINK),
        (URDF.replace('"panda_link5"', '"base_link_0"'), BASE_LINK, TCP_LINK),
    ],
    ids=["in the chain", "at the tip", "at the base", "the parser's own", "of any letters", "as a chain's own"],
)
def test_links_may_be_called_as_they_like(text: str, base: str, tip: str) -> None:
    assert text != URDF
    np.testing.assert_array_equal(read(text, base, tip).pose(HOME), POSE)


def test_joints_may_be_called_as_they_like() -> None:
    names = tuple(f"robot/関節 {number}" for number in range(1, 8))
    text = URDF
    for old, new in zip(ARM_JOINTS, names, strict=True):
        text = text.replace(f'"{old}"', f'"{new}"')
    arm = read(text, joints=names)
    np.testing.assert_array_equal(arm.pose(HOME), POSE)
    assert arm.limits().names == names


@pytest.mark.parametrize(
    "more",
    [
        '<link name="world"/>' + joint("w", "fixed", "world", BASE_LINK, '<origin xyz="1 2 3" rpy="0 0 1"/>'),
        '<link name="odom"/>' + joint("w", "floating", "odom", BASE_LINK),
        '<link name="odom"/>' + joint("w", "planar", "odom", BASE_LINK),
        '<link name="wheel"/>' + joint("w", "continuous", BASE_LINK, "wheel"),
        '<link name="mirror"/>'
        + joint("w", "revolute", BASE_LINK, "mirror", LIMIT + '<mimic joint="panda_joint1" multiplier="-1"/>'),
        f'<link name="cover">{MESH}</link>' + joint("w", "fixed", "panda_link3", "cover"),
        # A parser of whole robots refuses all of these.
        '<link name="cover"/>' + joint("w", "revolute", "panda_link3", "cover"),
        '<link name="cover"/>' + joint("w", "revolute", "panda_link3", "cover", '<limit lower="${a}" upper="1"/>'),
        '<link name="lost"/>',
        '<link name="twice"/><link name="twice"/>' + joint("w", "fixed", BASE_LINK, "twice"),
        '<joint name="w" type="fixed"><child link="panda_link9"/></joint>',
        "".join(joint(f"c{n}", "fixed", f"c{n}", f"c{n + 1}") for n in range(199)),
        '<transmission name="t"><joint name="panda_joint1"/></transmission><gazebo reference="panda_joint1"/>',
        '<ros2_control name="a" type="system"><joint name="panda_joint1"/></ros2_control>',
    ],
    ids=[
        "world", "floating base", "planar base", "wheel", "mimic", "mesh that is not there", "no limit elsewhere",
        "xacro left elsewhere", "several roots", "link twice", "joint without parent", "long chain elsewhere",
        "transmission", "ros2_control",
    ],
)  # fmt: skip
def test_what_the_arm_does_not_need_is_ignored(more: str) -> None:
    np.testing.assert_allclose(read(with_more(more)).pose(HOME), POSE, atol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "\n " + URDF,
        "\ufeff" + URDF,
        '<?xml version="1.0" encoding="utf-16"?>' + URDF.partition("?>")[2],
        URDF.replace("<robot ", '<robot xmlns:xacro="http://www.ros.org/wiki/xacro" ', 1),
        URDF.replace("<robot ", '<robot xmlns="http://example.org/urdf" ', 1),
        URDF.replace("<link", "<!-- 関節 --><link", 1),
        URDF + "\0",
    ],
    ids=["line before", "byte order mark", "another encoding", "xacro's namespace", "namespace", "comment", "end mark"],
)
def test_text_around_the_description_does_not_matter(text: str) -> None:
    np.testing.assert_array_equal(read(text).pose(HOME), POSE)


@pytest.mark.parametrize("limit", ["", '<limit effort="10" velocity="1.5"/>'], ids=["no limit", "speed alone"])
def test_continuous_joint_is_kept_within_half_a_turn(limit: str) -> None:
    def turn(element: str) -> str:
        return re.sub(r"<limit[^>]*/>", limit, element.replace('"revolute"', '"continuous"'))

    arm = read(with_joint("panda_joint1", turn))
    np.testing.assert_array_equal(arm.pose(HOME), POSE)
    limits = arm.limits()
    assert (limits.lower[0], limits.upper[0]) == (-np.pi, np.pi)
    assert limits.velocity[0] == (1.5 if limit else np.inf)
    assert np.isfinite(LimitParameters().apply(limits, "fer").velocity).all()


def test_sliding_joint_is_driven() -> None:
    slide = '<limit lower="0" upper="0.5" effort="1" velocity="1"/><axis xyz="1 0 0"/>'
    text = with_more('<link name="rail"/>' + joint("slide", "prismatic", "rail", BASE_LINK, slide))
    arm = read(text, base="rail", joints=("slide", *ARM_JOINTS))
    np.testing.assert_allclose(arm.pose([0.2, *HOME])[:3], np.add(POSE[:3], (0.2, 0, 0)), atol=1e-12)


def test_base_beside_the_arm_counts() -> None:
    place = '<origin xyz="0.1 0.2 0.3" rpy="0 0 0"/>'
    text = with_more('<link name="table"/>' + joint("stand", "fixed", BASE_LINK, "table", place))
    np.testing.assert_allclose(
        read(text, base="table").pose(HOME)[:3], np.subtract(POSE[:3], (0.1, 0.2, 0.3)), atol=1e-12
    )


def limits_gone(element: str) -> str:
    return re.sub(r"<limit[^>]*/>", "", element)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (limits_gone, "joint panda_joint4 has no <limit>: a revolute joint needs one"),
        (lambda e: re.sub(r'(upper|lower)="[^"]*"', "", e), "panda_joint4: its range is empty, lower 0 to upper 0"),
        (lambda e: re.sub(r'upper="[^"]*"', 'upper="${pi}"', e), r"joint panda_joint4: expected a number as upper"),
        (lambda e: re.sub(r'lower="[^"]*"', 'lower="nan"', e), "joint panda_joint4: expected a number as lower"),
        (lambda e: re.sub(r'velocity="[^"]*"', 'velocity="fast"', e), "panda_joint4: expected a number as velocity"),
        (lambda e: re.sub(r'rpy="[^"]*"', 'rpy="0 0"', e), "panda_joint4: expected three numbers as rpy of its"),
        (lambda e: re.sub(r'xyz="[^"]*"', 'xyz="0,1 0 0"', e, count=1), "panda_joint4: expected three numbers as xyz"),
        (lambda e: re.sub(r'<axis[^>]*/>', '<axis xyz="0 0 0"/>', e), "panda_joint4: its axis has no direction"),
        (lambda e: e.replace('"revolute"', '"floating"'), "joint panda_joint4 is floating: expected the arm's"),
        (lambda e: e.replace('"revolute"', '"fixed"'), "joint panda_joint4 is fixed: expected"),
        (lambda e: e.replace('type="revolute"', ""), "joint panda_joint4 is without a type"),
        (lambda e: e.replace("</joint>", '<mimic joint="panda_joint2"/></joint>'), "panda_joint4 follows panda_joint2"),
        (lambda e: e + e.replace("panda_link4", "elsewhere"), "2 joints that are called panda_joint4"),
        (lambda e: e + e.replace("panda_joint4", "again"), "link .?panda_link4.? (has several parents|is the child)"),
        (lambda e: e.replace('"panda_link3"', '"elsewhere"'), "do not move the tip link|no joints connect"),
        (lambda e: e.replace('"panda_link3"', '"panda_hand_tcp"'), "go(es)? round in a circle"),
    ],
)  # fmt: skip
def test_joint_that_cannot_be_used_is_named_with_what_is_wrong(change: Change, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read(with_joint("panda_joint4", change))
    assert "panda_joint5" not in str(error.value).partition("; it has")[0] or "do not move" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty: expected a URDF"),
        (" \n\t", "empty: expected a URDF"),
        ("<robot", "not a URDF: unclosed token"),
        ("panda.urdf", "not a URDF: syntax error"),
        ("<sdf version='1.9'/>", "not a URDF: expected <robot>, got <sdf>"),
        ("<mujoco/>", "expected <robot>, got <mujoco>"),
        ("<robot name='x'/>", "<robot> holds no links"),
        ("<robot name='x'><xacro:include filename='y'/></robot>", "it is xacro"),
        ("<robot xmlns:xacro='http://www.ros.org/wiki/xacro'><xacro:arm/></robot>", "it is xacro"),
        ("<!DOCTYPE robot [<!ENTITY a 'aaaa'>]><robot name='&a;'/>", "declares XML entities|document type"),
    ],
)  # fmt: skip
def test_what_is_no_description_is_called_what_it_is(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RobotUrdf(text)


def test_joint_between_the_links_that_follows_the_arm_is_refused() -> None:
    coupled = '<limit lower="-1" upper="1" effort="1" velocity="1"/><mimic joint="panda_joint7"/>'
    text = with_more('<link name="pen"/>' + joint("pen_joint", "revolute", TCP_LINK, "pen", coupled))
    with pytest.raises(ValueError, match="joint pen_joint between panda_link0 and pen follows panda_joint7"):
        read(text, tip="pen")


def test_joints_that_are_left_out_count_as_zero_and_are_named() -> None:
    arm = read(URDF, joints=ARM_JOINTS[:6])
    np.testing.assert_allclose(arm.pose(HOME[:6]), read(URDF).pose([*HOME[:6], 0.0]), atol=1e-12)
    assert arm.held_joints == ("panda_joint7",) and read(URDF).held_joints == ()


def test_links_of_different_trees_are_refused_with_both_roots() -> None:
    with pytest.raises(ValueError, match=r"no joints connect mast with .* of mast and of panda_link0"):
        read(with_more('<link name="mast"/>'), base="mast")


def test_chain_that_no_parser_could_follow_is_refused() -> None:
    links = "".join(joint(f"j{n}", "fixed", f"l{n}", f"l{n + 1}") for n in range(30000))
    links = links.replace('"j1" type="fixed">', f'"j1" type="revolute">{LIMIT}')
    with pytest.raises(ValueError, match=r"more than 200 joints lead to a link|expected at most"):
        read(f"<robot>{links}</robot>", "l0", "l30000", ("j1",))


@pytest.mark.parametrize("joints", [(), ("panda_joint1", "panda_joint1")])
def test_names_of_different_joints_are_needed(joints: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="expected the names of different joints"):
        read(URDF, joints=joints)
