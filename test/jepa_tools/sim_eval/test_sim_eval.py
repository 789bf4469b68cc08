"""The evaluation reports what its readers rely on, the same twice, beside baselines that make sense."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from untrained_models import save_untrained

from jepa_planner.goals import Outcome, Progress
from jepa_planner.mpc import Action
from jepa_sim.environment import TableEnvironment
from jepa_sim.task_names import TASK_NAMES
from jepa_sim.tasks import NearStart, StepChanges, make_task
from jepa_tools.cli import main
from jepa_tools.sim_eval.command import SimEvalConfig, sim_eval
from jepa_tools.sim_eval.controllers import ControlConfig, Expert, HoldStill, RandomActions, environment_action
from jepa_tools.sim_eval.evaluation import EpisodeResult, prepare_episode, run_episode, scene_seeds
from jepa_tools.sim_eval.protocols import PROTOCOL_NAMES, PROTOCOLS
from jepa_tools.sim_eval.report import ReportConfig, TaskSection, write_report
from jepa_tools.sim_eval.statistics import format_table, statistics
from jepa_world_model.checkpoint import add_decoder, open_world_model
from jepa_world_model.picture_decoder import PictureDecoder, PictureDecoderConfig

REPOSITORY = Path(__file__).resolve().parents[3]
KEYS = {
    "task",
    "episodes",
    "successes",
    "success_rate",
    "success_rate_95",
    "final_distance_m",
    "initial_distance_m",
    "steps",
    "plan_ms",
    "energy",
    "seed",
    "model",
    "baselines",
    "failures",
    "goals",
    "protocol",
    "protocol_help",
}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world model with random weights."""
    return save_untrained(tmp_path_factory.mktemp("model"), context_frames=2)


@pytest.fixture(scope="module")
def environment():
    with TableEnvironment() as table:
        yield table


def evaluate(model: Path, out: Path, **options: object) -> dict:
    assert sim_eval(SimEvalConfig(episodes=2, seed=3, model=str(model), json=out, **options)) == 0
    return json.loads(out.read_text())


def run_hold_still(environment: TableEnvironment) -> EpisodeResult:
    task = make_task("reach")
    return run_episode(task, environment, prepare_episode(task, environment, seed=0, index=2), HoldStill())


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
    solvers = ("mppi", "cem", "icem", "gradient", "cem_gradient")
    report = evaluate(untrained, tmp_path / "report.json", solver=solvers, baselines=False)
    assert tuple(report["solvers"]) == solvers
    assert report["final_distance_m"] == report["solvers"]["mppi"]["final_distance_m"]
    assert all(row["energy"]["median"] > 0 and row["plan_ms"]["median"] > 0 for row in report["solvers"].values())
    assert report["baselines"] == {}


