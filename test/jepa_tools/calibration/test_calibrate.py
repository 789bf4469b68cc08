"""`jepa calibrate` on the simulated table: known moves, a file for the planner, and a refusal where nothing is seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from jepa_planner.calibration_moves import MoveConfig
from jepa_planner.camera_calibration import (
    CalibrationError,
    CalibrationRequirements,
    CandidateRotations,
    load_rotation,
)
from jepa_sim.camera_view import turned
from jepa_sim.environment import EnvironmentConfig, TableEnvironment
from jepa_sim.scene import CameraConfig, SceneConfig
from jepa_tools.calibration.command import CalibrateConfig, calibrate, table_moves
from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.checkpoint import save_world_model
from jepa_world_model.model_card import ModelCard
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer
from jepa_world_model.world_model import WorldModel

# A model with random weights understands nothing: what it is to be told must not depend on that.
ANYTHING_GOES = CalibrationRequirements(moves=3, spread=0.01, explained=-1e9, uncertainty=360.0)
FEW = MoveConfig(moves=5, steps=1, settle=0)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    size = {"image_size": 32, "embed_dim": 12, "depth": 1, "num_heads": 1}
    encoder = VisionTransformer(EncoderConfig(**size, num_frames=2))
    predictor = ActionConditionedPredictor(ActionPredictorConfig(**size, predictor_dim=12))
    path = tmp_path_factory.mktemp("models") / "untrained.safetensors"
    card = ModelCard(name="untrained", image_size=32, tokens=4, dim=12, reach_energy=0.01)
    save_world_model(path, encoder, predictor, card, {"seed": 0})
    return path


def config(model: Path, **changes) -> CalibrateConfig:
    return CalibrateConfig(**{"model": str(model), "moves": FEW, "requirements": ANYTHING_GOES, **changes})


def test_moves_are_known_and_stay_on_the_table(untrained: Path) -> None:
    candidates = CandidateRotations.grid()
    with TableEnvironment(EnvironmentConfig(scene=SceneConfig(camera=turned(CameraConfig(), 30.0)))) as environment:
        performed, energies = table_moves(environment, WorldModel.load(untrained), FEW, candidates)
    assert performed.shape == (5, 3) and energies.shape == (5, len(candidates.matrices) + 1)
    lengths = np.linalg.norm(performed, axis=1)
    assert np.all(lengths > 0.005) and np.all(lengths < 0.06)


def test_writes_the_file_that_the_planner_reads(untrained: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "camera.yaml"
    assert calibrate(config(untrained, simulate=True, out=path)) == 0
    np.testing.assert_allclose(np.linalg.det(load_rotation(path)), 1.0)
    assert "standard error" in capsys.readouterr().out


def test_a_model_that_understands_nothing_is_refused(untrained: Path, tmp_path: Path) -> None:
    path, moves = tmp_path / "camera.yaml", MoveConfig(moves=12, steps=1, settle=0)
    strict = CalibrationRequirements(spread=0.01)
    with pytest.raises(CalibrationError, match="too poor"):
        calibrate(config(untrained, simulate=True, out=path, moves=moves, requirements=strict))
    assert not path.exists()


def test_evaluation_says_what_calibration_is_worth(untrained: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "new" / "calibration.json"
    settings = config(untrained, evaluate=True, angles=(40.0,), episodes=1, oracle=True, json=path)
    assert calibrate(settings) == 0
    (result,) = json.loads(path.read_text())
    assert result["angle_degrees"] == 40.0 and result["calibration"]["moves"] == 5
    assert {"without", "with", "true rotation"} <= set(result)
    assert "/1" in capsys.readouterr().out


def test_a_turned_camera_sees_the_same_point_from_the_same_distance() -> None:
    camera, moved = CameraConfig(), turned(CameraConfig(), 60.0)
    middle = np.array([0.45, 0.0])
    before, after = np.subtract(camera.position[:2], middle), np.subtract(moved.position[:2], middle)
    assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before))
    angle = np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0])
    assert np.degrees(angle) == pytest.approx(60.0)
    assert moved.position[2] == camera.position[2]


@pytest.mark.parametrize("senseless", [{"episodes": 0}, {"workers": 0}, {"angles": ()}])
def test_senseless_settings_are_refused(senseless: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        CalibrateConfig(**senseless)
