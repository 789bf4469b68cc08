"""The launch files describe their arguments and start what the deployments say."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip(
    "launch_ros", reason="launch and launch_ros are not in the Python registry: source a ROS 2 installation"
)

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction
from launch.utilities import perform_substitutions

from jepa_tools.bring_up.deployments import DEPLOYMENTS

FOLDER = Path(__file__).resolve().parents[2] / "launch"
NAMES = sorted(DEPLOYMENTS)
NEEDED = {"franka": {"robot_ip": "172.16.0.2"}, "bag_eval": {"bags": "first second"}}


def description(name: str) -> LaunchDescription:
    return runpy.run_path(str(FOLDER / f"{name}.launch.py"))["generate_launch_description"]()


def actions(name: str, **arguments: str) -> list[Any]:
    """What the launch file makes with these arguments."""
    context, made = LaunchContext(), []
    context.launch_configurations.update(NEEDED.get(name, {}) | arguments)
    for entity in description(name).entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
        elif isinstance(entity, OpaqueFunction):
            made += entity.visit(context) or []
    return made


def executables(made: list[Any]) -> list[str]:
    return [action.node_executable for action in made if hasattr(action, "node_executable")]


def includes(made: list[Any]) -> list[IncludeLaunchDescription]:
    return [action for action in made if isinstance(action, IncludeLaunchDescription)]


def include_arguments(action: IncludeLaunchDescription) -> dict[str, str]:
    return {str(name): value for name, value in action.launch_arguments if isinstance(value, str)}


def command(action: ExecuteProcess) -> list[str]:
    """The words of a command after the program."""
    return [perform_substitutions(LaunchContext(), part) for part in action.cmd[1:]]


def test_there_is_a_launch_file_for_every_deployment():
    assert sorted(path.name.removesuffix(".launch.py") for path in FOLDER.glob("*.launch.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_has_a_description_and_a_default(name: str):
    arguments = {argument.name: argument for argument in description(name).get_launch_arguments()}
    assert list(arguments) == list(DEPLOYMENTS[name].options)
    for argument in arguments.values():
        assert argument.description
        assert argument.default_value is not None


@pytest.mark.parametrize("name", NAMES)
def test_the_nodes_of_the_table_are_started_in_order_after_what_they_need(name: str):
    nodes = [node.name for node in DEPLOYMENTS[name].nodes]
    started = executables(actions(name, preload="false"))
    assert started[len(started) - len(nodes) :] == nodes


def test_unless_told_otherwise_a_deployment_starts_the_fork_server_and_takes_the_nodes_from_it():
    made = [action for action in actions("jepa") if isinstance(action, ExecuteProcess)]
    modules = list(DEPLOYMENTS["jepa"].modules)
    assert command(made[0])[1:] == modules
    assert executables(made) == ["forked_node"] * len(modules)


def test_simulated_deployments_run_on_simulated_time():
    defaults = {name: {a.name: a for a in description(name).get_launch_arguments()} for name in NAMES}
    simulated = {
        name
        for name, arguments in defaults.items()
        if "use_sim_time" in arguments and arguments["use_sim_time"].default_value[0].text == "true"
    }
    assert simulated == {"sim", "gazebo", "gazebo_classic"}


def test_gazebo_gets_the_world_the_arm_its_controllers_and_the_bridge():
    made = actions("gazebo", gui="false")
    (world,) = includes(made)
    assert include_arguments(world)["gz_args"].endswith("models/worlds/table.sdf")
    assert " -s " in include_arguments(world)["gz_args"]
    assert executables(made)[:4] == ["robot_state_publisher", "create", "parameter_bridge", "spawner"]


def test_gazebo_classic_gets_its_own_world():
    (world,) = includes(actions("gazebo_classic"))
    assert include_arguments(world)["world"].endswith("table_classic.world")


def test_a_franka_gets_its_driver_and_a_trajectory_controller():
    made = actions("franka", robot_type="fr3")
    (driver,) = includes(made)
    assert include_arguments(driver)["robot_ip"] == "172.16.0.2"
    assert include_arguments(driver)["robot_type"] == "fr3"
    assert executables(made)[0] == "spawner"


def test_rviz_and_a_recording_are_started_when_asked_for():
    assert executables(actions("sim", preload="false"))[0] == "sim"
    made = actions("sim", preload="false", rviz="true", record="bags/today")
    assert executables(made)[:2] == ["robot_state_publisher", "rviz2"]
    (recording,) = [action for action in made if isinstance(action, ExecuteProcess) and not executables([action])]
    assert command(recording) == ["record", "--out", str(Path("bags/today").absolute()), "--use-sim-time"]


def test_bags_are_evaluated_with_the_model_that_was_named():
    (evaluation,) = actions("bag_eval", model="mine", report="out/report")
    assert command(evaluation) == ["bag-eval", "first", "second", "--model", "mine", "--report", "out/report"]


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("jepa", {"robot_type": "ur5"}, "robot_type"),
        ("jepa", {"dry_run": "maybe"}, "dry_run: expected true or false"),
        ("jepa", {"namespace": "left arm"}, "namespace: expected names divided by /"),
        ("jepa", {"device": "gpu"}, "device: expected cpu, cuda"),
        ("jepa", {"image_topic": "camera image"}, "image_topic: expected a topic name"),
        ("jepa", {"log_level": "loud"}, "log_level"),
        ("franka", {"robot_ip": ""}, "robot_ip: expected a value"),
        ("franka", {"robot_ip": "172.16.0.2; reboot"}, "robot_ip: expected an IP address"),
        ("franka", {"robot_type": "urdf"}, "robot_type: expected fr3 or fer"),
        ("bag_eval", {"bags": ""}, "bags: expected a value"),
        ("sim", {"params_file": "/nowhere.yaml"}, "params_file: expected a YAML file"),
    ],
)
def test_what_an_argument_must_not_be_is_refused_by_name(name: str, arguments: dict[str, str], reason: str):
    with pytest.raises((ValueError, RuntimeError, FileNotFoundError), match=reason):
        actions(name, **arguments)


RUNS_SIM = """
import sys
from launch import LaunchService
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService()
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(source.get_launch_description(service.context))
sys.exit(service.run())
"""


@pytest.mark.skipif(
    not any(Path(p, "lib/jepa_ros/sim").exists() for p in os.environ.get("AMENT_PREFIX_PATH", "").split(":")),
    reason="needs the installed package, as colcon leaves it",
)
def test_an_interrupt_ends_launch_and_all_that_it_started(ros_domain: int, tmp_path: Path):
    script = tmp_path / "run.py"
    script.write_text(RUNS_SIM)
    process = subprocess.Popen([sys.executable, str(script), str(FOLDER / "sim.launch.py")], start_new_session=True)
    nodes = {node.name for node in DEPLOYMENTS["sim"].nodes}
    started: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 60
        # The fork server, what takes each node from it, and the nodes themselves.
        while len(started) < 1 + 2 * len(nodes) and time.monotonic() < deadline:
            time.sleep(0.1)
            started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) == 1 + 2 * len(nodes)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        _, left = psutil.wait_procs(started, timeout=5)
        assert left == []
    finally:
        for child in (*started, process):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                child.kill()
