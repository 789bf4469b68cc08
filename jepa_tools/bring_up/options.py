"""How a deployment is started: the launch arguments, their meaning, and what they must be."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
NAME_PART = r"[A-Za-z_][A-Za-z0-9_]*"
_NAMESPACE = re.compile(rf"/?({NAME_PART}(/{NAME_PART})*)?")
_TOPIC = re.compile(rf"[/~]?{NAME_PART}(/{NAME_PART})*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class OptionInfo:
    """What a launch argument's description says beyond its name and default.

    Attributes:
        description: for people.
        choices: what it may be; empty does not limit it.
        pattern: what it must look like whole, with the words for it; the empty text is always allowed.
    """

    description: str
    choices: tuple[str, ...] = ()
    pattern: tuple[re.Pattern[str], str] | None = None

    def check(self, name: str, value: object) -> None:
        """Raises ValueError, naming the option, for a value that it must not have."""
        if self.choices and value not in self.choices:
            choices = ", ".join(repr(choice) for choice in self.choices)
            raise ValueError(f"{name}: expected one of {choices}, got {value!r}")
        if self.pattern and value and not self.pattern[0].fullmatch(str(value)):
            raise ValueError(f"{name}: expected {self.pattern[1]}, got {value!r}")


def option(
    default: bool | str,
    description: str,
    choices: tuple[str, ...] = (),
    pattern: tuple[re.Pattern[str], str] | None = None,
) -> Any:
    """A field of `BringUp`: a launch argument with a default, a description and what limits it."""
    return field(default=default, metadata={"option": OptionInfo(description, choices, pattern)})


_TOPIC_NAME = (_TOPIC, "a topic name such as camera/image")


@dataclass(frozen=True)
class BringUp:
    """How a deployment's nodes are started. Each field is a launch argument of the same name.

    An empty string leaves a value to the parameters file.
    """

    namespace: str = option(
        "",
        "Namespace of all nodes and of their relative topic names; empty: none",
        pattern=(_NAMESPACE, "names divided by /, such as cell/left"),
    )
    use_sim_time: bool = option(False, "Take the time from /clock")
    autostart: bool = option(True, "Configure and activate the nodes; otherwise they wait for `ros2 lifecycle`")
    params_file: str = option("", "Parameters of all nodes (YAML); empty: the deployment's file in config/")
    model: str = option("", "Checkpoint: a path, or a name in models/checkpoints; empty: as in params_file")
    device: str = option(
        "",
        "Where the model runs: cpu, cuda or cuda:<number>; empty: as in params_file",
        pattern=(re.compile(r"cpu|cuda(:\d+)?"), "cpu, cuda or cuda:<number>"),
    )
    log_level: str = option("info", "Least severity that the nodes log", LOG_LEVELS)
    use_respawn: bool = option(True, "Start a node again when it ends unasked")
    preload: bool = option(
        True, "Load libraries once, in a process that the nodes are forked from: they start sooner and return faster"
    )
    dry_run: bool = option(False, "Plan and show, but send no command to the arm or the gripper")
    robot_type: str = option("", "Arm: its limits; empty: as in params_file", ("", "fer", "fr3", "urdf"))
    robot_ip: str = option(
        "", "Address of the Franka's control box, such as 172.16.0.2", pattern=(_HOST, "an IP address or a host name")
    )
    rviz: bool = option(False, "Also start RViz (needs rviz2 and robot_state_publisher)")
    gui: bool = option(True, "Show the simulator's window")
    record: str = option("", "Folder of a bag to record everything to while this runs; empty: no recording")
    bags: str = option("", "Bags to evaluate, divided by blanks")
    report: str = option("", "Folder for the report with pictures; empty: none")
    result: str = option("", "JSON file for the numbers; empty: none")
    image_topic: str = option("image", "Camera image topic (sensor_msgs/Image)", pattern=_TOPIC_NAME)
    joint_states_topic: str = option("joint_states", "Joint state topic (sensor_msgs/JointState)", pattern=_TOPIC_NAME)
    joint_trajectory_topic: str = option(
        "joint_trajectory", "Command topic of the arm's JointTrajectoryController", pattern=_TOPIC_NAME
    )
    gripper_trajectory_topic: str = option(
        "gripper_trajectory", "Command topic of the gripper's controller", pattern=_TOPIC_NAME
    )

    def __post_init__(self) -> None:
        for name, info in option_infos().items():
            info.check(name, getattr(self, name))

    @classmethod
    def from_text(cls, values: Mapping[str, str]) -> BringUp:
        """Options from launch's strings; names that are missing keep their defaults.

        Raises:
            ValueError: an unknown name, a value that the option must not have, or a flag that is neither true nor
                false.
        """
        defaults = {item.name: item.default for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(defaults))
        if unknown:
            raise ValueError(f"expected options of {', '.join(defaults)}, got {', '.join(unknown)}")
        parsed: dict[str, Any] = {name: _parse(name, text, defaults[name]) for name, text in values.items()}
        return cls(**parsed)

    def require(self, *names: str) -> None:
        """Raises ValueError when one of these options is empty."""
        for name in names:
            if not getattr(self, name):
                info = option_infos()[name]
                raise ValueError(f"{name}: expected a value ({info.description}); say {name}:=...")


def _parse(name: str, text: str, default: object) -> bool | str:
    if not isinstance(default, bool):
        return text
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{name}: expected true or false, got {text!r}")
    return text.lower() == "true"


def option_infos() -> dict[str, OptionInfo]:
    """Description and limits of every field of `BringUp`, in order."""
    return {item.name: item.metadata["option"] for item in dataclasses.fields(BringUp)}
