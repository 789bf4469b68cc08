"""Camera calibration without a tape measure: which way the model's action axes point in the robot's base frame.

A world model that was trained with one view takes the directions of actions from what it sees. Seen by a camera that
stands elsewhere, its axes are turned against the robot's (V-JEPA 2, appendix on the sensitivity to the camera
position). Small known moves show by how much. For each candidate rotation, every move is predicted as it looks along
axes that are turned so, and the prediction is compared with the latent that came: the rotation that explains all moves
best is a least-squares fit in latent space. It weighs directions by how well the view shows them, which a fit to one
inferred action per move does not: along the line of sight, such actions are mostly error.

The fit is repeated for resampled moves. The mean of its results, by singular value decomposition (Moakher, 2002), is
the rotation; their spread says how well it is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from scipy.spatial.transform import Rotation

from jepa_common.whole_files import write_whole

Floats = npt.NDArray[np.float64]

AXES = ("x", "y", "z")
_RESAMPLINGS = 200
_YAML_HEADER = """\
# Written by `jepa calibrate`: the rotation from the world model's action axes to the robot's base frame.
# The planner applies it when its parameter `camera_calibration` names this file. Calibrate again when the camera moves.
"""


class CalibrationError(RuntimeError):
    """The moves do not say how the camera stands; the message says why and what to do."""


@dataclass(frozen=True)
class CalibrationRequirements:
    """What moves must show before planned actions are turned by them.

    Attributes:
        moves: least number of moves.
        spread: least length of the shortest principal axis of the moves, as a share of the longest.
        explained: least share of the change between pictures that moves along the turned axes explain.
        uncertainty: largest standard error of the rotation, degrees.
    """

    moves: int = 12
    spread: float = 0.2
    explained: float = 0.1
    uncertainty: float = 20.0

    def __post_init__(self) -> None:
        if self.moves < 3:
            raise ValueError(f"moves: expected at least 3, one for each axis, got {self.moves}")
        if not (0 < self.spread < 1 and self.explained <= 1 and self.uncertainty > 0):
            raise ValueError(
                "expected a spread in (0, 1), an explained share up to 1 and a positive uncertainty, got "
                f"{self.spread}, {self.explained} and {self.uncertainty}"
            )


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """How planned actions are turned, and how well that is known.

    Attributes:
        rotation: [3, 3], from the model's action axes to the base frame: performed = rotation @ planned.
        explained: share of the energy between the pictures before and after a move that the model's prediction of the
            move takes away, with the rotation: 1 for perfect predictions, 0 for those no better than "nothing moved".
        explained_before: the same without the rotation.
        uncertainty: standard error of the rotation, degrees.
        moves: number of moves.
        model: identity of the world model, "<name>@<version>"; another one needs its own calibration.
    """

    rotation: Floats
    explained: float
    explained_before: float
    uncertainty: float
    moves: int
    model: str = ""

    @property
    def angle(self) -> float:
        """Angle of the whole rotation, degrees."""
        return rotation_angle(self.rotation)

    @property
    def axis_angles(self) -> Floats:
        """Angle [3] between each of the model's action axes and the base axis of the same name, degrees."""
        return np.degrees(np.arccos(np.clip(np.diag(self.rotation), -1.0, 1.0)))

    @property
    def yaw(self) -> float:
        """The turn about the vertical base axis that is nearest to the rotation, degrees."""
        return math.degrees(math.atan2(self.rotation[1, 0] - self.rotation[0, 1], np.trace(self.rotation[:2, :2])))

    def report(self) -> str:
        """What a person wants to know, in lines."""
        angles = ", ".join(f"{name} {angle:.1f}" for name, angle in zip(AXES, self.axis_angles, strict=True))
        return "\n".join(
            (
                f"turned by {self.angle:.1f} degrees (standard error {self.uncertainty:.1f}), of that {self.yaw:.1f} "
                "about the vertical axis",
                f"angle between planned and true axis, degrees: {angles}",
                f"{self.moves} moves; with the rotation, the model explains {100 * self.explained:.0f} % of what they "
                f"changed in the picture's latent, without it {100 * self.explained_before:.0f} %",
            )
        )


