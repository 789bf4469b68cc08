"""`jepa calibrate`: finds out how the camera stands from small moves, so that planned actions can be turned by it.

On a robot (or the simulator) that runs, the planner does it through its service `~/calibrate`: its safety filter
watches over the moves. Without ROS, `--simulate` does the same on a simulated table in this process, and `--evaluate`
measures what it is worth when the simulated camera stands elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from jepa_common.whole_files import write_whole
from jepa_planner.calibration_moves import MoveConfig, RandomMoves, score_move
from jepa_planner.camera_calibration import (
    CalibrationError,
    CalibrationRequirements,
    CameraCalibration,
    CandidateRotations,
    fit_camera,
    save_calibration,
)
from jepa_planner.solvers.base import ACTION_DIM
from jepa_sim.camera_view import turned
from jepa_sim.environment import EnvironmentConfig, TableEnvironment
from jepa_sim.scene import CameraConfig, SceneConfig
from jepa_sim.task_names import REACH
from jepa_sim.tasks import make_task
from jepa_tools.sim_eval.controllers import ControlConfig, ModelController, planner_rates
from jepa_tools.sim_eval.evaluation import EpisodeResult, prepare_episode, run_episode
from jepa_tools.sim_eval.model_cost import ModelCosts, SeenFrames
from jepa_tools.sim_eval.statistics import statistics
from jepa_world_model.world_model import WorldModel

Vector = NDArray[np.float64]

# Keeps the scenes in which the arm calibrates apart from those of evaluations.
_CALIBRATION_SCENES = 0x63616C69
# Added to the workspace's low corner, m: moves that push objects show more than how the camera stands.
_ABOVE_OBJECTS = (0.0, 0.0, 0.10)
# Moves from one start; then the arm begins anew elsewhere.
_MOVES_PER_SCENE = 4


@dataclass(frozen=True)
class CalibrateConfig:
    """Finds the rotation from the model's action axes to the base frame, and writes it to a file.

    The planner uses the file when its parameter camera_calibration names it.

    Attributes:
        out: YAML file for the rotation. On a robot, the planner writes it: its parameter says where.
        namespace: Of the running planner.
        timeout: Seconds granted to a running planner.
        simulate: On a simulated table in this process, without ROS.
        evaluate: Success with and without calibration for each of the angles, without ROS.
        turn: With --simulate, degrees by which the camera is turned about the vertical line through the scene's middle.
        angles: With --evaluate, the same, one after the other.
        episodes: With --evaluate, how many for each angle.
        seed: With --evaluate, names the scenes.
        oracle: With --evaluate, also plan with the true rotation.
        workers: With --evaluate, processes that share the angles.
        json: With --evaluate, file for the results.
        model: Checkpoint, a path or a name in models/checkpoints.
        device: Where the model runs.
        camera: With --simulate and --evaluate, the camera before it is turned.
        moves: How the arm moves.
        requirements: What the moves must show; a poorer fit is refused.
        control: With --evaluate, planning in detail.
    """

    out: Path = Path("camera.yaml")
    namespace: str = ""
    timeout: float = 300.0
    simulate: bool = False
    evaluate: bool = False
    turn: float = 0.0
    angles: tuple[float, ...] = (0.0, 20.0, 40.0, 60.0)
    episodes: int = 30
    seed: int = 0
    oracle: bool = False
    workers: int = 1
    json: Path | None = None
    model: str = "franka-table-small"
    device: str = "cpu"
    camera: CameraConfig = field(default_factory=CameraConfig)
    moves: MoveConfig = field(default_factory=MoveConfig)
    requirements: CalibrationRequirements = field(default_factory=CalibrationRequirements)
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.workers < 1:
            raise ValueError(f"expected at least 1 episode and 1 worker, got {self.episodes} and {self.workers}")
        if not self.angles:
            raise ValueError("angles: expected at least one")


@dataclass(frozen=True, eq=False)
class AngleResult:
    """What one angle of the camera came to.

    Attributes:
        angle: by which the camera was turned, degrees.
        calibration: what was found; None when the fit was refused.
        refusal: why; empty when it was not.
        episodes: results by what the planner knew: "without", "with" and, if asked for, "true rotation".
    """

    angle: float
    calibration: CameraCalibration | None
    refusal: str
    episodes: dict[str, list[EpisodeResult]]


def calibrate(config: CalibrateConfig) -> int:
    """Calibrates; returns 1 when the fit is refused."""
    if config.evaluate:
        return _evaluate(config)
    if not config.simulate:
        from jepa_tools.calibration.robot import calibrate_robot

        return calibrate_robot(config.namespace, config.timeout)
    model = WorldModel.load(config.model, config.device)
    with TableEnvironment(_environment(config, config.turn)) as environment:
        found = calibrate_table(environment, model, config)
    save_calibration(found, config.out)
    print(f"{found.report()}\nwritten to {config.out}")
    return 0


def calibrate_table(environment: TableEnvironment, model: WorldModel, config: CalibrateConfig) -> CameraCalibration:
    """Moves the simulated arm and fits the camera's rotation; raises CalibrationError when the fit is poor."""
    candidates = CandidateRotations.grid()
    performed, energies = table_moves(environment, model, config.moves, candidates)
    return fit_camera(performed, energies, candidates, config.requirements, model.card.model_id, config.moves.seed)


