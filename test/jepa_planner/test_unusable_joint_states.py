"""What cannot be used of joint states does not hold the arm where it need not, and is named where it does."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import pytest
from test_control_loop import START, TICK, Table

from jepa_planner.goal_machine import State
from jepa_planner.joint_history import JointStateRefusedError
from jepa_sim.robot_description import ARM_JOINTS, FINGER_JOINTS

NAN = float("nan")
NAMES = (*ARM_JOINTS, *FINGER_JOINTS)
OPEN = (0.04, 0.04)


def told(
    names: Sequence[str] = NAMES, positions: Sequence[float] = (*START, *OPEN), velocities: Sequence[float] = ()
) -> tuple[Table, str]:
    """A table with a camera and these joint states for a second, and what the planner says then."""
    table = Table()
    table.driver = False
    for _ in range(round(1.0 / TICK)):
        table.run(TICK)
        with contextlib.suppress(JointStateRefusedError):
            table.loop.joint_state(table.now, table.now.ros, names, positions, velocities)
    return table, table.loop.status(table.now).reason


@pytest.mark.parametrize(
    "velocities",
    [[NAN] * 9, [0.0] * 7 + [NAN] * 2, [NAN] + [0.0] * 8, [float("inf")] * 9],
    ids=["all", "fingers", "one", "infinite"],
)
def test_velocities_that_are_no_numbers_leave_the_arm_ready(velocities: list[float]) -> None:
    table, reason = told(velocities=velocities)
    assert reason == "" and table.loop.why_not_ready(table.now) == ""
    table.pursue()
    table.plan()
    assert table.outputs.commands


@pytest.mark.parametrize(
    ("names", "positions", "words"),
    [
        (NAMES, (*START[:6], NAN, *OPEN), ("never came", "the position of panda_joint7 is not finite")),
        (NAMES, tuple(START), ("never came", "9 names but 7 position values")),
        (NAMES[1:], (*START[1:], *OPEN), ("never came", "panda_joint1 missing")),
        (("fr3_joint1", "fr3_joint2"), (0.0, 0.0), ("never came", "fr3_joint1, fr3_joint2 came, none with panda_j")),
    ],
    ids=["NaN", "fewer positions", "a joint less", "another arm"],
)
def test_idle_planner_says_what_is_wrong_with_the_joint_states(
    names: Sequence[str], positions: Sequence[float], words: tuple[str, ...]
) -> None:
    table, reason = told(names, positions)
    assert all(word in reason for word in words), reason
    table.pursue()
    table.run(TICK)
    status = table.loop.status(table.now)
    assert status.state is State.HOLDING and all(word in status.reason for word in words)


def test_reason_names_the_last_refusal_until_a_good_joint_state_comes() -> None:
    table, reason = told(positions=(NAN, *START[1:], *OPEN))
    assert "panda_joint1" in reason
    table.driver = True
    table.run(1.0)
    assert table.loop.status(table.now).reason == ""


def test_refused_message_is_not_blamed_for_a_camera_that_is_silent() -> None:
    table = Table()
    table.camera = False
    table.run(0.5)
    with pytest.raises(JointStateRefusedError):
        table.loop.joint_state(table.now, table.now.ros, FINGER_JOINTS, (0.0,), ())
    reason = table.loop.status(table.now).reason
    assert "camera image" in reason and "joint" not in reason


def test_fingers_in_messages_of_their_own_reach_the_planned_state() -> None:
    table = Table()
    table.driver = False
    for _ in range(round(1.0 / TICK)):
        table.run(TICK)
        table.loop.joint_state(table.now, table.now.ros, ARM_JOINTS, tuple(START), ())
        table.loop.joint_state(table.now, table.now.ros + 0.001, FINGER_JOINTS, (0.01, 0.01), ())
    table.pursue()
    job = table.loop.next_job(table.now)
    assert job is not None and job.state[6] == pytest.approx(0.75)
    assert np.isfinite(job.state).all()
