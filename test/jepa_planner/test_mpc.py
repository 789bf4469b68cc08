"""The receding-horizon loop reaches goals, advances through them and keeps its warm start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_planner.cost import Assessment
from jepa_planner.goals import GoalConfig, GoalSequence, Outcome, SubGoal
from jepa_planner.gripper import GripperConfig
from jepa_planner.mpc import Mpc, MpcConfig
from jepa_planner.solvers import SolverConfig, make_solver

# Without a deadline, so that a slow machine plans the same.
UNHURRIED = MpcConfig(plan_seconds=0)
HOME = np.array([0.4, 0.0, 0.3, np.pi, 0.0, 0.0, 0.2])


class DistanceCost:
    """Energy = distance of the summed translation to a goal position: a perfect world model."""

    def __init__(self, _observation: str, state: np.ndarray, goal: np.ndarray) -> None:
        self._state, self._goal = state, goal
        self.seen: list[np.ndarray] = []

    def assess(self) -> Assessment:
        return Assessment(float(np.linalg.norm(self._goal - self._state[:3])), surprise=0.25)

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        self.seen.append(actions)
        return np.linalg.norm(self._goal - self._state[:3] - actions[:, :, :3].sum(axis=1), axis=-1)


def goals(*positions: tuple[float, float, float], gripper: float | None = None, **config: float):
    sub_goals = tuple(SubGoal(np.asarray(position), gripper=gripper) for position in positions)
    return GoalSequence(sub_goals, GoalConfig(**{"tolerance": 0.01, "plateau_steps": 0, **config}))


def drive(mpc: Mpc, sequence: GoalSequence, steps: int = 30) -> tuple[np.ndarray, list]:
    state, actions = HOME.copy(), []
    for _ in range(steps):
        action = mpc.step("image", state, sequence, DistanceCost)
        actions.append(action)
        if action.outcome is not Outcome.PURSUING:
            break
        state = state + action.values
    return state, actions


@pytest.mark.parametrize("solver", ["cem", "icem", "mppi"])
def test_reaches_a_goal(solver: str) -> None:
    state, actions = drive(Mpc(UNHURRIED, make_solver(SolverConfig(solver=solver))), goals((0.55, 0.15, 0.2)))
    assert actions[-1].outcome is Outcome.REACHED
    np.testing.assert_allclose(state[:3], (0.55, 0.15, 0.2), atol=0.01)
    np.testing.assert_array_equal(actions[-1].values, 0.0)


def test_walks_through_sub_goals_and_says_when_it_advances() -> None:
    sequence = goals((0.45, 0.1, 0.3), (0.45, -0.1, 0.3))
    state, actions = drive(Mpc(UNHURRIED, make_solver(SolverConfig())), sequence)
    assert actions[-1].outcome is Outcome.REACHED
    np.testing.assert_allclose(state[:3], (0.45, -0.1, 0.3), atol=0.01)
    assert [action.progress.advanced for action in actions].count(True) == 1
    assert [action.progress.sub_goal for action in actions] == sorted(action.progress.sub_goal for action in actions)


def test_sub_goal_gripper_is_commanded_and_imagined() -> None:
    costs = []

    def factory(observation: str, state: np.ndarray, goal: np.ndarray) -> DistanceCost:
        costs.append(DistanceCost(observation, state, goal))
        return costs[-1]

    action = Mpc(UNHURRIED, make_solver(SolverConfig(horizon=2))).step(
        "image", HOME, goals((0.6, 0.0, 0.3), gripper=1.0), factory
    )
    assert action.closedness == 1.0 and action.values[6] == pytest.approx(0.8)
    np.testing.assert_allclose(costs[0].seen[0][:, :, 6], np.tile([0.8, 0.0], (64, 1)), atol=1e-6)


def test_the_arm_rests_while_the_gripper_closes() -> None:
    sequence = GoalSequence(
        [SubGoal(HOME[:3], gripper=0.2), SubGoal(np.array([0.6, 0.0, 0.3]), gripper=1.0)],
        GoalConfig(tolerance=0.01, gripper_steps=2),
    )
    mpc, state = Mpc(UNHURRIED, make_solver(SolverConfig())), HOME.copy()
    actions = [mpc.step("image", state, sequence, DistanceCost) for _ in range(3)]
    assert [action.closedness for action in actions] == [1.0] * 3
    assert [action.plan is None for action in actions] == [True, True, False]
    np.testing.assert_allclose([action.values[6] for action in actions], 0.8)
    assert [float(np.abs(action.values[:6]).max()) > 0 for action in actions] == [False, False, True]


AWAY = np.array([0.1, 0, 0])


class GraspCost(DistanceCost):
    """A perfect world model of a hand that should be somewhere with its fingers at some closedness."""

    def __init__(self, _observation: str, state: np.ndarray, goal: tuple[np.ndarray, float]) -> None:
        super().__init__(_observation, state, goal[0])
        self._closedness = goal[1]

    def assess(self) -> Assessment:
        return Assessment(float(super().assess().energy + 0.1 * abs(self._closedness - self._state[6])))

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        imagined = np.clip(self._state[6] + actions[:, :, 6].sum(axis=1), 0, 1)
        return super().__call__(actions) + 0.1 * np.abs(imagined - self._closedness)


class SeenGraspCost(GraspCost):
    """The same of a model that tells from the pictures how far the fingers have to go."""

    def assess(self) -> Assessment:
        return replace(super().assess(), gripper_change=self._closedness - self._state[6])


def grasp_and_carry(seen: bool, max_gripper: float) -> tuple[list, np.ndarray]:
    """Steps toward a grasp 7 cm below and a place 10 cm away, with a cup that stops the fingers at 0.3."""
    below, away = HOME[:3] - np.array([0, 0, 0.07]), HOME[:3] + AWAY
    sub_goals = [SubGoal((below, 0.3)), SubGoal((away, 0.3)), SubGoal((away, 0.0))]
    sequence = GoalSequence(sub_goals, GoalConfig(tolerance=0.02, plateau_steps=0, max_steps=12))
    gripper = GripperConfig(mode="planned", close_change=0.15, open_change=0.18)
    config = MpcConfig(plan_seconds=0, longest_step_holding=0.04, gripper=gripper)
    mpc = Mpc(config, make_solver(SolverConfig(max_gripper=max_gripper)))
    state, actions = HOME.copy(), []
    state[6] = 0.0
    for _ in range(30):
        action = mpc.step("image", state, sequence, SeenGraspCost if seen else GraspCost)
        actions.append(action)
        if action.outcome is not Outcome.PURSUING:
            break
        state = state + action.values
        state[6] = min(action.closedness or 0.0, 0.3)
    return actions, state


@pytest.mark.parametrize("max_gripper", [0.0, 0.75], ids=["weighed", "searched"])
@pytest.mark.parametrize("seen", [False, True], ids=["energies", "pictures"])
def test_a_planned_gripper_closes_at_the_object_holds_it_on_the_way_and_opens_at_its_place(
    seen: bool, max_gripper: float
) -> None:
    actions, state = grasp_and_carry(seen, max_gripper)
    assert actions[-1].outcome is Outcome.REACHED
    pursued = [action for action in actions if action.outcome is Outcome.PURSUING]
    commands = [action.closedness for action in pursued]
    assert [command for command, before in zip(commands, [0.5, *commands], strict=False) if command != before] == [
        None,
        1.0,
        0.0,
    ]
    carried = [action for action in pursued if action.progress.sub_goal == 1]
    assert {action.closedness for action in carried} == {1.0}
    assert max(float(np.linalg.norm(action.values[:3])) for action in carried) <= 0.04 + 1e-9
    np.testing.assert_allclose(state[:3], HOME[:3] + AWAY, atol=0.02)


def test_the_arm_rests_while_a_planned_gripper_moves() -> None:
    actions, _ = grasp_and_carry(seen=True, max_gripper=0.0)
    closing = next(index for index, action in enumerate(actions) if action.closedness == 1.0)
    rest = actions[closing : closing + 2]
    assert all(not np.any(action.values[:6]) for action in rest)
    assert [action.plan is None for action in rest] == [False, True]
    assert np.any(actions[closing + 2].values[:3]) or actions[closing + 2].progress.advanced


def test_a_held_object_is_not_imagined_to_vanish() -> None:
    """Fingers that are stopped by it are commanded shut, and imagined to stay where they are."""
    costs = []

    def factory(observation: str, state: np.ndarray, goal: np.ndarray) -> DistanceCost:
        costs.append(DistanceCost(observation, state, goal))
        return costs[-1]

    mpc, sequence = Mpc(UNHURRIED, make_solver(SolverConfig())), goals((0.6, 0.0, 0.3), gripper=1.0)
    actions = [mpc.step("image", HOME, sequence, factory) for _ in range(2)]
    assert [action.closedness for action in actions] == [1.0, 1.0]
    assert costs[0].seen[0][0, 0, 6] == pytest.approx(0.8) and costs[1].seen[0][0, 0, 6] == 0.0


def test_steps_are_shorter_while_something_is_held() -> None:
    config = MpcConfig(plan_seconds=0, longest_step_holding=0.03)

    def length(gripper: float | None) -> float:
        action = Mpc(config, make_solver(SolverConfig(max_step=0.07))).step(
            "image", HOME, goals((0.6, 0, 0.3), gripper=gripper), DistanceCost
        )
        return float(np.linalg.norm(action.values[:3]))

    assert length(1.0) == pytest.approx(0.03)
    assert length(0.0) > 0.04 and length(None) > 0.04


def test_gripper_is_left_alone_when_it_is_not_searched() -> None:
    action = Mpc(UNHURRIED, make_solver(SolverConfig())).step("image", HOME, goals((0.6, 0, 0.3)), DistanceCost)
    assert action.closedness is None and action.values[6] == 0.0


def test_reports_energy_surprise_and_what_the_plan_expects() -> None:
    action = Mpc(UNHURRIED, make_solver(SolverConfig())).step("image", HOME, goals((0.6, 0, 0.3)), DistanceCost)
    assert action.energy == pytest.approx(0.2) and action.surprise == 0.25
    assert action.predicted_energy < action.energy


def test_second_plan_starts_where_the_first_one_ended() -> None:
    seen = []

    class Recorder(DistanceCost):
        def __call__(self, actions: np.ndarray) -> np.ndarray:
            seen.append(actions[0])
            return super().__call__(actions)

    mpc = Mpc(UNHURRIED, make_solver(SolverConfig(horizon=2, iterations=1)))
    first = mpc.step("image", HOME, goals((0.9, 0, 0.3)), Recorder)
    mpc.step("image", HOME, goals((0.9, 0, 0.3)), Recorder)
    np.testing.assert_allclose(seen[1][0], first.plan.actions[1], atol=1e-6)


def test_effort_shortens_steps() -> None:
    def length(weight: float) -> float:
        mpc = Mpc(MpcConfig(plan_seconds=0, effort_weight=weight), make_solver(SolverConfig(samples=256)))
        return float(np.linalg.norm(mpc.step("image", HOME, goals((0.42, 0, 0.3)), DistanceCost).values[:3]))

    assert length(1.0) < 0.5 * length(0.0)


@pytest.mark.parametrize("state", [np.full(7, np.nan), np.zeros(6)])
def test_bad_state_is_refused(state: np.ndarray) -> None:
    with pytest.raises(ValueError, match="7 finite"):
        Mpc(UNHURRIED, make_solver(SolverConfig())).step("image", state, goals((0.6, 0, 0.3)), DistanceCost)


def test_plan_through_gradients_keeps_the_held_gripper() -> None:
    torch = pytest.importorskip("torch")

    class TorchCost(DistanceCost):
        def energies(self, actions):
            assert torch.all(actions[:, 0, 6] == torch.tensor(0.8))
            goal = torch.as_tensor(self._goal - self._state[:3], dtype=actions.dtype)
            return ((goal - actions[:, :, :3].sum(dim=1)) ** 2).sum(dim=-1)

    mpc = Mpc(
        MpcConfig(plan_seconds=0, effort_weight=1e-6),
        make_solver(SolverConfig(solver="gradient", gradient_iterations=20)),
    )
    action = mpc.step("image", HOME, goals((0.43, 0, 0.3), gripper=1.0), TorchCost)
    np.testing.assert_allclose(action.values[:3], (0.03, 0, 0), atol=0.005)
