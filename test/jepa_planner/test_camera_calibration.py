"""The camera's rotation is found from moves, refused when they do not tell it, saved, and applied to plans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from jepa_planner.camera_calibration import (
    CalibrationError,
    CalibrationRequirements,
    CandidateRotations,
    fit_camera,
    load_rotation,
    nearest_rotation,
    save_calibration,
)
from jepa_planner.cost import Assessment, in_base_axes
from jepa_planner.goals import GoalConfig, GoalSequence, SubGoal
from jepa_planner.mpc import Mpc, MpcConfig
from jepa_planner.solvers import SolverConfig, make_solver
from jepa_world_model.poses import integrate, integrate_batch

TURN = Rotation.from_euler("z", 40.0, degrees=True)
HOME = np.array([0.4, 0.0, 0.3, np.pi, 0.0, 0.0, 0.2])
CANDIDATES = CandidateRotations.grid()
# A view shows less of what goes along its line of sight.
SEEN = np.array([1.0, 0.9, 0.4])


def moves(count: int = 30, noise: float = 0.01, turn: Rotation = TURN) -> tuple[np.ndarray, np.ndarray]:
    """Moves, and the energies that a model gives them whose axes are turned and whose pictures are noisy."""
    generator = np.random.default_rng(1)
    performed = generator.uniform(-0.06, 0.06, (count, 3))
    pictures = turn.inv().apply(performed) * SEEN + generator.normal(0.0, noise, (count, 3))
    predicted = np.stack([CANDIDATES.seen(move) for move in performed]) * SEEN
    return performed, np.linalg.norm(predicted - pictures[:, None], axis=-1)


@pytest.mark.parametrize("degrees", [0.0, 20.0, 60.0, -90.0, 170.0])
def test_finds_the_rotation_from_noisy_moves(degrees: float) -> None:
    turn = Rotation.from_euler("z", degrees, degrees=True)
    found = fit_camera(*moves(turn=turn), CANDIDATES)
    assert np.degrees((Rotation.from_matrix(found.rotation) * turn.inv()).magnitude()) < 12.0
    assert found.yaw == pytest.approx(degrees, abs=8.0)
    assert 0.5 < found.explained < 1.0
    assert found.explained >= found.explained_before


def test_says_how_sure_it_is() -> None:
    sure, unsure = fit_camera(*moves(noise=0.002), CANDIDATES), fit_camera(*moves(noise=0.03), CANDIDATES)
    assert 0.0 < sure.uncertainty < unsure.uncertainty
    assert sure.explained_before < unsure.explained < sure.explained
    assert "standard error" in sure.report() and "vertical axis" in sure.report()
    np.testing.assert_allclose(sure.axis_angles[:2], 40.0, atol=8.0)


def test_candidates_begin_with_no_change_and_end_with_no_move() -> None:
    seen = CANDIDATES.seen((0.1, 0.0, 0.0))
    np.testing.assert_array_equal(seen[0], (0.1, 0.0, 0.0))
    np.testing.assert_array_equal(seen[-1], 0.0)
    np.testing.assert_allclose(np.linalg.norm(seen[:-1], axis=1), 0.1)
    np.testing.assert_allclose(np.linalg.det(CANDIDATES.matrices), 1.0)


def test_never_answers_with_a_mirror_image() -> None:
    performed, _ = moves()
    matrix = nearest_rotation(performed.T @ (performed * (1.0, -1.0, 1.0)))
    assert np.linalg.det(matrix) == pytest.approx(1.0)


def test_moves_that_say_nothing_are_refused() -> None:
    performed, energies = moves()
    noise = np.random.default_rng(3).uniform(0.5, 1.0, energies.shape)
    with pytest.raises(CalibrationError, match=r"fit is too poor.*standard error"):
        fit_camera(performed, noise, CANDIDATES)
    with pytest.raises(CalibrationError, match="99 % or more"):
        fit_camera(performed, energies, CANDIDATES, CalibrationRequirements(explained=0.99))
    with pytest.raises(CalibrationError, match="at least 12 moves, got 5"):
        fit_camera(performed[:5], energies[:5], CANDIDATES)
    for flat in (performed * (1.0, 1.0, 0.01), performed * 0.0):
        with pytest.raises(CalibrationError, match="leave a plane"):
            fit_camera(flat, energies, CANDIDATES)


def test_senseless_input_is_refused() -> None:
    performed, energies = moves()
    with pytest.raises(ValueError, match="expected moves"):
        fit_camera(performed, energies[:-1], CANDIDATES)
    with pytest.raises(ValueError, match="expected moves"):
        fit_camera(performed, energies[:, :-1], CANDIDATES)
    with pytest.raises(ValueError, match="finite"):
        fit_camera(performed, np.full_like(energies, np.nan), CANDIDATES)
    with pytest.raises(ValueError, match="at least 3"):
        CalibrationRequirements(moves=2)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    found, path = fit_camera(*moves(), CANDIDATES, model="some@0123"), tmp_path / "new" / "camera.yaml"
    save_calibration(found, path)
    np.testing.assert_allclose(load_rotation(path, "some@0123"), found.rotation, atol=1e-12)
    with pytest.raises(ValueError, match="other@4567 plans"):
        load_rotation(path, "other@4567")


@pytest.mark.parametrize("text", ["", "a: [", "camera_calibration: {rotation: [[1, 0, 0], [0, 1, 0], [0, 0, 2]]}"])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "camera.yaml"
    with pytest.raises(ValueError, match="jepa calibrate"):
        load_rotation(path)
    path.write_text(text)
    with pytest.raises(ValueError, match=r"camera\.yaml: expected"):
        load_rotation(path)


class TurnedWorldCost:
    """A perfect world model whose axes are turned against the robot's: it takes actions in its own."""

    def __init__(self, _observation: str, state: np.ndarray, goal: np.ndarray) -> None:
        self._offset = goal - state[:3]

    def assess(self) -> Assessment:
        return Assessment(float(np.linalg.norm(self._offset)))

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        moved = TURN.apply(actions[:, :, :3].sum(axis=1))
        return np.linalg.norm(self._offset - moved, axis=-1)


