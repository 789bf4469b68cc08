"""The policy of SROS2 says exactly what the running nodes do: nothing is missing, nothing is allowed without need."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from jepa_perception.encoder_node import EncoderNode
from jepa_planner.planner_node import PlannerNode
from jepa_sim.sim_node import SimNode
from jepa_tools.security.command import SecurityConfig, security
from jepa_world_model.predictor_node import PredictorNode

# Depends on what is installed, on the model, and on whether time is simulated.
NOT_EVERYWHERE = {
    ("subscribe", "/clock"),
    ("subscribe", "/parameter_events"),
    ("subscribe", "/controller_state"),
    ("publish", "/controller_state"),
    ("publish", "/imagined/compressed"),
}
SIMULATORS = {"gazebo_msgs": "/gazebo/", "simulation_interfaces": "/gzserver/"}
"""Packages, not installed everywhere, and the beginning of the names of the services that come with them."""

Rights = dict[str, set[tuple[str, str]]]


def written(path: Path, **options: Any) -> Rights:
    """What the policy's file allows, as (verb, name) by node."""
    assert security(SecurityConfig(out=path, **options)) == 0
    rights: Rights = defaultdict(set)
    for enclave in ElementTree.parse(path).getroot().iter("enclave"):
        for profile in enclave.iter("profile"):
            for group in profile:
                (verb,) = group.attrib
                rights[profile.attrib["node"]] |= {(verb, item.text or "") for item in group}
    return rights


def absent(rights: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The services of simulators whose packages are not installed here."""
    missing = tuple(prefix for package, prefix in SIMULATORS.items() if importlib.util.find_spec(package) is None)
    return {(verb, name) for verb, name in rights if verb == "reply" and name.startswith(missing)}


def used(client: Any, node: str) -> set[tuple[str, str]]:
    """What a node does, by the graph; an action's topics and services are the action."""
    asked = {
        "publish": client.get_publisher_names_and_types_by_node,
        "subscribe": client.get_subscriber_names_and_types_by_node,
        "reply": client.get_service_names_and_types_by_node,
        "request": client.get_client_names_and_types_by_node,
    }
    found = set()
    for verb, names_of in asked.items():
        for name, _ in names_of(node, "/"):
            action, is_part, _ = name.partition("/_action/")
            actions_verb = "execute" if verb in ("publish", "reply") else "call"
            found.add((actions_verb, action) if is_part else (verb, name))
    return found


@pytest.fixture
def graph(nodes: Any, tiny_model: Any) -> Any:
    """A client beside all nodes of the simulated table, active."""
    nodes.make(SimNode, camera_width=32, camera_height=32, camera_rate=1.0)
    for kind in (EncoderNode, PredictorNode, PlannerNode):
        node = nodes.make(kind, model=str(tiny_model.path))
        nodes.run(node.start)
    return nodes


def test_the_policy_is_what_the_nodes_do(graph: Any, tmp_path: Path):
    rights = written(tmp_path / "policy.xml")
    for node in ("sim", "encoder", "predictor", "planner"):
        graph.wait_until(
            lambda name=node: rights[name] - used(graph.client, name) <= NOT_EVERYWHERE | absent(rights[name]),
            f"all that {node} does",
        )
        assert used(graph.client, node) - rights[node] == set()


def test_only_the_planner_commands_only_the_encoder_sees_only_the_predictor_answers(tmp_path: Path):
    rights = written(tmp_path / "policy.xml", deployment="franka")

    def who(verb: str, name: str) -> set[str]:
        return {node for node, allowed in rights.items() if (verb, name) in allowed}

    commands = {name for verb, name in rights["planner"] if verb == "publish" and name.endswith("joint_trajectory")}
    assert len(commands) == 2  # the arm's and the gripper's
    assert all(who("publish", name) == {"planner"} for name in commands)
    assert who("publish", "/latent") == {"encoder"}
    assert who("reply", "/score_actions") == {"predictor"}
    assert who("publish", "/joint_states") == who("publish", "/robot_description") == {"robot"}
    assert who("publish", "/image") == {"camera"}
    assert who("publish", "/clock") == set()
    assert {verb for verb, _ in rights["recorder"]} == {"publish", "subscribe", "reply", "request"}
    assert {name for verb, name in rights["recorder"] if verb == "publish"} == {"/rosout", "/parameter_events"}


def test_names_follow_namespace_and_remappings(tmp_path: Path):
    rights = written(
        tmp_path / "policy.xml", deployment="jepa", namespace="cell/left", image_topic="/camera/color/image_raw"
    )
    assert ("publish", "/cell/left/joint_trajectory") in rights["planner"]
    assert ("reply", "/cell/left/planner/pause") in rights["planner"]
    assert ("subscribe", "/camera/color/image_raw") in rights["encoder"]
    assert ("subscribe", "/cell/left/image") not in rights["encoder"]
    assert ("publish", "/rosout") in rights["planner"]


def test_another_deployment_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="expected one of sim, jepa"):
        security(SecurityConfig(deployment="moon", out=tmp_path / "policy.xml"))
