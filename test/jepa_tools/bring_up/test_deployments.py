"""The deployments, the parameters files and the nodes agree."""

from __future__ import annotations

import importlib
from configparser import ConfigParser
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from jepa_common.parameters import declared_parameters
from jepa_tools.bring_up.deployments import DEPLOYMENTS, Deployment, NodeEntry, process_specs, ros_arguments
from jepa_tools.bring_up.fork_server import ADDRESS_VARIABLE
from jepa_tools.bring_up.options import BringUp, option_infos
from jepa_tools.bring_up.other_programs import JepaCommand, OtherLaunch, OtherNode, ShareFile

REPOSITORY = Path(__file__).resolve().parents[3]
PARAMETERS = {
    "sim": ("jepa_sim.sim_node", "SimParameters"),
    "encoder": ("jepa_perception.encoder_node", "EncoderParameters"),
    "predictor": ("jepa_world_model.predictor_node", "PredictorParameters"),
    "planner": ("jepa_planner.planner_parameters", "PlannerParameters"),
}
NODES = [(deployment, node) for deployment in DEPLOYMENTS.values() for node in deployment.nodes]
NAMES = [f"{deployment.name}-{node.name}" for deployment, node in NODES]


def declared(node: NodeEntry) -> dict[str, Any]:
    module, name = PARAMETERS[node.name]
    configuration = getattr(importlib.import_module(module), name)
    return {item.name: item for item in declared_parameters(configuration)}


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


@pytest.mark.parametrize(("deployment", "node"), NODES, ids=NAMES)
def test_the_parameters_file_sets_only_what_the_node_declares(deployment: Deployment, node: NodeEntry):
    text = deployment.parameters_file(deployment.defaults()).read_text()
    written = flattened(yaml.safe_load(text)[f"/**/{node.name}"]["ros__parameters"])
    known = declared(node)
    assert set(written) <= set(known)
    for name, value in written.items():
        assert isinstance(value, type(known[name].default) if not isinstance(value, list) else list), name
        assert not known[name].refusal(value)


@pytest.mark.parametrize(("deployment", "node"), NODES, ids=NAMES)
def test_options_that_are_parameters_are_declared_by_the_node(deployment: Deployment, node: NodeEntry):
    own = set(node.options) - {"use_sim_time", "autostart"}
    assert own <= set(declared(node))
    choices = option_infos()["robot_type"].choices
    if "robot_type" in own:
        assert set(choices) - {""} == set(declared(node)["robot_type"].info.choices)


@pytest.mark.parametrize("node", {node.name: node for _, node in NODES}.values(), ids=lambda node: node.name)
def test_every_node_has_its_module_and_its_executable(node: NodeEntry):
    executables = ConfigParser()
    executables.read(REPOSITORY / "setup.cfg")
    assert f"{node.name} = {node.module}:main" in executables["options.entry_points"]["console_scripts"]
    assert callable(importlib.import_module(node.module).main)


def test_options_from_text_are_typed_and_checked():
    bring_up = BringUp.from_text({"use_sim_time": "True", "log_level": "debug", "model": "1e3"})
    assert bring_up == BringUp(use_sim_time=True, log_level="debug", model="1e3")
    with pytest.raises(ValueError, match="autostart: expected true or false, got 'yes'"):
        BringUp.from_text({"autostart": "yes"})
    with pytest.raises(ValueError, match="robot_type: expected one of"):
        BringUp.from_text({"robot_type": "ur5"})
    with pytest.raises(ValueError, match="namespace: expected names divided by /"):
        BringUp.from_text({"namespace": "left arm"})
    with pytest.raises(ValueError, match="robot_ip: expected an IP address"):
        BringUp.from_text({"robot_ip": "-oProxyCommand"})
    with pytest.raises(ValueError, match="got colour"):
        BringUp.from_text({"colour": "red"})


def test_every_option_is_described_and_is_an_argument_of_a_deployment():
    used = {name for deployment in DEPLOYMENTS.values() for name in deployment.options}
    assert used == {item.name for item in fields(BringUp)}
    assert all(info.description for info in option_infos().values())


@pytest.mark.parametrize("deployment", [d for d in DEPLOYMENTS.values() if d.nodes], ids=lambda d: d.name)
def test_every_option_of_a_nodes_parameters_and_topics_is_an_argument(deployment: Deployment):
    for node in deployment.nodes:
        assert {*node.options, *node.topics.values()} <= set(deployment.options)


