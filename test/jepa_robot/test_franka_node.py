"""The `franka` node on a simulated control box that enforces FCI's limits, reflexes and communication constraints.

A reflex that nobody provoked is a result, and fails the test: the arm must come through a busy machine without one.
"""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

pytestmark = pytest.mark.franka

HOME = np.array([0.0, -0.5, 0.0, -2.1, 0.0, 1.7, 0.785])


def test_it_tells_where_the_arm_is_and_holds_it_there(rig):
    before = rig.commanded
    rig.wait(0.5)
    assert np.array_equal(rig.commanded, before)
    assert np.abs(rig.position - before).max() < 5e-3
    stamps = [state.header.stamp.sec + state.header.stamp.nanosec * 1e-9 for state in rig.states[-50:]]
    assert np.median(np.diff(stamps)) <= 0.01, "joint states at 100 Hz or more"
    assert rig.states[-1].name[:7] == [f"fr3_joint{index}" for index in range(1, 8)]
    assert rig.values["robot_mode"] == "Idle"


def test_it_follows_a_trajectory_and_lets_go_of_the_arm_afterwards(make_rig):
    rig = make_rig(hold_seconds=0.3)
    rig.go(HOME)
    mirror = rig.mirror()
    segment = rig.send(mirror, HOME + 0.1)
    rig.wait_at(HOME + 0.1)
    said = [(s.header.stamp.sec + s.header.stamp.nanosec * 1e-9, np.array(s.position)) for s in rig.desired]
    during = [(time, positions) for time, positions in said if segment.start <= time <= segment.end]
    assert max(np.abs(positions - segment.sample(time).position).max() for time, positions in during) < 3e-3
    rig.wait_for_mode("Idle")
    assert rig.count("reflexes") == 0


def test_trajectories_back_to_back_replace_each_other_in_motion_without_a_reflex(rig):
    rig.go(HOME)
    mirror, generator = rig.mirror(), np.random.default_rng(0)
    for _ in range(15):
        rig.send(mirror, HOME + generator.uniform(-0.2, 0.2, 7))
        rig.wait(0.2)
    rig.wait_at(mirror.sample(mirror.end).position)
    assert rig.count("reflexes") == 0, rig.values["last_reflex"]
    assert rig.count("refused_trajectories") == 0, rig.values["last_refusal"]


def test_a_jump_is_refused_and_a_step_in_velocity_is_smoothed(rig):
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    from jepa_planner.planner_messages import seconds_to_duration

    rig.go(HOME)

    def send(positions, seconds):
        points = [
            JointTrajectoryPoint(positions=list(position), time_from_start=seconds_to_duration(second))
            for position, second in zip(positions, seconds, strict=True)
        ]
        rig.commands.publish(JointTrajectory(joint_names=list(rig.desired[-1].name), points=points))

    send([HOME + 0.3, HOME + 0.3], [0.0, 1.0])
    rig.nodes.wait_until(lambda: rig.count("refused_trajectories") == 1, "a refusal")
    assert "would jump" in rig.values["last_refusal"]
    send([HOME + 0.2, HOME], [0.4, 0.8])  # positions alone: straight lines with corners
    rig.wait(1.2)
    rig.wait_at(HOME)
    assert rig.count("reflexes") == 0, rig.values["last_reflex"]


def test_a_moving_arm_whose_commander_is_gone_is_stopped(make_rig):
    rig = make_rig(command_timeout=0.5)
    here = rig.commanded
    way = np.array([0.6 if here[0] < 0 else -0.6, 0, 0, 0, 0, 0, 0])
    rig.send(rig.mirror(), here + way, seconds=4.0)
    rig.wait(1.5)
    before = rig.commanded
    rig.wait(0.5)
    assert np.array_equal(rig.commanded, before), "at rest"
    assert 0.002 < np.abs(before - here).max() < 0.5, "on the way"
    assert rig.count("reflexes") == 0, rig.values["last_reflex"]


def test_stop_brings_the_arm_to_rest(rig):
    rig.go(HOME)
    rig.send(rig.mirror(), HOME + 0.3, seconds=1.5)
    rig.wait(0.6)
    assert rig.call("stop").success
    before = rig.commanded
    rig.wait(0.3)
    assert np.array_equal(rig.commanded, before)
    assert np.abs(before - HOME).max() < 0.29
    assert rig.count("reflexes") == 0


def test_a_loop_that_stalls_ends_in_a_reflex_that_is_told_and_recovered(rig):
    rig.go(HOME)
    rig.send(rig.mirror(), HOME + 0.2, seconds=1.5)
    rig.wait(0.5)
    rig.pause_loop(0.2)
    rig.wait_for_mode("Reflex")
    rig.nodes.wait_until(lambda: rig.count("reflexes") == 1, "the reflex in the diagnostics")
    assert rig.values["level"] == "ERROR"
    assert "communication_constraints_violation" in rig.values["last_reflex"]
    rig.send(rig.mirror(), HOME)
    rig.nodes.wait_until(lambda: rig.count("refused_trajectories") == 1, "a refusal")
    assert "~/recover" in rig.values["last_refusal"]
    rig.recover()
    rig.go(HOME)
    assert rig.count("reflexes") == 1


