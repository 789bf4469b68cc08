"""The nodes of each deployment, described once: the launch files and the process runner both read it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from jepa_common.resources import find_resource
from jepa_tools.bring_up import other_programs
from jepa_tools.bring_up.fork_server import ADDRESS_VARIABLE, new_address
from jepa_tools.bring_up.options import BringUp, OptionInfo, option_infos
from jepa_tools.bring_up.other_programs import ARM_CONTROLLER, GRIPPER_CONTROLLER, PACKAGE, OtherProgram
from jepa_tools.bring_up.process_runner import ProcessSpec

__all__ = ["DEPLOYMENTS", "PACKAGE", "RESPAWN_DELAY", "BringUp", "Deployment", "NodeEntry", "process_specs"]

FORK_SERVER, FORKED_NODE = "jepa_tools.bring_up.fork_server", "jepa_tools.bring_up.forked_node"
RESPAWN_DELAY = 0.2
"""Seconds from a node's end to its next start."""

ParameterValue = bool | str


@dataclass(frozen=True)
class NodeEntry:
    """One node.

    name: of the node and of its executable (`ros2 run jepa_ros NAME`).
    module: Python module that `python -m` runs where no executable is installed.
    lifecycle: whether it is a lifecycle node.
    options: names of the `BringUp` fields that are parameters of this node.
    topics: relative topic name -> name of the `BringUp` field that may remap it.
    """

    name: str
    module: str
    lifecycle: bool = True
    options: tuple[str, ...] = ()
    topics: Mapping[str, str] = field(default_factory=dict)

    def parameters(self, bring_up: BringUp) -> dict[str, ParameterValue]:
        """Parameter values that the options set; those left empty are the parameters file's."""
        values = {name: getattr(bring_up, name) for name in self.options}
        return {name: value for name, value in values.items() if value != ""}

    def remappings(self, bring_up: BringUp) -> list[tuple[str, str]]:
        """(from, to) pairs of the topics whose option says another name."""
        targets = ((topic, getattr(bring_up, name)) for topic, name in self.topics.items())
        return [(topic, target) for topic, target in targets if target != topic]


_LEARNED = ("use_sim_time", "autostart", "model", "device")
_IMAGE = {"image": "image_topic"}
_ARM = {
    "joint_states": "joint_states_topic",
    "joint_trajectory": "joint_trajectory_topic",
    "gripper_trajectory": "gripper_trajectory_topic",
}

SIMULATOR = NodeEntry("sim", "jepa_sim.sim_node", lifecycle=False, topics=_IMAGE | _ARM)
ENCODER = NodeEntry("encoder", "jepa_perception.encoder_node", options=_LEARNED, topics=_IMAGE)
PREDICTOR = NodeEntry("predictor", "jepa_world_model.predictor_node", options=_LEARNED)
PLANNER = NodeEntry(
    "planner",
    "jepa_planner.planner_node",
    options=("use_sim_time", "autostart", "model", "dry_run", "robot_type"),
    topics=_ARM,
)


_COMMON = ("namespace", "use_sim_time", "log_level")
_LOOP = (
    *_COMMON, "autostart", "params_file", "model", "device", "use_respawn", "preload", "dry_run", "robot_type",
    "rviz", "record",
)  # fmt: skip
_TOPICS = ("image_topic", "joint_states_topic", "joint_trajectory_topic", "gripper_trajectory_topic")


@dataclass(frozen=True)
class Deployment:
    """A set of nodes and other programs that belong together.

    name: of the launch file.
    nodes: of this package, in the order in which they are started.
    options: names of the `BringUp` fields that are its launch arguments.
    preset: values of options where nothing else is said.
    parameters: name of the parameters file in `config/`.
    others: what else it starts.
    """

    name: str
    nodes: tuple[NodeEntry, ...]
    options: tuple[str, ...] = (*_LOOP, *_TOPICS)
    preset: Mapping[str, ParameterValue] = field(default_factory=dict)
    parameters: str = "sim.yaml"
    others: Callable[[BringUp], tuple[OtherProgram, ...]] = other_programs.extras

    def defaults(self) -> BringUp:
        """The options of this deployment where nothing else is said."""
        # Each is a field's value.
        return replace(BringUp(), **cast("Mapping[str, Any]", self.preset))

    def option_infos(self) -> dict[str, OptionInfo]:
        """Description and limits of its launch arguments, in order."""
        infos = option_infos()
        return {name: infos[name] for name in self.options}

    def bring_up(self, texts: Mapping[str, str]) -> BringUp:
        """Options from launch's strings; see `BringUp.from_text`."""
        defaults = self.defaults()
        given = BringUp.from_text(texts)
        return replace(defaults, **{name: getattr(given, name) for name in texts})

    def parameters_file(self, bring_up: BringUp) -> Path:
        """The YAML file with the nodes' parameters.

        Raises:
            FileNotFoundError: it is not there.
        """
        if not bring_up.params_file:
            return find_resource("config", self.parameters)
        path = Path(bring_up.params_file).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"params_file: expected a YAML file with node parameters, no file {path}")
        return path.absolute()

    @property
    def modules(self) -> tuple[str, ...]:
        """The nodes' modules."""
        return tuple(node.module for node in self.nodes)

    @property
    def lifecycle_names(self) -> tuple[str, ...]:
        """Names of the lifecycle nodes."""
        return tuple(node.name for node in self.nodes if node.lifecycle)


