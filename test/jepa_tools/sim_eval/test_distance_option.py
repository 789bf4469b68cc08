"""`--distance` overrides the card's wherever a model is evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from recorded_bags import BagRecipe, write_bag
from untrained_models import save_untrained

from jepa_tools.bag_eval.compare import compare
from jepa_tools.bag_eval.results import read_result
from jepa_tools.cli import main
from jepa_tools.sim_eval.command import SimEvalConfig
from jepa_tools.sim_eval.ros_evaluation import write_parameters


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world model with random weights, whose card says cosine and calls every goal reached."""
    return save_untrained(tmp_path_factory.mktemp("model"), distance="cosine", reach_energy=1e3)


def test_sim_eval(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    command = ["sim-eval", "--episodes", "1", "--no-baselines", "--model", str(model), "--json", str(out)]
    assert main(command) == 0
    usual = json.loads(out.read_text())
    # By the card's calibration the goal is reached before the first step.
    assert usual["steps"] == 0 and "distance" not in usual
    capsys.readouterr()
    assert main([*command, "--distance", "l1"]) == 0
    other = json.loads(out.read_text())
    assert other["distance"] == "l1" and other["steps"] > 0
    assert other["energy"]["median"] != usual["energy"]["median"]
    assert "distance l1" in capsys.readouterr().out


def test_through_the_nodes_the_planner_is_told(model: Path, tmp_path: Path) -> None:
    config = SimEvalConfig(model=str(model), ros=True, distance="l1")
    values = yaml.safe_load(write_parameters(config, tmp_path / "parameters.yaml").read_text())
    assert values["/**/planner"]["ros__parameters"]["solver"]["distance"] == "l1"


def test_bag_eval(model: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", BagRecipe())
    results = []
    for distance in ("", "cosine", "l1"):
        out = tmp_path / f"out{distance}.json"
        command = ["bag-eval", str(bag), "--model", str(model), "--json", str(out), "--planning.every", "0"]
        assert main([*command, *(["--distance", distance] if distance else [])]) == 0
        results.append(read_result(out))
    usual, same, other = results
    assert (usual.distance, same.distance, other.distance) == ("cosine", "cosine", "l1")
    assert usual == same
    assert usual.inputs_hash != other.inputs_hash
    assert usual.total.own_prediction is not None and other.total.own_prediction is None
    assert "measured by cosine and l1: they have different units" in compare(usual, other)


def test_distance_that_the_model_has_not_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim-eval", "--episodes", "1", "--no-baselines", "--model", str(model), "--distance", "metric"]) != 0
    assert "untrained holds no metric; ask for l1, l2 or cosine" in capsys.readouterr().err
