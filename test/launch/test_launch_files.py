"""The launch files describe their arguments and start the nodes of the table."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "launch_ros", reason="launch and launch_ros are not in the Python registry: source a ROS 2 installation"
)

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction

from jepa_tools.node_table import DEPLOYMENTS, option_infos

FOLDER = Path(__file__).resolve().parents[2] / "launch"
NAMES = sorted(DEPLOYMENTS)


def description(name: str) -> LaunchDescription:
    return runpy.run_path(str(FOLDER / f"{name}.launch.py"))["generate_launch_description"]()


def nodes(name: str, **arguments: str) -> list[Any]:
    """The node actions that the launch file makes with these arguments."""
    context, made = LaunchContext(), []
    context.launch_configurations.update(arguments)
    for entity in description(name).entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
        elif isinstance(entity, OpaqueFunction):
            made += entity.visit(context) or []
    return made


def executables(actions: list[Any]) -> list[str]:
    return [action.node_executable for action in actions]


def test_there_is_a_launch_file_for_every_deployment():
    assert sorted(path.name.removesuffix(".launch.py") for path in FOLDER.glob("*.launch.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_has_a_description_and_a_default(name: str):
    arguments = {argument.name: argument for argument in description(name).get_launch_arguments()}
    assert list(arguments) == list(option_infos())
    for argument in arguments.values():
        assert argument.description
        assert argument.default_value is not None


@pytest.mark.parametrize("name", NAMES)
def test_the_nodes_of_the_table_are_started_in_order(name: str):
    assert executables(nodes(name)) == [node.name for node in DEPLOYMENTS[name].nodes]


def test_the_simulated_deployment_runs_on_simulated_time():
    defaults = {name: {a.name: a for a in description(name).get_launch_arguments()} for name in NAMES}
    values = {name: defaults[name]["use_sim_time"].default_value[0].text for name in NAMES}
    assert values == {"robot": "false", "sim": "true"}


def test_a_wrong_choice_is_refused():
    with pytest.raises(RuntimeError, match="robot_type"):
        nodes("robot", robot_type="ur5")


def test_a_flag_that_is_neither_true_nor_false_is_refused():
    with pytest.raises(ValueError, match="dry_run: expected true or false"):
        nodes("robot", dry_run="maybe")
