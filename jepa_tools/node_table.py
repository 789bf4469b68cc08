"""The nodes of each deployment, described once: the launch files and the process runner both read this table."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jepa_common.resources import find_resource
from jepa_tools.process_runner import ProcessSpec

PACKAGE = "jepa_ros"
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
RESPAWN_DELAY = 0.5
"""Seconds from a node's end to its next start."""

ParameterValue = bool | str


@dataclass(frozen=True)
class OptionInfo:
    """What a launch argument's description says beyond its name and default."""

    description: str
    choices: tuple[str, ...] = ()


def option(default: bool | str, description: str, choices: tuple[str, ...] = ()) -> Any:
    """A field of `BringUp`: a launch argument with a default, a description and, if limited, its choices."""
    return field(default=default, metadata={"option": OptionInfo(description, choices)})


@dataclass(frozen=True)
class BringUp:
    """How a deployment's nodes are started. Each field is a launch argument of the same name.

    An empty string leaves a value to the parameters file.
    """

    namespace: str = option("", "Namespace of all nodes and of their relative topic names; empty: none")
    use_sim_time: bool = option(False, "Take the time from /clock")
    autostart: bool = option(True, "Configure and activate the nodes; otherwise they wait for `ros2 lifecycle`")
    params_file: str = option("", "Parameters of all nodes (YAML); empty: the deployment's file in config/")
    model: str = option("", "Checkpoint: a path, or a name in models/checkpoints; empty: as in params_file")
    device: str = option("", "Where the model runs, such as cpu or cuda; empty: as in params_file")
    log_level: str = option("info", "Least severity that the nodes log", LOG_LEVELS)
    use_respawn: bool = option(True, "Start a node again when it ends unasked")
    dry_run: bool = option(False, "Plan and show, but send no command to the arm or the gripper")
    robot_type: str = option("", "Arm: its limits; empty: as in params_file", ("", "fer", "fr3", "urdf"))
    image_topic: str = option("image", "Camera image topic (sensor_msgs/Image)")
    joint_states_topic: str = option("joint_states", "Joint state topic (sensor_msgs/JointState)")
    joint_trajectory_topic: str = option("joint_trajectory", "Command topic of the arm's JointTrajectoryController")
    gripper_trajectory_topic: str = option("gripper_trajectory", "Command topic of the gripper's controller")

    def __post_init__(self) -> None:
        for name, info in option_infos().items():
            if info.choices and getattr(self, name) not in info.choices:
                choices = ", ".join(repr(choice) for choice in info.choices)
                raise ValueError(f"{name}: expected one of {choices}, got {getattr(self, name)!r}")

    @classmethod
    def from_text(cls, values: Mapping[str, str]) -> BringUp:
        """Options from launch's strings; names that are missing keep their defaults.

        Raises:
            ValueError: an unknown name, a choice that does not exist, or a flag that is neither true nor false.
        """
        defaults = {item.name: item.default for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(defaults))
        if unknown:
            raise ValueError(f"expected options of {', '.join(defaults)}, got {', '.join(unknown)}")
        return cls(**{name: _parse(name, text, defaults[name]) for name, text in values.items()})


def _parse(name: str, text: str, default: object) -> bool | str:
    if not isinstance(default, bool):
        return text
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{name}: expected true or false, got {text!r}")
    return text.lower() == "true"


def option_infos() -> dict[str, OptionInfo]:
    """Description and choices of every field of `BringUp`, in order."""
    return {item.name: item.metadata["option"] for item in dataclasses.fields(BringUp)}


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


@dataclass(frozen=True)
class Deployment:
    """A set of nodes that belong together.

    name: of the launch file and of the parameters file, `config/NAME.yaml`.
    nodes: in the order in which they are started.
    use_sim_time: default of the option of that name.
    """

    name: str
    nodes: tuple[NodeEntry, ...]
    use_sim_time: bool

    def defaults(self) -> BringUp:
        """The options of this deployment where nothing else is said."""
        return BringUp(use_sim_time=self.use_sim_time)

    def parameters_file(self, bring_up: BringUp) -> Path:
        """The YAML file with the nodes' parameters.

        Raises:
            FileNotFoundError: it is not there.
        """
        if not bring_up.params_file:
            return find_resource("config", f"{self.name}.yaml")
        path = Path(bring_up.params_file).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"params_file: expected a YAML file with node parameters, no file {path}")
        return path.absolute()

    @property
    def lifecycle_names(self) -> tuple[str, ...]:
        """Names of the lifecycle nodes."""
        return tuple(node.name for node in self.nodes if node.lifecycle)


DEPLOYMENTS = {
    deployment.name: deployment
    for deployment in (
        Deployment("sim", (SIMULATOR, ENCODER, PREDICTOR, PLANNER), use_sim_time=True),
        Deployment("robot", (ENCODER, PREDICTOR, PLANNER), use_sim_time=False),
    )
}


def process_specs(
    deployment: Deployment, bring_up: BringUp, environment: Mapping[str, str] = os.environ
) -> list[ProcessSpec]:
    """The deployment's nodes as processes of this Python interpreter.

    Args:
        deployment: which nodes.
        bring_up: how they are started.
        environment: of the processes; see `jepa_tools.ros_domain.domain_environment`.
    """
    readable = {"PYTHONUNBUFFERED": "1", "RCUTILS_COLORIZED_OUTPUT": "0"}
    return [
        ProcessSpec(
            name=node.name,
            command=(sys.executable, "-m", node.module, *ros_arguments(node, deployment, bring_up)),
            environment=dict(environment) | readable,
            respawn=bring_up.use_respawn,
            respawn_delay=RESPAWN_DELAY,
        )
        for node in deployment.nodes
    ]


def ros_arguments(node: NodeEntry, deployment: Deployment, bring_up: BringUp) -> tuple[str, ...]:
    """A node's command line after the program: `--ros-args` with everything that the options say."""
    remappings = [("__node", node.name), *node.remappings(bring_up)]
    if bring_up.namespace:
        remappings.append(("__ns", "/" + bring_up.namespace.strip("/")))
    arguments = ["--ros-args", "--params-file", str(deployment.parameters_file(bring_up))]
    for source, target in remappings:
        arguments += ["-r", f"{source}:={target}"]
    for name, value in node.parameters(bring_up).items():
        arguments += ["-p", f"{name}:={_as_yaml(value)}"]
    return (*arguments, "--log-level", bring_up.log_level)


def _as_yaml(value: ParameterValue) -> str:
    """A parameter's value on a command line, which ROS reads as YAML; `1e3` as a name must stay a string."""
    return str(value).lower() if isinstance(value, bool) else f"'{value}'"
