"""``jepa bench plan``: planning with our rollouts against the published loop, alternating in one process."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from jepa_planner.solvers.base import Plan
from jepa_planner.solvers.cem import CemConfig, CemSolver
from jepa_planner.solvers.factory import SolverConfig
from jepa_tools.bench.machine import describe_machine, matmul_rate, seconds_of
from jepa_tools.bench.models import ModelShape, random_world_model
from jepa_tools.bench.problems import OurCost, PlanningProblem, random_problems, simulated_problems
from jepa_tools.bench.published_loop import PublishedCost
from jepa_tools.bench.report import print_table, write_report
from jepa_world_model.action_predictor import ActionPredictorConfig
from jepa_world_model.world_model import WorldModel

_REFERENCE_SAMPLES, _REFERENCE_ITERATIONS = 800, 10
_GIGA = 1e9


@dataclass(frozen=True)
class PlanBench:
    """Time planning; with ``rate``, also show what a control rate leaves of the plan's quality.

    Attributes:
        model: checkpoint; empty takes random weights in ``shape``.
        shape: small (as shipped), middle (384 wide, 6 blocks, 256 tokens) or vitg-ac.
        samples: candidates per iteration.
        iterations: of the cross-entropy method.
        elites: candidates that the distribution is refitted to.
        horizon: actions per candidate.
        frames: context frames.
        repeats: plans timed on each side.
        rate: plans per second; 0 leaves the time budget out.
        problems: start and goal pairs that the time budget is tried on.
        dtype: of our side; the published loop runs in float32.
        device: cpu or cuda.
        threads: of the CPU; 0 leaves it to torch.
        seed: of weights, problems and candidates.
        published: whether to run the published loop at all; on the largest model it needs much memory.
        out: the JSON file.
    """

    model: str = ""
    shape: ModelShape = "small"
    samples: int = 64
    iterations: int = 3
    elites: int = 8
    horizon: int = 1
    frames: int = 1
    repeats: int = 5
    rate: float = 0.0
    problems: int = 5
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    threads: int = 0
    seed: int = 0
    published: bool = True
    out: Path = Path("out/bench_plan.json")


def bench_plan(config: PlanBench) -> Path:
    """Run the benchmark; returns the JSON file."""
    if config.threads:
        torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    machine = describe_machine(device)
    model, reference = load_models(config)
    problem = random_problems(model, 1, config.frames, config.seed)[0]
    results: dict[str, Any] = {"planning": compare(config, model, reference, problem)}
    if config.rate > 0:
        results["time_budget"] = time_budget(config, model)
    return write_report(config.out, config, machine, results)


def load_models(config: PlanBench) -> tuple[WorldModel, WorldModel]:
    """Our model in its precision, and the same weights in float32 for the published loop."""
    device, dtype = torch.device(config.device), getattr(torch, config.dtype)
    if config.model:
        return WorldModel.load(config.model, device, dtype), WorldModel.load(config.model, device)
    seed, encoder = config.seed, False
    model = random_world_model(config.shape, device, torch.float32, seed, encoder)
    if dtype == torch.float32 and not config.published:
        return model, model
    reference = random_world_model(config.shape, device, torch.float32, seed, encoder) if config.published else model
    if model.predictor is not None:
        model.predictor.to(dtype)
    return replace(model, dtype=dtype), reference


def compare(
    config: PlanBench, model: WorldModel, reference: WorldModel, problem: PlanningProblem
) -> list[dict[str, Any]]:
    """Time both sides, alternating, and print their table."""
    if model.predictor is None or reference.predictor is None:
        raise ValueError(f"{config.model} holds no predictor; planning needs one")
    costs: dict[str, Any] = {"ours": OurCost(model, problem)}
    if config.published:
        costs["published loop"] = PublishedCost(reference.predictor, problem, reference.device)
    seconds = _alternate(config, costs, model.device)
    rates = {name: matmul_rate(model.device, _dtype_of(name, config)) for name in costs}
    operations = {
        "ours": config.samples * config.horizon * step_operations(model.predictor.config, config.frames, 1),
        "published loop": config.samples
        * sum(
            step_operations(model.predictor.config, 0, config.frames + step) for step in range(config.horizon)
        ),
    }
    rows = []
    for name in costs:
        median = statistics.median(seconds[name])
        done = operations[name] * config.iterations
        rows.append(
            {
                "loop": name,
                "dtype": str(_dtype_of(name, config)).removeprefix("torch."),
                "median ms": 1e3 * median,
                "rollouts/s": config.samples * config.iterations / median,
                "GFLOP/s": done / median / _GIGA,
                "matmul GFLOP/s": rates[name] / _GIGA,
                "share of matmul": done / median / rates[name],
            }
        )
    if config.published:
        rows[0]["times faster"] = statistics.median(seconds["published loop"]) / statistics.median(seconds["ours"])
        rows[0]["largest energy difference"] = _largest_energy_difference(config, costs)
    title = f"{model.card.model_id}: {config.samples} samples x {config.iterations}, horizon {config.horizon}"
    print_table(title, rows)
    return rows


def _dtype_of(name: str, config: PlanBench) -> torch.dtype:
    return getattr(torch, config.dtype) if name == "ours" else torch.float32


def _alternate(config: PlanBench, costs: dict[str, Any], device: torch.device) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in costs}
    for repeat in range(config.repeats + 1):
        for name, cost in costs.items():
            taken = seconds_of(lambda cost=cost: _solver(config).solve(cost), device)  # type: ignore[misc]
            if repeat:  # the first round warms up
                seconds[name].append(taken)
    return seconds


def _solver(config: PlanBench) -> CemSolver:
    settings = CemConfig(
        samples=config.samples,
        iterations=config.iterations,
        horizon=config.horizon,
        elites=config.elites,
        seed=config.seed,
    )
    return CemSolver(settings, SolverConfig().bounds())


def _largest_energy_difference(config: PlanBench, costs: dict[str, Any]) -> float:
    generator = torch.Generator().manual_seed(config.seed)
    actions = 0.05 * torch.randn(config.samples, config.horizon, 7, generator=generator).numpy()
    energies = [cost(actions) for cost in costs.values()]
    return float(abs(energies[0] - energies[1]).max())


def step_operations(config: ActionPredictorConfig, cached_frames: int, new_frames: int) -> int:
    """Floating-point operations of the products in one predictor call for one candidate."""
    shape, tokens = config.block_shape, config.tokens_per_step * new_frames
    per_token = 2 * (4 * shape.dim**2 + 2 * shape.dim * shape.mlp_dim)
    seen = config.tokens_per_step * (max(0, cached_frames - 1) + new_frames)
    attention = 4 * seen * shape.dim
    embeddings = 4 * config.embed_dim * shape.dim * config.patches * new_frames
    return config.depth * tokens * (per_token + attention) + embeddings


def time_budget(config: PlanBench, model: WorldModel) -> list[dict[str, Any]]:
    """Energy reached within one control period against that of the paper's 800 x 10, on the same problems."""
    if config.model:
        problems = simulated_problems(model, config.problems, config.seed)
    else:
        problems = random_problems(model, config.problems, config.frames, config.seed)
    full = replace(config, samples=_REFERENCE_SAMPLES, iterations=_REFERENCE_ITERATIONS, elites=10)
    budget = 1.0 / config.rate
    _solver(config).solve(OurCost(model, problems[0]))  # warms up
    rows = []
    for index, problem in enumerate(problems):
        cost = OurCost(model, problem)
        still = float(cost(torch.zeros(1, config.horizon, 7).numpy())[0])
        quick, thorough = _solver(config).solve(cost, deadline=budget), _solver(full).solve(cost)
        rows.append({"problem": index, "hold still": still, **_plan_cells("in time", quick, cost)})
        rows[-1] |= _plan_cells("800 x 10", thorough, cost)
    print_table(f"{config.rate:g} Hz: {1e3 * budget:.0f} ms per plan of {config.samples} samples", rows)
    return rows


def _plan_cells(name: str, plan: Plan, cost: OurCost) -> dict[str, Any]:
    return {
        f"energy {name}": float(cost(plan.actions[None])[0]),
        f"iterations {name}": plan.iterations,
        f"ms {name}": 1e3 * plan.elapsed,
    }
