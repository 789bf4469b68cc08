"""The judge of motion sees what is wrong with a command or an arm, and nothing wrong with what is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from motion_judge import ArmRules, MotionJudge, TrajectoryCommand, tool

from jepa_planner.kinematics import Kinematics
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK, HOME_POSITIONS, TCP_LINK, franka_panda

RULES = ArmRules()
KINEMATICS = Kinematics.from_urdf(franka_panda().to_urdf(), BASE_LINK, TCP_LINK, ARM_JOINTS)
START = KINEMATICS.ik([0.5, 0.0, 0.3, np.pi, 0, 0], HOME_POSITIONS).positions


def command(move: float = 0.05, seconds: float = 0.5, start: float = 10.05) -> TrajectoryCommand:
    """From rest to rest by one quintic."""
    positions = np.array([START, START + move * np.array([1, 0, 0, 0, 0, 1, 0])])
    still = np.zeros_like(positions)
    return TrajectoryCommand(start, RULES.joints, np.array([0.0, seconds]), positions, still, still)


def judge_of(sent: TrajectoryCommand, arrived: float = 10.0) -> MotionJudge:
    judge = MotionJudge()
    judge.joint_state(arrived - 0.01, START, np.zeros(7))
    judge.command(arrived, sent)
    return judge


def test_own_kinematics_agree_with_the_planners() -> None:
    for positions in np.random.default_rng(0).uniform(RULES.lower, RULES.upper, (20, 7)):
        np.testing.assert_allclose(tool(positions), KINEMATICS.pose(positions)[:3], atol=1e-4)


def test_gentle_command_breaks_no_rule() -> None:
    judge = judge_of(command())
    assert not judge.violations and judge.commands == 1
    # A quintic from rest to rest has its peak of acceleration at 10 / sqrt(3) times the way by the time squared.
    assert judge.peaks["a command: acceleration"] == pytest.approx(10 / np.sqrt(3) * 0.05 / 0.5**2 / 15, rel=0.01)


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (command(move=0.5, seconds=0.2), "acceleration"),
        (command(move=0.9, seconds=0.5), "velocity"),
        (command(move=3.5, seconds=9.0), "position"),
        (command(move=1.2, seconds=9.0), "outside the workspace"),
        (command(start=8.0), "in the past"),
        (replace(command(), positions=command().positions + 0.2), "far from the arm"),
        (replace(command(), positions=command().positions * np.nan), "not finite"),
        (replace(command(), times=np.array([0.5, 0.5])), "do not increase"),
        (replace(command(), joints=RULES.joints[::-1]), "other joints"),
        (replace(command(), velocities=np.full((2, 7), 0.1)), "motion at its end"),
        (replace(command(), velocities=np.zeros((2, 6))), "another shape"),
    ],
)
def test_command_that_breaks_a_rule_is_seen(sent: TrajectoryCommand, kind: str) -> None:
    assert any(kind in found for found in judge_of(sent).counts)


def motion(
    acceleration: float, seconds: float = 0.3, spacing: float = 0.01
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Joint 1 from rest at a constant acceleration, rad/s^2."""
    direction = np.eye(7)[0]
    times = np.arange(0.0, seconds, spacing)
    return [(10 + t, START + direction * acceleration * t**2 / 2, direction * acceleration * t) for t in times]


@pytest.mark.parametrize(
    ("states", "kind"),
    [
        (motion(1.0), ""),
        (motion(16.0), "acceleration"),
        (motion(14.0), "velocity"),
        (motion(5.0, 0.8), "tool speed"),
        ([(10.0, START * np.nan, np.zeros(7))], "not finite"),
        ([(10.0, START + 3.0, np.zeros(7))], "position"),
        ([(10.0, START + np.eye(7)[0] * 1.5, np.zeros(7))], "outside the workspace"),
    ],
)
def test_arm_that_breaks_a_rule_is_seen(states: list, kind: str) -> None:
    judge = MotionJudge()
    for state in states:
        judge.joint_state(*state)
    assert judge.states == len(states)
    assert any(kind in found for found in judge.counts) if kind else not judge.violations


@pytest.mark.parametrize("spacing", [0.002, 0.01])
def test_controller_that_catches_up_too_hard_is_seen(spacing: float) -> None:
    judge = MotionJudge()
    for time, positions, _ in motion(14.0, 0.1, spacing):
        judge.followed(time, positions)
    assert not judge.violations and judge.peaks["the controller: acceleration"] == pytest.approx(14 / 15, rel=0.02)
    for time, positions, _ in motion(17.0, 0.1, spacing):
        judge.followed(time + 1, positions)
    assert judge.counts["the controller: acceleration"] > 3


def test_arm_that_a_simulator_puts_elsewhere_has_not_jumped() -> None:
    judge = MotionJudge()
    judge.joint_state(10.0, START, np.zeros(7))
    judge.placed(10.005)
    judge.joint_state(10.01, START + 0.1, np.zeros(7))
    assert not judge.violations
