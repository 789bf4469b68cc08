"""Tasks: the expert solves them, doing nothing does not, and preparing one leaves the scene at its start."""

from collections.abc import Iterator

import numpy as np
import pytest

from jepa_sim.environment import TableEnvironment
from jepa_sim.expert import ExpertConfig, ExpertError, ScriptedExpert, grasp_place, reach_script
from jepa_sim.policies import turn_to_faces
from jepa_sim.task_names import TASK_NAMES
from jepa_sim.tasks import NearStart, StepBudgets, Task, TaskConfig, TaskEpisode, make_task


@pytest.fixture(scope="module")
def environment() -> Iterator[TableEnvironment]:
    with TableEnvironment() as made:
        yield made


def play_expert(task: Task, environment: TableEnvironment, episode: TaskEpisode) -> int:
    """Lets the expert act for the granted steps; returns how many it needed."""
    expert = task.expert(environment, episode)
    for step in range(episode.steps):
        if expert.finished:
            return step
        environment.step(expert.act())
        expert.observe()
    return episode.steps


@pytest.mark.parametrize("name", TASK_NAMES)
def test_the_expert_succeeds_and_standing_still_does_not(environment: TableEnvironment, name: str):
    task = make_task(name)
    episode = task.prepare(environment, seed=11)
    assert not task.succeeded(environment, episode)
    assert task.distance(environment, episode) > task.config.min_distance - 0.02
    episode = task.prepare(environment, seed=11)
    play_expert(task, environment, episode)
    assert task.succeeded(environment, episode)
    assert task.distance(environment, episode) < 0.04


@pytest.mark.parametrize("name", TASK_NAMES)
def test_preparing_a_task_leaves_the_scene_at_its_start(environment: TableEnvironment, name: str):
    episode = make_task(name).prepare(environment, seed=4)
    assert np.array_equal(environment.state(), episode.start_state)
    assert np.array_equal(environment.joint_positions(), episode.start_joint_positions)
    for object_name, position in environment.object_positions().items():
        assert np.allclose(position, episode.start_objects[object_name], atol=1e-12)


@pytest.mark.parametrize("name", ["reach", "pick_place_box"])
def test_a_seed_names_the_episode(environment: TableEnvironment, name: str):
    task = make_task(name)
    first = task.prepare(environment, seed=5)
    task.prepare(environment, seed=6)
    second = task.prepare(environment, seed=5)
    for one, other in zip(first.goals, second.goals, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.state, other.state)


def test_reach_goals_are_8_to_35_cm_away_in_free_space(environment: TableEnvironment):
    task, seen = make_task("reach"), []
    for seed in range(25):
        episode = task.prepare(environment, seed)
        distance = task.distance(environment, episode)
        seen.append(distance)
        assert 0.08 <= distance <= 0.351
        goal = episode.final.state
        assert goal[6] == pytest.approx(episode.start_state[6], abs=1e-6)
        for position in episode.start_objects.values():
            assert goal[2] > 0.199 or np.linalg.norm(goal[:2] - position[:2]) > 0.085
    assert min(seen) < 0.2 and max(seen) > 0.28, "near and far ones"


def test_a_reach_goal_can_be_shown_by_resetting_with_its_joint_positions(environment: TableEnvironment):
    episode = make_task("reach").prepare(environment, seed=9)
    environment.reset(9, joint_positions=episode.final.joint_positions)
    assert np.array_equal(environment.render(), episode.final.image)
    environment.reset(9)
    assert np.allclose(environment.state(), episode.start_state)


GRASPING = ["hover", "approached", "descended", "grasped"]


def test_sub_goals_come_in_the_order_of_the_work(environment: TableEnvironment):
    episode = make_task("pick_place_cup").prepare(environment, seed=3)
    goals = {goal.name: goal for goal in episode.goals}
    assert list(goals) == [*GRASPING, "lifted", "carried", "lowered", "released"]
    assert goals["hover"].state[2] > goals["approached"].state[2] > goals["descended"].state[2]
    assert goals["lifted"].objects["cup"][2] > 0.1
    assert goals["carried"].objects["cup"][2] > 0.1 > goals["released"].objects["cup"][2]


def test_the_gripper_schedule_is_the_experts(environment: TableEnvironment):
    episode = make_task("pick_place_box").prepare(environment, seed=3)
    assert [goal.gripper for goal in episode.goals] == [0, 0, 0, 1, 1, 1, 1, 0]
    grasped, released = episode.goals[3], episode.goals[-1]
    assert 0.15 < grasped.state[6] < 0.7, "the box keeps the fingers apart"
    assert released.state[6] < 0.1
    assert make_task("reach").prepare(environment, seed=3).final.gripper is None
    assert make_task("reach_with_object_cup").prepare(environment, seed=3).final.gripper == 1


def test_goals_without_steps_are_left_out(environment: TableEnvironment):
    """As in the published pick-and-place, which grants 4, 10 and 4 steps."""
    steps = StepBudgets(hover=0, approached=0, descended=0, grasped=4, lifted=0, carried=10, lowered=0, released=4)
    episode = make_task("pick_place_cup", TaskConfig(steps=steps)).prepare(environment, seed=3)
    assert [(goal.name, goal.steps) for goal in episode.goals] == [("grasped", 4), ("carried", 10), ("released", 4)]
    assert episode.steps == 18


