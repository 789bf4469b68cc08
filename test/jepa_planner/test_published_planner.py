"""The presets of the published planner against its update, written down plainly in torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from jepa_planner.cost import Assessment
from jepa_planner.goals import GoalConfig, GoalSequence, SubGoal
from jepa_planner.mpc import Mpc
from jepa_planner.planner_parameters import GraspParameters, PlannerParameters, SolverParameters
from jepa_planner.solvers import PRESETS, SolverConfig, make_solver
from jepa_world_model.model_card import ModelCard, SolverPreset

CARD = ModelCard("ac", solver_preset="vjepa2_ac_paper")
TABLE_CARD = ModelCard("table", max_step_m=0.2)
FAR, NEAR = (0.5, -0.4, 0.3, 0.6), (0.03, -0.02, 0.01, 0.1)


@dataclass(frozen=True)
class Published:
    """Arguments of the published search, by their published names."""

    rollout: int
    samples: int
    topk: int = 10
    cem_steps: int = 10
    momentum_mean: float = 0.0
    momentum_std: float = 0.0
    momentum_mean_gripper: float = 0.0
    momentum_std_gripper: float = 0.0
    maxnorm: float = 0.075
    close_gripper: int | None = None


PUBLISHED: dict[SolverPreset, Published] = {
    "vjepa2_ac_paper": Published(rollout=1, samples=800),
    "vjepa2_ac_wrapper": Published(2, 400, 10, 10, 0.15, 0.15, 0.15, 0.15, maxnorm=0.05),
}


def energies(target: tuple[float, ...]) -> Callable[[Tensor], Tensor]:
    """Where the actions lead in x, y, z and closedness, against where they should; every step counts somewhat."""
    goal = torch.tensor(target)

    def score(actions: Tensor) -> Tensor:
        places = actions[..., [0, 1, 2, 6]].cumsum(dim=1)
        return (places[:, -1] - goal).abs().mean(-1) + 0.1 * (actions[..., [0, 1, 2, 6]] ** 2).mean((1, 2))

    return score


def published_plan(settings: Published, score: Callable[[Tensor], Tensor], seed: int) -> Tensor:
    """Actions [rollout, 7] of the search as published, with the noise that our solver of this ``seed`` draws."""
    generator, searched = np.random.default_rng(seed), [0, 1, 2, 6]
    mean = torch.zeros(settings.rollout, 4)
    std = torch.tensor([settings.maxnorm] * 3 + [1.0]).repeat(settings.rollout, 1)
    keep_mean = torch.tensor([settings.momentum_mean] * 3 + [settings.momentum_mean_gripper])
    keep_std = torch.tensor([settings.momentum_std] * 3 + [settings.momentum_std_gripper])
    for _ in range(settings.cem_steps):
        noise = torch.from_numpy(generator.standard_normal((settings.samples, settings.rollout, 7))).float()
        drawn = mean + std * noise[..., searched]
        drawn[..., :3] = drawn[..., :3].clip(-settings.maxnorm, settings.maxnorm)
        drawn[..., 3] = drawn[..., 3].clip(-0.75, 0.75)
        if settings.close_gripper is not None:
            drawn[:, settings.close_gripper :, 3] = 1.0
        actions = torch.zeros(settings.samples, settings.rollout, 7)
        actions[..., searched] = drawn
        elites = drawn[score(actions).topk(settings.topk, largest=False).indices]
        mean = elites.mean(dim=0) * (1 - keep_mean) + mean * keep_mean
        std = elites.std(dim=0) * (1 - keep_std) + std * keep_std
    plan = torch.zeros(settings.rollout, 7)
    plan[:, :3] = mean[:, :3]
    plan[:, 6] = torch.where(mean[:, 3].abs() < 0.25, 0.0, mean[:, 3])
    return plan


def our_plan(config: SolverConfig, score: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Actions [horizon, 7] that our solver finds."""
    return make_solver(config).solve(lambda actions: score(torch.from_numpy(actions)).numpy()).actions


@pytest.mark.parametrize("target", [FAR, NEAR])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_finds_the_published_action(name: SolverPreset, target: tuple[float, ...]) -> None:
    score = energies(target)
    ours = our_plan(replace(PRESETS[name].solver, seed=3), score)
    np.testing.assert_allclose(ours, published_plan(PUBLISHED[name], score, 3), atol=5e-7)


def test_a_far_goal_is_approached_along_every_axis_at_once() -> None:
    step = our_plan(PRESETS["vjepa2_ac_paper"].solver, energies(FAR))[0, :3]
    assert np.linalg.norm(step) == pytest.approx(0.130, abs=1e-3)


