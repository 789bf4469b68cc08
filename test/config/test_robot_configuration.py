"""Controllers, RViz and Foxglove speak of joints and topics that exist."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jepa_ros.msg import PlannerStatus

from jepa_common.resources import find_resource
from jepa_sim.robot_description import ARM_JOINTS, FINGER_JOINTS

TOPICS = {
    "/camera_info", "/diagnostics", "/goal_image", "/image", "/imagined/compressed", "/joint_states",
    "/planner_markers", "/planner_status", "/robot_description",
}  # fmt: skip
ARMS = {
    "gazebo": ARM_JOINTS,
    "fr3": tuple(f"fr3_joint{number}" for number in range(1, 8)),
    "fer": tuple(f"fer_joint{number}" for number in range(1, 8)),
}


def controller(name: str, controller_name: str) -> dict[str, Any]:
    text = find_resource("config", f"{name}_controllers.yaml").read_text()
    return yaml.safe_load(text)[f"/**/{controller_name}"]["ros__parameters"]


@pytest.mark.parametrize("name", ARMS)
def test_the_arms_controller_streams_safely(name: str):
    arm = controller(name, "arm_controller")
    assert arm["type"] == "joint_trajectory_controller/JointTrajectoryController"
    assert tuple(arm["joints"]) == ARMS[name]
    assert arm["interpolate_from_desired_state"] is True
    assert arm["allow_nonzero_velocity_at_trajectory_end"] is False
    limits = arm["constraints"]
    assert arm["cmd_timeout"] > limits["goal_time"] > 0, "the controller ignores a cmd_timeout that is not longer"
    assert all(limits[joint]["trajectory"] > limits[joint]["goal"] > 0 for joint in ARMS[name])


def test_the_gripper_keeps_its_grip_and_stops_at_what_it_holds():
    gripper = controller("gazebo", "gripper_controller")
    assert tuple(gripper["joints"]) == FINGER_JOINTS
    assert gripper["cmd_timeout"] == 0.0
    assert all(gripper["constraints"][joint] == {"trajectory": 0.0, "goal": 0.0} for joint in FINGER_JOINTS)


def test_gazebos_controller_manager_knows_the_controllers_that_are_started():
    text = find_resource("config", "gazebo_controllers.yaml").read_text()
    manager = yaml.safe_load(text)["/**/controller_manager"]["ros__parameters"]
    assert {"joint_state_broadcaster", "arm_controller", "gripper_controller"} <= set(manager)


def values_of(tree: Any, *keys: str) -> Iterator[Any]:
    """Everything below `tree` that stands under one of `keys`."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in keys:
                yield value
            yield from values_of(value, *keys)
    elif isinstance(tree, list):
        for item in tree:
            yield from values_of(item, *keys)


def test_rviz_shows_topics_that_are_published():
    displays = yaml.safe_load(find_resource("config", "jepa.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {topic["Value"] for topic in values_of(displays, "Topic", "Description Topic") if isinstance(topic, dict)}
    assert {"/" + topic for topic in topics} <= TOPICS
    assert {"robot_description", "image", "planner_markers"} <= topics


def test_foxglove_shows_topics_and_fields_that_are_published():
    layout = json.loads(find_resource("config", "foxglove_layout.json").read_text())
    named = set(values_of(layout, "imageTopic", "calibrationTopic", "topic", "topicToRender"))
    paths = {path["value"] for found in values_of(layout, "paths") for path in found}
    paths |= set(values_of(layout, "topicPath"))
    assert named | {path.partition(".")[0] for path in paths} <= TOPICS
    fields = {path.partition(".")[2] for path in paths if path.startswith("/planner_status.")}
    assert fields <= set(PlannerStatus.get_fields_and_field_types())


def test_every_panel_of_foxglove_is_in_its_layout():
    layout = json.loads(find_resource("config", "foxglove_layout.json").read_text())
    placed = {value for value in values_of(layout["layout"], "first", "second") if isinstance(value, str)}
    assert placed == set(layout["configById"])