def distance_after(config: MpcConfig, steps: int = 8) -> float:
    mpc, state, goal = Mpc(config, make_solver(SolverConfig())), HOME.copy(), np.array([0.55, 0.15, 0.2])
    sequence = GoalSequence((SubGoal(goal),), GoalConfig(tolerance=0.01, plateau_steps=0))
    for _ in range(steps):
        state = state + mpc.step("image", state, sequence, TurnedWorldCost).values
    return float(np.linalg.norm(state[:3] - goal))


def test_the_planner_goes_straight_once_the_camera_is_known() -> None:
    rotation = tuple(fit_camera(*moves(), CANDIDATES).rotation.ravel().tolist())
    assert distance_after(MpcConfig(plan_seconds=0.0, camera_rotation=rotation)) < 0.015
    # A perfect model that is turned by 40 degrees still gets there, on a spiral, and later.
    assert distance_after(MpcConfig(plan_seconds=0.0), steps=4) > 2 * distance_after(
        MpcConfig(plan_seconds=0.0, camera_rotation=rotation), steps=4
    )


def test_rotations_of_actions_turn_with_the_axes() -> None:
    seen: list[np.ndarray] = []

    def record(actions: np.ndarray) -> np.ndarray:
        seen.append(actions)
        return np.zeros(len(actions))

    action = np.array([0.03, 0.0, 0.0, 0.2, -0.1, 0.3, 0.5])
    in_base_axes(record, TURN.as_matrix())(action[None, None])
    (turned,) = seen[0][0]
    # The same motion, described in axes that are turned: turn the pose, act, turn back.
    pose = np.array([0.0, 0.0, 0.0, 0.4, 0.1, -0.2, 0.0])
    back = np.array([*np.zeros(3), *TURN.inv().as_euler("xyz"), 0.0])
    expected = integrate(integrate(pose, action), back)
    np.testing.assert_allclose(turned[:3], TURN.inv().apply(action[:3]), atol=1e-12)
    reached = integrate(integrate(pose, back), turned)
    np.testing.assert_allclose(
        Rotation.from_euler("xyz", reached[3:6]).as_matrix(), Rotation.from_euler("xyz", expected[3:6]).as_matrix(),
        atol=1e-9,
    )  # fmt: skip
    assert turned[6] == action[6]


class SquaredPose:
    """A differentiable cost: squared distance of the integrated pose to a fixed one."""

    goal = torch.tensor([0.1, 0.2, -0.1, 0.3, 0.1, 0.2, 0.5], dtype=torch.float64)

    def energies(self, actions: torch.Tensor) -> torch.Tensor:
        return (integrate_batch(actions.new_zeros(7), actions[:, 0]) - self.goal).square().sum(dim=-1)

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        return self.energies(torch.as_tensor(actions)).numpy()


def test_gradients_pass_through_the_rotation() -> None:
    cost = in_base_axes(SquaredPose(), TURN.as_matrix())
    values = np.random.default_rng(0).uniform(0.01, 0.3, (4, 1, 7))
    actions = torch.tensor(values, requires_grad=True)
    energies = cost.energies(actions)  # type: ignore[attr-defined]
    np.testing.assert_allclose(energies.detach().numpy(), cost(values), atol=1e-9)
    (gradient,) = torch.autograd.grad(energies.sum(), actions)
    assert torch.isfinite(gradient).all() and gradient[..., 3:6].abs().min() > 0


def test_a_rotation_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="nine numbers"):
        MpcConfig(camera_rotation=(1.0, 0.0))
