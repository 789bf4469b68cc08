"""The evaluation reports what its readers rely on, the same twice, beside baselines that make sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from jepa_sim.environment import TableEnvironment
from jepa_sim.tasks import make_task
from jepa_tools.evaluation import (
    ControlConfig,
    Expert,
    HoldStill,
    RandomActions,
    prepare_episode,
    run_episode,
    scene_seeds,
)
from jepa_tools.evaluation_table import format_table, statistics
from jepa_tools.sim_eval import SimEvalConfig, sim_eval
from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.checkpoint import save_world_model
from jepa_world_model.model_card import ModelCard
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

REPOSITORY = Path(__file__).resolve().parents[2]
KEYS = {
    "task",
    "episodes",
    "successes",
    "success_rate",
    "final_distance_m",
    "initial_distance_m",
    "steps",
    "plan_ms",
    "seed",
    "model",
    "baselines",
}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world model with random weights."""
    torch.manual_seed(0)
    size, dim = 32, 24
    encoder = VisionTransformer(EncoderConfig(image_size=size, embed_dim=dim, depth=1, num_heads=2, num_frames=2))
    predictor = ActionConditionedPredictor(
        ActionPredictorConfig(
            image_size=size, embed_dim=dim, predictor_dim=dim, depth=1, num_heads=2, normalize_output=False
        )
    )
    path = tmp_path_factory.mktemp("model") / "untrained.safetensors"
    card = ModelCard(name="untrained", image_size=size, tokens=4, dim=dim, context_frames=2)
    save_world_model(path, encoder, predictor, card, {"objective": "none"})
    return path


@pytest.fixture(scope="module")
def environment():
    with TableEnvironment() as table:
        yield table


def evaluate(model: Path, out: Path, **options: object) -> dict:
    assert sim_eval(SimEvalConfig(episodes=2, seed=3, model=str(model), json=out, **options)) == 0
    return json.loads(out.read_text())


def without_times(report: dict) -> dict:
    return {name: value for name, value in report.items() if name != "plan_ms"}


def test_the_report_has_its_keys_and_is_the_same_twice(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    first = evaluate(untrained, tmp_path / "first.json")
    assert set(first) == KEYS
    assert set(first["final_distance_m"]) == set(first["plan_ms"]) == {"median", "p90"}
    assert first["model"].startswith("untrained@")
    assert first["plan_ms"]["median"] > 0
    assert set(first["baselines"]) == {"random", "hold_still", "expert"}
    table = capsys.readouterr().out
    assert all(name in table for name in ("cem", "random", "hold_still", "expert"))
    second = evaluate(untrained, tmp_path / "second.json")
    assert without_times(first) == without_times(second)


def test_planning_in_process_has_the_parameters_of_the_simulated_deployment():
    values = yaml.safe_load((REPOSITORY / "config" / "sim.yaml").read_text())["/**/planner"]["ros__parameters"]
    control = ControlConfig()
    for name, value in values["solver"].items():
        if name != "plan_seconds":
            assert getattr(control.solver, "solver" if name == "name" else name) == value, name
    for name in ("tolerance", "plateau_steps", "plateau_energy"):
        assert getattr(control.goals, name) == values["goal"][name], name


def test_several_solvers_stand_in_one_report(untrained: Path, tmp_path: Path):
    report = evaluate(untrained, tmp_path / "report.json", solver=("mppi", "gradient"), baselines=False)
    assert set(report["solvers"]) == {"mppi", "gradient"}
    assert report["final_distance_m"] == report["solvers"]["mppi"]["final_distance_m"]
    assert report["baselines"] == {}


def test_holding_still_stays_and_the_expert_arrives(environment: TableEnvironment):
    task = make_task("reach")
    episode = prepare_episode(task, environment, seed=0, index=0)
    start = environment.save()
    still = run_episode(task, environment, episode, HoldStill())
    assert not still.success
    assert still.final_distance == pytest.approx(still.initial_distance, abs=1e-3)
    environment.restore(start)
    expert = run_episode(task, environment, episode, Expert(task))
    assert expert.success
    assert expert.final_distance < 0.01
    assert 0.08 <= expert.initial_distance <= 0.35


def test_random_actions_are_the_seeds_and_no_longer_than_allowed(environment: TableEnvironment):
    task = make_task("reach")
    episode = prepare_episode(task, environment, seed=0, index=1)
    actions = []
    for _ in range(2):
        controller = RandomActions(max_step=0.05)
        controller.begin(environment, episode)
        actions.append([controller.act(environment) for _ in range(20)])
    assert all((first == second).all() for first, second in zip(*actions, strict=True))
    assert max(float((action[:3] ** 2).sum() ** 0.5) for action in actions[0]) <= 0.05
    assert all(action[6] == 0 for action in actions[0])


def test_evaluations_share_no_scene_with_each_other_or_with_collected_data():
    seeds = [next(scene_seeds(seed, index)) for seed in range(20) for index in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) > 100_000


def test_a_run_that_cannot_be_is_refused_before_it_begins():
    with pytest.raises(ValueError, match="task"):
        SimEvalConfig(task="juggle")
    with pytest.raises(ValueError, match="episodes"):
        SimEvalConfig(episodes=0)
    with pytest.raises(ValueError, match="--ros"):
        SimEvalConfig(ros=True, task="grasp_cup")


def test_the_table_leaves_out_what_was_not_measured(environment: TableEnvironment):
    task = make_task("reach")
    episode = prepare_episode(task, environment, seed=0, index=2)
    row = statistics([run_episode(task, environment, episode, HoldStill())])
    assert row["plan_ms"] == {"median": None, "p90": None}
    assert format_table({"hold_still": row}).splitlines()[-1].rstrip().endswith("-")