@pytest.mark.parametrize("steps", [{"reach": 0}, {"released": 0}, {"hover": -1}])
def test_budgets_that_leave_no_task_are_refused(steps: dict[str, int]):
    with pytest.raises(ValueError, match="steps"):
        StepBudgets(**steps)


def test_a_grasp_needs_steps_to_grasp_or_lift():
    with pytest.raises(ValueError, match="lifted"):
        make_task("grasp_cup", TaskConfig(steps=StepBudgets(grasped=0, lifted=0)))


@pytest.mark.parametrize("name", ["grasp_cup", "pick_place_box"])
def test_a_near_start_is_an_open_hand_above_the_grasp(environment: TableEnvironment, name: str):
    near, offsets = NearStart(lowest=0.07, highest=0.11, sideways=0.03), []
    task = make_task(name, TaskConfig(near=near))
    for seed in range(4):
        episode = task.prepare(environment, seed)
        grasp = grasp_place(environment, name.rpartition("_")[2])
        offsets.append(episode.start_state[:3] - grasp)
        assert episode.start_state[6] < 0.05
        assert not task.succeeded(environment, episode)
    heights, sides = np.array(offsets)[:, 2], np.linalg.norm(np.array(offsets)[:, :2], axis=1)
    assert heights.min() > 0.065 and heights.max() < 0.115 and np.ptp(heights) > 0.005
    assert sides.max() < 0.035 and np.ptp(sides) > 0.003


def test_a_grasp_on_the_table_is_judged_by_lifting_it(environment: TableEnvironment):
    steps = StepBudgets(hover=0, approached=0, descended=0, grasped=8, lifted=0)
    task = make_task("grasp_cup", TaskConfig(steps=steps))
    episode = task.prepare(environment, seed=11)
    assert [goal.name for goal in episode.goals] == ["grasped"]
    expert = task.expert(environment, episode)
    while "grasped" not in expert.completed:
        environment.step(expert.act())
        expert.observe()
    assert task.distance(environment, episode) < 0.01, "of the tool: the cup has not moved"
    grasped = environment.save()
    assert task.succeeded(environment, episode)
    environment.restore(grasped)
    environment.place_gripper(0.0)
    assert not task.succeeded(environment, episode), "an open hand lifts nothing"


def test_one_goal_shows_the_last_picture_and_grants_twice_the_experts_steps(environment: TableEnvironment):
    for name in ("reach", "reach_with_object_box", "pick_place_cup"):
        all_goals = make_task(name).prepare(environment, seed=3)
        task = make_task(name, TaskConfig(one_goal=2.0))
        episode = task.prepare(environment, seed=3)
        (only,) = episode.goals
        assert only.name == all_goals.final.name and np.array_equal(only.image, all_goals.final.image)
        needed = play_expert(task, environment, episode)
        # The script of pick-and-place goes on a little when the object is released.
        assert needed <= episode.steps <= 2 * needed


def test_pictures_of_an_aligned_grasp_show_the_hand_at_the_faces_of_the_box(environment: TableEnvironment):
    angles = {}
    for align in (False, True):
        task = make_task("grasp_box", TaskConfig(expert=ExpertConfig(align=align)))
        episode = task.prepare(environment, seed=12)
        expert = task.expert(environment, episode)
        while "descended" not in expert.completed:
            environment.step(expert.act())
            expert.observe()
        angles[align] = abs(turn_to_faces(environment))
        descended = next(goal for goal in episode.goals if goal.name == "descended")
        assert np.allclose(environment.state()[:6], descended.state[:6], atol=1e-6)
    assert angles[True] < 0.04 < 0.15 < angles[False]


def test_a_dropped_object_is_no_success(environment: TableEnvironment):
    task = make_task("grasp_box")
    episode = task.prepare(environment, seed=11)
    play_expert(task, environment, episode)
    assert task.holds_object(environment)
    environment.step((0, 0, 0, 0, 0, 0, -1.0))
    assert not task.succeeded(environment, episode)
    assert task.why_failed(environment, episode, was_held=True) == "lost the object"
    assert task.why_failed(environment, episode, was_held=False) == "never grasped the object"


def test_an_object_that_is_still_held_is_not_placed(environment: TableEnvironment):
    task = make_task("pick_place_cup")
    episode = task.prepare(environment, seed=11)
    expert = task.expert(environment, episode)
    while "lowered" not in expert.completed:
        environment.step(expert.act())
        expert.observe()
    assert task.distance(environment, episode) < task.config.object_tolerance
    assert not task.succeeded(environment, episode)
    assert task.why_failed(environment, episode, was_held=True) == "did not let go"


def test_unknown_tasks_are_refused_by_name():
    with pytest.raises(ValueError, match=r"expected a task of reach, .*, got 'fly'"):
        make_task("fly", TaskConfig())


def test_an_expert_that_gets_stuck_says_where(environment: TableEnvironment):
    environment.reset(0)
    expert = ScriptedExpert(environment, reach_script((2.0, 0.0, 0.3)), ExpertConfig(max_stage_steps=3))
    with pytest.raises(ExpertError, match="on its way to"):
        expert.run()
