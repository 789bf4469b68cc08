"""Poses and actions: one definition for numpy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jepa_world_model.poses import difference, integrate, integrate_batch

POSITION = arrays(np.float64, 3, elements=st.floats(-1, 1))
# Pitch stays away from straight up and down, where roll and yaw are not unique.
ANGLES = arrays(np.float64, 3, elements=st.floats(-1.4, 1.4))
CLOSEDNESS = arrays(np.float64, 1, elements=st.floats(0, 1))
STATE = st.tuples(POSITION, ANGLES, CLOSEDNESS).map(np.concatenate)


def rotation(angles: np.ndarray) -> np.ndarray:
    """The matrix Rz(yaw) Ry(pitch) Rx(roll), written out."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@settings(max_examples=50)
@given(STATE, STATE)
def test_integrating_the_difference_leads_to_the_next_state(state, next_state):
    reached = integrate(state, difference(state, next_state))
    np.testing.assert_allclose(reached[[0, 1, 2, 6]], next_state[[0, 1, 2, 6]], atol=1e-9)
    np.testing.assert_allclose(rotation(reached[3:6]), rotation(next_state[3:6]), atol=1e-7)


@settings(max_examples=50)
@given(STATE, STATE)
def test_torch_integrates_like_numpy(state, action):
    expected = integrate(state, action)
    got = integrate_batch(torch.from_numpy(state), torch.from_numpy(action)).numpy()
    np.testing.assert_allclose(got[[0, 1, 2, 6]], expected[[0, 1, 2, 6]], atol=1e-9)
    np.testing.assert_allclose(rotation(got[3:6]), rotation(expected[3:6]), atol=1e-6)


def test_the_rotation_of_an_action_acts_in_the_base_frame():
    state, action = np.zeros(7), np.zeros(7)
    state[3:6], action[3:6] = (0.3, -0.2, 0.9), (0.1, 0.2, -0.4)
    expected = rotation(action[3:6]) @ rotation(state[3:6])
    np.testing.assert_allclose(rotation(integrate(state, action)[3:6]), expected, atol=1e-12)


def test_closedness_stays_between_open_and_closed():
    states, actions = np.zeros((2, 7)), np.zeros((2, 7))
    actions[:, 6] = (2.0, -2.0)
    assert integrate(states, actions)[:, 6].tolist() == [1.0, 0.0]


def test_leading_dimensions_broadcast():
    assert integrate(np.zeros(7), np.zeros((5, 3, 7))).shape == (5, 3, 7)
    assert difference(np.zeros((4, 1, 7)), np.zeros((2, 7))).shape == (4, 2, 7)
    assert integrate_batch(torch.zeros(7), torch.zeros(5, 3, 7)).shape == (5, 3, 7)


def test_gradients_flow_through_a_straight_hand():
    action = torch.zeros(2, 7, requires_grad=True)
    integrate_batch(torch.zeros(2, 7), action).sum().backward()
    assert torch.isfinite(action.grad).all()


@pytest.mark.parametrize("function", [integrate, difference])
def test_poses_of_another_size_are_refused(function):
    with pytest.raises(ValueError, match="7 numbers"):
        function(np.zeros(6), np.zeros(6))
