"""A deployment as a launch description; `launch/*.launch.py` are one call each. Needs `launch_ros`."""

from __future__ import annotations

import dataclasses
import os
from contextlib import ExitStack
from typing import Any

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnShutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import Command, FindExecutable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from jepa_common.life_signs import SOCKET_VARIABLE
from jepa_tools.bring_up.deployments import (
    DEPLOYMENTS,
    PACKAGE,
    RESPAWN_DELAY,
    Deployment,
    NodeEntry,
    enclave_path,
)
from jepa_tools.bring_up.fork_server import ADDRESS_VARIABLE, new_address
from jepa_tools.bring_up.hung_processes import HungProcessWatch
from jepa_tools.bring_up.options import BringUp
from jepa_tools.bring_up.other_programs import OtherLaunch, OtherNode, OtherProgram, ShareFile, XacroText
from jepa_tools.bring_up.process_runner import print_prefixed


def deployment_description(name: str) -> LaunchDescription:
    """Arguments and nodes of the deployment called `name`.

    Raises:
        KeyError: there is none of that name.
    """
    deployment = DEPLOYMENTS[name]
    return LaunchDescription([*_declare_arguments(deployment), OpaqueFunction(function=_make_all, args=[deployment])])


def _declare_arguments(deployment: Deployment) -> list[DeclareLaunchArgument]:
    defaults = dataclasses.asdict(deployment.defaults())
    return [
        DeclareLaunchArgument(
            name,
            default_value=_as_text(defaults[name]),
            description=info.description,
            choices=list(info.choices) or None,
        )
        for name, info in deployment.option_infos().items()
    ]


def _as_text(value: bool | str) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _make_all(context: LaunchContext, deployment: Deployment) -> list[LaunchDescriptionEntity]:
    texts = {name: LaunchConfiguration(name).perform(context) for name in deployment.options}
    bring_up = deployment.bring_up(texts)
    others = [_make_other(program, bring_up) for program in deployment.others(bring_up)]
    address = new_address(deployment.name) if bring_up.preload and deployment.nodes else ""
    fork_server = [_make_fork_server(deployment, bring_up, address)] if address else []
    watch = _watch_hung_processes(deployment) if deployment.nodes and bring_up.use_respawn else []
    nodes = [_make_node(node, deployment, bring_up, address) for node in deployment.nodes]
    return [*watch, *others, *fork_server, *nodes]


def _watch_hung_processes(deployment: Deployment) -> list[LaunchDescriptionEntity]:
    """Nodes that fall silent are killed while the launch lives, and so started again."""
    address = f"jepa_ros_life_signs_{os.getuid()}_{os.getpid()}_{deployment.name}"
    watching = ExitStack()

    def begin(_: LaunchContext) -> None:
        watching.enter_context(HungProcessWatch(address, print_prefixed))

    def end(*_: object) -> None:
        watching.close()

    return [
        SetEnvironmentVariable(SOCKET_VARIABLE, address),
        OpaqueFunction(function=begin),
        RegisterEventHandler(OnShutdown(on_shutdown=end)),
    ]


def _make_fork_server(deployment: Deployment, bring_up: BringUp, address: str) -> ExecuteProcess:
    command = ExecutableInPackage(package=PACKAGE, executable="fork_server")
    return ExecuteProcess(
        cmd=[command, address, *deployment.modules],
        name="fork_server",
        output="screen",
        respawn=bring_up.use_respawn,
        respawn_delay=RESPAWN_DELAY,
    )


def _make_node(node: NodeEntry, deployment: Deployment, bring_up: BringUp, address: str) -> Node:
    """A node from the fork server at `address`, or from its own executable if that is empty."""
    action = LifecycleNode if node.lifecycle else Node
    return action(
        package=PACKAGE,
        executable="forked_node" if address else node.name,
        arguments=[node.module] if address else [],
        additional_env={ADDRESS_VARIABLE: address},
        name=node.name,
        exec_name=node.name,
        namespace=bring_up.namespace,
        parameters=[str(deployment.parameters_file(bring_up)), node.parameters(bring_up)],
        remappings=node.remappings(bring_up),
        ros_arguments=["--enclave", enclave_path(node.name, bring_up.namespace), "--log-level", bring_up.log_level],
        output="screen",
        emulate_tty=False,
        respawn=bring_up.use_respawn,
        respawn_delay=RESPAWN_DELAY,
    )


def _make_other(program: OtherProgram, bring_up: BringUp) -> LaunchDescriptionEntity:
    if isinstance(program, OtherNode):
        return _make_other_node(program, bring_up)
    if isinstance(program, OtherLaunch):
        source = PythonLaunchDescriptionSource([_resolved(program.file)])
        arguments = [(name, _resolved(value)) for name, value in program.arguments.items()]
        return IncludeLaunchDescription(source, launch_arguments=arguments)
    command = ExecutableInPackage(package=PACKAGE, executable="jepa")
    return ExecuteProcess(cmd=[command, *program.arguments], name="jepa", output="screen")


def _make_other_node(program: OtherNode, bring_up: BringUp) -> Node:
    return Node(
        package=program.package,
        executable=program.executable,
        name=program.name or None,
        namespace=bring_up.namespace,
        arguments=[_resolved(argument) for argument in program.arguments],
        parameters=[{name: _resolved(value) for name, value in program.parameters.items()}],
        output="screen",
        respawn=program.stays and bring_up.use_respawn,
        respawn_delay=RESPAWN_DELAY,
    )


def _resolved(value: Any) -> Any:
    """A value as launch takes it; files of other packages are looked for when the action runs."""
    if isinstance(value, ShareFile):
        return PathJoinSubstitution([FindPackageShare(value.package), *value.path.split("/")])
    if not isinstance(value, XacroText):
        return value
    words = [word for name, text in value.arguments.items() for word in (" ", f"'{name}:={text}'")]
    return ParameterValue(Command([FindExecutable(name="xacro"), " ", str(value.path), *words]), value_type=str)
