"""A robot description is refused that would end the parser, or that is not the robot it is said to be."""

from __future__ import annotations

import re

import pytest
from franka import HOME, URDF, kinematics

from jepa_planner.kinematics import Kinematics
from jepa_planner.limits import fer_limits, fr3_limits
from jepa_planner.robot_check import check_robot
from jepa_planner.urdf_check import MAX_CHAIN, MAX_LINKS, check_urdf
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK, TCP_LINK

TABLE = fer_limits(ARM_JOINTS)


def chain(count: int) -> str:
    links = "".join(f'<link name="l{index}"/>' for index in range(count + 1))
    return f"<robot name='x'>{links}{joints(count)}</robot>"


def joints(count: int, of: int = 1) -> str:
    """A chain of ``count`` fixed joints, each link hung up ``of`` times."""
    return "".join(
        f'<joint name="j{index}_{copy}" type="fixed"><parent link="l{index}"/><child link="l{index + 1}"/></joint>'
        for index in range(count)
        for copy in range(of)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (chain(6000), "at most 1000 joints"),
        (chain(MAX_CHAIN + 1), "chains of at most"),
        (chain(30_000), "elements"),
        (f"<robot name='x'>{'<a>' * 100_000}", "nested"),
        (f"<robot name='x'>{joints(30, of=2)}</robot>", "child of several joints"),
        ("<robot name='x'>" + " " * (1 << 24), "characters"),
        ("<!DOCTYPE robot [<!ENTITY a 'aaaa'>]><robot name='&a;'/>", "document type"),
        ("<robot name='x'>", "not a URDF"),
        (
            "<robot name='x'><link name='a'/><joint name='j' type='fixed'><parent link='a'/><child link='a'/></joint>"
            "</robot>",
            "round in a circle",
        ),
    ],
)
def test_description_that_would_end_its_parser_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Kinematics.from_urdf(text, BASE_LINK, TCP_LINK, ARM_JOINTS)


def test_description_of_a_large_robot_is_read() -> None:
    check_urdf(URDF)
    check_urdf(chain(MAX_CHAIN - 1))
    assert MAX_CHAIN < MAX_LINKS


def test_arm_is_recognised_and_not_taken_for_its_successor() -> None:
    check_robot(kinematics(), TABLE)
    with pytest.raises(ValueError, match="panda_joint6 may go from"):
        check_robot(kinematics(), fr3_limits(ARM_JOINTS))


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        ('xyz="0.0 0.0 0.333"', 'xyz="0.3 0.0 0.333"', "axis of panda_joint1.*0.300 m"),
        ('xyz="0.0825 0.0 0.0"', 'xyz="0.1825 0.0 0.0"', "axis of panda_joint4"),
        ('xyz="0.0 0.0 0.333" rpy="0.0 0.0 0.0"', 'xyz="0.0 0.0 0.333" rpy="0.5 0.0 0.0"', "axis of panda_joint1"),
        ('lower="-2.8973"', 'lower="-1e9"', "may go from"),
        ('velocity="2.175"', 'velocity="1e9"', "may move at"),
        ('xyz="0.0 0.0 0.1034"', 'xyz="0.0 0.0 0.9"', "from the arm's flange"),
    ],
)
def test_description_of_another_arm_is_refused(pattern: str, replacement: str, message: str) -> None:
    assert pattern in URDF
    other = Kinematics.from_urdf(URDF.replace(pattern, replacement, 1), BASE_LINK, TCP_LINK, ARM_JOINTS)
    with pytest.raises(ValueError, match=re.compile(message)):
        check_robot(other, TABLE)


def test_arm_whose_base_link_is_elsewhere_is_refused() -> None:
    elsewhere = URDF.replace(
        "</robot>",
        '<link name="table"/><joint name="mount" type="fixed"><parent link="table"/>'
        f'<child link="{BASE_LINK}"/><origin xyz="0.3 0 0" rpy="0 0 0"/></joint></robot>',
    )
    check_robot(Kinematics.from_urdf(elsewhere, BASE_LINK, TCP_LINK, ARM_JOINTS), TABLE)
    moved = Kinematics.from_urdf(elsewhere, "table", TCP_LINK, ARM_JOINTS)
    assert moved.pose(HOME)[0] == pytest.approx(kinematics().pose(HOME)[0] + 0.3)
    with pytest.raises(ValueError, match="base_link"):
        check_robot(moved, TABLE)
