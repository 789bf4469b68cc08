"""Goal sequences advance on tolerance, plateau and budget, and the gripper does not chatter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_planner.goals import GoalConfig, GoalSequence, Outcome, SubGoal
from jepa_planner.planner_parameters import GoalParameters
from jepa_world_model.model_card import ModelCard


def sequence(*goals: SubGoal[str], **config: float) -> GoalSequence[str]:
    return GoalSequence(goals or (SubGoal("only"),), GoalConfig(**config))


def test_energy_below_the_tolerance_reaches_the_goal() -> None:
    goals = sequence(tolerance=0.5)
    assert goals.observe(0.6).outcome is Outcome.PURSUING
    progress = goals.observe(0.4)
    assert progress.outcome is Outcome.REACHED and "tolerance" in progress.reason


def test_reaching_a_sub_goal_advances_to_the_next() -> None:
    goals = sequence(SubGoal("first"), SubGoal("second"), tolerance=0.5)
    progress = goals.observe(0.1)
    assert progress.advanced and progress.sub_goal == 1 and goals.current.goal == "second"
    assert goals.observe(0.9).outcome is Outcome.PURSUING


def test_energy_that_stops_improving_reaches_the_goal() -> None:
    goals = sequence(plateau_steps=3, plateau_noise=0.02)
    outcomes = [goals.observe(energy).outcome for energy in (1.0, 0.5, 0.3, 0.301, 0.299, 0.3)]
    assert outcomes[:-1] == [Outcome.PURSUING] * 5 and outcomes[-1] is Outcome.REACHED


def test_steady_improvement_is_no_plateau() -> None:
    goals = sequence(plateau_steps=3, plateau_noise=0.02)
    assert all(goals.observe(0.9**step).outcome is Outcome.PURSUING for step in range(30))


def test_plateau_far_from_the_goal_is_not_reached() -> None:
    goals = sequence(plateau_steps=3, plateau_energy=0.2, max_steps=10)
    outcomes = [goals.observe(0.8).outcome for _ in range(11)]
    assert outcomes[-1] is Outcome.BUDGET_SPENT and Outcome.REACHED not in outcomes


def test_published_budgets_switch_after_4_10_and_4_steps() -> None:
    budgets = (4, 10, 4)
    goals = sequence(*(SubGoal(str(budget), budget) for budget in budgets), plateau_steps=0)
    pursued = []
    while goals.outcome is Outcome.PURSUING:
        progress = goals.observe(1.0)
        if not progress.advanced and progress.outcome is Outcome.PURSUING:
            pursued.append(progress.sub_goal)
    assert [pursued.count(index) for index in range(3)] == [4, 10, 4]
    assert goals.outcome is Outcome.BUDGET_SPENT and goals.steps == 18


def test_spent_budget_can_give_up_the_whole_sequence() -> None:
    goals = sequence(SubGoal("first", 2), SubGoal("second"), plateau_steps=0, advance_when_spent=False)
    for _ in range(3):
        progress = goals.observe(1.0)
    assert progress.outcome is Outcome.BUDGET_SPENT and progress.sub_goal == 0
    assert "not reached in 2 steps" in progress.reason


def test_finished_sequence_stays_finished() -> None:
    goals = sequence(tolerance=0.5)
    goals.observe(0.1)
    assert goals.observe(9.0).outcome is Outcome.REACHED and goals.steps == 0


@pytest.mark.parametrize("energy", [float("nan"), float("inf")])
def test_energy_that_is_not_finite_is_refused(energy: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        sequence().observe(energy)


@given(st.lists(st.floats(-1e3, 1e3), max_size=80), st.integers(1, 10), st.integers(1, 4), st.integers(0, 5))
def test_no_sequence_outlives_its_budgets(energies: list[float], budget: int, count: int, plateau: int) -> None:
    goals = sequence(*(SubGoal("goal", budget) for _ in range(count)), plateau_steps=plateau)
    for energy in energies:
        goals.observe(energy)
    assert goals.steps <= budget * count
    assert len(goals.energies) == goals.steps


def test_no_goals_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        GoalSequence((), GoalConfig())


@pytest.mark.parametrize("gripper", [-0.1, 1.1, float("nan")])
def test_gripper_outside_its_range_is_refused(gripper: float) -> None:
    with pytest.raises(ValueError, match="closedness"):
        SubGoal("goal", gripper=gripper)


def test_a_sub_goal_that_changes_the_gripper_waits_for_the_fingers() -> None:
    """Open above the object, close around it, lift: energies are low all the time, as the arm is in place already."""
    goals = sequence(
        SubGoal("around", gripper=0.0),
        SubGoal("grasped", gripper=1.0),
        SubGoal("lifted", gripper=1.0),
        tolerance=0.5,
        gripper_steps=2,
    )
    progress = [goals.observe(0.1) for _ in range(5)]
    assert [item.sub_goal for item in progress] == [1, 1, 1, 2, 2]
    assert [item.gripper_moves for item in progress] == [False, True, True, False, False]
    assert goals.outcome is Outcome.REACHED and goals.steps == 2


def test_gripper_steps_count_as_steps_of_the_budget() -> None:
    goals = sequence(SubGoal("open", 1, 0.0), SubGoal("closed", 2, 1.0), plateau_steps=0, gripper_steps=5)
    while goals.outcome is Outcome.PURSUING:
        goals.observe(1.0)
    assert goals.steps == 3


def test_a_first_or_unchanged_gripper_command_is_not_waited_for() -> None:
    goals = sequence(SubGoal("first", gripper=1.0), SubGoal("same", gripper=1.0), SubGoal("planned"), tolerance=0.5)
    assert not goals.observe(0.9).gripper_moves
    assert [goals.observe(0.1).sub_goal for _ in range(2)] == [1, 2]


def test_a_sub_goal_is_not_reached_before_its_gripper_is_settled() -> None:
    goals = sequence(SubGoal("grasp"), SubGoal("lift"), tolerance=0.5)
    assert not goals.observe(0.1, settled=False).advanced
    assert goals.observe(0.1, settled=True).advanced


def test_a_tolerance_is_an_energy_or_a_distance_of_a_calibrated_model() -> None:
    size = {"image_size": 32, "tokens": 4, "dim": 12}
    calibrated = ModelCard(name="table", **size, reach_energy=0.02, reach_tolerance_m=0.01, energy_per_meter=0.5)
    parameters = GoalParameters(tolerance=0.3)
    assert parameters.config(calibrated).tolerance == 0.3
    assert GoalParameters().config(calibrated).tolerance == 0.02
    assert parameters.config(calibrated, energy=0.1).tolerance == 0.1
    assert parameters.config(calibrated, energy=0.1, distance_m=0.03).tolerance == pytest.approx(0.03)
    assert GoalParameters(tolerance_m=0.05).config(calibrated).tolerance == pytest.approx(0.04)
    with pytest.raises(ValueError, match="not calibrated"):
        parameters.config(ModelCard(name="other", **size), distance_m=0.03)
    with pytest.raises(ValueError, match="0 or more"):
        parameters.config(calibrated, energy=float("nan"))


def test_a_step_that_was_not_taken_spends_no_budget() -> None:
    goals = sequence(max_steps=2, plateau_steps=0)
    for energy in (3.0, 2.0):
        goals.observe(energy)
        goals.take_back()
    assert goals.steps == 0 and goals.energies == ()
    assert [goals.observe(energy).outcome for energy in (3.0, 2.0)] == [Outcome.PURSUING] * 2
    assert goals.observe(1.0).outcome is Outcome.BUDGET_SPENT
    goals.take_back()
    assert goals.steps == 2