@pytest.mark.parametrize("changes", [
    {"momentum_mean_gripper": 0.6},
    {"momentum_std_gripper": 0.6},
    {"momentum_mean": 0.3, "momentum_std": 0.7},
    {"close_gripper": 1},
    {"close_gripper": 0, "cem_steps": 2},
])  # fmt: skip
def test_each_setting_of_the_published_search_is_a_node_parameter(changes: dict[str, float]) -> None:
    settings, score = replace(PUBLISHED["vjepa2_ac_wrapper"], **changes), energies(NEAR)
    names = {"cem_steps": "iterations"}
    parameters = SolverParameters(
        preset="vjepa2_ac_wrapper", seed=5, **{names.get(name, name): value for name, value in changes.items()}
    )
    ours = our_plan(parameters.solver_config(CARD), score)
    np.testing.assert_allclose(ours, published_plan(settings, score, 5), atol=5e-7)


def test_parameters_alone_make_the_published_search_of_the_table() -> None:
    spelled_out = SolverParameters(
        preset="table", samples=800, iterations=10, horizon=1, elites=10, spread="sample", candidates="drawn",
        max_step=0.075, step_clip="axes", max_gripper=0.75, gripper_std=1.0, gripper_dead_zone=0.25,
    )  # fmt: skip
    score = energies(FAR)
    ours = our_plan(spelled_out.solver_config(TABLE_CARD), score)
    np.testing.assert_allclose(ours, published_plan(PUBLISHED["vjepa2_ac_paper"], score, 0), atol=5e-7)


def test_the_card_chooses_the_preset_and_a_parameter_overrides_it() -> None:
    assert (
        SolverParameters().solver_config(TABLE_CARD)
        == SolverParameters(preset="table").solver_config(replace(CARD, max_step_m=0.2))
        == replace(SolverConfig(), max_step=0.2)
    )
    ac = SolverParameters().solver_config(CARD)
    assert (ac.samples, ac.iterations, ac.max_step, ac.max_gripper) == (800, 10, 0.075, 0.75)
    assert SolverParameters(preset="table").solver_config(CARD).samples == 64
    assert SolverParameters(samples=100).solver_config(CARD) == replace(ac, samples=100)


def test_a_published_planner_starts_at_rest_and_takes_its_time() -> None:
    published, table = PlannerParameters().mpc_config(CARD), PlannerParameters().mpc_config(TABLE_CARD)
    assert (published.warm_start, published.plan_seconds, published.gripper.mode) == (False, 0.0, "direct")
    assert (table.warm_start, table.plan_seconds, table.gripper.mode) == (True, 0.18, "scheduled")
    solver = SolverParameters(start="last_plan", plan_seconds=2.0)
    changed = PlannerParameters(solver=solver, grasp=GraspParameters("planned"))
    config = changed.mpc_config(CARD)
    assert (config.warm_start, config.plan_seconds, config.gripper.mode) == (True, 2.0, "planned")


class ClosednessCost:
    """Fingers that should stand at a closedness."""

    def __init__(self, _observation: object, state: np.ndarray, goal: float) -> None:
        self._now, self._goal = state[6], goal

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        return np.abs(self._now + actions[:, -1, 6] - self._goal) + np.abs(actions[:, -1, :3]).sum(-1)

    def assess(self) -> Assessment:
        return Assessment(abs(self._now - self._goal))


@pytest.mark.parametrize(("wanted", "sent"), [(0.9, 0.6), (0.3, None)])
def test_a_direct_gripper_goes_where_the_plan_says_beyond_the_dead_zone(wanted: float, sent: float | None) -> None:
    config = PlannerParameters().mpc_config(CARD)
    mpc = Mpc(replace(config, longest_step=0.0), make_solver(PRESETS["vjepa2_ac_paper"].solver))
    state = np.array([0.5, 0.0, 0.3, np.pi, 0.0, 0.0, 0.2])
    goal = GoalSequence([SubGoal(wanted)], GoalConfig())
    closedness = mpc.step("image", state, goal, ClosednessCost).closedness
    assert closedness == (None if sent is None else pytest.approx(wanted, abs=0.02))


def test_a_spread_of_one_elite_is_refused() -> None:
    with pytest.raises(ValueError, match="sample_std needs at least 2 elites"):
        make_solver(replace(PRESETS["vjepa2_ac_paper"].solver, elites=1))