def test_a_short_stall_is_ridden_out(rig):
    rig.go(HOME)
    rig.send(rig.mirror(), HOME + 0.2, seconds=1.0)
    rig.wait(0.4)
    rig.pause_loop(0.006)
    rig.wait_at(HOME + 0.2)
    assert rig.count("reflexes") == 0, rig.values["last_reflex"]


def test_a_network_that_is_cut_ends_in_a_reflex_and_comes_back(rig, control_box):
    rig.go(HOME)
    rig.send(rig.mirror(), HOME + 0.2, seconds=1.5)
    rig.wait(0.5)
    control_box.cut_network()
    rig.nodes.wait_until(
        lambda: rig.count("reflexes") + rig.count("connections_lost") > 0, "the cut in the diagnostics"
    )
    rig.wait_for_mode("Reflex")
    rig.recover()
    rig.go(HOME)


def test_a_killed_loop_is_started_again_and_takes_over_from_where_the_arm_is(rig):
    rig.go(HOME)
    rig.send(rig.mirror(), HOME + 0.2, seconds=1.5)
    rig.wait(0.5)
    os.kill(rig.node.arm_process_id, signal.SIGKILL)
    rig.nodes.wait_until(lambda: rig.count("loop_restarts") == 1, "its death in the diagnostics")
    heard = len(rig.states)
    rig.nodes.wait_until(lambda: len(rig.states) > heard + 10, "joint states again")
    if rig.values["robot_mode"] == "Reflex":
        rig.recover()
    rig.go(HOME)


def test_a_killed_node_leaves_an_arm_that_comes_to_rest_without_a_reflex(nodes, processes, control_box, make_rig):
    from sensor_msgs.msg import JointState
    from trajectory_msgs.msg import JointTrajectory

    from jepa_common.qos_profiles import joint_states_qos, latest_qos
    from jepa_planner.limits import Envelope, fr3_limits
    from jepa_planner.motion import MotionState, SegmentPlanner
    from jepa_planner.planner_messages import arm_message

    states = nodes.collect(JointState, "desired_joint_states", joint_states_qos())
    node = processes.start(
        "jepa_robot.franka_node", ros_parameters={"robot_ip": control_box.address, "autostart": True}
    )
    commands = nodes.publisher(JointTrajectory, "joint_trajectory", latest_qos())
    nodes.wait_until(lambda: len(states) > 10, lambda: f"desired joint states: {processes.output(node)}")
    here = np.array(states[-1].position)
    planner = SegmentPlanner(Envelope().apply(fr3_limits(tuple(states[-1].name))))
    segment = planner.to_target(0.0, MotionState.at_rest(here), here + 0.2, duration=3.0)
    message = arm_message(segment, states[-1].name)
    commands.publish(message)
    nodes.wait_until(lambda: np.abs(np.array(states[-1].position) - here).max() > 0.01, "motion")
    node.send_signal(signal.SIGKILL)
    node.wait()
    time.sleep(1.0)  # the process with the control loop outlives the node until the arm is at rest
    rig = make_rig()
    assert rig.values["robot_mode"] == "Idle", rig.values
    assert np.abs(rig.commanded - here).max() < 0.19, "stopped on the way"


def test_the_gripper_is_homed_moved_and_tells_what_it_holds(rig):
    rig.nodes.wait_until(lambda: rig.width == rig.width, "a width")
    assert rig.call("home_gripper").success
    rig.send_fingers(0.02)
    seen = set()
    rig.nodes.wait_until(lambda: seen.add(round(rig.width, 3)) or abs(rig.width - 0.04) < 1e-3, "4 cm")
    assert len(seen) > 3, "the fingers are seen while they move"
    answer = rig.call("grasp")
    assert answer.success
    assert "30.0 mm" in answer.message
    assert rig.values["gripper_holds"] == "true"
    rig.send_fingers(0.04)
    rig.nodes.wait_until(lambda: rig.width > 0.079, "an open gripper")
    assert rig.values["gripper_holds"] == "false"
    rig.send_fingers(0.0, effort=30.0)
    rig.nodes.wait_until(lambda: rig.values["gripper_holds"] == "true", "a grasp by trajectory")


def test_a_dry_run_moves_nothing(make_rig):
    rig = make_rig(dry_run=True)
    before = rig.commanded
    rig.send(rig.mirror(), before + 0.1)
    rig.nodes.wait_until(lambda: rig.count("refused_trajectories") == 1, "a refusal")
    rig.wait(0.5)
    assert np.array_equal(rig.commanded, before)