def table_moves(
    environment: TableEnvironment, model: WorldModel, config: MoveConfig, candidates: CandidateRotations
) -> tuple[Vector, Vector]:
    """Translations [moves, 3], m, on the simulated table, and their energies [moves, candidates + 1]."""
    workspace = environment.config.reset.workspace
    directions = RandomMoves(np.add(workspace.lower, _ABOVE_OBJECTS), workspace.upper, config)
    performed, energies = [], []
    for index in range(config.moves):
        if index % _MOVES_PER_SCENE == 0:
            environment.reset(_CALIBRATION_SCENES + config.seed + index)
        before = _look(environment, model)
        _move(environment, directions.next(before.states[0, :3]), config)
        after = _look(environment, model)
        move = after.states[0, :3] - before.states[0, :3]
        cost = ModelCosts(model)(before, before.states[0], after.latents[0])
        performed.append(move)
        energies.append(score_move(cost, move, candidates))
    return np.array(performed), np.array(energies)


def _look(environment: TableEnvironment, model: WorldModel) -> SeenFrames:
    latents: Tensor = model.encode(environment.render()[None])
    return SeenFrames(latents, environment.state()[None])


def _move(environment: TableEnvironment, action: Vector, config: MoveConfig) -> None:
    for _ in range(config.steps):
        environment.step(action)
    for _ in range(config.settle):
        environment.step(np.zeros(ACTION_DIM))


def _environment(config: CalibrateConfig, angle: float) -> EnvironmentConfig:
    return EnvironmentConfig(scene=SceneConfig(camera=turned(config.camera, angle)), motion=planner_rates())


# --- what it is worth -------------------------------------------------------------------------------------------


def _evaluate(config: CalibrateConfig) -> int:
    results = []
    print(_ROW.format("turned", "found", "error", "explained", "success without", "with", "true rotation"))
    for result in _angle_results(config):
        results.append(result)
        print(_row(result), flush=True)
    if config.json is not None:
        write_whole(config.json, json.dumps([_as_json(result) for result in results], indent=2) + "\n")
    return 0


def _angle_results(config: CalibrateConfig) -> Iterator[AngleResult]:
    if config.workers == 1:
        yield from (evaluate_angle(config, angle) for angle in config.angles)
        return
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(evaluate_angle, [config] * len(config.angles), config.angles)


def evaluate_angle(config: CalibrateConfig, angle: float) -> AngleResult:
    """Calibrates with the camera turned by ``angle`` degrees, then reaches goals with and without the rotation."""
    torch.set_num_threads(1)
    model = WorldModel.load(config.model, config.device)
    with TableEnvironment(_environment(config, angle)) as environment:
        found, refusal = _calibrate_or_say_why(environment, model, config)
        rotations: dict[str, Vector | None] = {"without": None}
        if found is not None:
            rotations["with"] = found.rotation
        if config.oracle:
            rotations["true rotation"] = Rotation.from_euler("z", angle, degrees=True).as_matrix()
        episodes = {
            name: _reach(environment, ModelController(model, _control(config.control, rotation)), config)
            for name, rotation in rotations.items()
        }
    return AngleResult(angle, found, refusal, episodes)


def _calibrate_or_say_why(
    environment: TableEnvironment, model: WorldModel, config: CalibrateConfig
) -> tuple[CameraCalibration | None, str]:
    try:
        return calibrate_table(environment, model, config), ""
    except CalibrationError as error:
        return None, str(error)


def _control(control: ControlConfig, rotation: Vector | None) -> ControlConfig:
    numbers = () if rotation is None else tuple(rotation.ravel().tolist())
    return replace(control, mpc=replace(control.mpc, camera_rotation=numbers))


def _reach(environment: TableEnvironment, controller: ModelController, config: CalibrateConfig) -> list[EpisodeResult]:
    task = make_task(REACH)
    results = []
    for index in range(config.episodes):
        episode = prepare_episode(task, environment, config.seed, index)
        results.append(run_episode(task, environment, episode, controller))
    return results


_ROW = "{:>8s} {:>18s} {:>8s} {:>10s} {:>16s} {:>8s} {:>14s}"


def _row(result: AngleResult) -> str:
    found = result.calibration
    return _ROW.format(
        f"{result.angle:g}",
        "refused" if found is None else f"{found.angle:.0f} (yaw {found.yaw:.0f})",
        "" if found is None else f"{found.uncertainty:.0f}",
        "" if found is None else f"{100 * found.explained:.0f} %",
        *(_successes(result.episodes.get(name)) for name in ("without", "with", "true rotation")),
    )


def _successes(episodes: list[EpisodeResult] | None) -> str:
    return "" if episodes is None else f"{sum(episode.success for episode in episodes)}/{len(episodes)}"


def _as_json(result: AngleResult) -> dict[str, Any]:
    found = result.calibration
    values: dict[str, Any] = {"angle_degrees": result.angle, "refusal": result.refusal}
    if found is not None:
        kept = {name: value for name, value in asdict(found).items() if not isinstance(value, np.ndarray)}
        values["calibration"] = kept | {
            "rotation": found.rotation.tolist(),
            "angle_degrees": found.angle,
            "yaw_degrees": found.yaw,
            "axis_angles_degrees": found.axis_angles.tolist(),
        }
    return values | {name: statistics(episodes) for name, episodes in result.episodes.items()}
