"""A simulated control box, and a `franka` node that drives its arm."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time

import numpy as np
import pytest

from jepa_planner.limits import Envelope, fr3_limits
from jepa_planner.motion import CommandedMotion, SegmentPlanner
from jepa_robot.franka_sim.control_box import ControlBox, why_missing

JOINTS = tuple(f"fr3_joint{index}" for index in range(1, 8))
FINGERS = ("fr3_finger_joint1", "fr3_finger_joint2")
OBJECT_WIDTH = 0.03


def pytest_collection_modifyitems(items) -> None:
    missing = [name for name in ("pylibfranka", "franky") if importlib.util.find_spec(name) is None]
    why = why_missing() or (f"not installed: {', '.join(missing)}" if missing else "")
    for item in items:
        if why and item.get_closest_marker("franka"):
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def control_box(ros_domain: int):
    """A control box on an address that no other test run uses; its gripper finds something 3 cm wide."""
    box = ControlBox(f"127.67.{ros_domain}.1", OBJECT_WIDTH)
    yield box
    box.close()


class FrankaRig:
    """A node on the control box, and what a planner and a person do with it.

    Time is the robot's: a simulated one may be slower than the wall's.
    """

    def __init__(self, nodes, address: str, **settings) -> None:
        from sensor_msgs.msg import JointState
        from trajectory_msgs.msg import JointTrajectory

        from jepa_common.qos_profiles import joint_states_qos, latest_qos
        from jepa_robot.franka_node import FrankaNode

        self.nodes = nodes
        self.reflexes = 0
        self.lock = threading.Lock()
        # Longer than any of the motions here; what happens after it is tested with less.
        settings = {"command_timeout": 10.0, "joint_state_rate": 100.0, **settings}
        self.node = nodes.make(FrankaNode, robot_ip=address, clock="robot", **settings)
        self.states = nodes.collect(JointState, "joint_states", joint_states_qos())
        self.desired = nodes.collect(JointState, "desired_joint_states", joint_states_qos())
        nodes.run(self.node.start)
        self.commands = nodes.publisher(JointTrajectory, "joint_trajectory", latest_qos())
        self.fingers = nodes.publisher(JointTrajectory, "gripper_trajectory", latest_qos())
        nodes.wait_until(lambda: self.states and self.values.get("robot_mode"), "joint states")
        self.planner = SegmentPlanner(Envelope().apply(fr3_limits(JOINTS)))
        if self.values["robot_mode"] == "Reflex":
            self.recover()

    # --- what is seen ---------------------------------------------------------------------------------------

    @property
    def values(self) -> dict[str, str]:
        report = self.node.diagnose()
        return {"level": report.level.name, "message": report.message, **report.values}

    def count(self, name: str) -> int:
        return int(self.values[name])

    @property
    def now(self) -> float:
        stamp = self.states[-1].header.stamp
        return stamp.sec + stamp.nanosec * 1e-9

    @property
    def position(self) -> np.ndarray:
        return np.array(self.states[-1].position[:7])

    @property
    def commanded(self) -> np.ndarray:
        return np.array(self.desired[-1].position)

    @property
    def width(self) -> float:
        state = self.states[-1]
        return 2 * state.position[7] if len(state.name) > 7 else float("nan")

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        self.nodes.wait_until(lambda: self.now >= end, f"{seconds} s of the robot's time")

    def wait_for_mode(self, mode: str) -> None:
        self.nodes.wait_until(
            lambda: self.values["robot_mode"] == mode, lambda: f"mode {mode}; last {self.values['message']}"
        )

    def wait_at(self, target, tolerance: float = 2e-3) -> None:
        self.nodes.wait_until(
            lambda: np.abs(self.commanded - target).max() < tolerance,
            lambda: f"{target}; at {self.commanded}, {self.values}",
            20.0,
        )

    # --- what is done ---------------------------------------------------------------------------------------

    def call(self, name: str):
        from std_srvs.srv import Trigger

        return self.nodes.call(Trigger, f"franka/{name}", Trigger.Request())

    def recover(self) -> None:
        answer = self.call("recover")
        assert answer.success, answer.message
        self.wait_for_mode("Idle")

    def mirror(self) -> CommandedMotion:
        return CommandedMotion(self.commanded)

    def send(self, mirror: CommandedMotion, target, lead: float = 0.3, seconds: float = 0.25):
        from jepa_planner.planner_messages import arm_message

        start = self.now + lead
        segment = self.planner.to_target(start, mirror.sample(start), np.asarray(target), duration=seconds)
        mirror.append(segment)
        self.commands.publish(arm_message(segment, JOINTS))
        return segment

    def go(self, target, seconds: float = 0.25) -> None:
        self.send(self.mirror(), target, seconds=seconds)
        self.wait_at(target)

    def send_fingers(self, position: float, effort: float | None = None) -> None:
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        point = JointTrajectoryPoint(positions=[position] * 2)
        point.effort = [] if effort is None else [effort] * 2
        self.fingers.publish(JointTrajectory(joint_names=list(FINGERS), points=[point]))

    def pause_loop(self, seconds: float) -> None:
        process = self.node.arm_process_id
        os.kill(process, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(process, signal.SIGCONT)


@pytest.fixture
def make_rig(nodes, control_box):
    """Makes a node of this test's own, with these parameters, on the shared control box."""
    return lambda **settings: FrankaRig(nodes, control_box.address, **settings)


@pytest.fixture
def rig(make_rig):
    """The same with the parameters as they are."""
    return make_rig()