@dataclass(frozen=True, eq=False)
class CandidateRotations:
    """The rotations that are tried: all turns about the vertical, each also tilted a little.

    Attributes:
        matrices: [candidates, 3, 3], from the model's action axes to the base frame; the first changes nothing.
        resolution: standard error that comes from trying no rotations in between, degrees.
    """

    matrices: Floats
    resolution: float

    @classmethod
    def grid(cls, yaw_step: float = 10.0, tilt: float = 12.0) -> CandidateRotations:
        """Turns in steps of ``yaw_step`` degrees, each upright and tilted by ``tilt`` degrees in six directions."""
        yaws = np.radians(np.arange(0.0, 360.0, yaw_step))
        ways = np.arange(6) * np.pi / 3
        tilts = np.concatenate([np.zeros((1, 2)), np.radians(tilt) * np.column_stack((np.cos(ways), np.sin(ways)))])
        vectors = np.column_stack((tilts, np.zeros(len(tilts))))
        turns = Rotation.from_rotvec(yaws[:, None] * [[0.0, 0.0, 1.0]])
        tilted = [(Rotation.from_rotvec(vector) * turns).as_matrix() for vector in vectors]
        # A value that is rounded to a grid is off by the step over the root of twelve.
        return cls(np.concatenate(tilted), yaw_step / math.sqrt(12.0))

    def seen(self, move: npt.ArrayLike) -> Floats:
        """What a performed translation [3] is along the model's axes: [candidates + 1, 3], the last one "no move"."""
        turned = np.einsum("gji,j->gi", self.matrices, np.asarray(move, dtype=np.float64))
        return np.concatenate([turned, np.zeros((1, 3))])


def fit_camera(
    performed: npt.ArrayLike,
    energies: npt.ArrayLike,
    candidates: CandidateRotations,
    requirements: CalibrationRequirements = CalibrationRequirements(),
    model: str = "",
    seed: int = 0,
) -> CameraCalibration:
    """The rotation that explains the moves best.

    Args:
        performed: translations [moves, 3] of the arm, m, base frame.
        energies: [moves, candidates + 1] of `CandidateRotations.seen`: from the picture before to that after the move.
        candidates: the rotations that were tried.
        requirements: what the moves must show.
        model: identity of the world model.
        seed: of the resampling.

    Raises:
        ValueError: arrays of other shapes, or numbers that are not finite.
        CalibrationError: too few moves, moves that miss a direction, or a poor fit.
    """
    true, scores = _checked(performed, energies, len(candidates.matrices))
    _check_moves(true, requirements)
    best = candidates.matrices[_best_of_resampled(scores[:, :-1], np.random.default_rng(seed))]
    rotation = nearest_rotation(best.mean(axis=0))
    totals = scores.mean(axis=0)
    spread = _root_mean_square([rotation_angle(rotation.T @ each) for each in best])
    calibration = CameraCalibration(
        rotation=rotation,
        explained=1.0 - float(totals[:-1].min() / totals[-1]),
        explained_before=1.0 - float(totals[0] / totals[-1]),
        uncertainty=math.hypot(spread, candidates.resolution),
        moves=len(true),
        model=model,
    )
    _check_fit(calibration, requirements)
    return calibration


def _best_of_resampled(scores: Floats, generator: np.random.Generator) -> npt.NDArray[np.intp]:
    """Indices [resamplings] of the candidates of least energy for moves drawn with replacement (bootstrap)."""
    counts = generator.multinomial(len(scores), np.full(len(scores), 1 / len(scores)), size=_RESAMPLINGS)
    return np.argmin(counts @ scores, axis=1)


