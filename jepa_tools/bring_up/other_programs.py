"""What a deployment starts besides this package's nodes: simulators, drivers, controllers, RViz, recordings.

Only said here, not done: `launch_description` makes launch's actions of it. Nothing of launch is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from jepa_common.resources import find_resource
from jepa_sim.meshes import mesh_folder
from jepa_tools.bring_up.options import BringUp

PACKAGE = "jepa_ros"
ARM_CONTROLLER = "arm_controller"
GRIPPER_CONTROLLER = "gripper_controller"
JOINT_STATES = "joint_state_broadcaster"
ROBOT_NAME = "panda"
CONTROL_BOX_RATE = 100
"""Rate of joint_states on a Franka, Hz; the driver's default of 30 leaves the planner late."""


@dataclass(frozen=True)
class ShareFile:
    """A file in the share folder of an installed package, looked for when it is needed."""

    package: str
    path: str


@dataclass(frozen=True)
class XacroText:
    """URDF that xacro makes of a file of this package with these arguments."""

    path: Path
    arguments: Mapping[str, str]


Value: TypeAlias = str | bool | int | float | ShareFile | XacroText


@dataclass(frozen=True)
class OtherNode:
    """A node or program of an installed package.

    stays: whether the deployment needs it to run on; others, such as spawners, end when they are done.
    """

    package: str
    executable: str
    name: str = ""
    arguments: tuple[str | ShareFile, ...] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict)
    stays: bool = True


@dataclass(frozen=True)
class JepaCommand:
    """The `jepa` command with these arguments."""

    arguments: tuple[str, ...]


@dataclass(frozen=True)
class OtherLaunch:
    """Another package's launch file."""

    file: ShareFile
    arguments: Mapping[str, str | ShareFile]


OtherProgram: TypeAlias = OtherNode | OtherLaunch | JepaCommand


def extras(bring_up: BringUp) -> tuple[OtherProgram, ...]:
    """What every deployment can have: RViz and a recording."""
    return (*(rviz() if bring_up.rviz else ()), *(recording(bring_up) if bring_up.record else ()))


def simulated_extras(bring_up: BringUp) -> tuple[OtherProgram, ...]:
    """The same for the simulator in this package, which publishes no transforms by itself."""
    states = (robot_state_publisher("mock", bring_up),) if bring_up.rviz else ()
    return (*states, *extras(bring_up))


def rviz() -> tuple[OtherProgram, ...]:
    """RViz with arm, camera image and plan."""
    return (OtherNode("rviz2", "rviz2", "rviz", ("-d", str(find_resource("config", "jepa.rviz"))), stays=False),)


def recording(bring_up: BringUp) -> tuple[OtherProgram, ...]:
    """`jepa record` of all topics."""
    bring_up.require("record")
    arguments = ["record", "--out", str(Path(bring_up.record).expanduser().absolute())]
    if bring_up.use_sim_time:
        arguments.append("--use-sim-time")
    return (JepaCommand(tuple(arguments)),)


def bag_evaluation(bring_up: BringUp) -> tuple[OtherProgram, ...]:
    """`jepa bag-eval`."""
    bring_up.require("bags")
    arguments = ["bag-eval", *bring_up.bags.split()]
    for flag, value in (("--model", bring_up.model), ("--json", bring_up.result), ("--report", bring_up.report)):
        arguments += [flag, value] if value else []
    return (JepaCommand(tuple(arguments)),)


def robot_state_publisher(hardware: str, bring_up: BringUp) -> OtherNode:
    """Publishes transforms and, for those who simulate elsewhere, the arm's description."""
    description = find_resource("models", "franka", "panda.urdf.xacro")
    arguments = {
        "hardware": hardware,
        "controllers": str(find_resource("config", "gazebo_controllers.yaml")),
        "namespace": bring_up.namespace,
        "meshes": mesh_folder().as_uri(),
    }
    return OtherNode(
        "robot_state_publisher",
        "robot_state_publisher",
        "robot_state_publisher",
        parameters={
            "robot_description": XacroText(description, arguments),
            "use_sim_time": bring_up.use_sim_time,
        },
    )


def gazebo(bring_up: BringUp) -> tuple[OtherProgram, ...]:
    """Gazebo (gz sim) with the table, the arm in it, its controllers, and the bridge to ROS."""
    world = find_resource("models", "worlds", "table.sdf")
    window = "" if bring_up.gui else " -s --headless-rendering"
    return (
        OtherLaunch(
            ShareFile("ros_gz_sim", "launch/gz_sim.launch.py"),
            {"gz_args": f"-r{window} {world}", "on_exit_shutdown": "true"},
        ),
        robot_state_publisher("gz", bring_up),
        OtherNode(
            "ros_gz_sim",
            "create",
            arguments=("-topic", "robot_description", "-name", ROBOT_NAME),
            stays=False,
        ),
        OtherNode(
            "ros_gz_bridge",
            "parameter_bridge",
            "bridge",
            parameters={"config_file": str(find_resource("config", "gazebo_bridge.yaml"))},
        ),
        spawner(JOINT_STATES, ARM_CONTROLLER, GRIPPER_CONTROLLER),
        *extras(bring_up),
    )


def gazebo_classic(bring_up: BringUp) -> tuple[OtherProgram, ...]:
    """Gazebo Classic with the table, the arm in it and its controllers."""
    world = find_resource("models", "worlds", "table_classic.world")
    return (
        OtherLaunch(
            ShareFile("gazebo_ros", "launch/gazebo.launch.py"),
            {"world": str(world), "gui": str(bring_up.gui).lower()},
        ),
        robot_state_publisher("gazebo_classic", bring_up),
        OtherNode(
            "gazebo_ros",
            "spawn_entity.py",
            arguments=("-topic", "robot_description", "-entity", ROBOT_NAME),
            stays=False,
        ),
        spawner(JOINT_STATES, ARM_CONTROLLER, GRIPPER_CONTROLLER),
        *extras(bring_up),
    )


def franka(bring_up: BringUp) -> tuple[OtherProgram, ...]:
    """The Franka's driver and the arm's trajectory controller, which that driver's launch file does not start."""
    bring_up.require("robot_ip")
    robot_type = bring_up.robot_type or "fr3"
    if robot_type == "urdf":
        raise ValueError("robot_type: expected fr3 or fer for a Franka, got 'urdf'")
    return (
        OtherLaunch(
            ShareFile("franka_bringup", "launch/franka.launch.py"),
            {
                "robot_type": robot_type,
                "robot_ip": bring_up.robot_ip,
                "namespace": bring_up.namespace,
                "load_gripper": "true",
                "joint_state_rate": str(CONTROL_BOX_RATE),
            },
        ),
        spawner(ARM_CONTROLLER, parameter_file=find_resource("config", f"{robot_type}_controllers.yaml")),
        *extras(bring_up),
    )


def spawner(*controllers: str, parameter_file: Path | None = None) -> OtherNode:
    """Loads and starts controllers once the controller manager is there; waits two minutes for it."""
    arguments: list[str] = [*controllers, "--controller-manager-timeout", "120"]
    if parameter_file is not None:
        arguments += ["--param-file", str(parameter_file)]
    return OtherNode("controller_manager", "spawner", arguments=tuple(arguments), stays=False)