def test_what_a_deployment_presets_can_be_said_otherwise():
    deployment = DEPLOYMENTS["gazebo"]
    assert deployment.bring_up({}).use_sim_time
    assert not deployment.bring_up({"use_sim_time": "false"}).use_sim_time
    assert deployment.bring_up({}).joint_trajectory_topic == "arm_controller/joint_trajectory"


def test_gazebo_starts_server_description_arm_bridge_and_controllers():
    deployment = DEPLOYMENTS["gazebo"]
    world, description, arm, bridge, spawner = deployment.others(deployment.bring_up({"gui": "false"}))
    assert isinstance(world, OtherLaunch) and world.file == ShareFile("ros_gz_sim", "launch/gz_sim.launch.py")
    assert str(world.arguments["gz_args"]).startswith("-r -s --headless-rendering /")
    assert isinstance(description, OtherNode) and description.parameters["use_sim_time"]
    assert isinstance(arm, OtherNode) and not arm.stays
    assert isinstance(bridge, OtherNode) and bridge.stays
    assert isinstance(spawner, OtherNode) and "arm_controller" in spawner.arguments


def test_a_franka_needs_its_address_and_gets_the_controllers_of_its_type():
    deployment = DEPLOYMENTS["franka"]
    with pytest.raises(ValueError, match="robot_ip:="):
        deployment.others(deployment.bring_up({}))
    for robot_type in ("fr3", "fer"):
        bring_up = deployment.bring_up({"robot_ip": "fci.local", "robot_type": robot_type})
        driver, spawner = deployment.others(bring_up)
        assert isinstance(driver, OtherLaunch) and driver.arguments["robot_type"] == robot_type
        assert isinstance(spawner, OtherNode)
        assert str(spawner.arguments[-1]).endswith(f"config/{robot_type}_controllers.yaml")


def test_a_recording_of_simulated_nodes_takes_simulated_time(tmp_path: Path):
    (recording,) = DEPLOYMENTS["sim"].others(DEPLOYMENTS["sim"].bring_up({"record": str(tmp_path)}))
    assert recording == JepaCommand(("record", "--out", str(tmp_path), "--use-sim-time"))


def test_a_command_line_says_all_that_the_options_say():
    deployment = DEPLOYMENTS["jepa"]
    bring_up = BringUp(namespace="left", model="1e3", image_topic="/camera/color/image_raw", dry_run=True)
    nodes = {node.name: ros_arguments(node, deployment, bring_up) for node in deployment.nodes}
    encoder = " ".join(nodes["encoder"])
    assert "-r image:=/camera/color/image_raw" in encoder
    assert "-r __ns:=/left" in encoder
    assert "-p model:='1e3'" in encoder
    assert "dry_run" not in encoder
    assert "-p dry_run:=true" in " ".join(nodes["planner"])
    assert "image:=" not in " ".join(nodes["planner"])


def test_nodes_come_from_one_fork_server_that_loads_their_modules_unless_none_is_wanted():
    deployment = DEPLOYMENTS["sim"]
    fork_server, *nodes = process_specs(deployment, deployment.defaults())
    address = fork_server.environment[ADDRESS_VARIABLE]
    assert fork_server.command[2:] == ("jepa_tools.bring_up.fork_server", address, *deployment.modules)
    for spec, node in zip(nodes, deployment.nodes, strict=True):
        assert spec.command[2:4] == ("jepa_tools.bring_up.forked_node", node.module)
        assert spec.environment[ADDRESS_VARIABLE] == address
    alone = process_specs(deployment, replace(deployment.defaults(), preload=False))
    assert [spec.name for spec in alone] == [node.name for node in deployment.nodes]
    assert not any(spec.environment[ADDRESS_VARIABLE] for spec in alone)


def test_what_is_not_said_is_left_to_the_parameters_file():
    deployment = DEPLOYMENTS["sim"]
    for node in deployment.nodes:
        arguments = " ".join(ros_arguments(node, deployment, deployment.defaults()))
        assert "model:=" not in arguments
        assert "device:=" not in arguments


def test_a_missing_parameters_file_is_named():
    deployment = DEPLOYMENTS["sim"]
    with pytest.raises(FileNotFoundError, match=r"/nowhere/mine\.yaml"):
        process_specs(deployment, replace(deployment.defaults(), params_file="/nowhere/mine.yaml"))