def _root_mean_square(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def nearest_rotation(matrix: Floats) -> Floats:
    """The rotation R [3, 3] of largest trace(R^T matrix): nearest to ``matrix`` in the least-squares sense."""
    left, _, right = np.linalg.svd(matrix)
    # A reflection fits mirror images of the moves, which no camera shows.
    return np.asarray(left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right)


def rotation_angle(rotation: Floats) -> float:
    """Angle of a rotation [3, 3], degrees."""
    return math.degrees(math.acos(float(np.clip((np.trace(rotation) - 1.0) / 2.0, -1.0, 1.0))))


def save_calibration(calibration: CameraCalibration, path: Path) -> None:
    """Writes a YAML file that `load_rotation` reads."""
    values: dict[str, Any] = {
        "rotation": calibration.rotation.tolist(),
        "model": calibration.model,
        "angle_degrees": calibration.angle,
        "yaw_degrees": calibration.yaw,
        "axis_angles_degrees": calibration.axis_angles.tolist(),
        "standard_error_degrees": calibration.uncertainty,
        "explained": calibration.explained,
        "explained_before": calibration.explained_before,
        "moves": calibration.moves,
    }
    text = yaml.safe_dump({"camera_calibration": values}, sort_keys=False, default_flow_style=None)
    write_whole(path, _YAML_HEADER + text)


def load_rotation(path: Path, model: str = "") -> Floats:
    """The rotation [3, 3] of a file that `save_calibration` wrote.

    Raises:
        ValueError: the file is missing, is no calibration, belongs to another model than ``model`` (when that is
            given), or does not hold a rotation.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        values = content["camera_calibration"]
        rotation = np.array(values["rotation"], dtype=np.float64)
    except FileNotFoundError as error:
        raise ValueError(f"camera calibration {path}: there is no such file; make one with: jepa calibrate") from error
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"camera calibration {path}: expected what jepa calibrate writes, got {error!r}") from error
    _check_rotation(rotation, path)
    made_with = values.get("model", "")
    if model and made_with and made_with != model:
        raise ValueError(
            f"camera calibration {path}: made with the model {made_with}, but {model} plans; run jepa calibrate again"
        )
    return rotation


def _check_rotation(rotation: Floats, path: Path) -> None:
    fits = rotation.shape == (3, 3) and bool(np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6))
    if not fits or np.linalg.det(rotation) < 0:
        raise ValueError(f"camera calibration {path}: expected a 3 x 3 rotation matrix, got {rotation.tolist()}")


def _checked(performed: npt.ArrayLike, energies: npt.ArrayLike, candidates: int) -> tuple[Floats, Floats]:
    true, scores = np.asarray(performed, dtype=np.float64), np.asarray(energies, dtype=np.float64)
    if true.shape != (len(scores), 3) or scores.shape != (len(true), candidates + 1):
        raise ValueError(
            f"expected moves [moves, 3] and energies [moves, {candidates + 1}], "
            f"got {list(true.shape)} and {list(scores.shape)}"
        )
    if not (np.isfinite(true).all() and np.isfinite(scores).all()):
        raise ValueError("expected finite moves and energies; check the latents and the joint states")
    return true, scores


def _check_moves(true: Floats, requirements: CalibrationRequirements) -> None:
    if len(true) < requirements.moves:
        raise CalibrationError(f"expected at least {requirements.moves} moves, got {len(true)}: let the arm move more")
    lengths = np.linalg.svd(true, compute_uv=False)
    if lengths[2] <= requirements.spread * lengths[0]:
        raise CalibrationError(
            f"the moves hardly leave a plane: along their principal axes they are {np.round(lengths, 3).tolist()} m; "
            "begin where the arm can move in every direction"
        )


def _check_fit(fit: CameraCalibration, requirements: CalibrationRequirements) -> None:
    problems = []
    if not fit.explained >= requirements.explained:
        problems.append(f"{100 * fit.explained:.0f} % explained, expected {100 * requirements.explained:.0f} % or more")
    if not fit.uncertainty <= requirements.uncertainty:
        problems.append(
            f"standard error {fit.uncertainty:.1f} degrees, expected at most {requirements.uncertainty:.1f}"
        )
    if problems:
        raise CalibrationError(
            f"the fit is too poor to be used: {'; '.join(problems)}. The model does not understand this view well "
            "enough: see that the whole arm and the table are in the picture, bring the camera nearer to where it "
            f"stood for the training data, or make more and longer moves.\n{fit.report()}"
        )
