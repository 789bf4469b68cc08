"""Solvers find the minimum, stay inside their bounds, repeat for a seed and obey their deadline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_planner.solvers import (
    SOLVER_NAMES,
    ActionBounds,
    SolverConfig,
    SolverError,
    make_solver,
    published_solver_config,
)
from jepa_planner.solvers.cem import CemConfig, CemSolver
from jepa_planner.solvers.icem import coloured_noise
from jepa_planner.solvers.mppi import softmax_weights

TARGET = np.array([0.03, -0.02, 0.01, 0.0, 0.0, 0.0, 0.0])
SAMPLING = [name for name in SOLVER_NAMES if "gradient" not in name]


class QuadraticCost:
    """Squared distance of the summed actions to a target; differentiable."""

    def __init__(self, target: np.ndarray) -> None:
        self._target = target
        self.sizes: list[int] = []

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        self.sizes.append(len(actions))
        return np.sum((actions.sum(axis=1) - self._target) ** 2, axis=-1)

    def energies(self, actions):
        import torch

        target = torch.as_tensor(self._target, dtype=actions.dtype)
        return ((actions.sum(dim=1) - target) ** 2).sum(dim=-1)


@pytest.mark.parametrize("name", SOLVER_NAMES)
@pytest.mark.parametrize("horizon", [1, 3])
def test_finds_the_minimum(name: str, horizon: int) -> None:
    solver = make_solver(SolverConfig(solver=name, samples=96, iterations=6, horizon=horizon, gradient_iterations=30))
    plan = solver.solve(QuadraticCost(TARGET))
    assert plan.actions.shape == (horizon, 7)
    assert np.linalg.norm(plan.actions.sum(axis=0) - TARGET) < 0.006
    assert all(later <= earlier for earlier, later in zip(plan.energies, plan.energies[1:], strict=False))


@pytest.mark.parametrize("name", SOLVER_NAMES)
def test_same_seed_gives_the_same_plan(name: str) -> None:
    config = SolverConfig(solver=name, samples=32, iterations=2, elites=4, seed=7)
    first, second = make_solver(config), make_solver(config)
    np.testing.assert_array_equal(
        first.solve(QuadraticCost(TARGET)).actions, second.solve(QuadraticCost(TARGET)).actions
    )
    first.reset(7)
    np.testing.assert_array_equal(
        first.solve(QuadraticCost(TARGET)).actions, make_solver(config).solve(QuadraticCost(TARGET)).actions
    )


@pytest.mark.parametrize("name", SAMPLING)
def test_candidate_zero_is_the_warm_start(name: str) -> None:
    warm = np.array([[0.01, 0.02, -0.03, 0, 0, 0, 0]])
    seen = []

    def cost(actions: np.ndarray) -> np.ndarray:
        seen.append(actions[0].copy())
        return np.sum(actions**2, axis=(1, 2))

    make_solver(SolverConfig(solver=name, samples=32, elites=4)).solve(cost, warm)
    np.testing.assert_allclose(seen[0], warm, atol=1e-7)


@pytest.mark.parametrize("name", SOLVER_NAMES)
def test_unsearched_dimensions_stay_zero(name: str) -> None:
    target = np.array([0.01, 0.0, 0.0, 0.2, -0.2, 0.1, 0.9])
    plan = make_solver(SolverConfig(solver=name)).solve(QuadraticCost(target))
    np.testing.assert_array_equal(plan.actions[:, 3:], 0.0)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(SAMPLING),
    seed=st.integers(0, 2**32 - 1),
    max_step=st.floats(1e-3, 0.2),
    rotation=st.floats(0, 0.5),
    gripper=st.floats(0, 1),
    horizon=st.integers(1, 4),
    energies=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=32, max_size=32),
)
def test_no_cost_drives_a_plan_out_of_bounds(
    name: str,
    seed: int,
    max_step: float,
    rotation: float,
    gripper: float,
    horizon: int,
    energies: list[float],
) -> None:
    def hostile(actions: np.ndarray) -> np.ndarray:
        assert np.all(np.isfinite(actions))
        return np.resize(np.asarray(energies), len(actions))

    config = SolverConfig(
        solver=name,
        samples=32,
        iterations=2,
        elites=4,
        horizon=horizon,
        seed=seed,
        max_step=max_step,
        max_rotation=rotation,
        max_gripper=gripper,
    )
    try:
        plan = make_solver(config).solve(hostile)
    except SolverError:
        assert not np.any(np.isfinite(np.resize(energies, 32)))
        return
    assert np.all(np.isfinite(plan.actions))
    assert np.all(np.linalg.norm(plan.actions[:, :3], axis=-1) <= max_step * (1 + 1e-9))
    assert np.all(np.abs(plan.actions[:, 3:6]) <= rotation)
    assert np.all(np.abs(plan.actions[:, 6]) <= gripper)


def test_cost_without_a_finite_energy_is_an_error() -> None:
    with pytest.raises(SolverError, match="finite"):
        make_solver(SolverConfig()).solve(lambda actions: np.full(len(actions), np.nan))


def test_cost_of_the_wrong_shape_is_an_error() -> None:
    with pytest.raises(SolverError, match="shape"):
        make_solver(SolverConfig()).solve(lambda _: np.zeros(3))


def test_deadline_ends_the_search_after_a_whole_iteration() -> None:
    now = [0.0]

    def slow(actions: np.ndarray) -> np.ndarray:
        now[0] += 0.1
        return np.sum(actions**2, axis=(1, 2))

    solver = CemSolver(CemConfig(iterations=10), ActionBounds.symmetric(0.05), clock=lambda: now[0])
    assert solver.solve(slow, deadline=0.35).iterations == 3
    assert solver.solve(slow, deadline=0.01).iterations == 1


def test_every_iteration_is_reported() -> None:
    reports = []
    make_solver(SolverConfig(iterations=3)).solve(QuadraticCost(TARGET), on_iteration=reports.append)
    assert [report.index for report in reports] == [0, 1, 2]
    assert reports[0].actions.shape == (64, 1, 7) and len(reports[0].elites) == 8


def test_momentum_keeps_part_of_the_old_mean() -> None:
    def last_mean(momentum: float) -> np.ndarray:
        config = CemConfig(samples=256, elites=8, iterations=1, momentum_mean=momentum)
        return CemSolver(config, ActionBounds.symmetric(0.05)).solve(QuadraticCost(TARGET)).actions[0]

    np.testing.assert_allclose(last_mean(0.5), 0.5 * last_mean(0.0), atol=1e-9)


def test_gripper_dead_zone_zeroes_small_commands_only() -> None:
    bounds = ActionBounds.symmetric(0.05, gripper=0.75, gripper_dead_zone=0.25)
    actions = np.zeros((3, 7))
    actions[:, 6] = [0.2, -0.3, 2.0]
    np.testing.assert_allclose(bounds.finish(actions)[:, 6], [0.0, -0.3, 0.75])


def test_published_settings_are_those_of_the_paper() -> None:
    paper, wrapper = published_solver_config(), published_solver_config("wrapper")
    assert (paper.samples, paper.iterations, paper.horizon, paper.elites, paper.max_step) == (
        800,
        10,
        1,
        10,
        0.075,
    )
    assert (wrapper.samples, wrapper.horizon, wrapper.momentum_mean, wrapper.max_step) == (400, 2, 0.15, 0.05)
    np.testing.assert_allclose(paper.bounds().initial_std(), [0.075, 0.075, 0.075, 0, 0, 0, 1.0])


def test_icem_keeps_elites_and_asks_for_fewer_candidates_each_iteration() -> None:
    cost = QuadraticCost(TARGET)
    solver = make_solver(SolverConfig(solver="icem", samples=64, iterations=4, elites=8))
    solver.solve(cost)
    assert cost.sizes[0] == 64 and cost.sizes == sorted(cost.sizes, reverse=True) and cost.sizes[-1] < 40


@pytest.mark.parametrize("horizon", [1, 4, 7])
@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_coloured_noise_has_unit_variance(horizon: int, exponent: float) -> None:
    noise = coloured_noise(np.random.default_rng(0), (8000, horizon, 2), exponent)
    assert noise.shape == (8000, horizon, 2)
    assert np.std(noise) == pytest.approx(1.0, abs=0.05)


def test_coloured_noise_correlates_neighbouring_steps() -> None:
    noise = coloured_noise(np.random.default_rng(0), (4000, 8, 1), 2.0)[..., 0]
    assert np.corrcoef(noise[:, 0], noise[:, 1])[0, 1] > 0.5


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(0.01, 10))
def test_softmax_weights_sum_to_one_and_favour_the_best(energies: list[float], temperature: float) -> None:
    values = np.asarray(energies)
    weights = softmax_weights(values, temperature)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[np.argmin(values)] == pytest.approx(weights.max())


def test_gradient_solver_says_what_to_use_instead_for_a_service_cost() -> None:
    with pytest.raises(TypeError, match="cem"):
        make_solver(SolverConfig(solver="gradient")).solve(lambda actions: np.zeros(len(actions)))


@pytest.mark.parametrize(
    "change", [{"elites": 0}, {"elites": 99}, {"momentum_mean": 1.0}, {"samples": 1}, {"horizon": 0}]
)
def test_senseless_settings_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        make_solver(replace(SolverConfig(), **change))


@pytest.mark.parametrize(("low", "high"), [((0.0,), (1.0, 1.0)), ((1.0,), (0.0,)), ((float("nan"),), (1.0,))])
def test_senseless_bounds_are_refused(low: tuple[float, ...], high: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="bounds"):
        ActionBounds(low, high)
