"""The policies that collect data: mixed, bounded, and touching what lies on the table."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from jepa_sim.environment import TableEnvironment
from jepa_sim.policies import Behaviour, MixedPolicy, Phase, PolicyConfig, step_toward, tilt, turn_to_faces
from jepa_sim.reset import POINTING_DOWN
from jepa_sim.scene import BOX

PICK_ONLY = PolicyConfig(wander_share=0.0, target_share=0.0, pick_share=1.0, push_share=0.0)
PUSH_ONLY = PolicyConfig(wander_share=0.0, target_share=0.0, pick_share=0.0, push_share=1.0)
TURNED_ONLY = replace(PICK_ONLY, turned_share=1.0, missed_share=0.0)


@pytest.fixture(scope="module")
def environment() -> Iterator[TableEnvironment]:
    with TableEnvironment() as made:
        yield made


def test_behaviours_are_mixed_as_configured(environment: TableEnvironment):
    environment.reset(0)
    drawn = Counter(MixedPolicy(environment, np.random.default_rng(seed)).behaviour for seed in range(600))
    config = PolicyConfig()
    assert drawn[Behaviour.WANDER] / 600 == pytest.approx(config.wander_share, abs=0.07)
    assert drawn[Behaviour.TARGET] / 600 == pytest.approx(config.target_share, abs=0.07)
    assert drawn[Behaviour.PICK] / 600 == pytest.approx(config.pick_share, abs=0.07)
    assert drawn[Behaviour.PUSH] / 600 == pytest.approx(config.push_share, abs=0.07)


def test_picking_episodes_lift_objects(environment: TableEnvironment):
    lifted = 0
    for seed in range(4):
        environment.reset(seed)
        policy = MixedPolicy(environment, np.random.default_rng((seed, 1)), PICK_ONLY)
        highest = 0.0
        for _ in range(24):
            environment.step(policy.act())
            highest = max(highest, *(position[2] for position in environment.object_positions().values()))
        lifted += highest > 0.1
    assert lifted >= 2


def test_pushing_episodes_move_objects_along_the_table(environment: TableEnvironment):
    pushed = 0
    for seed in range(4):
        environment.reset(seed)
        before = environment.object_positions()
        policy = MixedPolicy(environment, np.random.default_rng((seed, 1)), PUSH_ONLY)
        for _ in range(24):
            environment.step(policy.act())
        after = environment.object_positions()
        moved = max(np.linalg.norm(after[name][:2] - before[name][:2]) for name in before)
        pushed += bool(moved > 0.03)
    assert pushed >= 2


def test_turned_grasps_set_the_fingers_square_to_the_boxs_faces(environment: TableEnvironment):
    off = []
    for seed in range(12):
        environment.reset(seed)
        policy = MixedPolicy(environment, np.random.default_rng((seed, 1)), TURNED_ONLY)
        for _ in range(24):
            environment.step(policy.act())
            if policy.phase is Phase.CLOSE:
                if policy.object_name == BOX:
                    off.append(abs(turn_to_faces(environment)))
                break
    assert len(off) >= 3
    assert np.median(off) < 0.15


@pytest.mark.parametrize("quarter", range(4))
def test_the_faces_of_a_box_are_a_quarter_turn_apart(environment: TableEnvironment, quarter: int):
    environment.reset(0)
    yaw = environment.state()[5]
    environment.simulation.place_object("box", (0.5, 0.0), yaw + 0.3 + quarter * np.pi / 2)
    environment.simulation.refresh()
    assert turn_to_faces(environment) == pytest.approx(0.3, abs=1e-6)
    environment.simulation.place_object("box", (0.5, 0.0), yaw - 0.6 + quarter * np.pi / 2)
    environment.simulation.refresh()
    assert turn_to_faces(environment) == pytest.approx(-0.6, abs=1e-6)


def test_the_gripper_stays_nearly_upright(environment: TableEnvironment):
    for seed in range(3):
        environment.reset(seed)
        policy = MixedPolicy(environment, np.random.default_rng((seed, 1)))
        for _ in range(15):
            action = policy.act()
            assert np.isfinite(action).all() and np.linalg.norm(action[:3]) < 0.3
            environment.step(action)
        assert np.linalg.norm(tilt(environment.state())[:2]) < 0.35


def test_steps_toward_a_target_are_straight_and_no_longer_than_allowed():
    state = np.zeros(7)
    assert np.allclose(step_toward((1.0, 0.0, 0.0), state, 0.05)[:3], (0.05, 0.0, 0.0))
    assert np.allclose(step_toward((0.0, 0.02, 0.0), state, 0.05)[:3], (0.0, 0.02, 0.0))
    assert not step_toward((0.0, 0.0, 0.0), state, 0.05).any()


def test_tilt_is_zero_when_the_gripper_points_down():
    state = np.zeros(7)
    state[3:6] = POINTING_DOWN.as_euler("xyz")
    assert np.allclose(tilt(state), 0.0)
