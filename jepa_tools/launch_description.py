"""The node table as a launch description; `launch/*.launch.py` are one call each. Needs `launch_ros`."""

from __future__ import annotations

import dataclasses

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from jepa_tools.node_table import (
    DEPLOYMENTS,
    PACKAGE,
    RESPAWN_DELAY,
    BringUp,
    Deployment,
    NodeEntry,
    option_infos,
)


def deployment_description(name: str) -> LaunchDescription:
    """Arguments and nodes of the deployment called `name`.

    Raises:
        KeyError: there is none of that name.
    """
    deployment = DEPLOYMENTS[name]
    return LaunchDescription([*_declare_arguments(deployment), OpaqueFunction(function=_make_nodes, args=[deployment])])


def _declare_arguments(deployment: Deployment) -> list[DeclareLaunchArgument]:
    defaults = dataclasses.asdict(deployment.defaults())
    return [
        DeclareLaunchArgument(
            name,
            default_value=_as_text(defaults[name]),
            description=info.description,
            choices=list(info.choices) or None,
        )
        for name, info in option_infos().items()
    ]


def _as_text(value: bool | str) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _make_nodes(context: LaunchContext, deployment: Deployment) -> list[Node]:
    texts = {name: LaunchConfiguration(name).perform(context) for name in option_infos()}
    bring_up = BringUp.from_text(texts)
    return [_make_node(node, deployment, bring_up) for node in deployment.nodes]


def _make_node(node: NodeEntry, deployment: Deployment, bring_up: BringUp) -> Node:
    action = LifecycleNode if node.lifecycle else Node
    return action(
        package=PACKAGE,
        executable=node.name,
        name=node.name,
        namespace=bring_up.namespace,
        parameters=[str(deployment.parameters_file(bring_up)), node.parameters(bring_up)],
        remappings=node.remappings(bring_up),
        ros_arguments=["--log-level", bring_up.log_level],
        output="screen",
        emulate_tty=False,
        respawn=bring_up.use_respawn,
        respawn_delay=RESPAWN_DELAY,
    )
