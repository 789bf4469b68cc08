"""Models whose states are the flange's: what they are told, and what the tool then does."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from franka import HOME, URDF, kinematics

from jepa_planner.control_loop import LatentStamps
from jepa_planner.cost import Assessment
from jepa_planner.goals import GoalConfig, GoalSequence, SubGoal
from jepa_planner.kinematics import Kinematics
from jepa_planner.mpc import MpcConfig
from jepa_planner.solvers import SolverConfig, make_solver
from jepa_planner.state_frame import FramedCosts, FramedMpc, StateFrame
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK
from jepa_world_model.poses import integrate

FLANGE = "panda_link8"
FLANGE_TO_TCP = 0.1034
"""Along the hand, m: panda_hand_tcp lies so far beyond panda_hand, which is at the flange."""


def flange() -> Kinematics:
    return Kinematics.from_urdf(URDF, BASE_LINK, FLANGE, ARM_JOINTS)


def frame() -> StateFrame:
    return StateFrame.from_links(kinematics(), flange())


def places() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [HOME + 0.3 * generator.standard_normal(7) for _ in range(5)]


def test_states_of_the_tool_become_those_of_the_flange() -> None:
    tool = np.array([kinematics().state(at, 0.3) for at in places()])
    expected = np.array([flange().state(at, 0.3) for at in places()])
    np.testing.assert_allclose(frame().state(tool), expected, atol=1e-9)
    assert np.linalg.norm(frame().state(tool)[:, :3] - tool[:, :3], axis=1) == pytest.approx(
        [FLANGE_TO_TCP] * 5, abs=1e-4
    )


def test_an_action_of_the_flange_takes_the_tool_along() -> None:
    action = np.array([0.02, -0.03, 0.05, 0.1, -0.2, 0.3, 0.4])
    for at in places():
        tool, hand = kinematics().state(at, 0.3), flange().state(at, 0.3)
        after = integrate(tool, frame().tool_action(tool, action))
        np.testing.assert_allclose(frame().state(after), integrate(hand, action), atol=1e-9)


def test_an_action_that_does_not_turn_is_the_same_for_both() -> None:
    action = np.array([0.02, -0.03, 0.05, 0.0, 0.0, 0.0, 0.4])
    assert frame().tool_action(kinematics().state(HOME, 0.0), action) == pytest.approx(action, abs=0)


def test_an_offset_is_taken_from_the_link() -> None:
    beyond = StateFrame.from_links(kinematics(), flange(), (0.0, 0.0, 0.1, 0.0, 0.0, 0.0))
    tool = kinematics().state(HOME, 0.0)
    between = beyond.state(tool)[:3] - frame().state(tool)[:3]
    # At home the hand points down.
    np.testing.assert_allclose(between, [0.0, 0.0, -0.1], atol=5e-3)


@pytest.mark.parametrize(
    ("link", "offset", "words"), [("panda_link3", (), "fixed to tip_link"), (FLANGE, (1.0,), "x y z")]
)
def test_a_frame_that_cannot_be_is_refused(link: str, offset: tuple[float, ...], words: str) -> None:
    joints = ARM_JOINTS[:3] if link == "panda_link3" else ARM_JOINTS
    with pytest.raises(ValueError, match=words):
        StateFrame.from_links(kinematics(), _Padded(link, joints), offset)


class _Padded(Kinematics):
    """A chain to a link before the last joint, asked for with all joints."""

    def __init__(self, link: str, joints: tuple[str, ...]) -> None:
        super().__init__(URDF, BASE_LINK, link, joints)
        self._used = len(joints)

    def transform(self, positions: np.ndarray) -> np.ndarray:
        return super().transform(positions[: self._used])


class SeenCost:
    """Where the state that it is told should be."""

    seen: list[np.ndarray]

    def __init__(self, observation: LatentStamps, state: np.ndarray, goal: np.ndarray) -> None:
        SeenCost.seen = [observation.states, state]
        self._state, self._goal = state, goal

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        ends = self._state[:3] + actions[:, :, :3].sum(axis=1)
        return np.linalg.norm(ends - self._goal, axis=-1)

    def assess(self) -> Assessment:
        return Assessment(float(np.linalg.norm(self._state[:3] - self._goal)))


def test_a_framed_planner_tells_the_model_of_the_flange_and_moves_the_tool() -> None:
    tool = kinematics().state(HOME, 0.2)
    goal = frame().state(tool)[:3] + np.array([0.03, 0.0, 0.02])
    mpc = FramedMpc(frame(), MpcConfig(plan_seconds=0), make_solver(SolverConfig(samples=256, iterations=6)))
    sequence = GoalSequence([SubGoal(goal)], GoalConfig())
    action = mpc.step(LatentStamps((7,), tool[None]), tool, sequence, FramedCosts(frame(), SeenCost))
    np.testing.assert_allclose(SeenCost.seen[0][0], flange().state(HOME, 0.2), atol=1e-9)
    np.testing.assert_allclose(SeenCost.seen[1], flange().state(HOME, 0.2), atol=1e-9)
    np.testing.assert_allclose(action.values[:3], [0.03, 0.0, 0.02], atol=5e-3)


# Rows in the first picture of the published sample (256 x 256): the cup's base on the table and its rim, the tips
# of the fingers behind it, and the flange, on which the gripper sits.
BASE_ROW, RIM_ROW, TIP_ROW, FLANGE_ROW = 239, 181, 205, 130
CUP_M, GRIPPER_M = (0.09, 0.18), (0.14, 0.20)


def test_the_published_sample_tells_the_pose_of_the_flange() -> None:
    path = Path(os.environ.get("JEPA_GOLDEN", "golden")) / "franka_example_traj.npz"
    if not path.exists():
        pytest.skip(f"no {path}; set JEPA_GOLDEN to its folder")
    with np.load(path) as sample:
        height = float(sample["states"][0, 0, 2])
    assert height == pytest.approx(0.2476, abs=1e-4)
    per_row = height / (BASE_ROW - FLANGE_ROW)
    assert CUP_M[0] < per_row * (BASE_ROW - RIM_ROW) < CUP_M[1]
    assert GRIPPER_M[0] < per_row * (TIP_ROW - FLANGE_ROW) < GRIPPER_M[1]
    # Were it the fingertips', the cup would be 40 cm high.
    assert height / (BASE_ROW - TIP_ROW) * (BASE_ROW - RIM_ROW) > 2 * CUP_M[1]
