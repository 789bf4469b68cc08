"""The environment: the same seed gives the same scene, actions move the tool, saved states come back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_sim.environment import TableEnvironment
from jepa_sim.inverse_kinematics import InverseKinematics
from jepa_sim.policies import tilt
from jepa_sim.reset import ResetConfig, Workspace
from jepa_sim.robot_description import HOME_POSITIONS
from jepa_sim.simulation import Simulation, arm_range
from jepa_sim.smooth_motion import SmoothMotion, SmoothMotionConfig
from jepa_world_model.poses import difference, integrate


@pytest.fixture(scope="module")
def environment():
    with TableEnvironment() as made:
        yield made


def wandering(seed: int, steps: int) -> np.ndarray:
    """Actions [steps, 7] that go nowhere in particular."""
    return np.random.default_rng(seed).normal(0.0, 1.0, (steps, 7)) * (0.03, 0.03, 0.03, 0.02, 0.02, 0.05, 0.5)


def test_a_seed_names_the_whole_future(environment: TableEnvironment):
    def play() -> tuple[list[np.ndarray], np.ndarray]:
        environment.reset(7)
        return [environment.step(action) for action in wandering(0, 6)], environment.render()

    first_states, first_image = play()
    environment.reset(8)
    environment.step(np.full(7, 0.02))
    second_states, second_image = play()
    assert np.array_equal(first_states, second_states)
    assert np.array_equal(first_image, second_image)


def test_seeds_name_different_scenes(environment: TableEnvironment):
    pictures = []
    for seed in (0, 1):
        environment.reset(seed)
        pictures.append(environment.render().astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() > 1.0


def test_given_joint_positions_change_the_arm_and_nothing_else(environment: TableEnvironment):
    environment.reset(3)
    objects, closedness = environment.object_positions(), environment.state()[6]
    environment.reset(3, joint_positions=HOME_POSITIONS)
    assert np.allclose(environment.joint_positions(), HOME_POSITIONS)
    assert environment.state()[6] == closedness
    for name, position in environment.object_positions().items():
        assert np.array_equal(position, objects[name])


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_a_reset_is_inside_the_workspace_with_objects_apart(environment: TableEnvironment, seed: int):
    environment.reset(seed)
    state, config = environment.state(), ResetConfig()
    assert np.all(state[:3] >= np.array(Workspace().lower) - 3e-3)
    assert np.all(state[:3] <= np.array(Workspace().upper) + 3e-3)
    assert np.linalg.norm(tilt(state)[:2]) < 0.6
    cup, box = environment.object_positions().values()
    assert np.linalg.norm(cup[:2] - box[:2]) > config.object_distance


def test_object_tasks_begin_with_an_open_gripper(environment: TableEnvironment):
    seed = next(seed for seed in range(20) if environment.reset(seed) is None and environment.state()[6] > 0.9)
    environment.reset(seed, task="grasp_cup")
    assert environment.state()[6] < 0.01


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_an_action_moves_the_tool_by_what_it_says(environment: TableEnvironment, axis: int, sign: float):
    environment.reset(0, joint_positions=HOME_POSITIONS)
    action = np.zeros(7)
    action[axis] = 0.03 * sign
    before = environment.state()
    # The second step stands still: what was commanded arrives within it.
    environment.step(action)
    after = environment.step(np.zeros(7))
    wanted = integrate(before, action)
    wanted[:3] = Workspace().clip(wanted[:3])
    assert np.linalg.norm(after[:3] - wanted[:3]) < 0.012
    assert np.abs(difference(before, after)[3:6]).max() < 0.03


def test_a_rotation_turns_the_tool(environment: TableEnvironment):
    environment.reset(0, joint_positions=HOME_POSITIONS)
    before = environment.state()
    for _ in range(4):
        environment.step((0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 0.0))
    assert difference(before, environment.state())[5] == pytest.approx(0.2, abs=0.06)


def test_the_gripper_opens_and_closes(environment: TableEnvironment):
    environment.reset(0, joint_positions=HOME_POSITIONS)
    for change, wanted in ((1.0, 1.0), (-0.5, 0.5), (-1.0, 0.0)):
        for action in (np.array([0, 0, 0, 0, 0, 0, change]), np.zeros(7), np.zeros(7)):
            environment.step(action)
        assert environment.state()[6] == pytest.approx(wanted, abs=0.05)
        assert environment.commanded_closedness == pytest.approx(wanted)


def test_the_workspace_is_not_left(environment: TableEnvironment):
    environment.reset(1)
    workspace = environment.config.reset.workspace
    for _ in range(12):
        state = environment.step((0.08, 0.08, 0.0, 0.0, 0.0, 0.0, 0.0))
    assert np.all(state[:2] < np.array(workspace.upper[:2]) + 0.02)


def test_a_saved_state_comes_back_bit_by_bit(environment: TableEnvironment):
    environment.reset(2)
    for action in wandering(1, 3):
        environment.step(action)
    saved, image = environment.save(), environment.render()
    first = [environment.step(action) for action in wandering(2, 4)]
    environment.place_arm(HOME_POSITIONS)
    environment.place_gripper(1.0)
    assert not np.array_equal(environment.render(), image)
    environment.restore(saved)
    assert np.array_equal(environment.render(), image)
    assert np.array_equal(first, [environment.step(action) for action in wandering(2, 4)])


@pytest.mark.parametrize("action", [np.zeros(6), np.zeros((1, 7)), np.full(7, np.nan), np.full(7, np.inf)])
def test_actions_that_are_none_are_refused(environment: TableEnvironment, action: np.ndarray):
    environment.reset(0)
    before = environment.state()
    with pytest.raises(ValueError, match="7 finite numbers"):
        environment.step(action)
    assert np.array_equal(environment.state(), before)


def test_resets_that_cannot_be_are_refused(environment: TableEnvironment):
    with pytest.raises(ValueError, match="expected a task of reach"):
        environment.reset(0, task="juggle")
    with pytest.raises(ValueError, match="not negative"):
        environment.reset(-1)
    with pytest.raises(ValueError, match="7 joint positions"):
        environment.reset(0, joint_positions=[0.0] * 6)
    with pytest.raises(ValueError, match=r"panda_joint4: expected a position from -3\.0718"):
        environment.reset(0, joint_positions=[0.0] * 7)
    with pytest.raises(ValueError, match="panda_joint1"):
        environment.reset(0, joint_positions=[np.nan, *HOME_POSITIONS[1:]])


# --- inverse kinematics and motion --------------------------------------------------------------------------

# Elbow postures from which the tool's poses lie in and around the workspace.
_POSTURES = [st.floats(home - 0.5, home + 0.5) for home in HOME_POSITIONS]


@settings(max_examples=40)
@given(joints=st.tuples(*_POSTURES))
def test_inverse_kinematics_finds_poses_that_the_arm_can_take(joints: tuple[float, ...]):
    simulation, kinematics = _inverse_kinematics()
    simulation.place_arm(joints)
    position, rotation = simulation.tool_pose()
    solution = kinematics.solve(position, rotation, np.array(HOME_POSITIONS), iterations=200)
    limits = arm_range()
    assert solution.position_error < 1e-3
    assert solution.rotation_error < 5e-3
    assert np.all((solution.positions >= limits.lower) & (solution.positions <= limits.upper))
    simulation.place_arm(solution.positions)
    reached, _ = simulation.tool_pose()
    assert np.linalg.norm(reached - position) == pytest.approx(solution.position_error, abs=1e-9)


def test_inverse_kinematics_reports_what_is_out_of_reach():
    _, kinematics = _inverse_kinematics()
    solution = kinematics.solve(np.array([2.0, 0.0, 0.3]), np.diag([1.0, -1.0, -1.0]), np.array(HOME_POSITIONS))
    assert solution.position_error > 0.5
    assert np.isfinite(solution.positions).all()


_made: list[tuple[Simulation, InverseKinematics]] = []


def _inverse_kinematics() -> tuple[Simulation, InverseKinematics]:
    if not _made:
        simulation = Simulation()
        _made.append((simulation, InverseKinematics(simulation.model)))
    return _made[0]


@settings(max_examples=30)
@given(targets=st.lists(st.tuples(*_POSTURES), min_size=2, max_size=5))
def test_motion_stays_smooth_when_the_target_changes(targets: list[tuple[float, ...]]):
    motion, step = SmoothMotion(), 0.005
    motion.rest_at(HOME_POSITIONS)
    times = np.arange(1, 21) * step
    positions = np.concatenate([[HOME_POSITIONS], *(motion.move(np.array(target), times) for target in targets)])
    velocities = np.diff(positions, axis=0) / step
    rates = SmoothMotionConfig().rates
    largest, accelerations = np.array(rates.velocity), np.array(rates.acceleration)
    assert np.all(np.abs(velocities) <= largest * (1 + 1e-6))
    assert np.all(np.abs(np.diff(velocities, axis=0)) <= accelerations * step * (1 + 1e-6) + 1e-9)


def test_a_finished_action_has_gone_all_its_way_and_rests(environment: TableEnvironment):
    environment.reset(0)
    start, action = environment.state(), np.zeros(7)
    action[:3] = (0.0, 0.0, 0.07) if start[2] < 0.3 else (0.0, 0.0, -0.07)
    environment.step(action)
    under_way = np.linalg.norm(environment.state()[:3] - start[:3])
    finished = environment.finish()
    assert under_way < 0.06, "a control period is too short for it"
    assert np.linalg.norm(finished[:3] - start[:3]) == pytest.approx(0.07, abs=0.005)
    assert np.abs(environment.joint_velocities()).max() < 0.05
    assert np.array_equal(environment.finish(), finished), "nothing is left to finish"
