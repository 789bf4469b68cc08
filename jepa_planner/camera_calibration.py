"""Camera calibration without a tape measure: which way the model's action axes point in the robot's base frame.

A world model that was trained with one view takes the directions of actions from what it sees. Seen by a camera that
stands elsewhere, its axes are turned against the robot's. Small known moves show by how much (V-JEPA 2, appendix on
the sensitivity to the camera position): for every move the action is inferred that the model thinks has led from one
picture to the next, a linear map from inferred to performed actions is fitted by least squares, and the rotation
nearest to it (Kabsch, 1976) turns planned actions into the base frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

Floats = npt.NDArray[np.float64]

AXES = ("x", "y", "z")
_BOOTSTRAP_SAMPLES = 200
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
        agreement: least agreement of performed and turned inferred actions, 1 for equal directions and lengths.
        uncertainty: largest standard error of the rotation, degrees.
    """

    moves: int = 12
    spread: float = 0.2
    agreement: float = 0.5
    uncertainty: float = 15.0

    def __post_init__(self) -> None:
        if self.moves < 3:
            raise ValueError(f"moves: expected at least 3, one for each axis, got {self.moves}")
        if not (0 < self.spread < 1 and -1 <= self.agreement <= 1 and self.uncertainty > 0):
            raise ValueError(
                "expected a spread in (0, 1), an agreement from -1 to 1 and a positive uncertainty, got "
                f"{self.spread}, {self.agreement} and {self.uncertainty}"
            )


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """How planned actions are turned, and how well that is known.

    Attributes:
        rotation: [3, 3], from the model's action axes to the base frame: performed = rotation @ planned.
        response: [3, 3], the least-squares map from performed to inferred actions; a column is what the model makes of
            one metre along a base axis, and a short one an axis that this view hardly shows.
        agreement: of performed and turned inferred actions: 1 for equal directions, 0 for none in common.
        agreement_before: the same without the rotation.
        uncertainty: standard error of the rotation, degrees; from resampled moves.
        moves: number of moves.
        model: identity of the world model, "<name>@<version>"; another one needs its own calibration.
    """

    rotation: Floats
    response: Floats
    agreement: float
    agreement_before: float
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
        seen = np.linalg.norm(self.response, axis=0)
        lengths = ", ".join(f"{name} {length:.2f}" for name, length in zip(AXES, seen, strict=True))
        return "\n".join(
            (
                f"turned by {self.angle:.1f} degrees (standard error {self.uncertainty:.1f}), of that {self.yaw:.1f} "
                "about the vertical axis",
                f"angle between planned and true axis, degrees: {angles}",
                f"share of a move that the model sees along each axis: {lengths}",
                f"agreement of {self.moves} moves: {self.agreement:.2f} with the rotation, "
                f"{self.agreement_before:.2f} without (1: same directions)",
            )
        )


def fit_camera(
    performed: npt.ArrayLike,
    inferred: npt.ArrayLike,
    requirements: CalibrationRequirements = CalibrationRequirements(),
    model: str = "",
    seed: int = 0,
) -> CameraCalibration:
    """The rotation between inferred and performed translations, both [moves, 3] in m.

    Args:
        performed: what the arm did, base frame.
        inferred: what the model thinks that it did.
        requirements: what the moves must show.
        model: identity of the world model.
        seed: of the resampling that measures the uncertainty.

    Raises:
        ValueError: arrays of other shapes, or numbers that are not finite.
        CalibrationError: too few moves, moves that miss a direction, or a poor fit.
    """
    true, seen = _checked(performed, inferred)
    _check_moves(true, requirements)
    rotation = nearest_rotation(true.T @ seen)
    calibration = CameraCalibration(
        rotation=rotation,
        response=np.linalg.lstsq(true, seen, rcond=None)[0].T,
        agreement=_agreement(true, seen @ rotation.T),
        agreement_before=_agreement(true, seen),
        uncertainty=_standard_error(true, seen, rotation, np.random.default_rng(seed)),
        moves=len(true),
        model=model,
    )
    _check_fit(calibration, requirements)
    return calibration


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
        "agreement": calibration.agreement,
        "agreement_before": calibration.agreement_before,
        "moves": calibration.moves,
    }
    text = yaml.safe_dump({"camera_calibration": values}, sort_keys=False, default_flow_style=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_YAML_HEADER + text, encoding="utf-8")


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


def _checked(performed: npt.ArrayLike, inferred: npt.ArrayLike) -> tuple[Floats, Floats]:
    true, seen = np.asarray(performed, dtype=np.float64), np.asarray(inferred, dtype=np.float64)
    if true.shape != seen.shape or true.ndim != 2 or true.shape[1] != 3:
        raise ValueError(f"expected two arrays [moves, 3], got {list(true.shape)} and {list(seen.shape)}")
    if not (np.isfinite(true).all() and np.isfinite(seen).all()):
        raise ValueError("expected finite moves; check the latents and the joint states")
    return true, seen


def _check_moves(true: Floats, requirements: CalibrationRequirements) -> None:
    if len(true) < requirements.moves:
        raise CalibrationError(f"expected at least {requirements.moves} moves, got {len(true)}: let the arm move more")
    lengths = np.linalg.svd(true, compute_uv=False)
    if lengths[2] < requirements.spread * lengths[0]:
        raise CalibrationError(
            f"the moves hardly leave a plane: along their principal axes they are {np.round(lengths, 3).tolist()} m; "
            "begin where the arm can move in every direction"
        )


def _check_fit(fit: CameraCalibration, requirements: CalibrationRequirements) -> None:
    problems = []
    if not fit.agreement >= requirements.agreement:
        problems.append(f"agreement {fit.agreement:.2f}, expected at least {requirements.agreement:.2f}")
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


def _agreement(true: Floats, seen: Floats) -> float:
    scale = float(np.linalg.norm(true) * np.linalg.norm(seen))
    return float(np.sum(true * seen)) / scale if scale > 0 else 0.0


def _standard_error(true: Floats, seen: Floats, rotation: Floats, generator: np.random.Generator) -> float:
    """Root mean square angle, degrees, between ``rotation`` and the fits to resampled moves (bootstrap)."""
    angles = []
    for _ in range(_BOOTSTRAP_SAMPLES):
        rows = generator.integers(len(true), size=len(true))
        resampled = nearest_rotation(true[rows].T @ seen[rows])
        angles.append(rotation_angle(resampled.T @ rotation))
    return float(np.sqrt(np.mean(np.square(angles))))