def test_results_carry_the_protocols_name_and_what_was_changed_about_it(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = {"task": "reach", "baselines": False, "steps": StepChanges(reach=1)}
    report = evaluate(untrained, tmp_path / "r.json", html=tmp_path / "r.html", protocol="published-long", **options)
    assert report["protocol"] == "published-long, but reach 1 steps"
    assert "12/12/8" in report["protocol_help"]
    printed = capsys.readouterr().out
    assert "reach, protocol published-long, but reach 1 steps" in printed and "7 to 11 cm" in printed
    assert "protocol published-long" in (tmp_path / "r.html").read_text()
    assert SimEvalConfig().protocol_label == "assisted"
    assert SimEvalConfig(ros=True, protocol="published").protocol_label == "published, but steps overlap"
    scheduled = SimEvalConfig(protocol="published", control=ControlConfig(gripper="scheduled", max_yaw=0.1))
    assert scheduled.protocol_label == "published, but gripper scheduled, turns of 0.1 rad"


def test_the_published_protocol_shows_three_pictures_and_no_schedule(untrained: Path, tmp_path: Path):
    report = evaluate(untrained, tmp_path / "r.json", task="pick_place_cup", protocol="published", baselines=False)
    assert [(goal["goal"], goal["steps"]) for goal in report["goals"]] == [
        ("grasped", 4),
        ("nearby", 10),
        ("released", 4),
    ]
    assert report["initial_distance_m"] > 0.07


def test_the_command_line_names_tasks_and_protocols_and_says_what_each_gives(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["sim-eval", "--help"])
    shown = " ".join(re.sub(r"[│\n]", " ", capsys.readouterr().out).split())
    near = NearStart()
    assert "{assisted,published,published-long,one-goal}" in shown
    assert all(name in shown for name in TASK_NAMES)
    for words in (
        "7 to 11 cm above its grasp and at most 3 cm to the side",
        "with 4, 10 and 4 steps",
        "with 12, 12 and 8 steps",
        "twice the steps that the expert needs",
    ):
        assert words in shown
    assert (near.lowest, near.highest, near.sideways) == (0.07, 0.11, 0.03)
    assert all(PROTOCOLS[name].name == name for name in PROTOCOL_NAMES)


def test_two_processes_find_what_one_does(untrained: Path, tmp_path: Path):
    one = evaluate(untrained, tmp_path / "one.json", baselines=False)
    two = evaluate(untrained, tmp_path / "two.json", baselines=False, workers=2)
    assert without_times(two) == without_times(one)


def test_an_object_task_is_planned_through_its_goals_within_their_budgets(untrained: Path, tmp_path: Path):
    steps = StepChanges(hover=1, approached=0, descended=2, grasped=3, lifted=1)
    report = evaluate(untrained, tmp_path / "report.json", task="grasp_box", steps=steps, baselines=False)
    assert [(goal["goal"], goal["steps"]) for goal in report["goals"]] == [
        ("hover", 1),
        ("descended", 2),
        ("grasped", 3),
        ("lifted", 1),
    ]
    assert report["successes"] == 0 and report["failures"] == {"never grasped the object": 2}
    assert report["steps"] == 7


def test_all_tasks_stand_in_one_file_and_one_report(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    short = StepChanges(1, hover=0, approached=0, descended=0, grasped=0, lifted=1, carried=0, lowered=0, released=1)
    files = {"json": tmp_path / "all.json", "html": tmp_path / "all.html"}
    config = SimEvalConfig(all=True, episodes=1, seed=3, model=str(untrained), steps=short, baselines=False, **files)
    assert sim_eval(config) == 0
    report = json.loads(files["json"].read_text())
    assert set(report["tasks"]) == set(TASK_NAMES)
    assert all(set(task) == KEYS for task in report["tasks"].values())
    page = files["html"].read_text()
    assert all(f"<h2>{task}: 0/1 (0%)</h2>" in page for task in TASK_NAMES)
    table = capsys.readouterr().out
    assert "published (real robot)" in table and "reach_with_object_box" in table


def test_the_report_holds_pictures_of_successes_and_failures_and_refers_to_nothing(
    environment: TableEnvironment, tmp_path: Path
):
    task, results = make_task("grasp_cup"), []
    for controller in (Expert(task), HoldStill()):
        episode = prepare_episode(task, environment, seed=0, index=0)
        results.append(run_episode(task, environment, episode, controller, picture_size=32))
    section = TaskSection("grasp_cup", {"cem": statistics(results)}, results)
    write_report(tmp_path / "report.html", [section], ReportConfig("Title", "<episodes>"))
    page = (tmp_path / "report.html").read_text()
    assert "1/2 (50%)" in page and "65%" in page and "1 never grasped the object" in page
    assert "1 × never grasped the object (grasp_cup)." in page and "prefers-color-scheme: dark" in page
    assert "&lt;episodes&gt;" in page
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == page.count("src=") == sum(len(result.strip) for result in results) > 12
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (32, 32, 3)


def test_the_report_shows_what_the_model_would_have_predicted_and_its_energy_landscape(untrained: Path, tmp_path: Path):
    decoder = PictureDecoder(PictureDecoderConfig(tokens=4, dim=24, width=16, depth=1, heads=2, channels=4))
    model = tmp_path / "drawing.safetensors"
    assert (
        add_decoder(open_world_model(untrained), model, decoder, {}).model_id
        == open_world_model(untrained).card.model_id
    )
    files = {"html": tmp_path / "r.html", "steps": StepChanges(reach=7), "baselines": False}
    report = evaluate(model, tmp_path / "r.json", **files)
    page = files["html"].read_text()
    assert page.count('<figure class="grid">') == 4 and "Predicted worst" in page and "predicted, drawn" in page
    assert len(re.findall("<svg role", page)) == 2 and "first step toward the goal" in page
    plain = evaluate(untrained, tmp_path / "plain.json", **{**files, "html": tmp_path / "plain.html"})
    assert report["model"] == plain["model"]
    assert "Predicted worst" not in (tmp_path / "plain.html").read_text()


def test_a_success_rate_comes_with_its_confidence(environment: TableEnvironment):
    result = run_hold_still(environment)
    row = statistics([replace(result, success=index < 8) for index in range(10)])
    low, high = row["success_rate_95"]
    assert row["success_rate"] == 0.8
    assert low == pytest.approx(0.490, abs=0.001) and high == pytest.approx(0.943, abs=0.001), "Wilson's interval"


def test_a_gripper_that_is_told_to_open_opens_at_once_though_it_holds_something(environment: TableEnvironment):
    """The environment's gripper goes on from its command; a plan is made from where the fingers are."""
    make_task("reach_with_object_cup").prepare(environment, 0)
    closedness = environment.state()[6]
    plan = Action(np.array([0, 0, 0, 0, 0, 0, -closedness]), 0.0, Progress(Outcome.PURSUING, 0, 0), 1.0, 0.0)
    environment.step(environment_action(plan, environment))
    assert environment.commanded_closedness == 0.0
    assert environment.state()[6] < closedness - 0.1


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
        SimEvalConfig(ros=True, all=True)


def test_the_table_leaves_out_what_was_not_measured(environment: TableEnvironment):
    row = statistics([run_hold_still(environment)])
    assert row["plan_ms"] == {"median": None, "p90": None}
    assert format_table({"hold_still": row}).splitlines()[-1].rstrip().endswith("-")
