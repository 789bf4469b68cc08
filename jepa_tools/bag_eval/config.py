"""What `jepa bag-eval` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from jepa_planner.solvers.factory import SolverName
from jepa_world_model.model_card import AnyDistance


@dataclass(frozen=True)
class PredictionConfig:
    """Predictions of latents against what came.

    Attributes:
        horizon: steps to predict ahead.
        shuffles: shuffled action sequences to compare with, for each true one.
    """

    horizon: int = 8
    shuffles: int = 2

    def __post_init__(self) -> None:
        _at_least(1, self, "horizon", "shuffles")


@dataclass(frozen=True)
class EnergyConfig:
    """Energies against true distances.

    Attributes:
        sub_goal_every: frames between two sub-goals.
    """

    sub_goal_every: int = 8

    def __post_init__(self) -> None:
        _at_least(2, self, "sub_goal_every")


@dataclass(frozen=True)
class PlanningConfig:
    """Plans toward a later frame against what the robot did.

    Attributes:
        ahead: frames from the start to the frame that is the goal; also the plan's horizon.
        every: frames between two starts; 0 plans nothing.
        solver: which solver.
        samples: action sequences per iteration.
        iterations: of the solver.
        elites: that its next iteration is drawn around.
        max_step: longest translation per action, m; 0 takes the model card's.
        max_gripper: largest change of closedness per action.
    """

    ahead: int = 3
    every: int = 8
    solver: SolverName = "cem"
    samples: int = 64
    iterations: int = 3
    elites: int = 8
    max_step: float = 0.0
    max_gripper: float = 0.75

    def __post_init__(self) -> None:
        _at_least(1, self, "ahead", "samples", "iterations", "elites")
        _at_least(0, self, "every", "max_step", "max_gripper")


@dataclass(frozen=True)
class PictureConfig:
    """What the report shows besides numbers.

    Attributes:
        moments: of each bag, so many best and so many worst predictions as pictures, where the checkpoint holds a
            picture decoder.
        landscapes: heat maps of the energy, of each bag.
        landscape_ahead: frames to the picture that is their goal.
    """

    moments: int = 2
    landscapes: int = 2
    landscape_ahead: int = 4

    def __post_init__(self) -> None:
        _at_least(0, self, "moments", "landscapes")
        _at_least(1, self, "landscape_ahead")


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured on a bag, and how.

    Attributes:
        seed: of shuffles and plans.
        worst: most surprising moments that the report shows.
        prediction: latents against what came.
        energy: energies against true distances.
        planning: plans against what the robot did.
        pictures: what the report shows besides numbers.
    """

    seed: int = 0
    worst: int = 8
    prediction: PredictionConfig = field(default_factory=PredictionConfig)
    energy: EnergyConfig = field(default_factory=EnergyConfig)
    planning: PlanningConfig = field(default_factory=PlanningConfig)
    pictures: PictureConfig = field(default_factory=PictureConfig)

    def __post_init__(self) -> None:
        _at_least(0, self, "seed", "worst")


@dataclass(frozen=True)
class BagEvalConfig:
    """Measures on recorded bags what a world model would have predicted and planned.

    Attributes:
        bags: bags, or folders with bags: rosbag2 folders, .mcap or .db3 files.
        model: checkpoint, a path or a name in models/checkpoints.
        json: file for the results.
        report: folder for the report, one HTML file.
        compare: two JSON files of earlier evaluations, to be shown beside each other instead.
        distance: how energies compare latents, l1, l2, cosine or metric; the model card's when left out.
        settings: YAML file that names topics, robot and rate where they cannot be guessed.
        device: where the model runs, such as cpu or cuda.
        dtype: arithmetic of the networks.
        threads: CPU threads of the model.
        evaluation: what is measured, and how.
    """

    bags: Positional[tuple[Path, ...]] = ()
    model: str = "franka-table-small"
    json: Path | None = None
    report: Path | None = None
    compare: tuple[Path, Path] | None = None
    distance: AnyDistance = ""
    settings: Path | None = None
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    evaluation: Annotated[EvaluationConfig, arg(name="")] = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        _at_least(1, self, "threads")
        if bool(self.bags) == (self.compare is not None):
            raise ValueError("expected bags to evaluate, or --compare with two JSON files, and not both")


def _at_least(least: int, config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= least:
            raise ValueError(f"{name}: expected at least {least}, got {getattr(config, name)}")
