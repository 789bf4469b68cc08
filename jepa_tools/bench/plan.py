"""``jepa bench plan``: planning with our rollouts against the published loop, alternating in one process."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from jepa_planner.solvers.base import Cost, Plan
from jepa_planner.solvers.cem import CemConfig, CemSolver
from jepa_planner.solvers.factory import SolverConfig
from jepa_tools.bench.machine import Timing, describe_machine, matmul_rate
from jepa_tools.bench.models import ModelShape, random_world_model
from jepa_tools.bench.problems import OurCost, PlanningProblem, random_problems, simulated_problems
from jepa_tools.bench.profile import profile_operations
from jepa_tools.bench.published_loop import PublishedCost
from jepa_tools.bench.report import print_table, write_report
from jepa_world_model.action_predictor import ActionPredictorConfig
from jepa_world_model.compiled_blocks import CompileMode
from jepa_world_model.world_model import WorldModel

_GIGA = 1e9
OURS, PUBLISHED = "ours", "published loop"


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
        thorough_samples: candidates per iteration of the plan that the time budget is compared with.
        thorough_iterations: iterations of that plan; both defaults are the paper's.
        dtype: of our side; the published loop runs in float32.
        compile_mode: how torch.compile treats our side; "off" leaves it as it is. The first round compiles.
        device: cpu or cuda.
        threads: of the CPU; 0 leaves it to torch.
        seed: of weights, problems and candidates.
        published: whether to run the published loop at all; on the largest model it needs much memory.
        profile: whether to show in which operations one more plan of each side spends its time.
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
    thorough_samples: int = 800
    thorough_iterations: int = 10
    dtype: Literal["float32", "bfloat16"] = "float32"
    compile_mode: Literal["off", CompileMode] = "off"
    device: str = "cpu"
    threads: int = 0
    seed: int = 0
    published: bool = True
    profile: bool = False
    out: Path = Path("out/bench_plan.json")


def bench_plan(config: PlanBench) -> Path:
    """Run the benchmark; returns the JSON file."""
    if config.threads:
        torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    machine = describe_machine(device)
    model, reference = load_models(config)
    if config.compile_mode != "off":
        model = model.compiled(config.compile_mode)
    problem = random_problems(model, 1, config.frames, config.seed)[0]
    costs = sides(config, model, reference, problem)
    results: dict[str, Any] = {"planning": compare(config, model, costs)}
    if config.profile:
        results["profile"] = profile_sides(config, costs, device)
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


def sides(config: PlanBench, model: WorldModel, reference: WorldModel, problem: PlanningProblem) -> dict[str, Cost]:
    """What is compared: our energies and those of the published loop."""
    if model.predictor is None or reference.predictor is None:
        raise ValueError(f"{config.model} holds no predictor; planning needs one")
    costs: dict[str, Cost] = {OURS: OurCost(model, problem)}
    if config.published:
        costs[PUBLISHED] = PublishedCost(reference.predictor, problem, reference.device)
    return costs


def profile_sides(config: PlanBench, costs: dict[str, Cost], device: torch.device) -> dict[str, list[dict[str, Any]]]:
    """The longest operations of one plan with each cost; prints a table of each."""
    profiles = {}
    for name, cost in costs.items():
        profiles[name] = profile_operations(functools.partial(_solver(config).solve, cost), device)
        print_table(f"{name}: time by operation", profiles[name])
    return profiles


def compare(config: PlanBench, model: WorldModel, costs: dict[str, Cost]) -> list[dict[str, Any]]:
    """Time all sides, alternating, and print their table."""
    if model.predictor is None:
        raise ValueError(f"{config.model} holds no predictor; planning needs one")
    timings = _alternate(config, costs, model.device)
    shape, frames = model.predictor.config, config.frames
    operations = {
        OURS: config.horizon * step_operations(shape, frames, 1),
        PUBLISHED: sum(step_operations(shape, 0, frames + step) for step in range(config.horizon)),
    }
    dtypes = {name: getattr(torch, config.dtype) if name == OURS else torch.float32 for name in costs}
    rates = {dtype: matmul_rate(model.device, dtype) for dtype in sorted(set(dtypes.values()), key=str)}
    rollouts = config.samples * config.iterations
    rows = [
        _row(name, timings[name], dtypes[name], rates[dtypes[name]], operations[name], rollouts, model.device)
        for name in costs
    ]
    if config.published:
        rows[0] |= _comparison(timings, _largest_energy_difference(config, costs))
    title = f"{model.card.model_id}: {config.samples} samples x {config.iterations}, horizon {config.horizon}"
    print_table(title, rows)
    return rows


def _row(
    name: str,
    timing: Timing,
    dtype: torch.dtype,
    rate: float,
    operations: int,
    rollouts: int,
    device: torch.device,
) -> dict[str, Any]:
    achieved = operations * rollouts / timing.busy(device)
    return {
        "loop": name,
        "dtype": str(dtype).removeprefix("torch."),
        "median ms": 1e3 * timing.wall,
        "core ms": 1e3 * timing.cores,
        "rollouts/s": rollouts / timing.wall,
        "GFLOP/s busy": achieved / _GIGA,
        "matmul GFLOP/s busy": rate / _GIGA,
        "share of matmul": achieved / rate,
    }


def _comparison(timings: dict[str, Timing], difference: float) -> dict[str, float]:
    return {
        "times faster": timings[PUBLISHED].wall / timings[OURS].wall,
        "times fewer core ms": timings[PUBLISHED].cores / timings[OURS].cores,
        "largest energy difference": difference,
    }


def _alternate(config: PlanBench, costs: dict[str, Cost], device: torch.device) -> dict[str, Timing]:
    """Medians of planning with each cost; the sides take turns, so that both see the same machine."""
    timings: dict[str, list[Timing]] = {name: [] for name in costs}
    for repeat in range(config.repeats + 1):
        for name, cost in costs.items():
            timing = Timing.of(functools.partial(_solver(config).solve, cost), device)
            if repeat:  # the first round warms up
                timings[name].append(timing)
    return {name: Timing.median(taken) for name, taken in timings.items()}


def _solver(config: PlanBench) -> CemSolver:
    settings = CemConfig(
        samples=config.samples,
        iterations=config.iterations,
        horizon=config.horizon,
        elites=config.elites,
        seed=config.seed,
    )
    return CemSolver(settings, SolverConfig().bounds())


def _largest_energy_difference(config: PlanBench, costs: dict[str, Cost]) -> float:
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
    """Energy reached within one control period against that of a thorough plan, on the same problems.

    Within the period there are as many iterations as fit, at most as many as the thorough plan has.
    """
    if config.model:
        problems = simulated_problems(model, config.problems, config.seed)
    else:
        problems = random_problems(model, config.problems, config.frames, config.seed)
    samples, iterations = config.thorough_samples, config.thorough_iterations
    full = replace(config, samples=samples, iterations=iterations, elites=min(10, samples))
    hasty, budget = replace(config, iterations=iterations), 1.0 / config.rate
    _solver(config).solve(OurCost(model, problems[0]))  # warms up
    rows = []
    for index, problem in enumerate(problems):
        cost = OurCost(model, problem)
        still = float(cost(torch.zeros(1, config.horizon, 7).numpy())[0])
        quick, thorough = _solver(hasty).solve(cost, deadline=budget), _solver(full).solve(cost)
        rows.append({"problem": index, "hold still": still, **_plan_cells("in time", quick, cost)})
        rows[-1] |= _plan_cells(f"{full.samples} x {full.iterations}", thorough, cost)
    print_table(f"{config.rate:g} Hz: {1e3 * budget:.0f} ms per plan of {config.samples} samples", rows)
    return rows


def _plan_cells(name: str, plan: Plan, cost: OurCost) -> dict[str, Any]:
    return {
        f"energy {name}": float(cost(plan.actions[None])[0]),
        f"iterations {name}": plan.iterations,
        f"ms {name}": 1e3 * plan.elapsed,
    }
