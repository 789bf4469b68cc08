"""Descriptions and states of entities: what is understood, and what is refused with a reason."""

import math

import pytest

from jepa_sim.entities import Body, EntityDescriptionError, EntityError, EntityState, body_from_xml

SDF_BALL = """<sdf version="1.9"><model name="ball"><link name="link">
  <inertial><mass>0.2</mass></inertial>
  <visual name="look"><geometry><sphere><radius>0.03</radius></sphere></geometry>
    <material><diffuse>0.1 0.9 0.1 1</diffuse></material></visual>
</link></model></sdf>"""
URDF_CAN = """<robot name="can"><link name="link"><visual>
  <geometry><cylinder radius="0.02" length="0.1"/></geometry>
  <material name="grey"><color rgba="0.5 0.5 0.5 1"/></material>
</visual><inertial><mass value="0.3"/></inertial></link></robot>"""


def test_sdf_and_urdf_are_understood():
    assert body_from_xml(SDF_BALL) == Body("sphere", (0.03,), (0.1, 0.9, 0.1, 1.0), 0.2)
    assert body_from_xml(URDF_CAN) == Body("cylinder", (0.02, 0.1), (0.5, 0.5, 0.5, 1.0), 0.3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not xml", "does not parse"),
        ("<robot/>", "expected a <geometry>"),
        ("<a><geometry><box><size>1 2</size></box></geometry></a>", "3 lengths"),
        ("<a><geometry><sphere><radius>-1</radius></sphere></geometry></a>", "between 0 and 10 m"),
        ("<a><geometry><sphere><radius>big</radius></sphere></geometry></a>", "expected numbers"),
        ("<a><geometry><sphere/></geometry></a>", "got none"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "declarations"),
        ("<a>" + " " * 100_000 + "</a>", "at most 100000 characters"),
    ],
)
def test_what_cannot_be_spawned_is_refused_with_the_reason(text: str, reason: str):
    with pytest.raises(EntityDescriptionError, match=reason):
        body_from_xml(text)


def test_a_state_needs_finite_numbers_and_a_unit_quaternion():
    with pytest.raises(EntityError, match="finite"):
        EntityState((math.nan, 0.0, 0.0)).checked()
    with pytest.raises(EntityError, match="length 1"):
        EntityState((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)).checked()
    assert EntityState((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.001)).checked().orientation == (0.0, 0.0, 0.0, 1.0)