_LEARNED_LOOP = (ENCODER, PREDICTOR, PLANNER)
_CONTROLLER_TOPICS = {
    "joint_trajectory_topic": f"{ARM_CONTROLLER}/joint_trajectory",
    "gripper_trajectory_topic": f"{GRIPPER_CONTROLLER}/joint_trajectory",
}
_SIMULATED = _CONTROLLER_TOPICS | {"use_sim_time": True}

DEPLOYMENTS = {
    deployment.name: deployment
    for deployment in (
        Deployment(
            "sim",
            (SIMULATOR, *_LEARNED_LOOP),
            preset={"use_sim_time": True},
            others=other_programs.simulated_extras,
        ),
        Deployment("jepa", _LEARNED_LOOP, parameters="robot.yaml"),
        Deployment(
            "gazebo",
            _LEARNED_LOOP,
            (*_LOOP, "gui", *_TOPICS),
            preset=_SIMULATED,
            others=other_programs.gazebo,
        ),
        Deployment(
            "gazebo_classic",
            _LEARNED_LOOP,
            (*_LOOP, "gui", *_TOPICS),
            preset=_SIMULATED | {"image_topic": "camera/image_raw"},
            others=other_programs.gazebo_classic,
        ),
        Deployment(
            "franka",
            _LEARNED_LOOP,
            (*_LOOP, "robot_ip", *_TOPICS),
            preset=_CONTROLLER_TOPICS | {"robot_type": "fr3"},
            parameters="robot.yaml",
            others=other_programs.franka,
        ),
        Deployment(
            "record",
            (),
            (*_COMMON, "record"),
            preset={"record": "bag"},
            others=other_programs.recording,
        ),
        Deployment("bag_eval", (), ("model", "bags", "report", "result"), others=other_programs.bag_evaluation),
    )
}


def process_specs(
    deployment: Deployment, bring_up: BringUp, environment: Mapping[str, str] = os.environ
) -> list[ProcessSpec]:
    """The deployment's nodes as processes of this Python interpreter, and before them the fork server if they have one.

    Args:
        deployment: which nodes.
        bring_up: how they are started.
        environment: of the processes; see `jepa_tools.bring_up.ros_domain.domain_environment`.
    """
    address = new_address(deployment.name) if bring_up.preload else ""
    readable = {"PYTHONUNBUFFERED": "1", "RCUTILS_COLORIZED_OUTPUT": "0", ADDRESS_VARIABLE: address}

    def spec(name: str, module: str, *arguments: str) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            command=(sys.executable, "-m", module, *arguments),
            environment=dict(environment) | readable,
            respawn=bring_up.use_respawn,
            respawn_delay=RESPAWN_DELAY,
        )

    fork_server = [spec("fork_server", FORK_SERVER, address, *deployment.modules)] if bring_up.preload else []
    nodes = [
        spec(node.name, FORKED_NODE, node.module, *ros_arguments(node, deployment, bring_up))
        for node in deployment.nodes
    ]
    return [*fork_server, *nodes]


def enclave_path(node: str, namespace: str = "") -> str:
    """Where the keys of ``node`` lie in a keystore of SROS2; without DDS security it means nothing."""
    return "/" + "/".join(filter(None, (namespace.strip("/"), node)))


def ros_arguments(node: NodeEntry, deployment: Deployment, bring_up: BringUp) -> tuple[str, ...]:
    """A node's command line after the program: `--ros-args` with everything that the options say."""
    remappings = [("__node", node.name), *node.remappings(bring_up)]
    if bring_up.namespace:
        remappings.append(("__ns", "/" + bring_up.namespace.strip("/")))
    arguments = ["--ros-args", "--params-file", str(deployment.parameters_file(bring_up))]
    arguments += ["--enclave", enclave_path(node.name, bring_up.namespace)]
    for source, target in remappings:
        arguments += ["-r", f"{source}:={target}"]
    for name, value in node.parameters(bring_up).items():
        arguments += ["-p", f"{name}:={_as_yaml(value)}"]
    return (*arguments, "--log-level", bring_up.log_level)


def _as_yaml(value: ParameterValue) -> str:
    """A parameter's value on a command line, which ROS reads as YAML; `1e3` as a name must stay a string."""
    return str(value).lower() if isinstance(value, bool) else f"'{value}'"
