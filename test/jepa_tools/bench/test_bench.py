"""The benchmarks: both sides score alike, and what they write can be read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from jepa_tools.bench.command import bench
from jepa_tools.bench.encode import EncodeBench
from jepa_tools.bench.models import random_world_model
from jepa_tools.bench.plan import PlanBench, step_operations
from jepa_tools.bench.problems import OurCost, random_problems
from jepa_tools.bench.published_loop import PublishedCost
from jepa_tools.cli import main
from jepa_world_model.action_predictor import ActionPredictorConfig

CPU = torch.device("cpu")


@pytest.mark.parametrize(("horizon", "frames"), [(1, 1), (3, 2)])
def test_our_rollouts_and_the_published_loop_give_the_same_energies(horizon, frames):
    model = random_world_model("small", CPU, torch.float32, seed=1, with_encoder=False)
    problem = random_problems(model, 1, frames, seed=2)[0]
    actions = np.random.default_rng(3).normal(scale=0.05, size=(4, horizon, 7)).astype(np.float32)
    published = PublishedCost(model.predictor, problem, CPU)(actions)
    np.testing.assert_allclose(OurCost(model, problem)(actions), published, atol=1e-5, rtol=0)


def test_planning_is_compared_and_written_down(tmp_path, capsys):
    out = tmp_path / "plan.json"
    config = PlanBench(samples=8, elites=2, iterations=1, repeats=1, threads=1, out=out)
    assert bench(config) == out
    report = json.loads(out.read_text())
    ours, published = report["results"]["planning"]
    assert (ours["loop"], published["loop"]) == ("ours", "published loop")
    assert ours["median ms"] > 0
    assert ours["largest energy difference"] < 1e-5
    assert report["config"]["samples"] == 8
    assert report["machine"]["threads"] == 1
    assert "times faster" in capsys.readouterr().out


def test_a_profile_tells_where_the_time_of_a_plan_goes(tmp_path):
    config = PlanBench(samples=4, elites=2, iterations=1, repeats=1, threads=1, profile=True, out=tmp_path / "p.json")
    profiles = json.loads(bench(config).read_text())["results"]["profile"]
    for rows in profiles.values():
        times = [row["ms"] for row in rows]
        assert times == sorted(times, reverse=True)
        assert any(row["operation"].startswith(("aten::mm", "aten::addmm")) for row in rows)
        assert 0.5 < sum(row["share"] for row in rows) <= 1.0 + 1e-9


def test_a_rate_limits_the_time_and_the_first_iteration_always_runs(tmp_path):
    small = PlanBench(samples=4, elites=2, iterations=3, repeats=1, published=False, threads=1)
    config = replace(
        small, rate=1e6, problems=1, thorough_samples=12, thorough_iterations=2, out=tmp_path / "budget.json"
    )
    budget = json.loads(bench(config).read_text())["results"]["time_budget"]
    assert budget[0]["iterations in time"] == 1
    assert budget[0]["iterations 12 x 2"] == 2


def test_encoding_is_timed_per_batch(tmp_path):
    config = EncodeBench(batches=(1, 2), repeats=2, threads=1, out=tmp_path / "encode.json")
    rows = json.loads(bench(config).read_text())["results"]["encoding"]
    assert [row["frames"] for row in rows] == [1, 2]
    assert all(0 < row["of it resizing, core ms"] < row["core ms"] for row in rows)


def test_operations_are_those_of_the_products():
    config = ActionPredictorConfig(image_size=32, embed_dim=8, predictor_dim=4, depth=1, num_heads=2, mlp_dim=16)
    tokens = 4 + 2
    products = tokens * 2 * (4 * 4 * 4 + 2 * 4 * 16) + 2 * 2 * tokens * tokens * 4 + 2 * 2 * 4 * 8 * 4
    assert step_operations(config, 0, 1) == products
    assert step_operations(config, 0, 2) > 2 * products  # attention grows with the square


def test_the_command_line_knows_the_benchmarks_by_their_short_names(tmp_path, capsys):
    out = tmp_path / "encode.json"
    words = ["bench", "encode", "--batches", "1", "--repeats", "1", "--threads", "1", "--out", str(out)]
    assert main(words) == 0
    assert out.exists()
    assert capsys.readouterr().out.strip().endswith(str(out))
